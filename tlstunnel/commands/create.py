"""
C{tlstunnel identity create}: makes a key, and a certificate or what leads to one.
"""

from __future__ import annotations

from contextlib import ExitStack

from tlstunnel.commands.pools import OneIdentityOptions, lastDayOf
from tlstunnel.commands.psk import createKey
from tlstunnel.commands.token import keysInToken
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity, ownKey
from tlstunnel.identity.requests import requestFor


class Create(OneIdentityOptions):
    """C{create [--force] [--psk | --request] [--token URI [--rsa]] ID}"""

    longdesc = (
        "Makes a key and a certificate for ID, which is a domain, user@domain, an address or a "
        "SPIFFE ID. It is "
        "issued by the pool's own authority, which is made with the first identity; other pools "
        "believe it after 'tlstunnel identity trust SELECTOR ca/cert.pem'. With --psk it makes a "
        "key that both ends get, instead of certificates, for tunnels with --trust psk. With "
        "--request it makes a key, and a request for a certificate that somebody else is to issue; "
        "beside a key that was made in the same way another one, which is used once there is a "
        "certificate for it. With --token the key is made in a token, at an address such as "
        "'pkcs11:token=NAME;object=NAME?pin-source=file:/FILE', unless it is there already; the "
        "pool then says where it is. Without pin-source the PIN is asked for; it is tried once."
    )
    optFlags = [
        ["force", "f", "Replace a key that is there already, or a request that waits."],
        ["psk", None, "Make a pre-shared key, and no certificate."],
        ["request", None, "Make a key and a request, and no certificate."],
        ["rsa", None, "With --token: let the key be for RSA, instead of ECDSA on P-256."],
    ]
    optParameters = [
        ["token", None, None, "The address of a key in a token, which is made or taken."],
        ["pkcs11-module", None, None, "The module for that; else POOL/pkcs11-module leads to it."],
    ]

    def run(self) -> int:
        """Make the credentials."""
        pool, identity, force = self.pool, self.identity, bool(self["force"])
        if self["psk"] and self["request"]:
            raise ConfigurationError(
                "--request", "is for a certificate, and --psk for none", "give one of them"
            )
        if self["psk"] and self["token"] is not None:
            raise ConfigurationError(
                "--token", "is for a private key, and --psk for none", "give one of them"
            )
        if self["psk"]:
            return createKey(pool, identity, force)
        with ExitStack() as opened:
            makeKey = ownKey
            if self["token"] is not None:
                makeKey = opened.enter_context(
                    keysInToken(pool, self["token"], self["pkcs11-module"], bool(self["rsa"]))
                )
            elif self["rsa"] or self["pkcs11-module"] is not None:
                raise ConfigurationError(
                    "--rsa" if self["rsa"] else "--pkcs11-module",
                    "says something about --token, which is not there",
                    "give that, too",
                )
            if self["request"]:
                file = requestFor(pool, identity, force, makeKey)
                where = "here" if self["token"] is None else "in the token"
                print(f"{identity}: the request is {file}; its key stays {where}")
                return 0
            leaf = createIdentity(pool, identity, force, makeKey).certificates[0]
        print(f"{identity}: in {pool.directoryOf(identity)}, good until {lastDayOf(leaf)}")
        return 0
