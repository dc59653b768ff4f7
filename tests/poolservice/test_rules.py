"""
The rules hold for programs that are clients, as they do for tunnels: the dialogues and the refusals
of every client role, as its own tests have them, with a program that has no leg before TLS.

A program that is a server is served by L{tlstunnel.tunnel.serverpair}, as a backend is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.tunnel.test_negotiationrules import described
from tlstunnel.errors import PlaintextAfterStartTLS
from tlstunnel.identity.names import Identity
from tlstunnel.interfaces import IDialect
from tlstunnel.poolservice.stories import HandedClient, HandedServer
from tlstunnel.protocols.setting import Setting
from tlstunnel.testing.conformance import ClientConformance
from tlstunnel.testing.dialogues import crumbs, setting
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver, MemoryPrepared
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.serverpair import ServerPair


class HandedDriver(Driver):
    """
    Takes a role through the story of a connection that was handed over.

    @ivar isMet: whether the program has its leg.
    """

    pairs = {Mode.CLIENT: HandedClient, Mode.SERVER: HandedServer}
    isMet = False

    def preparedFor(
        self, dialect: IDialect, mode: Mode, setting: Setting, words: Sequence[Any]
    ) -> MemoryPrepared:
        """Whom a client expects is said with the request."""
        found = super().preparedFor(dialect, mode, setting, words)
        found.expected = setting.remoteID  # type: ignore[attr-defined]
        return found

    def accepted(self) -> MemoryLeg:
        """The network."""
        return self.network

    def dialled(self) -> MemoryLeg:
        """The program."""
        self.isMet = True
        return self.plain


def dialsEarly(case: type[ClientConformance]) -> bool:
    """
    Whether the program is met before TLS.
    """
    return case.dialect.dialsEarly(getattr(case, "options", ()))


class HandedClientRulesTests(SynchronousTestCase):
    """
    All dialects.
    """

    def setUp(self) -> None:
        """Find the cases; where the peer is learned, it is said here."""
        for path in sorted((Path(__file__).parents[1] / "protocols").glob("test_*.py")):
            import_module(f"tests.protocols.{path.stem}")
        self.cases = [each for each in described() if each.__module__.startswith("tests.protocols")]
        self.assertGreater(len({each.dialect.name for each in self.cases}), 12)

    def begun(self, case: type[ClientConformance]) -> HandedDriver:
        """A connection on which nothing was said."""
        known = setting(*getattr(case, "options", ()))
        if case.dialect.learnsPeer:
            known = replace(known, remoteID=Identity(None, "example.org"), explicit=True)
        return HandedDriver(case.dialect, "client", known)

    def play(self, driver: HandedDriver, said: Sequence[tuple[str, bytes]]) -> None:
        """Let it happen; what we say ourselves on the network is as in the tests of the dialect."""
        for who, text in said:
            if who == "C" and not driver.network.handshaken:
                self.assertTrue(driver.network.written)
                driver.network.written = b""
            else:
                driver.play([(who, text)])

    def clear(self, case: type[ClientConformance]) -> list[tuple[int, str, bytes]]:
        """What is said on the network before TLS, and what the program says and hears if it is."""
        early = dialsEarly(case)
        return [
            (at, who, text) for at, (who, text) in enumerate(case.dialogue) if who in "CS" or early
        ]

    def within(self, case: type[ClientConformance]) -> list[tuple[str, bytes]]:
        """The rest."""
        early = dialsEarly(case)
        before = [] if early else [each for each in case.dialogue if each[0] in "AT"]
        return [*before, *case.inside]

    def test_theProgramIsMetOnceTheServerIsVerifiedAndHearsWhatAnAppHears(self) -> None:
        """However what the server says is cut (rules 1, 2, 17)."""
        for case in self.cases:
            for isCut in (False, True):
                driver = self.begun(case)
                for _, who, text in self.clear(case):
                    if isCut and who == "S":
                        for piece in crumbs(text):
                            driver.network.feed(piece)
                    else:
                        self.play(driver, [(who, text)])
                self.assertEqual((driver.error, driver.stage), (None, "switched"), case)
                self.assertEqual(driver.isMet, dialsEarly(case), case)
                self.assertEqual(driver.plain.written, b"", case)
                driver.handshake()
                self.assertTrue(driver.isMet, case)
                for each in self.within(case):
                    driver.play([each])
                    driver.clock.advance(1.0)
                    driver.settle()
                self.assertEqual((driver.error, driver.stage), (None, "relay"), case)
                self.assertEqual((driver.plain.written, driver.network.written), (b"", b""), case)

    def test_aServerThatSaysNoIsLeftAlone(self) -> None:
        """With the reason that it has for tunnels, and the program is never met (rules 1, 2, 4)."""
        tried = 0
        for case in self.cases:
            clear = self.clear(case)
            places = [at for at, who, _ in clear if who == "S"]
            for place, answer, error in case.failures:
                if place not in places:
                    continue
                driver = self.begun(case)
                self.play(driver, [(who, text) for at, who, text in clear if at < place])
                driver.network.feed(answer)
                self.assertIsInstance(driver.error, error, (case, place, answer))
                self.assertEqual(driver.isMet, dialsEarly(case), (case, answer))
                self.assertEqual(driver.plain.written, b"", (case, answer))
                tried += 1
        self.assertGreater(tried, 50)

    def test_nothingMayFollowTheLastWordInClear(self) -> None:
        """In the same segment (rule 3)."""
        for case in self.cases:
            clear = self.clear(case)
            if clear[-1][1] != "S" or case.tlsMayFollow:
                continue
            driver = self.begun(case)
            self.play(driver, [(who, text) for _, who, text in clear[:-1]])
            driver.network.feed(clear[-1][2] + b"x")
            self.assertIsInstance(driver.error, PlaintextAfterStartTLS, case)
            self.assertEqual(driver.network.ending, "aborted", case)

    def test_aServerStoryIsThatOfTunnels(self) -> None:
        """Nothing of it is told anew."""
        self.assertIs(HandedServer.serve, ServerPair.serve)
