"""
What a request of LDAP consists of (RFC 4511, appendix B), and the one form in which it passes.

Servers read the elements of a request one after the other, and look for controls behind the last
one that they know; how long the request says to be is of no interest to some of them.  One that has
an element too many, or one that reaches beyond its end, would be a request without our control to
them; so would one with substrings of which they give up to read the rest, where these are not in
order, and take that for what comes behind the filter: slapd does both.

So whoever lets a request pass must know each of its elements: here is what there may be, and
nothing else is taken.  What is taken is written anew (L{tlstunnel.reveal.ldapelements}).
"""

from __future__ import annotations

from tlstunnel.protocols.ber import ENUMERATED, SET
from tlstunnel.protocols.ldap import (
    ABANDON_REQUEST,
    EXTENDED_REQUEST,
    REQUEST_NAME,
    REQUEST_VALUE,
    UNBIND_REQUEST,
)
from tlstunnel.reveal.ldapelements import (
    Choice,
    Fields,
    Many,
    Number,
    Octets,
    Optional,
    Rule,
    Substrings,
    Truth,
)

CONTROLS = 0xA0

# RFC 4511, sections 4.1 and 4.5.1.7.
_FILTER = Choice()
_AND, _OR, _NOT = 0xA0, 0xA1, 0xA2
_EQUAL, _SUBSTRINGS, _GREATER, _LESS, _PRESENT, _APPROX, _EXTENSIBLE = (
    *range(0xA3, 0xA7),
    0x87,
    0xA8,
    0xA9,
)
_ASSERTION = (Octets(), Octets())
_MATCHING = (
    Optional(Octets(0x81)),
    Optional(Octets(0x82)),
    Octets(0x83),
    Optional(Truth(0x84)),
)
_FILTER.of.update(
    {
        _AND: Many(_FILTER, _AND),
        _OR: Many(_FILTER, _OR),
        _NOT: Fields((_FILTER,), _NOT),
        _EQUAL: Fields(_ASSERTION, _EQUAL),
        _SUBSTRINGS: Fields((Octets(), Substrings()), _SUBSTRINGS),
        _GREATER: Fields(_ASSERTION, _GREATER),
        _LESS: Fields(_ASSERTION, _LESS),
        _PRESENT: Octets(_PRESENT),
        _APPROX: Fields(_ASSERTION, _APPROX),
        _EXTENSIBLE: Fields(_MATCHING, _EXTENSIBLE),
    }
)
_ATTRIBUTE = Fields((Octets(), Many(Octets(), SET)))
_SEARCH = (
    Octets(),
    Number(ENUMERATED),
    Number(ENUMERATED),
    Number(),
    Number(),
    Truth(),
    _FILTER,
    Many(Octets()),
)
_MODIFY = (Octets(), Many(Fields((Number(ENUMERATED), _ATTRIBUTE))))
_RENAME = (Octets(), Octets(), Truth(), Optional(Octets(0x80)))
_EXTENDED = (Octets(REQUEST_NAME), Optional(Octets(REQUEST_VALUE)))

#: All requests but Bind, which never passes, by their tags.
REQUESTS: dict[int, Rule] = {
    UNBIND_REQUEST: Octets(UNBIND_REQUEST, 0),
    0x63: Fields(_SEARCH, 0x63),
    0x66: Fields(_MODIFY, 0x66),
    0x68: Fields((Octets(), Many(_ATTRIBUTE)), 0x68),
    0x4A: Octets(0x4A),
    0x6C: Fields(_RENAME, 0x6C),
    0x6E: Fields((Octets(), Fields(_ASSERTION)), 0x6E),
    ABANDON_REQUEST: Number(ABANDON_REQUEST),
    EXTENDED_REQUEST: Fields(_EXTENDED, EXTENDED_REQUEST),
}
