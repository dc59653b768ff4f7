"""
The fields of HTTP that tell who is there: which there are, what they are called, what is in them,
and which of a client's own are of that kind.

Servers that hand fields on by CGI's rules (RFC 3875, section 4.1.18) and those that imitate them
take hyphens, underscores, dots and more for the same, so that names are compared as if they were.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from tlstunnel.address import Address, TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Kind
from tlstunnel.reveal.facts import Facts

#: The usual names of all that we tell.
CLIENT_CERT = "Client-Cert"
CLIENT_CERT_CHAIN = "Client-Cert-Chain"
FORWARDED = "Forwarded"
FORWARDED_FOR = "X-Forwarded-For"
FORWARDED_PROTO = "X-Forwarded-Proto"
FORWARDED_HOST = "X-Forwarded-Host"
FORWARDED_PORT = "X-Forwarded-Port"
USUAL = (
    CLIENT_CERT,
    CLIENT_CERT_CHAIN,
    FORWARDED,
    FORWARDED_FOR,
    FORWARDED_PROTO,
    FORWARDED_HOST,
    FORWARDED_PORT,
)

#: Fields by which a message is delimited or routed, or that are about one connection alone, folded:
#: they mean what they say under their own name, and under no other.
FRAMING = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

# What no client may say, whatever is told here: folded names, and how such begin.
_KIND = frozenset((b"forwarded", b"x-real-ip"))
_KINDS = (b"client-cert", b"x-forwarded")

_FOLDED = re.compile(rb"[^a-z0-9]")


def folded(name: bytes) -> bytes:
    """
    What a name has in common with all that may be taken for it.
    """
    return _FOLDED.sub(b"-", name.lower())


@dataclass(frozen=True)
class FieldNames:
    """
    What the fields are called.

    @ivar names: by their usual names; those that are left out are missing.
    @ivar ours: these names, folded.
    """

    names: Mapping[str, bytes]
    ours: frozenset[bytes]

    @classmethod
    def of(cls, others: Mapping[str, str]) -> FieldNames:
        """
        @param others: other names by the usual ones, in any case; empty to leave the field out.
        @raise ConfigurationError: a name is not known, or no other can be called like that.
        """
        names = {usual: usual.encode() for usual in USUAL}
        usuals = {usual.lower(): usual for usual in USUAL}
        for given, other in others.items():
            subject = f"`http-header` {given}={other}"
            usual = usuals.get(given.lower())
            if usual is None:
                raise ConfigurationError(
                    subject, f"there is no {given} to rename", f"give one of {', '.join(USUAL)}"
                )
            if not other:
                del names[usual]
            elif folded(other.encode()) in FRAMING:
                raise ConfigurationError(
                    subject, f"{other} is not ours to set", "give another name"
                )
            else:
                names[usual] = other.encode()
        ours = [folded(name) for name in names.values()]
        if len(set(ours)) < len(ours):
            twice = next(name for name in names.values() if ours.count(folded(name)) > 1)
            raise ConfigurationError(
                "`http-header`", f"two fields are called {twice.decode()}", "rename one of them"
            )
        return cls(names, frozenset(ours))

    def isOurs(self, name: bytes) -> bool:
        """
        Whether a field is for us alone to set.
        """
        known = folded(name)
        return known in self.ours or known in _KIND or known.startswith(_KINDS)


class Told:
    """
    What all requests of one connection tell.
    """

    def __init__(self, names: FieldNames, facts: Facts) -> None:
        self.names = names
        self._host = names.names.get(FORWARDED_HOST)
        self._forwarded = names.names.get(FORWARDED)
        self._elements = _elements(facts)
        peer, local, leaf = facts.peer, facts.local, facts.certificate
        values = {FORWARDED_PROTO: b"https"}
        # Whoever has a key that is pinned may have written anything into the certificate.
        if leaf is not None and facts.identity is not None and facts.identity.kind is not Kind.KEY:
            values[CLIENT_CERT] = _bytes(leaf)
            if facts.chain:
                # RFC 9440, section 2.3: the rest of it, in order.
                values[CLIENT_CERT_CHAIN] = b", ".join(map(_bytes, facts.chain))
        if isinstance(peer, TCPAddress):
            values[FORWARDED_FOR] = peer.withoutZone.encode()
        if isinstance(local, TCPAddress):
            values[FORWARDED_PORT] = b"%d" % local.port
        self._lines = b"".join(
            b"%b: %b\r\n" % (name, values[usual])
            for usual, name in names.names.items()
            if usual in values
        )

    def lines(self, host: bytes) -> bytes:
        """
        The fields of a request.

        @param host: for which host it is, checked; empty where it does not say so.
        """
        lines = self._lines
        if host and self._host:
            lines += b"%b: %b\r\n" % (self._host, host)
        if self._forwarded:
            elements = [*self._elements, b"host=" + _quoted(host)] if host else self._elements
            lines += b"%b: %b\r\n" % (self._forwarded, b";".join(elements))
        return lines


def _elements(facts: Facts) -> list[bytes]:
    """
    All but the host of RFC 7239, section 4: C{identity} is an extension (section 5.5).
    """
    elements = [b"for=" + _quoted(_node(facts.peer))]
    if isinstance(facts.local, TCPAddress):
        elements.append(b"by=" + _quoted(_node(facts.local)))
    elements.append(b"proto=https")
    if facts.identity is not None and str(facts.identity).isascii():
        elements.append(b"identity=" + _quoted(str(facts.identity).encode()))
    return elements


def _node(address: Address) -> bytes:
    """
    RFC 7239, section 6.
    """
    if not isinstance(address, TCPAddress):
        return b"unknown"
    host = address.withoutZone
    shown = f"[{host}]" if ip_address(host).version == 6 else host
    return f"{shown}:{address.port}".encode()


def _quoted(text: bytes) -> bytes:
    """
    A quoted string (RFC 9110, section 5.6.4).
    """
    return b'"%b"' % text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _bytes(certificate: Certificate) -> bytes:
    """
    A byte sequence (RFC 8941, section 3.3.5).
    """
    return b":%b:" % base64.b64encode(certificate.public_bytes(Encoding.DER))
