"""
Tests for L{tlstunnel.poolservice.preparations} and L{tlstunnel.poolservice.trustwatch}: what is
kept, and when it is read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import CLIENT, SERVER
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.poolservice import preparations, trustwatch
from tlstunnel.poolservice.preparations import Preparations
from tlstunnel.poolservice.trustwatch import LOOK_SECONDS, SECONDS_EACH, TrustWatch
from tlstunnel.poolservice.wanted import Wanted
from tlstunnel.protocols.mysqlapp import keyFor
from tlstunnel.protocols.mysqlkey import PasswordKey
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.prepared import Prepared


class PreparationsTests(SynchronousTestCase):
    """
    L{Preparations}.
    """

    def setUp(self) -> None:
        """A pool, and a clock of our own."""
        self.pool = Pool(Path(self.mktemp()))
        for each in SERVER, CLIENT:
            createIdentity(self.pool, each)
        self.clock = Clock()
        self.preparations = Preparations(self.clock, self.pool, Limits())

    def client(self, uid: int = 1000, remote: str = "a.example.org", **fields: Any) -> Prepared:
        """What a client gets."""
        dialect = find(fields.pop("dialect", "none"))
        wanted = Wanted(True, dialect, remote=Identity.parse(remote), **fields)
        found = self.preparations.forClient(wanted, CLIENT, uid)
        assert isinstance(found, Prepared)
        return found

    def trust(self, remote: str) -> Path:
        """Let the pool's own authority alone decide about somebody."""
        file = self.pool.path / "trust" / f"{remote}.pem"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((self.pool.path / "ca" / "cert.pem").read_bytes())
        return file

    @property
    def kept(self) -> list[int]:
        """How many contexts each set has that is kept."""
        kept = self.preparations._kept.values()
        found = [each.contexts for each in kept]
        self.assertEqual(sum(found), self.preparations._contexts)
        return found

    def test_noKeyIsMadeForWhoeverAsks(self) -> None:
        """A program may name thousands of servers, and each has a key of its own for mysql."""
        begun: list[object] = []
        self.patch(PasswordKey, "prepare", begun.append)
        asked = [(uid, f"h{each}.example.org") for uid in (0, 1000, 1001) for each in range(5)]
        keys = {keyFor(self.client(*each, dialect="mysql").setting) for each in asked}
        self.assertEqual(len(keys), len(asked))
        self.assertEqual(begun, [])

    def test_whatWasUsedLongestAgoGoes(self) -> None:
        """Where there are too many sets; who comes back gets a new one."""
        self.patch(preparations, "SETS_KEPT", 3)
        first = self.client(0)
        for uid in 1, 2, 0, 3:
            self.client(uid)
        self.assertEqual(self.kept, [1, 1, 1])
        self.assertIs(self.client(0)._creators, first._creators)
        second = self.client(1)
        self.assertIs(self.client(1), second)

    def test_setsWithManyContextsCountForMore(self) -> None:
        """As each server about whom others decide has its own; the last set stays, whatever."""
        self.patch(preparations, "CONTEXTS_KEPT", 4)
        for number in range(6):
            self.trust(f"h{number}.example.org")
        for uid in 1, 2:
            for number in range(2):
                self.trust(f"h{number}.example.org").write_bytes(
                    self._authority(number).read_bytes()
                )
                self.client(uid, f"h{number}.example.org")
        self.assertEqual(self.kept, [2, 2])
        self.client(3)
        self.assertEqual(self.kept, [2, 1])
        for number in range(6):
            self.trust(f"h{number}.example.org").write_bytes(self._authority(number).read_bytes())
        self.clock.advance(2 * LOOK_SECONDS)
        for number in range(6):
            self.client(3, f"h{number}.example.org")
        self.assertEqual(self.kept, [6])

    def test_serversThatWereAskedForLongestAgoAreForgotten(self) -> None:
        """A program may name as many as it likes."""
        self.patch(preparations, "REMOTES_KEPT", 3)
        for number in range(5):
            self.client(remote=f"h{number}.example.org")
        (kept,) = self.preparations._kept.values()
        self.assertEqual([*map(str, kept.remotes)], [f"h{each}.example.org" for each in (2, 3, 4)])

    def _authority(self, number: int) -> Path:
        """One more of them."""
        other = Pool(self.pool.path.parent / f"other{number}")
        if not other.path.exists():
            createIdentity(other, SERVER)
        return other.path / "ca" / "cert.pem"

    def test_setsShareTheirAnchors(self) -> None:
        """Those of the system take a megabyte, and each user may have many sets."""
        stores = []
        for number in range(20):
            prepared = self.client(number % 3, alpn=(b"%d" % number,))
            for context in prepared._creators._contexts.values():
                store: Any = context.get_cert_store()
                stores.append(store._store)
        self.assertEqual(len(stores), 20)
        self.assertTrue(all(each == stores[0] for each in stores))

    def test_whatComesToNothingCountsToo(self) -> None:
        """Nobody fills the memory with what cannot be made."""
        self.patch(preparations, "SETS_KEPT", 3)
        self.trust("b.example.org").write_bytes(b"nonsense")
        for uid in range(10):
            self.client(uid)
            self.assertRaises(ConfigurationError, self.client, uid, "b.example.org")
        self.assertEqual(len(self.kept), 3)

    def test_serversCountByWhoTheyMayBe(self) -> None:
        """And not at all when they cannot be read."""
        wanted = Wanted(False, find("none"))
        self.preparations.forServer(wanted, (SERVER, CLIENT))
        self.assertEqual(self.kept, [2])
        (self.pool.path / str(SERVER) / "privkey.pem").write_bytes(b"nonsense")
        self.failureResultOf(self.preparations.forServer(wanted, (SERVER,)), ConfigurationError)
        self.assertEqual(self.kept, [2])

    def test_whateverGoesWrongNobodyWaitsForIt(self) -> None:
        """Also whoever has asked meanwhile; and the next one asks anew."""

        def steps(prepared: Prepared) -> Iterator[None]:
            yield
            yield
            raise ZeroDivisionError

        self.patch(Prepared, "steps", steps)
        wanted = Wanted(False, find("none"))
        waiting = [self.preparations.forServer(wanted, (SERVER,)) for _ in range(2)]
        self.clock.advance(0)
        for each in waiting:
            self.failureResultOf(each, ZeroDivisionError)
        self.assertEqual(self.kept, [])

    def test_anEditInPlaceCountsSoon(self) -> None:
        """Also among many files, and of one that nobody has needed yet."""
        for count in 1, 300:
            for number in range(count):
                self.trust(f"h{number}.example.org")
            before = self.client(remote="h0.example.org")
            seconds = max(LOOK_SECONDS, (count + 2) * SECONDS_EACH)
            with self.trust("h0.example.org").open("ab") as file:
                file.write(b"\n")
            self.assertIs(self.client(remote="h0.example.org"), before)
            self.clock.advance(seconds)
            self.assertIsNot(self.client(remote="h0.example.org"), before)

    def test_ourOwnCertificateCountsAtOnce(self) -> None:
        """It is looked at each time."""
        before = self.client()
        file = self.pool.path / str(CLIENT) / "fullchain.pem"
        file.write_bytes(file.read_bytes() + b"\n")
        self.assertIsNot(self.client(), before)


