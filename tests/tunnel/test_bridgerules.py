"""
The rules of the dialects hold in a bridge: all that is tested of each role with a plain leg beside
it is tested again with TLS on that leg.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.interfaces import IDialect
from tlstunnel.protocols.base import ClientRole
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.setting import Setting
from tlstunnel.reveal.word import Word
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver, MemoryPrepared
from tlstunnel.testing.rules import Rules
from tlstunnel.tunnel.description import Mode


class TLSLeg(MemoryLeg):
    """
    A leg whose peer begins with TLS, so that all that it says is within.
    """

    def deliver(self) -> bool:
        """
        The handshake comes first.
        """
        if not self.isTLS:
            return False
        if self.handshaken:
            return super().deliver()
        self.handshaken = True
        self._send()
        self.speaker.handshakeCompleted()
        return True


class BridgeDriver(Driver):
    """
    Takes one role through a bridge in which the other side begins with TLS.
    """

    def preparedFor(
        self,
        dialect: IDialect,
        mode: Mode,
        setting: Setting,
        words: Sequence[tuple[Word, object]],
    ) -> MemoryPrepared:
        """
        Of both sides.
        """
        ways = (implicit, dialect) if mode is Mode.CLIENT else (dialect, implicit)
        accepted, connected = (
            MemoryPrepared(way, side, setting, words)
            for way, side in zip(ways, (Mode.SERVER, Mode.CLIENT), strict=True)
        )
        accepted.tunnel = replace(accepted.tunnel, mode=Mode.BRIDGE, onward=connected.tunnel)
        accepted.onward = connected
        return accepted

    def plainLeg(self) -> MemoryLeg:
        """
        It is not plain.
        """
        return TLSLeg(self.settle)

    def settle(self) -> None:
        """
        The role comes after that of the client's side.
        """
        super().settle()
        role = getattr(self, "pair", None) and self.pair.role
        if self.mode == "client" and isinstance(role, ClientRole):
            self._role = role


class InBridge(Rules):
    """
    What is different there.
    """

    driver = BridgeDriver

    def assertBlames(self, driver: Driver, speaker: str, *about: object) -> None:
        """
        The app is a client, and the backend a server.
        """
        super().assertBlames(driver, {"A": "C", "B": "S"}.get(speaker, speaker), *about)


def cases(of: type[Rules]) -> Iterator[type[Rules]]:
    """
    Those of all dialects that a bridge takes, made anew.
    """
    for path in sorted((Path(__file__).parents[1] / "protocols").glob("test_*.py")):
        import_module(f"tests.protocols.{path.stem}")
    for each in _described(of):
        if each.dialect.opensChannels or each.dialect.earlyDial:
            continue
        given = {"__module__": __name__, "__doc__": each.__doc__}
        name = f"{each.__module__.rpartition('_')[2].title()}{each.__name__}"
        yield type(name, (InBridge, each), given)


def _described(of: type[Rules]) -> Iterator[type[Rules]]:
    for each in of.__subclasses__():
        if issubclass(each, SynchronousTestCase) and each.__module__.startswith("tests.protocols."):
            yield each
        yield from _described(each)


for made in (*cases(ClientConformance), *cases(ServerConformance)):
    globals()[made.__name__] = made
del made
