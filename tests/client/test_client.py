"""
Tests for L{tlstunnel.client}, against a pool that does what a script says.
"""

from __future__ import annotations

import array
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.client.scripted import OK, TOP, ClientTests, Control, sends
from tlstunnel import client
from tlstunnel.client import Plaintext, PoolError, asClient, asServer, hello


class RequestTests(ClientTests):
    """
    What the pool is asked.
    """

    def asked(self, give: Callable[[socket.socket], Plaintext]) -> list[str]:
        """
        The lines of a request.
        """
        heard = []

        def script(control: Control) -> None:
            heard.append(control.hears())
            control.says("error\nreason=config\ndetail=not today\n")

        self.pool(script)
        sock, _ = self.connection(None)
        self.assertRaises(PoolError, give, sock)
        self.assertTrue(heard[0].endswith("\n"))
        return heard[0].splitlines()

    def test_aClientSaysWhoMustBeThere(self) -> None:
        """
        And nothing of what it was not told.
        """
        self.assertEqual(
            self.asked(lambda sock: asClient(sock, "mail.example.org", path=self.path)),
            ["tls", "role=client", "remote=mail.example.org"],
        )

    def test_aServerSaysWhoItIs(self) -> None:
        """
        If it knows.
        """
        self.assertEqual(
            self.asked(lambda sock: asServer(sock, path=self.path)), ["tls", "role=server"]
        )

    def test_everyOptionIsALine(self) -> None:
        """
        Of clients and of servers.
        """
        options: Any = {
            "starttls": "smtp",
            "service": "submission",
            "alpn": ["h2", "http/1.1"],
            "minimum": "1.3",
            "plain": "tcp",
            "timeout": 2.5,
            "path": self.path,
        }
        shared = ["starttls=smtp", "service=submission", "minimum=1.3", "plain=tcp"]
        shared += ["alpn=h2,http/1.1", "timeout=3"]
        self.assertEqual(
            sorted(self.asked(lambda sock: asClient(sock, "a.test", local="-", **options))),
            sorted(["tls", "role=client", "remote=a.test", "local=-", *shared]),
        )
        self.assertEqual(
            sorted(
                self.asked(
                    lambda sock: asServer(
                        sock, "a.test", client="require", remote="@.b.test", **options
                    )
                )
            ),
            sorted(
                ["tls", "role=server", "local=a.test", "client=require", "remote=@.b.test", *shared]
            ),
        )

    def test_thePoolIsWhereTheEnvironmentSays(self) -> None:
        """
        Unless the program says otherwise.
        """
        self.patch(os, "environ", {**os.environ, client.VARIABLE: self.path})
        self.assertEqual(self.asked(asServer), ["tls", "role=server"])

    def test_noValueCanBeAnotherLine(self) -> None:
        """
        Whatever a program passes on that it got from anybody.
        """
        for value in "a.test\nlocal=root", "a\0", "a\x7f", "a\x85b", "a\u2028b", "\udc80":
            sock, _ = self.connection()
            self.assertRaises(ValueError, asClient, sock, value, path=self.path)
            self.assertEqual(sock.fileno(), -1)

    def test_misspeltOptionsAreErrors(self) -> None:
        """
        And not TLS without what they should have said.
        """
        sock, _ = self.connection()
        wrong: Any = {"startls": "smtp"}
        self.assertRaises(TypeError, asClient, sock, "a.test", path=self.path, **wrong)


