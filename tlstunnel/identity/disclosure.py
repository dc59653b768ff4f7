"""
Who is shown to whom: which of our identities a remote one gets to know.

It stands in C{POOL/disclose/SELECTOR.txt}, a line each, the preferred one first: an identity; C{-}
for nobody; or C{@domain} for a pseudonym, see L{tlstunnel.identity.pseudonyms}.  The most concrete
selector decides alone, and of its lines the first that the process that asks may use.  Whatever is
not said is not shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.files import entries, isDirectory, isUnfinished, present
from tlstunnel.identity.names import Identity, Selector, normalDomain, selectorsFor
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.pseudonyms import issue, pseudonymOf
from tlstunnel.identity.rules import readRules
from tlstunnel.identity.users import mayUse, readUsers, whyNot

#: The line that ends a rule: nobody is shown, where none before it is for who asks.
NOBODY = "-"


class NotYours(Exception):
    """
    Who asks may not use the identity that it asks for.
    """


class NotDisclosed(Exception):
    """
    The identity that is asked for is not to be shown there.
    """


@dataclass(frozen=True)
class Shown:
    """
    One line of a rule.

    @ivar identity: who is shown; C{None} for nobody, or somebody without a name.
    @ivar domain: the domain of which that is, as a pseudonym.
    """

    identity: Identity | None = None
    domain: str = ""

    @classmethod
    def parse(cls, text: str) -> Shown:
        """
        Read an identity, C{-} or C{@domain}.

        @raise ValueError: it is none of these; the message is a sentence for the user.
        """
        if text == NOBODY:
            return cls()
        if text.startswith("@"):
            return cls(domain=normalDomain(text[1:]))
        return cls(Identity.parse(text))

    @property
    def isNobody(self) -> bool:
        """Whether nobody is shown."""
        return self.identity is None and not self.domain

    def __str__(self) -> str:
        return f"@{self.domain}" if self.domain else str(self.identity or NOBODY)


@dataclass(frozen=True)
class Rule:
    """
    Who is shown to those whom a selector matches.

    @ivar shown: the preferred one first; what follows nobody does not count.
    """

    selector: Selector
    shown: tuple[Shown, ...]
    path: Path

    @classmethod
    def read(cls, pool: Pool, selector: Selector) -> Rule | None:
        """
        Read the rule of one selector alone; C{None} if there is none.

        @raise ConfigurationError: it is broken, or not to be relied upon.
        """
        path = pool.ruleFile(selector)
        lines = readRules(path)
        if lines is None:
            return None
        found = []
        for place, text in lines:
            try:
                found.append(Shown.parse(text))
            except ValueError as error:
                raise ConfigurationError.of(place, error) from None
        return cls(selector, tuple(found), path)

    @property
    def counting(self) -> Iterator[Shown]:
        """What stands before nobody."""
        for each in self.shown:
            if each.isNobody:
                return
            yield each

    def __str__(self) -> str:
        return ", then ".join("no identity" if each.isNobody else str(each) for each in self.shown)


def hasRules(pool: Pool) -> bool:
    """
    Whether there are rules at all: without them, who says a name is shown by that name.

    @raise ConfigurationError: there is something else in their place.
    """
    directory = pool.rules
    try:
        # As it is asked for every connection.
        os.lstat(directory)
    except FileNotFoundError:
        return False
    except OSError:
        pass
    if not present(directory):
        return False
    if not isDirectory(directory):
        raise ConfigurationError(
            str(directory), "is not a directory", "make one, with the rules in it"
        )
    return True


def ruleFor(pool: Pool, remote: Identity | Selector) -> Rule | None:
    """
    Find the rule that decides about C{remote}; C{None} if there is none.

    @raise ConfigurationError: it is broken.
    """
    if not hasRules(pool):
        return None
    for selector in selectorsFor(remote):
        found = Rule.read(pool, selector)
        if found is not None:
            return found
    return None


def whomToShow(
    pool: Pool, caller: Caller, remote: Identity, asked: Identity | None = None
) -> Identity | None:
    """
    Find out who we are to C{remote}, on behalf of a process of this host.  The credentials of
    whoever that is are in the pool.

    @param asked: who the process wants to be; it is that or nobody.
    @return: C{None} to show nobody.
    @raise NotYours: the process may not be who it wants to be.
    @raise NotDisclosed: the rules do not show that to C{remote}.
    @raise ConfigurationError: a file that decides is broken, or the identity is not in the pool.
    """
    rule = ruleFor(pool, remote)
    if asked is not None:
        return _byName(pool, caller, remote, asked, rule)
    found = None if rule is None else preferred(pool, caller, rule)
    if found is None or found.isNobody:
        return None
    if not found.domain:
        return found.identity
    pseudonym = pseudonymOf(pool, caller.uid, found.domain, remote)
    issue(pool, pseudonym)
    return pseudonym


def preferred(pool: Pool, caller: Caller, rule: Rule) -> Shown | None:
    """
    The first line of a rule that a process may use; C{None} if there is none.

    @raise ConfigurationError: what says who may use an identity is broken.
    """
    for each in rule.shown:
        if each.identity is None:
            return each
        if pool.holds(each.identity) and mayUse(pool, each.identity, caller):
            return each
    return None


def _byName(
    pool: Pool, caller: Caller, remote: Identity, asked: Identity, rule: Rule | None
) -> Identity:
    """
    See whether a process can be C{asked}.
    """
    counting = () if rule is None else tuple(rule.counting)
    isLike = asked.user is not None and any(each.domain == asked.domain for each in counting)
    if isLike and asked == pseudonymOf(pool, caller.uid, asked.domain, remote):
        issue(pool, asked)
        return asked
    if not mayUse(pool, asked, caller):
        raise NotYours(whyNot(pool, asked, caller))
    if hasRules(pool) and all(each.identity != asked for each in counting):
        why = "there is no rule about it" if rule is None else f"{rule.path} does not say so"
        raise NotDisclosed(
            f"{asked} is not to be shown to {remote}: {why}; "
            f"{pool.command('disclose', str(remote))} shows what decides, and changes it"
        )
    pool.existingDirectoryOf(asked)
    return asked


def rules(pool: Pool) -> Iterator[Rule | ConfigurationError]:
    """
    Read all rules, in the order of their files; where that is not possible, say why.

    @raise ConfigurationError: there is something else in the place of the rules.
    """
    for file in entries(pool.rules) if hasRules(pool) else ():
        if isUnfinished(file.name):
            continue
        try:
            selector = _selectorOf(file)
            found = Rule.read(pool, selector)
        except ConfigurationError as error:
            yield error
        else:
            if found is not None:
                yield found


def _selectorOf(file: Path) -> Selector:
    """
    Of whom a file is about.

    @raise ConfigurationError: it never counts, as it has another name.
    """
    name = file.name.removesuffix(".txt")
    try:
        if name == file.name:
            raise ValueError("it is not called SELECTOR.txt; give it such a name, or remove it")
        return Selector.ofFileName(name)
    except ValueError as error:
        problem, _, remedy = str(error).partition("; ")
        raise ConfigurationError(str(file), f"never counts: {problem}", remedy) from None


def doubts(pool: Pool) -> Iterator[str]:
    """
    Say what is wrong with the rules and with what says who may use an identity, before anybody
    needs them; a sentence each.
    """
    yield from ruleDoubts(pool)
    try:
        for identity in pool.identities():
            yield from doubtsAbout(pool, identity)
    except ConfigurationError as error:
        yield str(error)


def ruleDoubts(pool: Pool) -> Iterator[str]:
    """
    The same of the rules alone.
    """
    try:
        yield from _ruleDoubts(pool)
    except ConfigurationError as error:
        yield str(error)


def _ruleDoubts(pool: Pool) -> Iterator[str]:
    for found in rules(pool):
        if isinstance(found, ConfigurationError):
            yield str(found)
            continue
        idle = found.shown[len(tuple(found.counting)) + 1 :]
        if idle:
            yield f"{found.path}: what follows '-' never counts: {', '.join(map(str, idle))}"
        for each in found.counting:
            if each.identity is not None and not pool.holds(each.identity):
                yield f"{found.path}: {each} is not in the pool, and is passed over"


def doubtsAbout(pool: Pool, identity: Identity) -> Iterator[str]:
    """
    The same of what says who may use one identity.
    """
    try:
        readUsers(pool, identity)
    except ConfigurationError as error:
        yield str(error)
