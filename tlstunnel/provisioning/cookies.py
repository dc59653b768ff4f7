"""
The cookies of OpenLDAP: how far we are with each server that writes.

A cookie is opaque to clients (RFC 4533, section 2.1.2).  Those of OpenLDAP nevertheless have to be
looked into: one that comes with a change names the one server where that was made, so that to keep
it alone would forget the others; and the number of the server that gave it, sent back, would have
that take us for itself, and tell us nothing of its own changes::

    rid=000,sid=001,csn=20261129120000.000000Z#000000#001#000000;20261129115959...#002#000000
"""

from __future__ import annotations

import re

#: Bytes of a cookie at most.
MAX_COOKIE = 4096

_COOKIE = re.compile(rb"(rid=[0-9]+)((?:,sid=[0-9a-fA-F]+)?)(?:,csn=([^,]*))?(?:,delcsn=[^,]*)?")
_CSN = re.compile(rb"[0-9]{14}\.[0-9]+Z#[0-9a-fA-F]+#([0-9a-fA-F]+)#[0-9a-fA-F]+")


def _parts(cookie: bytes) -> tuple[bytes, dict[int, bytes]] | None:
    """
    What a cookie begins with, and its CSNs by servers; C{None} if it is another one.
    """
    found = _COOKIE.fullmatch(cookie)
    if found is None:
        return None
    numbers: dict[int, bytes] = {}
    for each in filter(None, (found[3] or b"").split(b";")):
        csn = _CSN.fullmatch(each)
        if csn is None:
            return None
        numbers[int(csn[1], 16)] = each
    return found[1], numbers


def _written(start: bytes, numbers: dict[int, bytes]) -> bytes:
    csns = b";".join(numbers[each] for each in sorted(numbers))
    return start + (b",csn=" + csns if csns else b"")


def toSend(cookie: bytes) -> bytes:
    """
    A cookie as it is given back.
    """
    parts = _parts(cookie)
    return cookie if parts is None else _written(*parts)


def merged(before: bytes, after: bytes) -> bytes:
    """
    The cookie to keep when C{after} has come with a change: of each server the latest; empty, so
    that everything is asked for again, if there are more servers than a cookie can name.
    """
    old, new = _parts(before), _parts(after)
    if old is None or new is None:
        return after
    numbers = dict(old[1])
    for server, csn in new[1].items():
        # They are of one form, so that the later one is the greater.
        numbers[server] = max(csn, numbers.get(server, b""))
    cookie = _written(new[0], numbers)
    return cookie if len(cookie) <= MAX_COOKIE else b""
