"""
Where the status of a process is shown, if anywhere.

What that takes is loaded when it is wanted first: a tunnel that shows nothing has nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.threads import deferToThreadPool

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.configuration import COMMAND_LINE, Configuration
from tlstunnel.program.plan import IServing
from tlstunnel.program.problems import Problems

if TYPE_CHECKING:
    from tlstunnel.status.service import StatusService


class Display(Service):
    """
    Shows the status where a configuration says; a new one is taken up in two steps.
    """

    def __init__(self, reactor: Any, serving: IServing) -> None:
        """
        @param serving: whose status it is.
        """
        self._reactor = reactor
        self._serving = serving
        self._shown: StatusService | None = None

    def bind(self, configuration: Configuration) -> None:
        """
        Get ready to show it where C{configuration} says.

        @raise ConfigurationError: that cannot be; nothing has changed.
        """
        wanted = configuration.status.local
        if self._shown is None:
            if not wanted:
                return
            self._shown = self._made()
        try:
            self._shown.bind(wanted)
        except ConfigurationError as error:
            if configuration.path != COMMAND_LINE.path:
                raise Problems([configuration.problemOf("status", error)]) from None
            subject = error.subject.replace("`local`", "`status`")
            raise ConfigurationError(subject, error.problem, error.remedy) from None

    async def bindWhileServing(self, configuration: Configuration) -> None:
        """
        The same while connections go on, which do not wait for a resolver.
        """
        if all(each.isLiteral for each in configuration.status.local):
            self.bind(configuration)
        else:
            pool = self._reactor.getThreadPool()
            await deferToThreadPool(self._reactor, pool, self.bind, configuration)

    def _made(self) -> StatusService:
        from tlstunnel.status.answers import Answers
        from tlstunnel.status.service import StatusService

        return StatusService(self._reactor, Answers(self._reactor, self._serving.gather))

    def commit(self) -> None:
        """
        Show it there from now on.  This cannot fail.
        """
        if self._shown is None:
            return
        self._shown.commit()
        if self.running and not self._shown.running:
            self._shown.startService()

    def abort(self) -> None:
        """
        Forget what we are ready for.
        """
        if self._shown is not None:
            self._shown.abort()

    def startService(self) -> None:
        """
        Show it from now on.
        """
        super().startService()
        if self._shown is not None:
            self._shown.startService()

    def stopService(self) -> None:
        """
        Show it no more.
        """
        super().stopService()
        if self._shown is not None:
            self._shown.stopService()
