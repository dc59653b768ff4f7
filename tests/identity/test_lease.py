"""
Tests for L{tlstunnel.identity.lease}: certificates from an agent, and agents that are none.
"""

from __future__ import annotations

import gc
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.issuers import CALLER, chainFor, intermediateIn, issuingBy, rootOf, someKey
from tlstunnel.errors import ConfigurationError, IdentityRefused
from tlstunnel.identity import lease as module
from tlstunnel.identity.leafrequest import Answer, Verdict, message
from tlstunnel.identity.lease import Leases, Refusal, Wanted, askNow, checkTime
from tlstunnel.identity.names import Identity

WWW = Identity.parse("www.example.org")
AGENT = Path("/run/agent.sock")


class LeaseTestCase(SynchronousTestCase):
    """
    A test with an issuer, which answers without a socket.
    """

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        self.issuing = issuingBy(intermediateIn(self.base))
        self.now = datetime.now(UTC).timestamp()
        self.asked = 0
        self.leases = Leases(self.ask, lambda: self.now)

    def ask(self, agent: Path, asked: bytes) -> bytes:
        """
        The answer to a question.
        """
        self.asked += 1
        return self.answer(asked[4:])

    def answer(self, content: bytes) -> bytes:
        """
        What an agent says to it.
        """
        now = datetime.fromtimestamp(self.now, UTC)
        return self.issuing.answer(content, CALLER, now).written()


class LeasesTests(LeaseTestCase):
    """
    Those of a process.
    """

    def test_tunnelsShareOne(self) -> None:
        """
        As long as anybody uses it: afterwards nothing is left of the key.
        """
        first = self.leases.find(AGENT, WWW)
        self.assertIs(self.leases.find(AGENT, WWW), first)
        self.assertIsNot(self.leases.find(Path("/other"), WWW), first)
        self.assertEqual(self.asked, 2)
        del first
        gc.collect()
        self.assertIsNone(self.leases.known(AGENT, WWW))

    def test_itEndsBeforeItsCertificateAndIsDueBefore(self) -> None:
        """
        At about half of its time, and not for all at the same moment.
        """
        several = [self.leases.find(Path(f"/{n}"), WWW) for n in range(20)]
        for each in several:
            end = each.certificates[0].not_valid_after_utc.timestamp()
            self.assertEqual(each.until, end - 1)
            part = (each.due - self.now) / (each.until - self.now)
            self.assertTrue(0.4 <= part <= 0.6, part)
        self.assertGreater(len({each.due for each in several}), 10)

    def test_whatHasEndedIsNotShown(self) -> None:
        """
        Though it stays the latest one.
        """
        lease = self.leases.find(AGENT, WWW)
        checkTime(None, self.now)
        checkTime(lease, lease.until - 1)
        error = self.assertRaises(IdentityRefused, checkTime, lease, lease.until)
        self.assertIn("our own certificate for www.example.org has ended", str(error))
        self.now = lease.until + 1
        self.assertIs(self.leases.find(AGENT, WWW), lease)

    def test_aBusyAgentIsAskedAgain(self) -> None:
        """
        For a while.
        """
        busy = [Answer(Verdict.BUSY, words="later").written()] * 3
        real, self.patchedSleep = self.answer, 0.0

        def sleep(seconds: float) -> None:
            self.now += seconds

        self.patch(time, "sleep", sleep)
        self.patch(self, "answer", lambda content: busy.pop() if busy else real(content))
        self.leases.find(AGENT, WWW)
        self.assertEqual(self.asked, 4)
        busy.extend([Answer(Verdict.BUSY, words="later").written()] * 999)
        other = Identity.parse("mail.example.org")
        error = self.assertRaises(ConfigurationError, self.leases.find, AGENT, other)
        self.assertIn("it says: later", str(error))

    def test_aSilentAgentIsWaitedForOnce(self) -> None:
        """
        And not by each of thousands of identities; later it is asked again.
        """

        def silent(agent: Path, asked: bytes) -> bytes:
            self.asked += 1
            self.now += 10
            raise Refusal("has not answered", "see its log")

        leases = Leases(silent, lambda: self.now)
        for _ in range(3):
            error = self.assertRaises(ConfigurationError, leases.find, AGENT, WWW)
            self.assertEqual(error.subject, "`agent` /run/agent.sock")
        self.assertEqual(self.asked, 1)
        self.now += 10
        self.assertRaises(ConfigurationError, leases.find, AGENT, WWW)
        self.assertEqual(self.asked, 2)

    def test_whatWasMissedAlreadyIsNotWaitedFor(self) -> None:
        """
        Once: who looks later asks again.
        """
        self.leases.miss(AGENT, WWW, Refusal("was away", "start it"))
        error = self.assertRaises(ConfigurationError, self.leases.find, AGENT, WWW)
        self.assertIn("gives no certificate for www.example.org: was away; start it", str(error))
        self.assertEqual(self.asked, 0)
        self.leases.find(AGENT, WWW)

    def test_whatIsToBeginYetIsAskedForAgain(self) -> None:
        """
        It was given when the clock was ahead, and peers do not believe it.
        """
        lease = self.leases.find(AGENT, WWW)
        self.now -= 299
        self.assertIs(self.leases.find(AGENT, WWW), lease)
        self.assertFalse(lease.isOverdue(self.now))
        self.now -= 3
        self.assertTrue(lease.isOverdue(self.now))
        self.issuing = issuingBy(intermediateIn(self.base / "before"))
        self.patch(type(self.issuing.intermediate), "start", datetime.min.replace(tzinfo=UTC))
        again = self.leases.find(AGENT, WWW)
        self.assertIsNot(again, lease)
        self.assertLess(again.until, lease.until)


