"""
Who somebody is: the identities of the TLS Pool, and the selectors that match several of them.

An identity is a DoNAI, a domain or network access identifier: C{domain} or C{user@domain}; besides,
the address of a host where nobody gave it a name, and the SPIFFE ID of a workload,
C{spiffe://domain/path}.  A selector is an identity of which parts may be left out.  See
U{http://donai.arpa2.net/} and U{http://donai.arpa2.net/selector.html}.

Everything here is text; what a certificate says is the business of L{tlstunnel.identity.verify}.
"""

from __future__ import annotations

import base64
import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import idna

from tlstunnel.identity import spiffe

#: What a user may be: the dot-atom of RFC 5322 section 3.2.3, without C{/}, since identities are
#: names of directories too, and without C{*}, which everybody would take for a pattern.
_USER = re.compile(r"[\w!#$%&'+=?^`{|}~-]+(\.[\w!#$%&'+=?^`{|}~-]+)*", re.ASCII)

#: What the names of files begin with that are about workloads.
_FILES = "spiffe:"

#: A label of a domain: letters, digits and hyphens, and the underscore that some names do have.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def normalDomain(text: str) -> str:
    """
    Bring a domain into its one form: lower-case A-labels (RFC 5890) and no dot at the end.

    @raise ValueError: it is not a domain; the message is a sentence for the user.
    """
    domain = text
    if not domain.isascii():
        try:
            domain = idna.encode(text, uts46=True).decode("ascii")
        except UnicodeError:
            raise ValueError(
                f"{text!r} is not a domain as IDNA has them; write it as DNS has it (xn--...)"
            ) from None
    domain = domain.lower().removesuffix(".")
    labels = domain.split(".")
    if len(domain) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{text!r} is not a domain; give one such as mail.example.org")
    if labels[-1].isdigit():
        try:
            ip_address(domain)
        except ValueError:
            raise ValueError(
                f"{text!r} is neither a domain nor an address; give one of them"
            ) from None
        raise ValueError(f"{text!r} is an address; give a domain such as mail.example.org")
    return domain


def _normalHost(text: str) -> str:
    """
    Like L{normalDomain}, but an address is welcome too, an IPv6 address with or without brackets.
    """
    bracketed = text.startswith("[") and text.endswith("]")
    bare = text[1:-1] if bracketed else text
    try:
        address = ip_address(bare)
    except ValueError:
        if bracketed:
            raise ValueError(f"{text!r} is not an address; leave the brackets out") from None
        return normalDomain(text)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text!r} has a zone, which no certificate can have; leave out % and it")
    return str(address)


def _checkUser(text: str, user: str) -> None:
    if not _USER.fullmatch(user):
        raise ValueError(
            f"{text!r} is not an identity; before the '@' write ASCII letters, digits, single dots "
            "and !#$%&'+-=?^_`{|}~ alone"
        )


def _addressOf(domain: str) -> IPv4Address | IPv6Address | None:
    # Most are none, and to find that out by an exception costs most of a look at a list.
    if not domain[-1:].isdigit() and ":" not in domain:
        return None
    try:
        return ip_address(domain)
    except ValueError:
        return None


def _covers(pattern: str, domain: str) -> bool:
    """Whether the domain of a selector stands for C{domain}, or for all that C{domain} does."""
    if pattern == domain:
        return True
    below = pattern.startswith(".") and _addressOf(domain) is None
    return below and (pattern == "." or domain.endswith(pattern))


class Kind(enum.Enum):
    """
    Of what sort an identity is.  No name of one kind is ever that of another.
    """

    DOMAIN = "domain"
    USER = "user"
    WORKLOAD = "workload"
    KEY = "key"


