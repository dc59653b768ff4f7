"""
BER as far as LDAP has it (X.690; RFC 4511, section 5.1): elements with tags of one byte and lengths
of any definite form.

What is written has the shortest form.  This module knows nothing of messages.
"""

from __future__ import annotations

from collections.abc import Iterator

from tlstunnel.errors import Malformed

# Universal tags.
BOOLEAN, INTEGER, OCTETS, ENUMERATED, SEQUENCE, SET = 0x01, 0x02, 0x04, 0x0A, 0x30, 0x31

#: How many bytes a length may have: zeroes may precede it, and the first byte has room for no more
#: (X.690, section 8.1.3.5).
LENGTH_BYTES = range(1, 127)

#: A tag, and the content behind it.
Element = tuple[int, bytes]


def beginning(tag: int, size: int) -> bytes:
    """
    The tag and the length of an element, that in its shortest form.
    """
    if size < 0x80:
        return bytes((tag, size))
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length


def element(tag: int, *contents: bytes) -> bytes:
    """
    One element, which has all of C{contents}.
    """
    content = b"".join(contents)
    return beginning(tag, len(content)) + content


def integer(number: int, tag: int = INTEGER) -> bytes:
    """
    A number that is not negative.
    """
    return element(tag, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def truth(isTrue: bool) -> bytes:
    """
    A BOOLEAN as RFC 4511, section 5.1, wants it.
    """
    return element(BOOLEAN, b"\xff" if isTrue else b"\0")


def measure(start: bytes | bytearray, tag: int = SEQUENCE) -> tuple[int, int] | None:
    """
    Find out how long an element is.

    @param start: what has arrived of it.
    @param tag: the one that it has to have.
    @return: the bytes of its tag and length, and those of its content; C{None} as long as that is
        not known.
    @raise Malformed: if it has another tag, or a length that LDAP does not know.
    """
    if start and start[0] != tag:
        raise Malformed("not an LDAP message", bytes(start))
    if len(start) < 2:
        return None
    length = start[1]
    if length < 0x80:
        return 2, length
    size = length & 0x7F
    if size not in LENGTH_BYTES:
        raise Malformed("a length of a form that LDAP does not know", bytes(start))
    if len(start) < 2 + size:
        return None
    return 2 + size, int.from_bytes(start[2 : 2 + size], "big")


def header(data: bytes, at: int, stop: int) -> tuple[int, int, int]:
    """
    The next element of C{data}.

    @param at: where it begins.
    @param stop: where what it is part of ends.
    @return: its tag, and where its content begins and ends.
    @raise Malformed: if it is not whole, or its length has a form that LDAP excludes.
    """
    if at + 2 > stop:
        raise Malformed("half an element", data[at:stop])
    tag, length = data[at], data[at + 1]
    at += 2
    if length & 0x80:
        size = length & 0x7F
        if size not in LENGTH_BYTES or at + size > stop:
            raise Malformed("a bad length inside a message", data)
        length = int.from_bytes(data[at : at + size], "big")
        at += size
    if at + length > stop:
        raise Malformed("an element that is longer than what it is part of", data)
    return tag, at, at + length


def elements(content: bytes) -> Iterator[Element]:
    """
    The elements that C{content} consists of.

    @raise Malformed: if it does not.
    """
    at, end = 0, len(content)
    while at < end:
        tag, start, at = header(content, at, end)
        yield tag, content[start:at]