class TrustWatchTests(SynchronousTestCase):
    """
    L{TrustWatch}.
    """

    def setUp(self) -> None:
        """A pool with nothing in it."""
        self.path = Path(self.mktemp())
        (self.path / "trust").mkdir(parents=True)
        self.now = 0.0
        self.watch = TrustWatch(self.path, lambda: self.now)

    def isChanged(self, seconds: float = LOOK_SECONDS) -> bool:
        """Whether it sees a change after some time."""
        before = self.watch.edition
        self.now += seconds
        return self.watch.edition != before

    def write(self, name: str, content: str) -> None:
        """Change a file, at a time of its own: those of two tests may fall together."""
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        self.times = getattr(self, "times", 1_000_000_000) + 1
        os.utime(file, (self.times, self.times))

    def test_whateverChangesIsSeenOnce(self) -> None:
        """A file that comes, changes or goes, a list of what was revoked, our own authority."""
        for change in (
            lambda: self.write("trust/a.pem", "a"),
            lambda: self.write("trust/a.pem", "b"),
            lambda: self.write("trust/a.crl", "c"),
            lambda: self.write("ca/cert.pem", "d"),
            (self.path / "trust" / "a.pem").unlink,
            (self.path / "trust" / "a.crl").unlink,
            (self.path / "trust").rmdir,
        ):
            self.assertFalse(self.isChanged())
            change()
            self.assertTrue(self.isChanged())

    def test_manyFilesAreLookedAtLessOften(self) -> None:
        """In proportion, so that looking takes no time to speak of."""
        for number in range(1000):
            (self.path / "trust" / f"{number}.pem").write_text("")
        self.watch.edition  # noqa: B018 - that is a look
        self.write("trust/7.pem", "x")
        self.assertFalse(self.isChanged(LOOK_SECONDS))
        self.assertTrue(self.isChanged(1002 * SECONDS_EACH - LOOK_SECONDS))

    def test_beyondAllMeasureTheDirectoryIsLookedAt(self) -> None:
        """What comes and goes is seen there."""
        self.patch(trustwatch, "FILES_WATCHED", 2)
        for name in "abc":
            self.write(f"trust/{name}.pem", "x")
        self.assertFalse(self.isChanged())
        self.write("trust/a.pem", "y")
        self.assertFalse(self.isChanged())
        self.write("trust/d.pem", "y")
        self.assertTrue(self.isChanged())
