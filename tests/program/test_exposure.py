"""
Tests for L{tlstunnel.program.exposure}: pools that others can change.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import SERVER, TunnelTests, wait
from tlstunnel.address import TCPAddress
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program.exposure import ofPool
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.servedname import ServedName

OTHER = Identity(None, "other.example.org")
LOOPBACK = TCPAddress("127.0.0.1", 1)


class ExposureTests(SynchronousTestCase):
    """
    What is said of the directories of a pool.
    """

    def setUp(self) -> None:
        """
        A pool as it is made.
        """
        self.path = Path(self.mktemp())
        for each in "", "trust", str(SERVER), str(OTHER):
            (self.path / each).mkdir(mode=0o755)
        local = remote = (LOOPBACK,)
        pool = Pool(self.path)
        self.tunnel = Tunnel(Mode.SERVER, local, remote, find("none"), localID=SERVER, pool=pool)

    def open(self, name: str, mode: int = 0o777) -> Path:
        """
        Let others write to one of its directories.
        """
        directory = self.path / name
        directory.chmod(mode)
        return directory

    def test_aPoolThatOthersCannotWriteToIsNotSpokenOf(self) -> None:
        """
        Whoever can read it, but for the keys.
        """
        self.assertEqual(list(ofPool(self.tunnel)), [])

    def test_eachDirectoryThatCountsIsNamed(self) -> None:
        """
        With what to do.
        """
        for name in "", "trust", str(SERVER):
            for mode in 0o777, 0o757, 0o775:
                directory = self.open(name, mode)
                (said,) = ofPool(self.tunnel)
                self.assertIn(f"others can write to {directory}, and so", said)
                self.assertIn(f"'chmod go-w {directory}'", said)
            directory.chmod(0o755)

    def test_severalAreNamedInOneSentence(self) -> None:
        """
        Of very many the first do.
        """
        for name in "", "trust", str(SERVER), str(OTHER):
            self.open(name)
        (said,) = ofPool(replace(self.tunnel, names=(ServedName(OTHER.domain),)))
        self.assertIn(f"{self.path}, {self.path / 'trust'}, {self.path / str(SERVER)} and 1", said)

    def test_thatOfAnotherIdentityDoesNotMatter(self) -> None:
        """
        Nor that of ours, where an agent has it.
        """
        self.open(str(OTHER))
        self.assertEqual(list(ofPool(self.tunnel)), [])
        self.open(str(SERVER))
        self.assertEqual(list(ofPool(replace(self.tunnel, agent=Path("/run/agent")))), [])

    def test_aPoolThatIsNotThereIsNotSpokenOf(self) -> None:
        """
        Who has anchors elsewhere needs none.
        """
        tunnel = replace(self.tunnel, pool=Pool(self.path / "none", asked=False), localID=None)
        self.assertEqual(list(ofPool(tunnel)), [])


class StartTests(TunnelTests):
    """
    A tunnel that starts.
    """

    async def test_aTunnelWarnsOfItOnce(self) -> None:
        """
        In one line, and goes on.
        """
        (self.pool.path / str(SERVER)).chmod(0o777)
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]
        self.tunnel("127.0.0.1:1")
        await wait(lambda: any(each.get("event") == "start" for each in events))
        (said,) = [each["notice"] for each in events if each.get("event") == "notice"]
        self.assertIn("others can write to", said)
