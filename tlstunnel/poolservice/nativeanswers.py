"""
What a program is told of its connection in the pool's own protocol: that the peer is verified, the
peer's certificates, and how it ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from cryptography.hazmat.primitives.serialization import Encoding

from tlstunnel.errors import TunnelError, printable
from tlstunnel.identity.names import Identity
from tlstunnel.poolservice.control import detailOf
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.messages import MESSAGE_BYTES, Message
from tlstunnel.poolservice.refusals import BadRequest

#: The reason of an end that is as it should be.
CLOSED = "closed"

#: The most bytes of keying material at once: there are as many with every cipher suite (RFC 5869,
#: section 2.3).
MATERIAL_BYTES = 255 * 32

_HEX = re.compile("(?:[0-9A-Fa-f]{2})*")
_NUMBER = re.compile("[1-9][0-9]{0,5}")

# What an answer has beside certificates.
_BESIDE = len("ok\n\n")

_CLEAN_END = Message("end", {"reason": CLOSED})


def okFor(handOver: HandOver) -> Message:
    """
    What a program is told once its peer is verified.
    """
    record = handOver.record
    return _ok(
        handOver.local,
        record.identity,
        handOver.name,
        record.version,
        record.suite,
        record.group,
        record.alpn,
        handOver.serverName,
    )


# Most programs hear the same again and again.
@lru_cache(maxsize=256)
def _ok(
    local: Identity | None,
    remote: Identity | None,
    name: str,
    version: str,
    suite: str,
    group: str,
    alpn: bytes,
    serverName: str,
) -> Message:
    fields = {
        "local": "" if local is None else str(local),
        "remote": "" if remote is None else str(remote),
        "name": name,
        "version": version,
        "suite": suite,
        "group": group,
        "alpn": printable(alpn.decode("latin-1")),
        "sni": printable(serverName),
    }
    return Message("ok", fields)


def certificatesFor(handOver: HandOver) -> Message:
    """
    As many as there is room for; those behind are what others know better than the peer.
    """
    text = ""
    for each in handOver.certificates():
        pem = each.public_bytes(Encoding.PEM).decode()
        if len(text) + len(pem) + _BESIDE > MESSAGE_BYTES:
            break
        text += pem
    return Message("ok", {}, text)


def exportOf(fields: Mapping[str, str]) -> tuple[bytes, bytes | None, int]:
    """
    Which keying material is asked for.

    @return: the label, the context, and how many bytes.
    @raise BadRequest: it is none that there could be.
    """
    label, length = fields.get("label", ""), fields.get("length", "")
    context = fields.get("context")
    if not (label and label.isascii()):
        raise BadRequest(
            "export needs a label of ASCII; add label=, such as label=EXPORTER-Channel-Binding"
        )
    if not (_NUMBER.fullmatch(length) and int(length) <= MATERIAL_BYTES):
        raise BadRequest(f"export needs a number of bytes; add length= from 1 to {MATERIAL_BYTES}")
    if context is not None and not _HEX.fullmatch(context):
        raise BadRequest("context= is not in hexadecimal; write two digits for each byte")
    given = None if context is None else bytes.fromhex(context)
    return label.encode(), given, int(length)


def endFor(error: TunnelError | None) -> Message:
    """
    What a program is told when the network says no more.
    """
    if error is None:
        return _CLEAN_END
    fields = {"reason": error.reason}
    detail = detailOf(error)
    if detail:
        fields["detail"] = detail
    return Message("end", fields)
