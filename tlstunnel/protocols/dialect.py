"""
What a dialect says of itself: its name, its two roles, and the facts that differ between protocols.

It is written down once, where the roles of a protocol are, and never changes.  What each fact means
is said in L{tlstunnel.interfaces.IDialect}.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from tlstunnel.interfaces import IDialect
from tlstunnel.protocols.options import OptionValue

if TYPE_CHECKING:
    from tlstunnel.protocols.base import ClientRole, ServerRole
    from tlstunnel.protocols.setting import Setting


def _nothing(setting: Setting) -> None:
    """
    There is nothing to be made.
    """


@implementer(IPlugin, IDialect)
@dataclass(frozen=True)
class Dialect:
    """
    The description of one dialect; see L{IDialect}.
    """

    name: str
    client: type[ClientRole]
    server: type[ServerRole]
    summary: str = ""
    aliases: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    implicitPort: int | None = None
    alpn: tuple[bytes, ...] = ()
    srvService: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    values: tuple[OptionValue[Any], ...] = ()
    onlyIn: Mapping[str, str] = field(default_factory=dict)
    grants: Mapping[str, str] = field(default_factory=dict)
    favours: Mapping[int, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    talks: bool = True
    negotiationSeconds: float | None = None
    opensChannels: bool = False
    learnsPeer: bool = False
    marksEnd: bool = False
    silentServer: bool = True
    goesOn: bool = False
    earlyDial: bool = False
    lateDial: str = ""
    demands: str = ""
    beginClient: Callable[[Setting], None] = _nothing

    def dialsEarly(self, options: Collection[str]) -> bool:
        """
        Whether the backend is dialled before the negotiation, where these options are given.
        """
        return self.earlyDial and self.lateDial not in options

    def renewed(self) -> IDialect:
        """
        What a reload makes of it; nothing of the built-in dialects can have changed.

        @raise ConfigurationError: if what it was made from has become wrong.
        """
        return self
