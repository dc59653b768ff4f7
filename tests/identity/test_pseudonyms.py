"""
Tests for L{tlstunnel.identity.pseudonyms}.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.identity.pools import PoolTestCase
from tlstunnel.identity import pseudonyms
from tlstunnel.identity.issuer import authorityOf, createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.pseudonyms import LIFETIME, issue, pseudonymOf, removeOld
from tlstunnel.identity.verify import verifyIdentity

FORUM = Identity.parse("forum.test")
NOW = datetime.now(UTC)


#: Finds a pseudonym and its certificate, once there is no more to read.
_PROGRAM = """
import sys
from pathlib import Path
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.pseudonyms import issue, pseudonymOf
pool = Pool(Path(sys.argv[1]))
sys.stdin.read()
found = pseudonymOf(pool, 61000, "example.test", Identity.parse("forum.test"))
issue(pool, found)
print(found, pool.credentials(found).certificates[0].issuer.rfc4514_string())
"""


class PseudonymTests(PoolTestCase):
    """What they are called, and their certificates."""

    def named(self, uid: int = 61000, remote: str = "forum.test") -> Identity:
        """A pseudonym."""
        return pseudonymOf(self.pool, uid, "example.test", Identity.parse(remote))

    def issued(self, now: datetime = NOW) -> Identity:
        """One with a certificate."""
        pseudonym = self.named()
        issue(self.pool, pseudonym, now)
        return pseudonym

    def file(self) -> Path:
        """Where that is."""
        return self.pool.pseudonymFile(self.named())

    def test_oneForEachUserAndRemoteDomain(self) -> None:
        """And always the same; whoever of a domain it is."""
        self.assertEqual(self.named(), self.named())
        self.assertEqual(self.named(), self.named(remote="john@forum.test"))
        others = {self.named(uid, remote) for uid in (1, 11) for remote in ("1.test", "a.test")}
        self.assertEqual(len({*others, self.named()}), 5)

    def test_itIsAnIdentityLikeOthers(self) -> None:
        """It can be written and read, and says nothing."""
        found = self.named()
        self.assertEqual(Identity.parse(str(found)), found)
        self.assertRegex(str(found), r"\A[a-z2-7]{26}@example\.test\Z")

    def test_anotherPoolHasOthers(self) -> None:
        """As each has a secret of its own."""
        other = Pool(Path(self.mktemp()))
        self.assertNotEqual(self.named(), pseudonymOf(other, 61000, "example.test", FORUM))

    def test_theSecretIsForUsAlone(self) -> None:
        """As is what it is in; one that others can read is refused."""
        self.named()
        secret = self.path / "pseudonyms" / "secret"
        self.assertEqual(stat.S_IMODE(secret.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(secret.parent.stat().st_mode), 0o700)
        secret.chmod(0o644)
        self.problem(self.named)

    def test_aSecretThatIsBrokenIsNotReplaced(self) -> None:
        """Else everybody would be somebody else, and nobody would notice."""
        self.named()
        secret = self.path / "pseudonyms" / "secret"
        before = secret.read_bytes()
        for content in (b"", before[:-1], before + b"\n"):
            secret.write_bytes(content)
            self.problem(self.named)
        secret.unlink()
        os.mkfifo(secret, 0o600)
        self.problem(self.named)
        secret.unlink()
        secret.mkdir(0o700)
        self.problem(self.named)

    def test_thePoolsOwnAuthorityVouchesForIt(self) -> None:
        """With a key that only we can read; the pool finds it as any other identity."""
        pseudonym = self.issued()
        self.assertEqual(stat.S_IMODE(self.file().stat().st_mode), 0o600)
        credentials = self.pool.credentials(pseudonym)
        leaf = credentials.certificates[0]
        verifyIdentity(leaf, pseudonym)
        leaf.verify_directly_issued_by(authorityOf(self.pool).certificate)
        self.assertEqual(self.pool.filesOf(pseudonym), (self.file(), self.file()))
        self.assertEqual(list(self.pool.identities()), [])

    def test_itIsKeptWhileItIsGood(self) -> None:
        """With its key."""
        self.issued()
        before = self.file().read_bytes()
        self.issued(NOW + LIFETIME / 2)
        self.assertEqual(self.file().read_bytes(), before)

    def test_nobodyWaitsForTheDisk(self) -> None:
        """A user can have many made, and nothing else is served meanwhile."""
        somebody = pseudonymOf(self.pool, 61000, "example.test", FORUM)
        issue(self.pool, somebody)
        self.patch(os, "fsync", lambda _: self.fail("it waits"))
        self.pool.pseudonymFile(somebody).write_bytes(b"")
        issue(self.pool, somebody)
        self.assertEqual(self.pool.credentials(somebody).identity, somebody)

    def test_itIsReplacedBeforeItEnds(self) -> None:
        """With another key; the name stays."""
        before = self.pool.credentials(self.issued())
        after = self.pool.credentials(self.issued(NOW + LIFETIME - timedelta(days=20)))
        self.assertNotEqual(before.key.public_key(), after.key.public_key())  # type: ignore[union-attr]  # it is in the file
        self.assertEqual(before.identity, after.identity)

    def test_itIsReplacedIfItCannotBeUsed(self) -> None:
        """Another authority, a clock that was wrong, a file that was cut."""

        def makeAnew(spoil: Callable[[], object]) -> None:
            self.issued()
            before = self.file().read_bytes()
            spoil()
            self.assertNotEqual(self.pool.credentials(self.issued()).source, "")
            self.assertNotEqual(self.file().read_bytes(), before)

        makeAnew(lambda: (self.path / "ca").rename(self.path / "old"))
        makeAnew(lambda: issue(self.pool, self.named(), NOW - timedelta(days=800)))
        makeAnew(lambda: self.file().write_bytes(self.file().read_bytes()[:300]))

    def test_itEndsWithItsAuthority(self) -> None:
        """And is not made again each time that it is wanted then."""
        end = authorityOf(self.pool).certificate.not_valid_after_utc
        self.issued(end - timedelta(days=5))
        before = self.file().read_bytes()
        self.issued(end - timedelta(days=4))
        self.assertEqual(self.file().read_bytes(), before)

    def test_anIdentityOfThatNameComesFirst(self) -> None:
        """What the administrator has made counts."""
        pseudonym = self.issued()
        made = createIdentity(self.pool, pseudonym)
        self.assertEqual(self.pool.credentials(pseudonym).certificates, made.certificates)
        self.assertFalse(self.pool.isPseudonym(pseudonym))

    def test_aDomainIsNoPseudonym(self) -> None:
        """Whatever files there are."""
        self.write("pseudonyms/example.test.pem", b"")
        self.problem(self.pool.credentials, Identity(None, "example.test"))

    def test_oldOnesAreRemoved(self) -> None:
        """Those that have expired, when another is made, and what was never finished."""
        self.issued()
        folder = self.path / "pseudonyms"
        ages = {"old@x.test.pem": 91, "new@x.test.pem": 89, ".new-a": 1, ".new-b": 0, "other": 500}
        for name, days in ages.items():
            self.write(f"pseudonyms/{name}", b"")
            then = time.time() - days * 86400
            os.utime(folder / name, (then, then))
        pseudonym = self.named(5)
        self.patch(pseudonyms, "REMOVED_EACH", 1)
        issue(self.pool, pseudonym)
        left = {each.name for each in folder.iterdir()}
        expected = {"new@x.test.pem", ".new-b", "other", "secret", f"{pseudonym}.pem"}
        self.assertEqual(left, {*expected, self.file().name})

    def test_thereAreNotMoreThanSomany(self) -> None:
        """The oldest go, some at a time, and whoever is just made stays."""
        self.patch(pseudonyms, "MOST_KEPT", 10)
        for number in range(30):
            self.write(f"pseudonyms/{number}@x.test.pem", b"")
            os.utime(self.path / f"pseudonyms/{number}@x.test.pem", (2e9 + number, 2e9 + number))
        removeOld(self.pool, "0@x.test.pem", 2e9 + 100)
        left = [each.name for each in (self.path / "pseudonyms").iterdir()]
        self.assertEqual(len(left), 10)
        self.assertIn("0@x.test.pem", left)
        self.assertIn("29@x.test.pem", left)

    def test_aPlaceThatCannotBeWrittenRefuses(self) -> None:
        """There is nobody to be then."""
        self.write("pseudonyms", b"")
        self.problem(self.named)

    def test_theNameOfAFileMayBeTooLong(self) -> None:
        """Then there is no such pseudonym."""
        domain = ".".join(["a" * 60] * 4)
        pseudonym = pseudonymOf(self.pool, 1, domain, FORUM)
        self.problem(issue, self.pool, pseudonym)


class ProcessesTests(SynchronousTestCase):
    """Several processes that begin at once."""

    def test_allHaveTheSameSecretAndAuthority(self) -> None:
        """Whoever is first; and each reads a key that fits its certificate."""
        path = Path(self.mktemp()).absolute()
        path.mkdir()
        ours, theirs = os.pipe()
        command = [sys.executable, "-c", _PROGRAM, str(path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        processes = [
            subprocess.Popen(command, stdin=ours, stdout=subprocess.PIPE, env=environment)
            for _ in range(4)
        ]
        os.close(ours)
        # All wait for this.
        os.close(theirs)
        found = {each.communicate(timeout=60)[0] for each in processes}
        self.assertEqual(len(found), 1, found)
        self.assertEqual([each.returncode for each in processes], [0] * 4)
        leftOver = [each.name for each in path.rglob(".new-*")]
        self.assertEqual(leftOver, [])
