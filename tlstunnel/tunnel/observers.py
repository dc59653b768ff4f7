"""
Who is told what becomes of connections.

L{Observer} is for those that do not want to hear everything; what they have left out costs nothing
at any connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from zope.interface import implementer

from tlstunnel.interfaces import IObserver

if TYPE_CHECKING:
    from tlstunnel.address import Address
    from tlstunnel.tls.messages import Message
    from tlstunnel.tunnel.record import Record


@implementer(IObserver)
class Observer:
    """
    Hears of everything, and does nothing.
    """

    def began(self, record: Record) -> None:
        """
        See L{IObserver.began}.
        """

    def verified(self, record: Record) -> None:
        """
        See L{IObserver.verified}.
        """

    def advanced(self, record: Record) -> None:
        """
        See L{IObserver.advanced}.
        """

    def said(self, record: Record, isOurs: bool, words: bytes) -> None:
        """
        See L{IObserver.said}.
        """

    def exchanged(self, record: Record, message: Message) -> None:
        """
        See L{IObserver.exchanged}.
        """

    def ended(self, record: Record) -> None:
        """
        See L{IObserver.ended}.
        """

    def refused(self, peer: Address, reason: str) -> None:
        """
        See L{IObserver.refused}.
        """


class Observers:
    """
    Several observers, and what each of them wants to hear.

    @ivar began: called with the record of a connection when it has begun; likewise the others.
    """

    __slots__ = ("advanced", "began", "ended", "exchanged", "refused", "said", "verified")

    _log = Logger()

    def __init__(self, observers: Iterable[IObserver]) -> None:
        every = tuple(observers)
        self.began = self._whoHear("began", every)
        self.verified = self._whoHear("verified", every)
        self.advanced = self._whoHear("advanced", every)
        self.said = self._whoHear("said", every)
        self.exchanged = self._whoHear("exchanged", every)
        self.ended = self._whoHear("ended", every)
        self.refused = self._whoHear("refused", every)

    @staticmethod
    def _whoHear(event: str, observers: tuple[IObserver, ...]) -> tuple[Callable[..., None], ...]:
        nothing = getattr(Observer, event)
        return tuple(
            getattr(each, event)
            for each in observers
            if getattr(type(each), event, nothing) is not nothing
        )

    def tell(self, hearers: tuple[Callable[..., None], ...], record: Record, *more: Any) -> None:
        """
        Call all C{hearers} with C{record} and C{more}; one that raises is logged, and harms neither
        the connection nor the others.
        """
        for hear in hearers:
            try:
                hear(record, *more)
            except Exception:  # noqa: BLE001 - who looks on must not harm the connection
                self._failed(hear, record.tunnel)

    def refuse(self, tunnel: str, peer: Address, reason: str) -> None:
        """
        The same of a connection that has no record.

        @param tunnel: the name of its tunnel; empty where that has none.
        """
        for hear in self.refused:
            try:
                hear(peer, reason)
            except Exception:  # noqa: BLE001 - as above
                self._failed(hear, tunnel)

    def _failed(self, hear: Callable[..., None], tunnel: str) -> None:
        self._log.failure("the observer {observer!r} failed", observer=hear, tunnel=tunnel or None)
