"""
Whom an agent gives certificates, and for which identities: C{user:NAME}, C{group:NAME}, and behind
an equals sign a selector where they may not have all.

Names mean numbers when it starts, and when it reloads: nobody is looked up while somebody waits.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Sequence
from dataclasses import dataclass

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.caller import Caller
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

    def number(self) -> int:
        """
        That of the user or the group.

        @raise ConfigurationError: there is none of that name.
        """
        grant = self.grant
        if grant.number is not None:
            return grant.number
        try:
            if grant.kind == "user":
                return pwd.getpwnam(grant.account).pw_uid
            return grp.getgrnam(grant.account).gr_gid
        except KeyError:
            raise ConfigurationError(
                f"`allow` {self}", f"there is no {grant}", "see whether the name is right"
            ) from None


class Allowances:
    """
    All of them, with the numbers that they mean.
    """

    def __init__(self, several: Sequence[Allowance]) -> None:
        """
        @param several: given none, everybody may have everything who can connect.
        @raise ConfigurationError: one names nobody.
        """
        self._several = [(each.grant.kind, each.number(), each.selector) for each in several]

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