@dataclass(frozen=True)
class Identity:
    """
    One party.  Made by L{Identity.parse}, which is what brings it into its one form.

    @ivar user: the user, compared with regard to case; L{None} for all that is none.
    @ivar domain: the domain, as lower-case A-labels, or an address in its canonical text; the trust
        domain of a workload.
    @ivar path: that of a workload, from the slash onwards; L{None} for all that is none.
    """

    user: str | None
    domain: str
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Identity:
        """
        Read C{domain}, C{user@domain}, C{192.0.2.1}, C{2001:db8::1}, C{[2001:db8::1]} or
        C{spiffe://domain/path}.

        @raise ValueError: it is none of these; the message is a sentence for the user.
        """
        if spiffe.isURI(text):
            domain, path = spiffe.split(text)
            if path.endswith("/") or not path:
                raise ValueError(
                    f"{text!r} is not an identity: it may stand for several; give one of them, "
                    "without a slash at its end"
                )
            return cls(None, domain, path)
        user, at, domain = text.rpartition("@")
        if domain.startswith(".") or (at and not user):
            raise ValueError(
                f"{text!r} is not an identity: it may stand for several; give one of them"
            )
        if not at:
            return cls(None, _normalHost(text))
        _checkUser(text, user)
        return cls(user, normalDomain(domain))

    @classmethod
    def ofFileName(cls, name: str) -> Identity:
        """
        Read what L{fileName} makes.

        @raise ValueError: it is the name of none.
        """
        identity = cls.parse(_textOf(name))
        if identity.fileName != name:
            raise ValueError(f"{name!r} is not the name of an identity; write {identity.fileName}")
        return identity

    @property
    def fileName(self) -> str:
        """How a directory for it is called: a workload has commas in the place of slashes."""
        if self.path is None:
            return str(self)
        return f"{_FILES}{self.domain}{self.path.replace('/', ',')}"

    @property
    def kind(self) -> Kind:
        """Of what sort it is."""
        return _kindOf(self.user, self.path)

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address, where this is the identity of an address."""
        return _addressOf(self.domain) if self.kind is Kind.DOMAIN else None

    @property
    def isHost(self) -> bool:
        """Whether it is the name of a host, which clients can ask for, and DNS has records of."""
        return self.kind is Kind.DOMAIN and self.address is None

    def __str__(self) -> str:
        return _written(self.user, self.domain, self.path)


@dataclass(frozen=True)
class KeyIdentity(Identity):
    """
    Somebody of whom nothing is known but the public key: nobody whose word counts has given him a
    name.

    @ivar digest: the SHA-256 of the key.
    """

    digest: bytes = b""

    @classmethod
    def of(cls, digest: bytes) -> KeyIdentity:
        """Whoever has the key with that SHA-256."""
        return cls(None, "", None, digest)

    @property
    def kind(self) -> Kind:
        """Of what sort it is."""
        return Kind.KEY

    def __str__(self) -> str:
        return f"sha256//{base64.b64encode(self.digest).decode()}"


def _kindOf(user: str | None, path: str | None) -> Kind:
    if path is not None:
        return Kind.WORKLOAD
    return Kind.DOMAIN if user is None else Kind.USER


def _textOf(name: str) -> str:
    """
    What is meant by the name of a file or a directory.
    """
    if not name.startswith(_FILES):
        return name
    return name.replace(_FILES, spiffe.SCHEME, 1).replace(",", "/")


def _written(user: str | None, domain: str, path: str | None) -> str:
    if path is not None:
        return f"{spiffe.SCHEME}{domain}{path}"
    return domain if user is None else f"{user}@{domain}"


@dataclass(frozen=True)
class Selector:
    """
    A pattern that matches one or more identities.

    C{example.org} and C{john@example.org} match just that; C{.org} any domain below C{org}, but
    not C{org} itself; C{.} any domain; C{@} with no user before it any user: C{@example.org},
    C{@.org}, C{@.}.  With and without C{@} are worlds apart: neither matches the other.  An address
    is matched by itself only.  C{spiffe://example.org} and C{spiffe://example.org/} match all
    workloads of that trust domain, and of no other; C{spiffe://example.org/ns/prod/} those below.

    @ivar user: L{None} for all that is no user, C{""} for any user.
    @ivar domain: a domain; or what follows its first label or labels, from the dot onwards.
    @ivar path: that of a workload; or what all those begin with that are meant, with a slash at its
        end.
    """

    user: str | None
    domain: str
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Selector:
        """
        Read a selector.

        @raise ValueError: it is none; the message is a sentence for the user.
        """
        if "*" in text:
            plain = text.replace("*", "") or "."
            raise ValueError(f"{text!r} is not a selector; write {plain} for all of them")
        if spiffe.isURI(text):
            domain, path = spiffe.split(text)
            return cls(None, domain, path or "/")
        user, at, domain = text.rpartition("@")
        if user:
            _checkUser(text, user)
        if domain == ".":
            pass
        elif domain.startswith("."):
            domain = "." + normalDomain(domain[1:])
        else:
            domain = normalDomain(domain) if at else _normalHost(domain)
        return cls(user if at else None, domain)

    def matches(self, identity: Identity) -> bool:
        """Whether C{identity} is among those meant."""
        if self.kind is not identity.kind:
            return False
        if self.path is not None and identity.path is not None:
            return self.domain == identity.domain and _leadsTo(self.path, identity.path)
        if self.user and self.user != identity.user:
            return False
        return _covers(self.domain, identity.domain)

    def overlaps(self, other: Selector) -> bool:
        """Whether there may be an identity that C{other} matches as well."""
        if self.kind is not other.kind:
            return False
        if self.path is not None and other.path is not None:
            isNear = _leadsTo(self.path, other.path) or _leadsTo(other.path, self.path)
            return self.domain == other.domain and isNear
        if self.user and other.user and self.user != other.user:
            return False
        return _covers(self.domain, other.domain) or _covers(other.domain, self.domain)

    @classmethod
    def ofFileName(cls, name: str) -> Selector:
        """
        Read what L{fileName} makes.

        @raise ValueError: it is the name of none.
        """
        selector = cls.parse(_textOf(name))
        if selector.fileName != name:
            raise ValueError(f"{name!r} is not the name of a selector; write {selector.fileName}")
        return selector

    @property
    def fileName(self) -> str:
        """
        How a file about all whom it matches is called: workloads have commas in the place of
        slashes, and a trust domain as a whole has none.
        """
        if self.path is None:
            return str(self)
        path = "" if self.path == "/" else self.path.replace("/", ",")
        return f"{_FILES}{self.domain}{path}"

    @property
    def kind(self) -> Kind:
        """Of what sort those are whom it matches."""
        return _kindOf(self.user, self.path)

    @property
    def isExact(self) -> bool:
        """Whether it matches one identity alone."""
        if self.path is not None:
            return not self.path.endswith("/")
        return self.user != "" and not self.domain.startswith(".")

    def __str__(self) -> str:
        return _written(self.user, self.domain, self.path)


def _leadsTo(pattern: str, path: str) -> bool:
    """Whether the path of a selector stands for C{path}, or for all that C{path} does."""
    return pattern == path or (pattern.endswith("/") and path.startswith(pattern))


def selectorsFor(meant: Identity | Selector) -> Iterator[Selector]:
    """
    Find every selector that matches all of C{meant}, the most concrete first.

    The order is that of the TLS Pool: first less is said about the user, then about the domain.
    """
    if meant.kind is Kind.KEY:
        return
    if meant.path is not None:
        yield Selector(None, meant.domain, meant.path)
        for path in spiffe.above(meant.path):
            if path != meant.path:
                yield Selector(None, meant.domain, path)
        return
    domains = [meant.domain]
    if _addressOf(meant.domain) is None and meant.domain != ".":
        labels = meant.domain.removeprefix(".").split(".")
        domains += ["." + ".".join(labels[start:]) for start in range(1, len(labels))]
        domains.append(".")
    users = [meant.user, ""] if meant.user else [meant.user]
    for domain in domains:
        for user in users:
            yield Selector(user, domain)
