"""
One row of the tables of hints.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlstunnel.errors import TunnelError
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.record import Record, Stage


@dataclass(frozen=True)
class Hint:
    """
    A row of the table: what a failure must be like, and what to do about it.

    @ivar errors: its class is one of them.
    @ivar text: the hint; in braces stand facts that
        L{tlstunnel.tunnel.hints.choosing.hintFor} knows.
    @ivar mode: that of the tunnel; for a bridge its own, or that of the side that failed.
    @ivar stages: the connection ended in one of them.
    @ivar causes: the cause is one of them, or says more behind one of them; where no more may
        follow, it ends in a space.
    @ivar isImplicit: whether the tunnel has TLS from the first byte.
    @ivar isAnnounced: whether a header of the PROXY protocol was sent.
    """

    errors: tuple[type[TunnelError], ...]
    text: str
    mode: Mode | None = None
    stages: tuple[Stage, ...] = ()
    causes: tuple[str, ...] = ()
    isImplicit: bool | None = None
    isAnnounced: bool | None = None

    def fits(self, record: Record, stage: Stage, cause: str) -> bool:
        """
        Whether it is about such an error, with which a connection ended at C{stage}.
        """
        mode, isIn = record.mode, False
        if mode is Mode.BRIDGE:
            # Each side is as it is in a mode of its own.
            isIn = record.error is not None and record.error.who == "the client"
            mode = Mode.SERVER if isIn else Mode.CLIENT
        dialect = record.dialects[0 if isIn else 1]
        return (
            self.mode in (None, mode, record.mode)
            and (not self.stages or stage in self.stages)
            and (not self.causes or f"{cause} ".startswith(self.causes))
            and self.isImplicit in (None, dialect == "none")
            and self.isAnnounced in (None, record.isAnnounced)
        )
