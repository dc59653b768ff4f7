"""
Elements of LDAP that are read and written anew, each by the rule for what it may be.

Each length is in its shortest form then, and each truth in the same one, so that no two readers can
understand it in two ways.  Which rules make a request, L{tlstunnel.reveal.ldapgrammar} says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from tlstunnel.errors import Malformed, Oversize
from tlstunnel.protocols.ber import BOOLEAN, INTEGER, OCTETS, SEQUENCE, beginning, element, header

#: Elements of one message at most: so that the turn in which it is read is short.
MAX_ELEMENTS = 8192

#: How deep filters may be nested.
MAX_DEPTH = 64

_INITIAL, _ANY, _FINAL = 0x80, 0x81, 0x82


class Source:
    """
    A message that is being read, and written anew.

    @ivar data: the message.
    @ivar depth: how deep a filter is nested here.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.depth = 0
        self._count = 0
        self._parts: list[bytes] = []

    def header(self, at: int, stop: int) -> tuple[int, int, int]:
        """
        The next element.

        @param at: where it begins.
        @param stop: where what it is part of ends.
        @return: its tag, and where its content begins and ends.
        @raise Malformed: if it is not whole, or its length has a form that LDAP excludes (RFC 4511,
            section 5.1).
        @raise Oversize: if it is one too many.
        """
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise Oversize(f"a request of more than {MAX_ELEMENTS} elements")
        return header(self.data, at, stop)

    def copy(self, tag: int, content: bytes) -> int:
        """
        Write an element.

        @return: its size.
        """
        self._parts.append(element(tag, content))
        return len(self._parts[-1])

    def open(self) -> int:
        """
        Begin an element that consists of others, which are written next.

        @return: where it begins, for C{close}.
        """
        self._parts.append(b"")
        return len(self._parts) - 1

    def close(self, at: int, tag: int, size: int) -> int:
        """
        End it: only now it is known what it begins with.

        @param size: that of all that it consists of.
        @return: its own.
        """
        self._parts[at] = beginning(tag, size)
        return len(self._parts[at]) + size

    def takeWritten(self) -> bytes:
        """
        All that was written.
        """
        written = b"".join(self._parts)
        self._parts.clear()
        return written


class Rule:
    """
    What an element may be.

    @ivar tag: the tag that it has.
    """

    tag: int

    @cached_property
    def tags(self) -> frozenset[int]:
        """
        The tags that it may have.
        """
        return frozenset((self.tag,))

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """
        Write the whole element in its one form.

        @param start: where its content begins, and C{end} where that ends.
        @return: its size.
        @raise Malformed: if it is not what it should be.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Octets(Rule):
    """
    A string; nothing is known of what it says.
    """

    tag: int = OCTETS
    most: int | None = None

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        if self.most is not None and end - start > self.most:
            raise Malformed("an element that has to be empty", source.data)
        return source.copy(tag, source.data[start:end])


@dataclass(frozen=True)
class Number(Rule):
    """
    An INTEGER or ENUMERATED, which never needs more than four bytes.
    """

    tag: int = INTEGER

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        if not 1 <= end - start <= 4:
            raise Malformed("a number of a size that LDAP does not know", source.data)
        return source.copy(tag, source.data[start:end])


@dataclass(frozen=True)
class Truth(Rule):
    """
    A BOOLEAN; RFC 4511, section 5.1, has all bits set where it is true.
    """

    tag: int = BOOLEAN

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        if end - start != 1:
            raise Malformed("a truth that is not one byte", source.data)
        return source.copy(tag, b"\xff" if source.data[start] else b"\0")


@dataclass(frozen=True)
class Optional(Rule):
    """
    What may be left out.
    """

    rule: Rule

    @cached_property
    def tags(self) -> frozenset[int]:
        """
        Those of what may be left out.
        """
        return self.rule.tags

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        return self.rule.write(source, tag, start, end)


@dataclass(frozen=True)
class Fields(Rule):
    """
    A SEQUENCE of certain elements, in order; C{of} says which.  An explicit tag is one of a single
    element.
    """

    of: tuple[Rule, ...]
    tag: int = SEQUENCE

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        at, size = source.open(), 0
        for rule in self.of:
            if start < end:
                inner, begin, stop = source.header(start, end)
                if inner in rule.tags:
                    size += rule.write(source, inner, begin, stop)
                    start = stop
                    continue
            if not isinstance(rule, Optional):
                raise Malformed("a request that lacks an element, or has another one", source.data)
        if start < end:
            raise Malformed("a request with an element too many", source.data)
        return source.close(at, tag, size)


@dataclass(frozen=True)
class Many(Rule):
    """
    A SEQUENCE or SET of any number of the same.
    """

    of: Rule
    tag: int = SEQUENCE

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        rule, at, size = self.of, source.open(), 0
        tags = rule.tags
        while start < end:
            inner, begin, start = source.header(start, end)
            if inner not in tags:
                raise Malformed("a request with an element of another kind", source.data)
            size += rule.write(source, inner, begin, start)
        return source.close(at, tag, size)


@dataclass(frozen=True)
class Substrings(Rule):
    """
    The parts of a substring filter (RFC 4511, section 4.5.1.7.2): at least one, none of them empty,
    the initial one first and the final one last.
    """

    tag: int = SEQUENCE

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        at, size, last = source.open(), 0, _INITIAL - 1
        while start < end:
            part, begin, start = source.header(start, end)
            isNext = last < part or last == part == _ANY
            if part not in (_INITIAL, _ANY, _FINAL) or not isNext or begin == start:
                raise Malformed("substrings that are none", source.data)
            size += source.copy(part, source.data[begin:start])
            last = part
        if not size:
            raise Malformed("substrings that are none", source.data)
        return source.close(at, tag, size)


@dataclass(frozen=True)
class Choice(Rule):
    """
    One of several.
    """

    of: dict[int, Rule] = field(default_factory=dict)

    @cached_property
    def tags(self) -> frozenset[int]:
        """
        Those of all.
        """
        return frozenset(self.of)

    def write(self, source: Source, tag: int, start: int, end: int) -> int:
        """See L{Rule}."""
        source.depth += 1
        if source.depth > MAX_DEPTH:
            raise Oversize(f"a filter that is nested more than {MAX_DEPTH} deep")
        size = self.of[tag].write(source, tag, start, end)
        source.depth -= 1
        return size
