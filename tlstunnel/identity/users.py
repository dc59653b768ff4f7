"""
Who may use one of our identities: the programs of which users and groups of this host.

It stands in C{POOL/ID/users}, a line each: C{user NAME|UID}, C{group NAME|GID}, or C{any}.  Without
such a file nobody may, but for root and whoever runs the pool, who may use all.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.identity.accounts import ACCOUNTS, PATIENCE_SECONDS, Accounts, Unanswered
from tlstunnel.identity.caller import Caller, isAnybodys
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.rules import readRules

#: The line that is for everybody.
ANY = "any"

_KINDS = "user", "group"
_NUMBER = re.compile(r"[0-9]+", re.ASCII)

# The last one stands for none (chown(2)).
_MOST = 0xFFFFFFFE


@dataclass(frozen=True)
class Grant:
    """
    To whom one line gives an identity.

    @ivar kind: C{user} or C{group}; C{any} for everybody.
    @ivar account: the name or number.
    @ivar place: where it stands.
    """

    kind: str
    account: str = ""
    place: str = ""

    @classmethod
    def parse(cls, text: str, place: str = "") -> Grant:
        """
        Read C{user NAME}, C{group NAME} or C{any}.

        @raise ValueError: it is none of these; the message is a sentence for the user.
        """
        kind, account = [*text.split(None, 1), "", ""][:2]
        account = account.strip()
        if kind == ANY and not account:
            return cls(ANY, place=place)
        if kind not in _KINDS or not account:
            known = nearest(kind, [*_KINDS, ANY]) if kind not in _KINDS else ""
            remedy = known or "write 'user NAME', 'group NAME' or 'any'"
            raise ValueError(f"{text!r} names no user and no group; {remedy}")
        if not account.isprintable() or ":" in account:
            raise ValueError(f"{account!r} is no name of a {kind}; give its number")
        if _NUMBER.fullmatch(account):
            account = account.lstrip("0") or "0"
            if len(account) > len(str(_MOST)) or int(account) > _MOST:
                raise ValueError(f"{account} is no number of a {kind}; give one below {_MOST + 1}")
        return cls(kind, account, place)

    @property
    def number(self) -> int | None:
        """The number, where it is one that is said."""
        return int(self.account) if _NUMBER.fullmatch(self.account) else None

    def __str__(self) -> str:
        return f"{self.kind} {self.account}".rstrip()


def readUsers(pool: Pool, identity: Identity) -> tuple[Grant, ...]:
    """
    Read who may use an identity.

    @raise ConfigurationError: the file is broken, or not to be relied upon.
    """
    found = []
    for place, text in readRules(pool.usersFile(identity)) or ():
        try:
            found.append(Grant.parse(text, place))
        except ValueError as error:
            raise ConfigurationError.of(place, error) from None
    return tuple(found)


def ownsAll(caller: Caller) -> bool:
    """Whether C{caller} may use everything: root, and whoever the pool's own process runs as."""
    return caller.uid in {0, os.geteuid()} and not isAnybodys("user", caller.uid)


def mayUse(pool: Pool, identity: Identity, caller: Caller, accounts: Accounts = ACCOUNTS) -> bool:
    """
    Find out whether a process may use one of our identities.  This does not ask whether it is in
    the pool.

    @raise ConfigurationError: what decides is broken, or a name in it is that of nobody knows whom.
    """
    if ownsAll(caller):
        return True
    grants = readUsers(pool, identity)
    # Numbers first: they never ask anybody.
    if any(_isFor(each, each.number, caller) for each in grants):
        return True
    until = time.monotonic() + PATIENCE_SECONDS
    unknown = None
    for each in grants:
        if each.number is None and each.kind != ANY:
            try:
                patience = until - time.monotonic()
                number = accounts.numberOf(each.kind, each.account, patience)
            except Unanswered:
                unknown = unknown or each
                continue
            if _isFor(each, number, caller):
                return True
    if unknown is not None:
        raise ConfigurationError(
            unknown.place,
            f"names the {unknown}, and the system has not said yet who that is",
            "give its number, for which nobody has to be asked; else see whether the directory "
            "in /etc/nsswitch.conf answers",
        )
    return False


def whyNot(pool: Pool, identity: Identity, caller: Caller) -> str:
    """What to tell a process that may not use an identity; whether there is one it does not say."""
    command = pool.command("allow", str(identity), f"user:{caller.uid}")
    return f"user {caller.uid} may not be {identity}; root can let it, by {command}"


def _isFor(grant: Grant, number: int | None, caller: Caller) -> bool:
    if grant.kind == ANY:
        return True
    if number is None:
        return False
    return number in caller.gids if grant.kind == "group" else number == caller.uid


def usable(pool: Pool, caller: Caller) -> Iterator[Identity]:
    """
    Find the identities of a pool that a process may use; those of which that cannot be found out
    are passed over.

    @raise ConfigurationError: there is no pool.
    """
    for identity in pool.identities():
        try:
            if mayUse(pool, identity, caller):
                yield identity
        except ConfigurationError:
            continue
