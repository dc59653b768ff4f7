"""
What an agent answers: one question, asked by one process, as a function of both.

What is issued is decided here, and nothing is known of sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from twisted.logger import Logger

from tlstunnel.agent.allowance import Allowances
from tlstunnel.errors import quote
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.intermediate import Intermediate
from tlstunnel.identity.leafrequest import Answer, Question, Unreadable, Verdict

#: Where a clock is set back a little, an intermediate that has just ended gives nothing.
_LEAST_LEFT = timedelta(seconds=2)


@dataclass
class Issuing:
    """
    Gives certificates.

    @ivar intermediate: by whose word.
    @ivar allowances: to whom.
    @ivar lifetime: for how long they are good.
    @ivar tells: whether the log has a line for another refusal of a user, by its number.
    """

    intermediate: Intermediate
    allowances: Allowances
    lifetime: timedelta
    tells: Callable[[int], bool] = lambda uid: True

    _log = Logger()

    def answer(self, content: bytes, caller: Caller, now: datetime) -> Answer:
        """
        Answer a question.
        """
        try:
            question = Question.parse(content)
        except Unreadable as error:
            return self.refuse(caller, str(error))
        identity, intermediate = question.identity, self.intermediate
        if not self.allowances.mayBe(caller, identity):
            return self.refuse(caller, f"user {caller.uid} may not be {identity}")
        if not intermediate.permits(identity):
            return self.refuse(caller, f"the issuer's name constraints do not permit {identity}")
        if intermediate.end - now < _LEAST_LEFT:
            return self.refuse(caller, "the issuer has expired; its administrator has to renew it")
        chain = intermediate.issue(identity, question.key, now, self.lifetime)
        leaf = chain[0]
        self._log.info(
            "issued {serial} for {identity} to user {uid}, good until {end}",
            event="issued",
            serial=f"{leaf.serial_number:x}",
            identity=str(identity),
            uid=caller.uid,
            pid=caller.pid,
            end=f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        )
        return Answer(Verdict.ISSUED, chain)

    def refuse(self, caller: Caller, why: str) -> Answer:
        """
        Say no, and why.
        """
        if not self.tells(caller.uid):
            return Answer(Verdict.REFUSED, words=why)
        self._log.warn(
            "refused user {uid}: {detail}",
            event="refused",
            uid=caller.uid,
            pid=caller.pid,
            detail=quote(why.encode())[1:-1] if not why.isprintable() else why,
        )
        return Answer(Verdict.REFUSED, words=why)
