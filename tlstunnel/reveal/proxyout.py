"""
Who is there, in a header of the PROXY protocol: what L{tlstunnel.net.proxywriting} is given.
"""

from __future__ import annotations

import os
import struct
from binascii import hexlify
from collections.abc import Iterable
from typing import Protocol

from cryptography.hazmat.primitives.serialization import Encoding

from tlstunnel.address import Address
from tlstunnel.net import proxywriting
from tlstunnel.net.proxyheader import ALPN, AUTHORITY, SSL, UNIQUE_ID
from tlstunnel.net.proxywriting import tlv
from tlstunnel.reveal.certificates import commonNameOf, keyOf, signatureOf
from tlstunnel.reveal.facts import Facts
from tlstunnel.reveal.tlvs import IDENTITY, SSL_PARTS
from tlstunnel.tls.session import Session

# The flags in the TLV of TLS (section 2.2.6 of the specification).
_CLIENT_SSL, _CLIENT_CERT_CONN, _CLIENT_CERT_SESS = 0x01, 0x02, 0x04

# What is said of the verification: it was done, and was good; or anything else.
_VERIFIED = 0
_UNVERIFIED = 1

_SSL = struct.Struct("!BI")

#: Of how many kinds of connections it is kept what their headers say beside the addresses.
KINDS_KEPT = 256

#: The bytes of an id that nobody has given before.
_ID_BYTES = 16


class Announced(Facts, Protocol):
    """
    What is told of a connection.
    """

    uniqueID: bytes


class ProxyOut:
    """
    Makes the headers of a tunnel.
    """

    def __init__(self, version: str, tlvs: Iterable[str], isAnchored: bool = True) -> None:
        """
        @param version: C{v1} or C{v2}.
        @param tlvs: what else they have, of L{tlstunnel.reveal.tlvs.TLVS}.
        @param isAnchored: whether somebody vouches for what stands in certificates: where keys
            alone are believed, nobody does.
        """
        self._isText = version == "v1"
        self._tlvs = frozenset(tlvs)
        self._parts = {
            kind
            for kind, name in SSL_PARTS.items()
            if name in self._tlvs or ("ssl" in self._tlvs and name != "ssl-client-cert")
        }
        self._tellsTLS = bool(self._parts) or not self._tlvs.isdisjoint(
            ("alpn", "authority", "identity", "ssl")
        )
        self._hasSum = "crc32c" in self._tlvs
        self._isAnchored = isAnchored
        self._known: dict[tuple[object, ...], bytes] = {}

    def header(self, facts: Announced, local: Address, session: Session | None) -> bytes:
        """
        The header of one connection.

        @param local: the address that its peer has connected to.
        @param session: what is known of its TLS, once there is.
        @raise Oversize: it would be too long.
        """
        if self._isText:
            return proxywriting.text(facts.peer, local)
        tlvs = self._aboutTLS(facts, session) if self._tellsTLS and session is not None else b""
        if "unique-id" in self._tlvs:
            facts.uniqueID = facts.uniqueID or hexlify(os.urandom(_ID_BYTES))
            tlvs += tlv(UNIQUE_ID, facts.uniqueID)
        return proxywriting.binary(facts.peer, local, tlvs, self._hasSum)

    def _aboutTLS(self, facts: Facts, session: Session) -> bytes:
        """
        What is told of TLS, which is the same for many.
        """
        proof, face = session.proof, session.face
        key = (
            facts.version,
            facts.suite,
            facts.group,
            facts.alpn,
            facts.serverName,
            facts.isResumed,
            proof and proof.leaf,
            facts.identity,
            face,
        )
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= KINDS_KEPT:
                self._known.clear()
            known = self._known[key] = self._written(facts, session)
        return known

    def _written(self, facts: Facts, session: Session) -> bytes:
        wanted, written = self._tlvs, b""
        if "alpn" in wanted and facts.alpn:
            written += tlv(ALPN, facts.alpn)
        name = facts.serverName
        # What a client asks for may be anything.
        if "authority" in wanted and name and name.isascii() and name.isprintable():
            written += tlv(AUTHORITY, name.encode())
        if self._parts or "ssl" in wanted:
            written += tlv(SSL, self._ssl(facts, session))
        if "identity" in wanted and facts.identity is not None:
            written += tlv(IDENTITY, str(facts.identity).encode())
        return written

    def _ssl(self, facts: Facts, session: Session) -> bytes:
        """
        The value of the TLV of TLS, with others within.
        """
        flags, verified = _CLIENT_SSL, _UNVERIFIED
        # Whoever is known by a pre-shared key shows no certificate.
        isShown = facts.identity is not None and session.claim is None
        if isShown:
            flags |= _CLIENT_CERT_SESS if facts.isResumed else _CLIENT_CERT_SESS | _CLIENT_CERT_CONN
            verified = _VERIFIED if self._isAnchored else _UNVERIFIED
        certificate = facts.certificate if isShown else None
        ours = session.face.certificate if session.face is not None else None
        values: dict[str, bytes] = {
            "ssl-version": facts.version.encode(),
            "ssl-cipher": facts.suite.encode(),
            "ssl-group": facts.group.encode(),
        }
        if certificate is not None:
            values["ssl-client-cert"] = certificate.public_bytes(Encoding.DER)
            if self._isAnchored:
                values["ssl-cn"] = commonNameOf(certificate).encode()
        if ours is not None:
            values["ssl-sig-alg"] = signatureOf(ours).encode()
            values["ssl-key-alg"] = keyOf(ours).encode()
        written = _SSL.pack(flags, verified)
        for kind in sorted(self._parts):
            value = values.get(SSL_PARTS[kind])
            if value:
                written += tlv(kind, value)
        return written
