"""
C{tlstunnel identity allow}: which programs of this host may use an identity through the pool.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.python import usage

from tlstunnel.commands.pools import PoolOptions, identityOf
from tlstunnel.commands.rulefiles import addLines, removeLines
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.accounts import SYSTEM
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.users import ANY, Grant, readUsers


class Allow(PoolOptions):
    """C{allow [--remove] ID user:NAME|group:NAME|any...}"""

    synopsis = "[options] ID [user:NAME|group:NAME|any...]"
    longdesc = (
        "Lets the programs of a user or a group use ID through the pool service, or those of "
        "everybody. NAME may be a number. Without any it shows who may; root and the user that "
        "the service runs as always may."
    )
    optFlags = [["remove", None, "Let them use it no more."]]

    def parseArgs(self, *words: str) -> None:
        """An identity, and who may use it."""
        if not words:
            raise usage.UsageError(f"ID is missing; write '{self.synopsisAlone()}'")
        self.update(id=words[0], who=words[1:])
        if self["remove"] and not self["who"]:
            raise usage.UsageError(
                "--remove: needs the user or the group that may use it no more; "
                f"write '{self.synopsisAlone()}'"
            )

    def run(self) -> int:
        """Change the file, and show what it says now."""
        pool, identity = self.pool, identityOf(self["id"])
        pool.existingDirectoryOf(identity)
        wanted = [_grantOf(each) for each in self["who"]]
        known = set(map(str, readUsers(pool, identity)))
        file = pool.usersFile(identity)
        if self["remove"]:
            for each in wanted:
                if str(each) not in known:
                    raise ConfigurationError(
                        str(file),
                        f"does not say '{each}'",
                        f"it says: {', '.join(sorted(known))}" if known else "it says nothing",
                    )
            gone = set(map(str, wanted))
            removeLines(file, lambda line: bool(line) and str(Grant.parse(line)) in gone)
        else:
            for each in wanted:
                checkKnown(each)
            added = dict.fromkeys(str(each) for each in wanted if str(each) not in known)
            if added:
                addLines(file, list(added))
        print(f"{identity}: may be used by {whoMayUse(pool, identity)}")
        return 0


def whoMayUse(pool: Pool, identity: Identity) -> str:
    """
    The users and groups that may use an identity, for people.

    @raise ConfigurationError: that cannot be read.
    """
    grants = list(dict.fromkeys(map(str, readUsers(pool, identity))))
    if ANY in grants:
        return "everybody"
    return ", ".join(grants) or "root and the user that runs the pool service alone"


def unknownIn(pool: Pool, identity: Identity) -> Iterator[str]:
    """
    Say which of the names that may use an identity nobody on this machine has.
    """
    try:
        grants = readUsers(pool, identity)
    except ConfigurationError:
        # Which is another problem.
        return
    for each in grants:
        try:
            checkKnown(each)
        except ConfigurationError as error:
            yield str(error)


def checkKnown(grant: Grant) -> None:
    """
    @raise ConfigurationError: nobody on this machine has that name.
    """
    if grant.kind == ANY or grant.number is not None:
        return
    try:
        SYSTEM[grant.kind](grant.account)
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(
            grant.place or f"{grant.kind}:{grant.account}",
            f"there is no {grant}",
            "see whether the name is right; a number need not be known yet",
        ) from None


def _grantOf(word: str) -> Grant:
    kind, colon, account = word.partition(":")
    try:
        return Grant.parse(f"{kind} {account}" if colon else word)
    except ValueError as error:
        problem = str(error).partition("; ")[0] if colon else f"{word!r} is no user and no group"
        raise ConfigurationError(word, problem, "write user:NAME, group:NAME or any") from None
