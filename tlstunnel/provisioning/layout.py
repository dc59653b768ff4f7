"""
What is in a pool because of what is in the directory: a pure function of its entries and our keys.

Below the base there are three places, each with entries that have a C{cn}::

    ou=identities  cn=www.example.org  userCertificate, cACertificate (those between it and a root)
    ou=trust       cn=.example.org     cACertificate; none: nobody is believed about them
    ou=disclose    cn=.shop.test       description: "10 alice@example.org", "20 -"

A C{cn} has to be the canonical text of an identity or a selector; nothing else becomes a path, and
nothing of a distinguished name does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from cryptography import x509

from tlstunnel.errors import ConfigurationError, quote
from tlstunnel.identity.disclosure import Shown
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pem import LARGEST_FILE
from tlstunnel.identity.pool import RESERVED, Pool
from tlstunnel.identity.trust import NOBODY_LINE
from tlstunnel.provisioning import certificates
from tlstunnel.provisioning.keys import Keys, OwnKey
from tlstunnel.provisioning.messages import Entry
from tlstunnel.provisioning.names import Relative, normal, parts
from tlstunnel.tls.credentials import whyNotShown

PLACES = ("identities", "trust", "disclose")

CHAIN = "fullchain.pem"

#: Bytes of a name of a file at most, without what stands behind its dot.
LONGEST_NAME = 240

#: Characters of a distinguished name at most, and of a C{cn}.
LONGEST_DN, LONGEST_CN = 8192, 2500

#: What C{cn} is, among selectors, for all whom none of them matches.
ANCHORS = "anchors"

#: Rules of one selector, and characters of each, at most.
MAX_RULES, MAX_RULE = 100, 512

_NO_SELECTOR = "is not the canonical text of a selector that can have a file"

_RULE = re.compile(r"([0-9]{1,9})\s+(\S+)")


@dataclass(frozen=True)
class Server:
    """
    The directory, of which nothing of what it says may decide whether it is believed.

    @ivar identity: who it is; C{None} at a socket of this host.
    @ivar isKnown: whether the pool has anchors of its own for exactly that one.
    """

    identity: Identity | None = None
    isKnown: bool = False

    def mayDecide(self, selector: Selector | None) -> bool:
        """
        Whether a rule for C{selector}, or for all others, would be one about the directory.
        """
        if self.identity is None:
            return False
        if selector is not None and selector.isExact:
            return selector.matches(self.identity)
        return not self.isKnown and (selector is None or selector.matches(self.identity))


@dataclass
class Layout:
    """
    What should be in a pool.

    @ivar files: contents by their paths in the pool.
    @ivar links: for an identity with several keys the directory of the one to be used.
    @ivar vacant: the directories of those keys of ours for which there is no certificate.
    @ivar notes: what should be said of entries of which nothing, or not all, was made.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[Identity, str] = field(default_factory=dict)
    vacant: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def layOut(
    pool: Pool,
    base: str,
    entries: Mapping[bytes, Entry],
    keys: Keys,
    server: Server,
    now: datetime | None = None,
) -> Layout:
    """
    Find out what should be in C{pool}.

    @param base: the name of the entry below which all of it is.
    @param now: a certificate that is valid then is used rather than one that is not.
    """
    layout, above = Layout(), normal(base)
    for place, name, entry in _named(above, entries, layout):
        if place == "identities":
            _identity(layout, pool, name, entry, keys, now)
        elif place == "trust":
            _trust(layout, pool, name, entry, server)
        else:
            _disclose(layout, name, entry, server)
    places = {each.place for ours in keys.values() for each in ours}
    layout.vacant = {each for each in places if f"{each}/{CHAIN}" not in layout.files}
    return layout