class HandOverTests(ClientTests):
    """
    How a connection becomes plaintext.
    """

    def test_whatComesBackIsASocketWithIdentities(self) -> None:
        """
        That both sides can talk on, and be ended in both directions.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                self.assertEqual(plain.recv(8), b"question")
                plain.sendall(b"answer")
                self.assertEqual(plain.recv(8), b"")
                control.says("end\nreason=closed\n")

        plain = self.handOver(script)
        self.assertEqual(plain.proven.local, "alice@example.org")
        self.assertEqual(plain.proven.remote, "mail.example.org")
        self.assertEqual(plain.proven.name, "*.example.org")
        self.assertEqual(plain.proven.alpn, None)
        self.assertEqual(plain.verify(), plain.proven)
        plain.sendall(b"question")
        self.assertEqual(plain.recv(8), b"answer")
        plain.shutdown(socket.SHUT_WR)
        self.assertEqual(plain.recv(8), b"")
        self.assertEqual(plain.howEnded(), "closed")

    def test_thePoolAloneHasTheConnection(self) -> None:
        """
        Also where the program has made files of it.
        """

        def script(control: Control) -> None:
            with control.accepts():
                control.handed.sendall(b"hello")
                control.handed.shutdown(socket.SHUT_RDWR)

        self.pool(script)
        sock, peer = self.connection()
        reader, writer = sock.makefile("rb"), sock.makefile("wb")
        plain = asClient(sock, "mail.example.org", path=self.path)
        self.assertEqual((peer.recv(9), peer.recv(9)), (b"hello", b""))
        self.assertRaises(OSError, reader.read)
        plain.close()
        reader.close()
        writer.close()

    def test_theTimeoutIsThatOfTheConnection(self) -> None:
        """
        So are sockets that do not wait at all.
        """
        for timeout in None, 0.0, 7.5:

            def script(control: Control) -> None:
                control.accepts().close()

            with self.handOver(script, socketTimeout=timeout) as plain:
                self.assertEqual(plain.gettimeout(), timeout)
                self.assertFalse(os.get_inheritable(plain.fileno()))

    def test_aRefusalHasAReasonAndADetail(self) -> None:
        """
        And is an C{OSError}, which programs expect of a connection.
        """

        def script(control: Control) -> None:
            control.hears()
            control.says("error\nreason=identity\ndetail=it is = somebody else\n")

        error = self.refusal(script)
        self.assertEqual((error.reason, error.detail), ("identity", "it is = somebody else"))
        self.assertEqual(str(error), "identity: it is = somebody else")
        self.assertIsInstance(error, OSError)
        self.assertEqual(self.peer.recv(1), b"")

    def test_aRefusalBeforeTheRequestIsHeard(self) -> None:
        """
        There is a pool that wants no more connections, and does not read what this one has to say.
        """

        def script(control: Control) -> None:
            control.says("error\nreason=limit\ndetail=there are too many\n")

        for _ in range(20):
            self.assertEqual(self.refusal(script).reason, "limit")

    def test_nonsenseIsAnError(self) -> None:
        """
        All descriptors that come with it are closed.
        """

        def sendsAFile(control: Control) -> None:
            control.hears()
            with Path("/dev/null").open("rb") as file:
                rights = array.array("i", [file.fileno()])
                control.sock.sendmsg(
                    [OK.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                )

        for text, count in (
            (OK, 0),
            (OK, 2),
            (OK, 30),
            (b"ok\n" + b"a" * 70000, 1),
            ("what\n", 1),
            ("=\n", 1),
            (b"\xff\xfe\n", 1),
            ("error", 1),
        ):
            self.assertEqual(self.refusal(sends(text, count)).reason, "malformed", text[:40])
        self.assertRaises(OSError, self.handOver, sendsAFile)

    def test_aPoolThatGoesAwayIsAnError(self) -> None:
        """
        At whatever step.
        """

        def atOnce(control: Control) -> None:
            pass

        def later(control: Control) -> None:
            control.hears()

        for script in atOnce, later:
            self.assertEqual(self.refusal(script).reason, "gone")

    def test_aPoolThatIsNotThereIsAnError(self) -> None:
        """
        The connection is closed, too.
        """
        sock, peer = self.connection()
        error = self.assertRaises(PoolError, asClient, sock, "a.test", path="/nonexistent/pool")
        self.assertEqual(error.reason, "gone")
        self.assertEqual(
            error.detail,
            "no pool at /nonexistent/pool: No such file or directory; start it, or say where it is "
            "by TLSTUNNEL_POOL",
        )
        self.assertEqual(peer.recv(1), b"")

    def test_aPoolThatDoesNotAnswerIsAnError(self) -> None:
        """
        After the timeout that is said, or else that of the socket.
        """

        def script(control: Control) -> None:
            control.hears()
            # The end comes when the client has lost its patience.
            self.assertEqual(control.sock.recv(1), b"")

        for options in {"timeout": 0.05}, {"socketTimeout": 0.05}:
            error = self.refusal(script, **options)
            self.assertEqual(error.reason, "timeout")
            # Who keeps us waiting cannot be known here.
            self.assertIn("the pool, or the other end,", error.detail)

    def test_aPoolThatDoesNotAcceptIsAnError(self) -> None:
        """
        Its backlog is full.
        """
        self.listening.listen(0)
        waiting = []
        while True:
            each = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            waiting.append(each)
            each.setblocking(False)
            if each.connect_ex(self.path):
                break
        self.assertEqual(self.refusal(timeout=0.1).reason, "timeout")
        for each in waiting:
            each.close()

    def test_signalsDoNotDisturb(self) -> None:
        """
        One that comes in the middle of waiting.
        """

        def script(control: Control) -> None:
            time.sleep(0.2)
            control.accepts().close()

        caught: list[int] = []
        former = signal.signal(signal.SIGALRM, lambda number, _: caught.append(number))
        self.addCleanup(signal.signal, signal.SIGALRM, former)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        self.handOver(script).close()
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertGreater(len(caught), 2)

    def test_whatIsForgottenIsClosed(self) -> None:
        """
        By the garbage collector, with what belongs to it; as of any socket there is a warning.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                self.assertEqual(plain.recv(1), b"")
                self.assertEqual(control.sock.recv(1), b"")

        self.pool(script)
        sock, _ = self.connection()
        plain = asClient(sock, "mail.example.org", path=self.path)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            del plain
            gc.collect()
        self.assertEqual({each.category for each in warned}, {ResourceWarning})

    @given(st.binary(max_size=200), st.integers(0, 2))
    def test_whateverThePoolSays(self, said: bytes, count: int) -> None:
        """
        It is plaintext, or an error of the one kind.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            control = Control(theirs)
            control.says(said or b"ok", *(socket.socket() for _ in range(count)))
            control.close()
            message = client._receive(ours, None)
            try:
                client._plaintext(message).close()
            except PoolError:
                pass
        self.assertEqual(message.descriptors, [])


class QuestionTests(ClientTests):
    """
    What can be asked on.
    """

    def test_theMaterialOfAnExporter(self) -> None:
        """
        With a context, with an empty one, and without.
        """

        def script(control: Control) -> None:
            with control.accepts():
                for context in ("context=0aff\n", "context=\n", ""):
                    self.assertEqual(
                        control.hears(), f"export\nlabel=EXPORTER-Test\n{context}length=4\n"
                    )
                    control.says("ok\nmaterial=00ff0102\n")

        with self.handOver(script) as plain:
            for context in (b"\n\xff", b"", None):
                self.assertEqual(plain.export("EXPORTER-Test", 4, context), b"\0\xff\1\2")

    def test_theCertificate(self) -> None:
        """
        Also where the end has come in between.
        """
        pem = "-----BEGIN CERTIFICATE-----\n\nAAAA\n-----END CERTIFICATE-----\n"

        def script(control: Control) -> None:
            with control.accepts():
                control.says("end\nreason=closed\n")
                self.assertEqual(control.hears(), "certificate\n")
                control.says(f"ok\n\n{pem}")

        with self.handOver(script) as plain:
            self.assertEqual(plain.certificate(), pem)
            self.assertEqual(plain.howEnded(), "closed")

    def test_whatThePoolDoesNotAnswer(self) -> None:
        """
        It refuses, it goes away, or the connection is closed.
        """

        def script(control: Control) -> None:
            with control.accepts():
                control.hears()
                control.says("error\nreason=syntax\ndetail=no such label\n")

        plain = self.handOver(script)
        for reason in "syntax", "gone", "gone":
            error = self.assertRaises(PoolError, plain.export, "x")
            self.assertEqual(error.reason, reason)
        plain.close()
        error = self.assertRaises(PoolError, plain.certificate)
        self.assertEqual(error.reason, "gone")

    def test_whoThePoolIs(self) -> None:
        """
        And where there is none.
        """

        def script(control: Control) -> None:
            self.assertEqual(control.hears(), "hello\n")
            control.says("ok\nserver=tlstunnel 1\nverbs=tls export\n")

        self.pool(script)
        self.assertEqual(hello(self.path), {"server": "tlstunnel 1", "verbs": "tls export"})
        self.assertRaises(PoolError, hello, "/nonexistent")


class CopyTests(SynchronousTestCase):
    """
    The module is for everybody.
    """

    def test_itNeedsNothingElse(self) -> None:
        """
        A copy works alone.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        shutil.copy(TOP / "tlstunnel" / "client" / "__init__.py", directory / "pool.py")
        program = "import pool, sys; print({'twisted', 'tlstunnel', 'ssl'} & set(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {program}"],
            cwd=directory,
            capture_output=True,
            check=True,
        )
        self.assertEqual(done.stdout, b"set()\n")
