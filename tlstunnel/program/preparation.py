"""
A new state of all that a process serves, while it is being prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tlstunnel.errors import ConfigurationError
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.program.plan import Described, Plan, Refusal, Refused
from tlstunnel.program.service import TunnelService
from tlstunnel.tunnel.leased import keyFilesOf

if TYPE_CHECKING:
    from tlstunnel.poolservice.service import PoolService

#: What serves a tunnel, or is the pool service.
AnyService: TypeAlias = "TunnelService | PoolService"


class Preparation:
    """
    It.

    @ivar prepared: what is ready for the services of C{plan}, in its order.
    """

    def __init__(self, plan: Plan, read: Callable[[Described], tuple[AnyService, Any]]) -> None:
        """
        @param read: finds or makes what serves something, and what it takes to do so.
        """
        self.plan = plan
        self.prepared: list[tuple[AnyService, Any]] = []
        self._read = read
        self._refusals: list[Refusal] = []

    def keyFiles(self) -> Iterator[Path]:
        """
        Where the keys are that all need.
        """
        for planned in self.plan.services:
            described = planned.described
            if isinstance(described, PoolDescription):
                yield from described.pool.keyFiles()
            else:
                yield from keyFilesOf(described)

    def steps(self) -> Iterator[None]:
        """
        Read what all need, a certificate a step.
        """
        for planned in self.plan.services:
            yield
            try:
                service, prepared = self._read(planned.described)
                yield from prepared.steps()
                service.ready(prepared)
                self.prepared.append((service, prepared))
            except ConfigurationError as error:
                self._refusals.append((planned.described.name, error))

    def check(self) -> None:
        """
        See that all are ready.

        @raise Refused: some are not.
        """
        if self._refusals:
            raise Refused(self._refusals)