def _named(
    base: tuple[Relative, ...], entries: Mapping[bytes, Entry], layout: Layout
) -> Iterator[tuple[str, str, Entry]]:
    """
    The entries that mean something, in an order that does not change: the place of each, and its
    name there.
    """
    places: dict[Relative, str] = {(("ou", each),): each for each in PLACES}
    seen: set[tuple[str, str]] = set()
    for uuid in sorted(entries):
        entry = entries[uuid]
        name = entry.once("name", partial(_partsOf, entry.name, len(base) + 2))
        if name is None:
            layout.notes.append(f"{_shown(entry)}: has a name that cannot be read")
            continue
        place = places.get(name[1]) if name else None
        if place is None or name[2:] != base:
            continue
        values = entry.attributes.get("cn", ())
        try:
            (text,) = (each.decode() for each in values)
            text = text if len(text) <= LONGEST_CN else ""
        except ValueError:
            layout.notes.append(f"{_shown(entry)}: has not one cn, which would be its name")
            continue
        if (place, text) in seen:
            layout.notes.append(f"{_shown(entry)}: another entry has the same name")
            continue
        seen.add((place, text))
        yield place, text, entry


def _partsOf(name: str, count: int) -> tuple[Relative, ...] | None:
    """
    A name in parts; none of them if there are not so many, C{None} if it cannot be read.
    """
    if len(name) > LONGEST_DN:
        return None
    try:
        return normal(name) if len(parts(name)) == count else ()
    except ValueError:
        return None


def _shown(entry: Entry) -> str:
    return quote(entry.name.encode())


def _identity(
    layout: Layout, pool: Pool, name: str, entry: Entry, keys: Keys, now: datetime | None
) -> None:
    identity = entry.once("identity", partial(_identityOf, pool, name))
    if identity is None:
        layout.notes.append(f"{_shown(entry)}: is not the canonical name of an identity")
        return
    ours = keys.get(identity)
    if ours is None:
        return
    found = list(_suitable(layout, entry, identity, ours))
    if not found:
        return
    key, leaf = max(found, key=partial(_rank, now))
    authorities = [
        each
        for each in _loaded(layout, entry, "cacertificate")
        if _isShown(layout, entry, each, "a value of cacertificate")
    ]
    chain = entry.once(leaf, partial(certificates.chainOf, leaf, authorities))
    if len(chain) > LARGEST_FILE:
        layout.notes.append(f"{_shown(entry)}: has a chain that is too long for a file")
        return
    layout.files[f"{key.place}/{CHAIN}"] = chain
    if key.number is not None:
        layout.links[identity] = key.place


def _identityOf(pool: Pool, name: str) -> Identity | None:
    """
    The identity of that name, if that is its canonical one, and it can be in a pool.
    """
    try:
        identity = Identity.parse(name)
        pool.directoryOf(identity)
    except (ValueError, ConfigurationError):
        return None
    return identity if str(identity) == name else None


def _suitable(
    layout: Layout, entry: Entry, identity: Identity, ours: Iterable[OwnKey]
) -> Iterator[tuple[OwnKey, x509.Certificate]]:
    """The certificates for our keys, each with the key."""
    byKey = {each.public: each for each in ours}
    for certificate in _loaded(layout, entry, "usercertificate"):
        public = partial(certificates.publicKeyOf, certificate)
        key = byKey.get(entry.once(("key", certificate), public))
        if key is None:
            continue
        isFor = partial(certificates.isFor, certificate, identity)
        if not entry.once(("for", certificate), isFor):
            layout.notes.append(f"{_shown(entry)}: a certificate for our key is not for {identity}")
        elif _isShown(layout, entry, certificate, "a certificate for our key"):
            yield key, certificate


def _isShown(layout: Layout, entry: Entry, certificate: x509.Certificate, what: str) -> bool:
    """
    Whether OpenSSL is ready to show a certificate: whoever has the file could take up nothing else
    that has changed.
    """
    why = entry.once(("shown", certificate), partial(whyNotShown, certificate))
    if why:
        layout.notes.append(f"{_shown(entry)}: {what} is ignored, as OpenSSL refuses it ({why})")
    return not why


