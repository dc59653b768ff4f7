"""
What a parent tells its workers, and what they answer: as the messages have it that L{Messages}
carries.

An order has a number, and gets one answer with that number: C{refusals}, if it could not be done.
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Mapping
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.net.listen import Bound
from tlstunnel.program.plan import Plan, Planned, Refusal, Refused
from tlstunnel.program.sources import tunnelOf

#: The keys of a message.
NUMBER, ORDER, REFUSALS, PLAN, FACTS = "number", "order", "refusals", "plan", "facts"


class Order(enum.Enum):
    """
    What a worker is to do.
    """

    #: Serve this plan, at once and in any case.
    SERVE = "serve"
    #: Get ready to serve this plan.
    PREPARE = "prepare"
    #: Serve what was prepared.
    COMMIT = "commit"
    #: Forget what was prepared.
    ABORT = "abort"
    #: Serve nobody any more as somebody who is withdrawn by now.
    HEED = "heed"
    #: Tell how many connections there are.
    TALLY = "tally"
    #: Tell how this process is.
    LOOK = "look"
    #: End in order.
    STOP = "stop"
    #: Close all connections now.
    HURRY = "hurry"


class Known:
    """
    The sockets that a worker has, by numbers, as both ends of a connection count them.
    """

    def __init__(self) -> None:
        self._numbers: dict[Bound, int] = {}
        self._before: dict[Bound, int] = {}
        self._last = 0

    def add(self, plan: Plan) -> tuple[dict[str, Any], list[Bound]]:
        """
        Say what C{plan} is.

        @return: that, and the sockets that have to go along.
        """
        self._before = dict(self._numbers)
        fresh: list[Bound] = []
        for planned in plan.services:
            for bound in planned.bound:
                if bound not in self._numbers:
                    self._last += 1
                    self._numbers[bound] = self._last
                    fresh.append(bound)
        said = {
            "drain": plan.drainSeconds,
            "counted": plan.isCounted,
            "fresh": [self._numbers[bound] for bound in fresh],
            "tunnels": [
                {**planned.told, "sockets": [self._numbers[bound] for bound in planned.bound]}
                for planned in plan.services
            ],
        }
        return said, fresh

    def forget(self) -> None:
        """
        The plan that was said last is given up.
        """
        self._numbers = self._before

    def keep(self, plan: Plan) -> None:
        """
        Only the sockets of C{plan} are left.
        """
        self._numbers = {bound: self._numbers[bound] for bound in plan.bound}


def heard(said: Mapping[str, Any], sockets: Mapping[int, Bound]) -> Generator[None, None, Plan]:
    """
    The plan that was said, a tunnel a step.

    @param sockets: those that we have, by their numbers.
    @raise Refused: a tunnel cannot be made, as a chat script has changed meanwhile.
    """
    tunnels: list[Planned] = []
    refusals: list[Refusal] = []
    for told in said["tunnels"]:
        try:
            tunnel = tunnelOf(told)
        except ConfigurationError as error:
            refusals.append((told["name"], error))
            continue
        bound = tuple(sockets[number] for number in told["sockets"])
        tunnels.append(Planned(tunnel, bound))
        yield
    if refusals:
        raise Refused(refusals)
    return Plan(tuple(tunnels), said["drain"], said["counted"])


def asAnswer(refused: Refused) -> dict[str, Any]:
    """
    Say why something could not be done.
    """
    return {
        REFUSALS: [
            [name, error.subject, error.problem, error.remedy] for name, error in refused.refusals
        ]
    }


def refusalsIn(answer: Mapping[str, Any]) -> list[Refusal]:
    """
    Why it could not; nothing, if it could.
    """
    return [
        (name, ConfigurationError(subject, problem, remedy))
        for name, subject, problem, remedy in answer.get(REFUSALS, ())
    ]
