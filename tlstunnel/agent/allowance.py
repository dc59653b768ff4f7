"""
Whom an agent gives certificates, and for which identities: C{user:NAME}, C{group:NAME}, and behind
an equals sign a selector where they may not have all.

Names mean numbers when it starts, and when it reloads: nobody is looked up while somebody waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.accounts import PATIENCE_SECONDS, Accounts, Unanswered
from tlstunnel.identity.caller import Caller, isAnybodys
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.users import Grant, ownsAll

#: Who wrote one reads this.
_FORMS = "write user:NAME, group:NAME, or user:NAME=ID for those identities alone"


@dataclass(frozen=True)
class Allowance:
    """
    One of those that there are.

    @ivar grant: to whom.
    @ivar selector: for whom; C{None} for all that the issuer may certify.
    """

    grant: Grant
    selector: Selector | None = None

    @classmethod
    def parse(cls, text: str) -> Allowance:
        """
        Read one.

        @raise ValueError: it is none; the message is a sentence for the user.
        """
        who, equals, whom = text.partition("=")
        kind, colon, account = who.partition(":")
        if not colon or kind not in ("user", "group"):
            raise ValueError(f"{text!r} is no user and no group; {_FORMS}")
        return cls(Grant.parse(f"{kind} {account}"), Selector.parse(whom) if equals else None)

    def __str__(self) -> str:
        who = f"{self.grant.kind}:{self.grant.account}"
        return who if self.selector is None else f"{who}={self.selector}"

    def number(self, accounts: Accounts, patience: float) -> int:
        """
        That of the user or the group.

        @param patience: seconds that it may take to find it out.
        @raise ConfigurationError: there is none of that name, or nobody knows.
        """
        grant = self.grant
        if grant.number is not None:
            return grant.number
        try:
            number = accounts.numberOf(grant.kind, grant.account, patience)
        except Unanswered:
            raise ConfigurationError(
                f"`allow` {self}",
                "the system has not said who that is",
                "give the number, for which nobody has to be asked; else see whether the directory "
                "in /etc/nsswitch.conf answers",
            ) from None
        if number is None:
            raise ConfigurationError(
                f"`allow` {self}", f"there is no {grant}", "see whether the name is right"
            )
        return number


class Allowances:
    """
    All of them, with the numbers that they mean.
    """

    def __init__(self, several: Sequence[Allowance], patience: float = PATIENCE_SECONDS) -> None:
        """
        @param several: given none, everybody may have everything who can connect.
        @param patience: seconds that it may take to find out who they are.
        @raise ConfigurationError: one names nobody.
        """
        # Those of former times may mean others by now.
        accounts = Accounts()
        until = time.monotonic() + patience
        self._several = []
        for each in several:
            kind, number = each.grant.kind, each.number(accounts, until - time.monotonic())
            if isAnybodys(kind, number):
                raise ConfigurationError(
                    f"`allow` {each}",
                    f"is everybody outside of this container, too, who is {number} here",
                    "run the tunnels as another user, and allow that one",
                )
            self._several.append((kind, number, each.selector))

    def admits(self, caller: Caller) -> bool:
        """
        Whether there is anything that a process may have.
        """
        return not self._several or ownsAll(caller) or any(self._of(caller))

    def mayBe(self, caller: Caller, identity: Identity) -> bool:
        """
        Whether a process may have certificates for C{identity}.
        """
        if not self._several or ownsAll(caller):
            return True
        return any(each is None or each.matches(identity) for each in self._selectors(caller))

    def _of(self, caller: Caller) -> list[bool]:
        return [
            number in caller.gids if kind == "group" else number == caller.uid
            for kind, number, _ in self._several
        ]

    def _selectors(self, caller: Caller) -> list[Selector | None]:
        matching = zip(self._of(caller), self._several, strict=True)
        return [selector for isFor, (_, _, selector) in matching if isFor]