def _rank(now: datetime | None, found: tuple[OwnKey, x509.Certificate]) -> tuple[object, ...]:
    """
    By which the newest certificate is the greatest, of those that are valid if any is; of those of
    the same second that of the newest key.
    """
    key, leaf = found
    began, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    isValid = now is None or began <= now <= ends
    return isValid, began, ends, key.number or 0, leaf.serial_number


def _loaded(layout: Layout, entry: Entry, attribute: str) -> list[x509.Certificate]:
    """The certificates of an attribute, in an order that does not change."""
    values = entry.attributes.get(attribute, ())
    found = entry.once(attribute, lambda: [*map(certificates.load, sorted(values))])
    if None in found:
        layout.notes.append(f"{_shown(entry)}: a value of {attribute} is broken, and ignored")
    return [each for each in found if each is not None]


def _selector(name: str) -> Selector | None:
    """
    The selector of that name, if that is its canonical one, and can be that of a file.
    """
    try:
        selector = Selector.parse(name)
    except ValueError:
        return None
    file = selector.fileName
    isUsual = str(selector) == name and name not in RESERVED
    return selector if isUsual and "/" not in file and len(file) <= LONGEST_NAME else None


def _trust(layout: Layout, pool: Pool, name: str, entry: Entry, server: Server) -> None:
    selector = None if name == ANCHORS else entry.once("selector", partial(_selector, name))
    if selector is None and name != ANCHORS:
        layout.notes.append(f"{_shown(entry)}: {_NO_SELECTOR}")
        return
    if server.mayDecide(selector):
        layout.notes.append(
            f"{_shown(entry)}: is ignored, as it would decide whether to believe the directory: "
            f"put the anchor for that into trust/{server.identity}.pem"
        )
        return
    try:
        path = f"trust/{ANCHORS}.pem"
        if selector is not None:
            path = str(pool.trustFile(selector).relative_to(pool.path))
    except ConfigurationError as error:
        layout.notes.append(f"{_shown(entry)}: {error}")
        return
    anchors = _loaded(layout, entry, "cacertificate")
    content = entry.once("anchors", partial(certificates.inPEM, anchors))
    said = f"# From the directory: {name}\n".encode()
    if len(said) + len(content) > LARGEST_FILE:
        layout.notes.append(f"{_shown(entry)}: has too much for a file: nobody is believed")
        content = b""
    layout.files[path] = said + (content or f"{NOBODY_LINE}\n".encode())


def _disclose(layout: Layout, name: str, entry: Entry, server: Server) -> None:
    selector = entry.once("selector", partial(_selector, name))
    if selector is None:
        layout.notes.append(f"{_shown(entry)}: {_NO_SELECTOR}")
        return
    if server.mayDecide(selector):
        layout.notes.append(f"{_shown(entry)}: is ignored, as it is about the directory itself")
        return
    rules = _rules(entry.attributes.get("description", ()))
    if rules is None:
        # The lines below one that cannot be read would be promoted.
        layout.notes.append(f"{_shown(entry)}: has a rule that cannot be read: nobody is shown")
        rules = ["-"]
    lines = [f"# From the directory: {name}", *rules]
    layout.files[f"disclose/{selector.fileName}.txt"] = "".join(
        f"{each}\n" for each in lines
    ).encode()


def _rules(values: Iterable[bytes]) -> list[str] | None:
    """
    The lines of a rule, in their order; C{None} if one is none.
    """
    found = []
    for value in values:
        try:
            match = _RULE.fullmatch(value.decode())
        except UnicodeDecodeError:
            return None
        if match is None or len(value) > MAX_RULE or not _isRule(match[2]):
            return None
        found.append((int(match[1]), match[2]))
    if len(found) > MAX_RULES or len({number for number, _ in found}) != len(found):
        return None
    return [text for _, text in sorted(found)]


def _isRule(text: str) -> bool:
    try:
        return str(Shown.parse(text)) == text
    except ValueError:
        return False
