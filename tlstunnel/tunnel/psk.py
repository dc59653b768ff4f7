"""
What a tunnel must be like whose peers are known by keys that both sides were given beforehand.

Such keys stand alone: there is no certificate at either end, so that nothing that is about one can
be asked for beside them.
"""

from __future__ import annotations

from tlstunnel.errors import ConfigurationError
from tlstunnel.tls.psk import checkThere
from tlstunnel.tunnel.description import PSK, Mode, Tunnel


def checkPSK(tunnel: Tunnel) -> None:
    """
    See that a tunnel that shares keys says whose, and relies on nothing that needs certificates.

    @raise ConfigurationError: it does not, or OpenSSL cannot be told of keys.
    """
    if not tunnel.sharesKeys:
        return
    if len(tunnel.trust) > 1:
        raise ConfigurationError(
            f"`trust` {PSK}",
            "is there, and others too: whoever has a key shows no certificate that they could "
            "vouch for",
            "give it alone, or leave it out",
        )
    for key, why in _meaningless(tunnel):
        raise ConfigurationError(
            f"`{key}`", f"{why}, and with `trust` {PSK} there is none", "leave it out"
        )
    if tunnel.resumption:
        raise ConfigurationError(
            "`resumption` on",
            f"would let somebody in by a ticket, and with `trust` {PSK} every connection has to "
            "prove that it has the key",
            "leave it out",
        )
    if tunnel.mode is Mode.CLIENT:
        _checkClient(tunnel)
    else:
        _checkServer(tunnel)
    checkThere()


def _meaningless(tunnel: Tunnel) -> list[tuple[str, str]]:
    """
    What was given although it is about certificates, with the reason.
    """
    given = {
        "pin": (tunnel.pins, "is about the key of a certificate"),
        "ocsp-stapling": (tunnel.ocspStapling, "is about our certificate"),
        "require-staple": (tunnel.requireStaple, "is about the certificate of the server"),
        "name": (tunnel.names, "is about the certificate for a name"),
        "local-id": (tunnel.otherIDs, "chooses among certificates where it has several values"),
        "require-sni": (tunnel.requireSNI, "is about the name that chooses a certificate"),
        "any-name": (tunnel.anyName, "is about names that our certificate does not have"),
    }
    return [(key, why) for key, (value, why) in given.items() if value]


def _checkServer(tunnel: Tunnel) -> None:
    if tunnel.remoteID is None and not tunnel.remoteIDFiles:
        raise ConfigurationError(
            "`remote-id`",
            f"is missing, and with `trust` {PSK} it says whose keys count",
            "give it, such as . for all domains and @. for all users",
        )
    if tunnel.dialect.learnsPeer and tunnel.localID is None:
        raise ConfigurationError(
            "`local-id`",
            f"is missing, and {tunnel.dialect.name} has to say who we are",
            "give the identity of the tunnel",
        )


def _checkClient(tunnel: Tunnel) -> None:
    if tunnel.byRules:
        raise ConfigurationError(
            "`local-id` auto",
            f"leaves it to rules whose certificate is shown, and with `trust` {PSK} there is none",
            "give the identity that we share with the server",
        )
    if tunnel.localID is None:
        raise ConfigurationError(
            "`local-id`",
            f"is missing, and with `trust` {PSK} it says whose key we have",
            "give the identity that we share with the server",
        )
    if tunnel.dialect.learnsPeer and tunnel.remoteID is None:
        raise ConfigurationError(
            "`remote-id`",
            f"is missing: with {tunnel.dialect.name} the app says whom it wants, and a key proves "
            "no name",
            "say who it is that has the key, too",
        )
