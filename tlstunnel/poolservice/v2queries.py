"""
What a program may ask about one of its connections in the TLS Pool's protocol V2: keys that both
ends know (PRNG), and what the certificates say (INFO).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from tlstunnel.errors import TunnelError
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.v2errors import Code, V2Error
from tlstunnel.poolservice.v2frames import CTLKEY_BYTES, Info, Random

#: The length in an INFO that asks, where any other compares.
ASKS = 0xFFFF

_PRNG_BYTES = 350
_INFO_BYTES = 334

# How long a context is that there is none of.
_NO_CONTEXT = -1

_OURS = 0x100
_SUBJECT, _ISSUER, _ALTERNATIVES = 0x52800000, 0x52800001, 0x52800002
_TLS_UNIQUE, _TLS_SERVER_END_POINT = 0x59290000, 0x59290001

# RFC 5929, section 4.1: what is weak is replaced.
_WEAK = (hashes.MD5, hashes.SHA1)


def exported(handOver: HandOver, asked: Random) -> Random:
    """
    Octets that the two ends of the connection know alone (RFC 5705).

    @raise TunnelError: there are none for that.
    """
    label, context = asked.labelBytes, asked.contextBytes
    hasContext = context != _NO_CONTEXT
    end = CTLKEY_BYTES + label + (context if hasContext else 0)
    if label <= 0 or context < _NO_CONTEXT or end > _PRNG_BYTES:
        raise V2Error(Code.PRNG_FAILED, "the label and the context of PRNG do not fit its buffer")
    if not 0 < asked.wantedBytes <= _PRNG_BYTES:
        raise V2Error(Code.PRNG_FAILED, f"PRNG gives from 1 to {_PRNG_BYTES} octets")
    contextAt = CTLKEY_BYTES + label
    try:
        octets = handOver.binding.export(
            asked.buffer[CTLKEY_BYTES:contextAt],
            asked.buffer[contextAt:end] if hasContext else None,
            asked.wantedBytes,
        )
    except TunnelError as error:
        raise V2Error(Code.PRNG_FAILED, error.detail) from None
    return replace(asked, buffer=octets)


def told(handOver: HandOver, asked: Info) -> Info:
    """
    What the program asks, or that it is as the program says.

    @raise V2Error: there is no such thing, or it is otherwise.
    """
    look = _KINDS.get(asked.kind)
    if look is None:
        raise V2Error(Code.INFO_UNKNOWN, f"there is no information of kind {asked.kind:#x} here")
    found = look(handOver)
    if found is None:
        raise V2Error(Code.INFO_NOT_FOUND, "this connection has no such information")
    if asked.size != ASKS:
        if asked.buffer[: asked.size] != found:
            raise V2Error(Code.INFO_NOT_FOUND, "that is not so of this connection")
        return asked
    if len(found) > _INFO_BYTES:
        raise V2Error(
            errno.EMSGSIZE, f"it has {len(found)} bytes, and a frame has room for {_INFO_BYTES}"
        )
    return replace(asked, size=len(found), buffer=found)


_Look = Callable[[HandOver], bytes | None]
_Part = Callable[[x509.Certificate], bytes | None]


def _theirs(part: _Part) -> _Look:
    def look(handOver: HandOver) -> bytes | None:
        shown = handOver.certificates()
        return part(shown[0]) if shown else None

    return look


def _ours(part: _Part) -> _Look:
    def look(handOver: HandOver) -> bytes | None:
        shown = handOver.ownCertificate
        return None if shown is None else part(shown)

    return look


def _subject(certificate: x509.Certificate) -> bytes:
    return certificate.subject.public_bytes()


def _issuer(certificate: x509.Certificate) -> bytes:
    return certificate.issuer.public_bytes()


def _alternatives(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return found.value.public_bytes()


def _endPoint(certificate: x509.Certificate) -> bytes | None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        # RFC 5929 leaves open what it would be.
        return None
    return certificate.fingerprint(hashes.SHA256() if isinstance(algorithm, _WEAK) else algorithm)


def _serverEndPoint(handOver: HandOver) -> bytes | None:
    look = _theirs(_endPoint) if handOver.wanted.isClient else _ours(_endPoint)
    return look(handOver)


def _unique(handOver: HandOver) -> bytes | None:
    try:
        return handOver.binding.unique()
    except TunnelError:
        return None


_KINDS: dict[int, _Look] = {
    _SUBJECT: _theirs(_subject),
    _ISSUER: _theirs(_issuer),
    _ALTERNATIVES: _theirs(_alternatives),
    _SUBJECT | _OURS: _ours(_subject),
    _ISSUER | _OURS: _ours(_issuer),
    _ALTERNATIVES | _OURS: _ours(_alternatives),
    _TLS_UNIQUE: _unique,
    _TLS_SERVER_END_POINT: _serverEndPoint,
}
