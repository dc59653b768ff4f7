"""
The rules up to the switch hold where TLS is for others to speak: the dialogues and the refusals of
every client role, as its own tests have them, with an app that begins with TLS.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import PlaintextAfterStartTLS
from tlstunnel.testing.conformance import ClientConformance
from tlstunnel.testing.dialogues import CLIENT_HELLO, crumbs, setting
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.modes import NEGOTIATIONS

SERVER_HELLO = bytes.fromhex("160303000a020000060303")


class NegotiationDriver(Driver):
    """
    Takes a client role to the switch, at which it steps aside.
    """

    pairs = NEGOTIATIONS


def described(of: type[ClientConformance] = ClientConformance) -> Iterator[type[ClientConformance]]:
    """
    The cases of all dialects that say anything before TLS.
    """
    for each in of.__subclasses__():
        isCase = issubclass(each, SynchronousTestCase) and each.__module__.startswith("tests.")
        if isCase and each.dialect.talks and each.dialogue:
            yield each
        yield from described(each)


class NegotiationRulesTests(SynchronousTestCase):
    """
    All of them.
    """

    def setUp(self) -> None:
        """
        Find the cases.
        """
        for path in sorted((Path(__file__).parents[1] / "protocols").glob("test_*.py")):
            import_module(f"tests.protocols.{path.stem}")
        self.cases = [each for each in described() if each.__module__.startswith("tests.protocols")]
        self.assertGreater(len({each.dialect.name for each in self.cases}), 12)

    def begun(self, case: type[ClientConformance]) -> Driver:
        """
        A connection on which the app has said its hello, and the server nothing.
        """
        options = getattr(case, "options", ())
        driver = NegotiationDriver(case.dialect, "client", setting(*options))
        driver.plain.feed(CLIENT_HELLO)
        return driver

    def heard(self, case: type[ClientConformance]) -> list[tuple[int, bytes]]:
        """
        What the server says in clear, and where.
        """
        return [(at, text) for at, (who, text) in enumerate(case.dialogue) if who == "S"]

    def test_theHelloGoesOutBehindTheLastWordAndNotBefore(self) -> None:
        """
        However that is cut, and nothing that was said in clear reaches the app (rules 1, 2, 17).
        """
        for case in self.cases:
            for isCut in (False, True):
                driver = self.begun(case)
                for _, text in self.heard(case):
                    self.assertNotIn(CLIENT_HELLO, driver.network.written, case)
                    for piece in crumbs(text) if isCut else (text,):
                        driver.network.feed(piece)
                self.assertIsNone(driver.error, (case, driver.error))
                self.assertTrue(driver.network.written.endswith(CLIENT_HELLO), case)
                driver.network.feed(SERVER_HELLO)
                self.assertEqual(driver.plain.written, SERVER_HELLO, case)
                self.assertFalse(driver.network.isTLS)

    def test_aServerThatSaysNoIsLeftAlone(self) -> None:
        """
        With the reason that it has elsewhere; the app hears nothing, and nothing of it is sent
        (rules 1, 2, 4).
        """
        for case in self.cases:
            places = dict(self.heard(case))
            for place, answer, error in case.failures:
                if place not in places:
                    continue
                driver = self.begun(case)
                for at, text in self.heard(case):
                    if at < place:
                        driver.network.feed(text)
                driver.network.feed(answer)
                self.assertIsInstance(driver.error, error, (case, place, answer))
                self.assertEqual(driver.plain.written, b"", (case, answer))
                self.assertNotIn(CLIENT_HELLO, driver.network.written, (case, answer))

    def test_nothingMayFollowTheLastWord(self) -> None:
        """
        Behind it in the same segment, or in the place of a ServerHello (rule 3).
        """
        for case in self.cases:
            *before, (_, last) = self.heard(case)
            for pieces in ((last + b"x",), (last, b"x")):
                driver = self.begun(case)
                for _, text in before:
                    driver.network.feed(text)
                for piece in pieces:
                    driver.network.feed(piece)
                self.assertIsInstance(driver.error, PlaintextAfterStartTLS, (case, pieces))
                self.assertEqual(driver.plain.written, b"", case)
                self.assertEqual(driver.network.ending, "aborted", case)
