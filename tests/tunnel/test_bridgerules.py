"""
The rules of the dialects hold in a bridge: all that is tested of each role with a plain leg beside
it is tested again with TLS on that leg.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.task import Clock
from twisted.trial.runner import TestSuite
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.interfaces import IDialect
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.base import ClientRole
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.setting import Setting
from tlstunnel.reveal.word import Word
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import Dialogue
from tlstunnel.testing.dialogues import setting as usual
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver, MemoryPrepared
from tlstunnel.testing.rules import Rules
from tlstunnel.tunnel.description import Mode


class UpgradedLeg(MemoryLeg):
    """
    A leg whose handshake succeeds at once.
    """

    def deliver(self) -> bool:
        """
        The handshake comes first, where there is one.
        """
        if self.handshaken == self.isTLS:
            return super().deliver()
        self.handshaken = True
        self._send()
        self.speaker.handshakeCompleted()
        return True


class TLSLeg(UpgradedLeg):
    """
    A leg whose peer begins with TLS, so that all that it says is within.
    """

    def deliver(self) -> bool:
        """
        There is nothing else.
        """
        return self.isTLS and super().deliver()


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
        ways = zip(self.ways(dialect, mode), (Mode.SERVER, Mode.CLIENT), strict=True)
        accepted, connected = (MemoryPrepared(way, side, setting, words) for way, side in ways)
        accepted.tunnel = replace(accepted.tunnel, mode=Mode.BRIDGE, onward=connected.tunnel)
        accepted.onward = connected
        return accepted

    def ways(self, dialect: IDialect, mode: Mode) -> tuple[IDialect, IDialect]:
        """
        The dialects of the accepted and of the connected side.
        """
        return (implicit, dialect) if mode is Mode.CLIENT else (dialect, implicit)

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


class BothDriver(BridgeDriver):
    """
    Takes the client role through a bridge in which both sides upgrade, from when the client has
    done so.
    """

    #: What clients and we say before that, and what the options of their side are.
    before: ClassVar[Dialogue] = ()
    options: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        dialect: IDialect,
        mode: str,
        setting: Setting | None = None,
        waiting: bytes = b"",
    ) -> None:
        super().__init__(dialect, mode, setting)
        for who, text in self.before:
            if who == "C":
                self.plain.feed(text)
            else:
                self.plain.takeWritten()
        assert self.plain.handshaken, f"the client's side does not come to TLS: {self.error}"
        if waiting:
            self.plain.feed(waiting)

    def preparedFor(
        self,
        dialect: IDialect,
        mode: Mode,
        setting: Setting,
        words: Sequence[tuple[Word, object]],
    ) -> MemoryPrepared:
        """
        What cases say of a role is for that one.
        """
        prepared = super().preparedFor(dialect, mode, setting, words)
        prepared.setting = usual(*self.options)
        return prepared

    def ways(self, dialect: IDialect, mode: Mode) -> tuple[IDialect, IDialect]:
        """
        The same on both sides.
        """
        return dialect, dialect

    def plainLeg(self) -> MemoryLeg:
        """
        It begins in clear.
        """
        return UpgradedLeg(self.settle)


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


def casesOfBoth() -> Iterator[type[Rules]]:
    """
    Those of client roles where the server role has been before, so that nobody greets inside.

    Where it matters which case of that was before, C{behind} in a case says so.
    """
    servers: dict[str, type[Rules]] = {}
    for each in _described(ServerConformance):
        servers.setdefault(each.dialect.name, each)
    for each in _described(ClientConformance):
        dialect = each.dialect
        if dialect.opensChannels or dialect.earlyDial or not dialect.talks:
            continue
        greeting = dialect.client(usual(), Deadlines(Clock())).appGreeting()
        before = getattr(each, "behind", servers[dialect.name])
        # Nor does anybody answer a greeting, or go on from the answer.
        isAnswered = any(who == "A" for who, _ in each.inside)
        inside = [
            (who, text)
            for who, text in each.inside
            if who != "A" and (who, text) != ("T", greeting) and not (who == "T" and isAnswered)
        ]
        said = len(each.dialogue) + len(inside)
        variants = [(place, words) for place, words in each.variants if place < said]
        what = {"before": before.dialogue, "options": before.options}
        driver = type("BothDriver", (BothDriver,), what)
        given: dict[str, object] = {"driver": driver, "inside": inside, "__module__": __name__}
        given["variants"] = variants
        given["__doc__"] = each.__doc__
        name = f"Both{each.__module__.rpartition('_')[2].title()}{each.__name__}"
        yield type(name, (InBridge, each), given)


def _described(of: type[Rules]) -> Iterator[type[Rules]]:
    for each in of.__subclasses__():
        if issubclass(each, SynchronousTestCase) and each.__module__.startswith("tests.protocols."):
            yield each
        yield from _described(each)


CASES: tuple[Any, ...] = (*cases(ClientConformance), *cases(ServerConformance), *casesOfBoth())

for made in CASES:
    globals()[made.__name__] = made
del made


#: What cannot be told apart where both sides speak in clear.
OF_ONE_SIDE = "test_whatIsSaidInClearCanBeSeen"


def testSuite() -> TestSuite:
    """
    The rules alone: what else is tested of a dialect is so once.
    """
    suite = TestSuite()
    for case in CASES:
        role = ClientConformance if issubclass(case, ClientConformance) else ServerConformance
        for name in sorted(dir(role)):
            if name.startswith("test_") and not (
                name == OF_ONE_SIDE and issubclass(case.driver, BothDriver)
            ):
                suite.addTest(case(name))
    return suite