class WantedTests(LeaseTestCase):
    """
    Answers that are not what was asked for.
    """

    def test_theyAreRefused(self) -> None:
        """
        For another name, for another key, for another time, or nothing.
        """
        key = someKey().public_key()
        issue, life = self.issuing.intermediate.issue, self.issuing.lifetime
        mail = Identity.parse("mail.example.org")
        wanted = Wanted(AGENT, WWW, self.now)
        now = datetime.fromtimestamp(self.now, UTC)
        ours = wanted._key.public_key()
        good = issue(WWW, ours, now, life)
        for answer, problem in (
            (b"", "is no agent of ours"),
            (b"+", "is no agent of ours"),
            (
                b"+-----BEGIN CERTIFICATE-----\nxxxx\n-----END CERTIFICATE-----",
                "is no agent of ours",
            ),
            (b"SSH-2.0-x\r\n", "is no agent of ours"),
            (b"-no\n\xff", "it says: no?\ufffd"),
            (Answer(Verdict.ISSUED, issue(WWW, key, now, life)), "another key"),
            (Answer(Verdict.ISSUED, issue(mail, ours, now, life)), "for somebody else"),
            (Answer(Verdict.ISSUED, issue(WWW, ours, now - 2 * life, life)), "not valid now"),
            (Answer(Verdict.ISSUED, self.issuing.intermediate.chain), "for somebody else"),
            (Answer(Verdict.ISSUED, (*good, rootOf(self.base), good[1])), "no chain"),
            (
                Answer(Verdict.ISSUED, (good[0], *chainFor(self.issuing.intermediate, "a.org"))),
                "no chain",
            ),
        ):
            content = answer if isinstance(answer, bytes) else answer.written()
            error = self.assertRaises(Refusal, wanted.take, content)
            self.assertIn(problem, str(error))
        self.assertEqual(wanted.take(Answer(Verdict.ISSUED, good).written()).identity, WWW)


class AskNowTests(SynchronousTestCase):
    """
    Waiting for an agent, over a socket.
    """

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        self.path = self.base / "agent"

    def listen(self, talk: Callable[[socket.socket], object]) -> None:
        """
        Somebody is there, who does that with the first that comes.
        """
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen()

        def serve() -> None:
            with listening, listening.accept()[0] as sock:
                talk(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)

    def test_theAnswerIsHeard(self) -> None:
        """
        However it comes.
        """

        def talk(sock: socket.socket) -> None:
            sock.recv(100)
            for byte in message(b"-no"):
                sock.sendall(bytes([byte]))

        self.listen(talk)
        self.assertEqual(askNow(self.path, message(b"?")), b"-no")

    def test_whyThereIsNoneIsSaid(self) -> None:
        """
        Within a bounded time, whoever is there.
        """
        self.patch(module, "ANSWER_SECONDS", 0.2)
        over = threading.Event()
        for problem, talk in (
            ("without an answer", lambda sock: sock.recv(100)),
            ("is no agent of ours", lambda sock: sock.sendall(b"\xff" * 9) or sock.recv(99)),
            ("has not answered within 0.2 s", lambda sock: over.wait(5)),
        ):
            self.listen(talk)
            error = self.assertRaises(Refusal, askNow, self.path, message(b"?"))
            self.assertIn(problem, str(error))
            self.path.unlink()
        over.set()
        error = self.assertRaises(Refusal, askNow, self.path, message(b"?"))
        self.assertIn("nothing answers there", str(error))
        self.assertIn("tlstunnel identity agent", error.remedy)
        error = self.assertRaises(Refusal, askNow, self.base / ("x" * 108), message(b"?"))
        self.assertIn("give a shorter one", error.remedy)

    def test_whoIsSentAwayWithoutBeingHeardIsTold(self) -> None:
        """
        What was said to him counts, not that he could say nothing.
        """
        self.listen(lambda sock: sock.sendall(message(b"~later")))
        real = module.connected

        def connected(agent: Path) -> socket.socket:
            sock = real(agent)
            self._cleanups.pop()[0]()  # it has closed
            return sock

        self.patch(module, "connected", connected)
        self.assertEqual(askNow(self.path, message(b"?" * 1000)), b"~later")

    def test_anAgentThatDoesNotAcceptIsBusy(self) -> None:
        """
        And nobody waits in its queue.
        """
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(str(self.path))
        listening.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(str(self.path))
        error = self.assertRaises(Refusal, askNow, self.path, message(b"?"))
        self.assertTrue(error.isBusy)
