"""
C{tlstunnel identity disclose}: who is shown to whom.
"""

from __future__ import annotations

import os
import pwd

from twisted.python import usage

from tlstunnel.commands.pools import PoolOptions
from tlstunnel.commands.rulefiles import addLines, removeLines
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.disclosure import NOBODY, Rule, Shown, hasRules, preferred, ruleFor
from tlstunnel.identity.files import present, reading
from tlstunnel.identity.issuer import authorityOf
from tlstunnel.identity.names import Selector
from tlstunnel.identity.permission import ourName
from tlstunnel.identity.pool import Pool


class Disclose(PoolOptions):
    """C{disclose [--remove] SELECTOR ID...}"""

    synopsis = "[options] SELECTOR [ID...]"
    longdesc = (
        "Says who we are to the remote identities that SELECTOR matches: the first ID that the "
        "program may use that connects there. Each ID is added behind those that the rule has. "
        "'-' is for no identity, and ends the rule; '@domain' is a pseudonym of that domain, "
        "another one for each user and each remote domain. The most concrete SELECTOR decides "
        "alone. Without an ID it shows which rule decides, and who we would be."
    )
    optFlags = [["remove", None, "Take away what is named, or else the whole rule."]]
    optParameters = [
        ["user", None, None, "Show who the programs of that user would be, instead of ours."]
    ]

    def parseArgs(self, *words: str) -> None:
        """A selector, and who we are there."""
        if not words:
            raise usage.UsageError(f"SELECTOR is missing; write '{self.synopsisAlone()}'")
        self.update(selector=words[0], ids=words[1:])
        if self["user"] is not None and (self["remove"] or self["ids"]):
            raise usage.UsageError("--user: is for looking at a rule; leave out what changes it")

    def run(self) -> int:
        """Change the rule, and show what is decided now."""
        pool = self.pool
        try:
            selector = Selector.parse(self["selector"])
        except ValueError as error:
            raise ConfigurationError.of("SELECTOR", error) from None
        wanted = [_shownOf(each) for each in self["ids"]]
        hadRules = hasRules(pool)
        if self["remove"]:
            _remove(pool, selector, wanted)
        elif wanted:
            _add(pool, selector, wanted)
        said = [_decided(pool, selector)]
        if not (self["remove"] or wanted):
            said.append(self._whoWouldBe(pool, selector))
        elif not hadRules:
            said.append(
                "From now on rules alone decide: where none names an identity, it is not shown, "
                "even to a program that asks for it."
            )
        print("\n".join(said))
        for each in wanted if not self["remove"] else ():
            _explain(pool, each)
        return 0

    def _whoWouldBe(self, pool: Pool, selector: Selector) -> str:
        caller, who = _callerOf(self["user"])
        rule = ruleFor(pool, selector)
        found = None if rule is None else preferred(pool, caller, rule)
        if rule is None:
            means = "no identity" if hasRules(pool) else "no identity, unless they ask for one"
        elif found is None:
            means = "no identity, as they may use none of these"
        elif found.domain:
            means = f"a pseudonym of {found.domain}"
        else:
            means = "no identity" if found.isNobody else str(found.identity)
        return f"There, the programs of {who} show {means}."


def _decided(pool: Pool, selector: Selector) -> str:
    """
    What is decided about a selector, and by which file.
    """
    rule = ruleFor(pool, selector)
    if rule is None:
        return f"{selector}: no rule"
    return f"{selector}: {str(rule) or 'no identity'} ({rule.path})"


def _ruleOf(pool: Pool, selector: Selector) -> Rule:
    """
    @raise ConfigurationError: there is no rule of that selector itself.
    """
    rule = Rule.read(pool, selector)
    if rule is None:
        raise _absent(pool, selector)
    return rule


def _absent(pool: Pool, selector: Selector) -> ConfigurationError:
    return ConfigurationError(
        str(pool.ruleFile(selector)),
        "is not there",
        "'tlstunnel identity list' shows which rules there are",
    )


def _add(pool: Pool, selector: Selector, wanted: list[Shown]) -> None:
    rule = Rule.read(pool, selector)
    known = () if rule is None else rule.shown
    added = [each for each in dict.fromkeys(wanted) if each not in known]
    if added and any(each.isNobody for each in known):
        raise ConfigurationError(
            str(pool.ruleFile(selector)),
            f"ends with '{NOBODY}', and nothing behind that would count",
            f"remove that first, with --remove {selector} {NOBODY}",
        )
    if added:
        addLines(pool.ruleFile(selector), list(map(str, added)))


def _remove(pool: Pool, selector: Selector, wanted: list[Shown]) -> None:
    """
    Remove lines, or where none is named the whole rule, be it broken.
    """
    file = pool.ruleFile(selector)
    if not wanted:
        if not present(file):
            raise _absent(pool, selector)
        with reading(file):
            file.unlink()
        return
    known = _ruleOf(pool, selector).shown
    for each in wanted:
        if each not in known:
            says = ", ".join(map(str, known)) or "nothing"
            raise ConfigurationError(str(file), f"does not say '{each}'", f"it says: {says}")
    removeLines(file, lambda line: bool(line) and Shown.parse(line) in wanted)


def _explain(pool: Pool, shown: Shown) -> None:
    """
    Say what else is needed for one line.
    """
    if shown.identity is not None and not pool.holds(shown.identity):
        print(f"{shown} is not in the pool, and is passed over until it is.")
    elif shown.domain:
        authorityOf(pool)
        print(
            f"Those who get to know pseudonyms of {shown.domain} have to believe "
            f"{pool.path / 'ca' / 'cert.pem'} about them, as with "
            f"'tlstunnel identity trust {shown} FILE'."
        )


def _shownOf(word: str) -> Shown:
    try:
        return Shown.parse(word)
    except ValueError as error:
        raise ConfigurationError.of("ID", error) from None


def _callerOf(user: str | None) -> tuple[Caller, str]:
    """
    A process of a user, with all groups of that.

    @raise ConfigurationError: there is no such user.
    """
    if user is None:
        groups = frozenset((os.getegid(), *os.getgroups()))
        return Caller(os.geteuid(), groups), f"user {ourName()}"
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, ValueError, OverflowError):
        if user.isascii() and user.isdecimal() and len(user) <= 10:
            return Caller(int(user)), f"user {user}, who has no groups here,"
        raise ConfigurationError(
            "--user", f"there is no user {user}", "see whether the name is right"
        ) from None
    groups = frozenset(os.getgrouplist(found.pw_name, found.pw_gid))
    return Caller(found.pw_uid, groups), f"user {found.pw_name}"
