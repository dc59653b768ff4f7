"""
Tests for the parts of L{benchmarks} that can be run alone: what they pour, count, compare and keep.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import certificates, defaults, instructions, kept, report, scaling, tlsfloods
from benchmarks.contenders import CHECKOUT, Setup
from benchmarks.credentials import HOST, Credentials, create
from benchmarks.demands import demands
from benchmarks.figures import Results, title
from benchmarks.kept import Counted, changes
from benchmarks.peers import CONTENDERS
from benchmarks.tunnels import tunnelIn

_WRITTEN = """\
version: 1
positions: line
events: Ir
summary: 321

ob=(1) /opt/lib/_rust.abi3.so
fl=(1) handshake.c
fn=(1) handshake
12 100
+3 20
cob=(2) /lib/libpython3.11.so.1.0
cfn=(2) call
calls=7 40
* 200

ob=(2)
fn=(2)
40 200
ob=(3) /lib/python3.11/libc.so.6
fn=(3) memcpy
-2 1

totals: 350
"""


@contextmanager
def _program(*words: str) -> Iterator[int]:
    """@return: the port of a program of the benchmarks, with their OpenSSL."""
    environment = {**os.environ, "OPENSSL_CONF": str(CHECKOUT / "benchmarks" / "openssl.cnf")}
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


class CountingTests(SynchronousTestCase):
    """Instructions, as callgrind writes them down."""

    def test_callsAreNotCountedTwice(self) -> None:
        """What a call takes is said where it is made, too, and left out there."""
        found = instructions.parts(_WRITTEN)
        self.assertEqual(found[""], 321)
        self.assertEqual(
            [instructions.share(found, name) for name in ("_rust", "python", "libc")], [120, 200, 1]
        )

    def test_aFileWithoutASumIsRefused(self) -> None:
        """Nothing is counted then, instead of nothing being found to be cheap."""
        self.assertRaises(instructions.Uncountable, instructions.parts, "version: 1\n")

    def test_theTunnelIsStartedUnderCallgrind(self) -> None:
        """With its own words behind it, and nothing else changed."""
        directory = Path(self.mktemp())
        tunnel = tunnelIn(CHECKOUT, "tlstunnel")
        setup = Setup("server", 1, 2, Credentials(*[directory] * 6), directory)
        words = instructions.Callgrind(directory).over(tunnel).command(setup)
        place = words.index("valgrind")
        self.assertEqual(
            words[words.index(sys.executable) :][:4], [sys.executable, "-P", "-m", "tlstunnel"]
        )
        self.assertIn("PYTHONHASHSEED=0", words[:place])
        self.assertIn("--tool=callgrind", words[place:])


class KeptTests(SynchronousTestCase):
    """What was counted before, and what is counted now."""

    def counted(self, total: float, part: float, **versions: str) -> Counted:
        """A count of server mode."""
        counts = {"instructions": total, "instructions@python": part}
        return Counted({"Python": "3.11", **versions}, {"server": counts})

    def test_moreThanATwentiethIsWorse(self) -> None:
        """Of all that a connection takes, not of a part of it."""
        before = self.counted(1000.0, 100.0)
        for total, isWorse in ((1049.0, False), (1051.0, True), (500.0, False)):
            found = list(changes(before, self.counted(total, 300.0)))
            self.assertEqual([change.isWorse for change in found], [isWorse, False], total)
        table = "\n".join(kept.compared(before, self.counted(1051.0, 100.0)))
        self.assertIn("| 1,000 | 1,051 | 1.051 | **worse** |", table)

    def test_otherVersionsAreNamed(self) -> None:
        """They may be why."""
        table = "\n".join(
            kept.compared(self.counted(1.0, 1.0), self.counted(1.0, 1.0, Python="3.12", libc="2"))
        )
        self.assertIn("other versions: Python 3.11, now 3.12; libc unknown, now 2.", table)
        self.assertNotIn("other", "\n".join(kept.compared(*[self.counted(1.0, 1.0)] * 2)))

    def test_whatWasNotCountedStays(self) -> None:
        """The quick form counts less."""
        path = Path(self.mktemp())
        self.assertIs(Counted.read(path), None)
        Counted({}, {"server": {"instructions": 1.0}, "client": {"instructions": 2.0}}).write(path)
        Counted({"libc": "2"}, {"server": {"starttlsInstructions": 3.0}}).write(path)
        self.assertEqual(
            Counted.read(path),
            Counted(
                {"libc": "2"},
                {
                    "server": {"instructions": 1.0, "starttlsInstructions": 3.0},
                    "client": {"instructions": 2.0},
                },
            ),
        )

    def test_aRegressionIsAStatus(self) -> None:
        """Unless what is counted now is to be kept."""
        path = Path(self.mktemp())
        self.patch(kept, "versions", dict)
        results = Results()
        results.add("server", "tlstunnel", {"instructions": 110.0, "connection": 500.0})
        run = report.Run(results, {}, {}, "2026-01-01", 1.0, {})
        Counted({}, {"server": {"instructions": 100.0}}).write(path)
        with redirect_stdout(StringIO()):
            statuses = [kept.main(run, keep, path) for keep in (False, True, False)]
        self.assertEqual(statuses, [1, 0, 0])
        self.assertEqual(kept.main(None, False, path), 1)


class ScalingTests(SynchronousTestCase):
    """Several workers."""

    def test_theBusiestWorkerIsTheLimit(self) -> None:
        """Half a second of its time for a hundred connections: it can do two hundred a second."""
        found = scaling.figures(2, 100, 1.0, [0.5, 0.3])
        self.assertEqual(
            {name: round(value, 6) for name, value in found.items()},
            {"rate@2": 100.0, "capacity@2": 200.0, "busiest@2": 50.0, "shared@2": 8000.0},
        )

    def test_aLoadThatIsTooSlowIsNamed(self) -> None:
        """What a worker is busy with for half of the time is not all that it can do."""
        results = Results()
        for name, busy in (("tlstunnel", 50.0), ("nginx", 95.0)):
            for workers in (1, 2):
                figures = {f"capacity@{workers}": 100.0 * workers, f"busiest@{workers}": busy}
                results.add("server", name, figures)
        scaling.judge(results)
        (note,) = results.notes
        self.assertIn("tlstunnel with 1 (50 % busy), tlstunnel with 2 (50 % busy)", note)
        self.assertNotIn("nginx", note)
        value = results.value("server", "nginx", "scaling@2")
        assert value is not None
        self.assertEqual(value.median, 2.0)

    def test_threadsAreFoundWithTheirTimes(self) -> None:
        """Ours have used some."""
        times = scaling.threadTimes(os.getpid())
        self.assertGreater(times[os.getpid()], 0.0)

    def test_titlesCountWorkers(self) -> None:
        """One of them, or several; and idle connections as ever."""
        self.assertTrue(title("capacity@1").endswith(", 1 worker"))
        self.assertTrue(title("capacity@4").endswith(", 4 workers"))
        self.assertTrue(title("idle@1000").endswith(", 1,000 idle"))


class DefaultsTests(SynchronousTestCase):
    """Contenders as they come."""

    def test_whoReturnsGoesOnWithItsSession(self) -> None:
        """Where the server lets it; who is new does not."""
        credentials = create(Path(self.mktemp()).resolve())
        tls = ("--tls", str(credentials.chain), str(credentials.key), *defaults.RETURNING.backend)
        with _program("benchmarks.backend", *tls) as port:
            for client, expected in (
                (defaults.ReturningClient, [False, True, True]),
                (defaults.CurrentClient, [False, False, False]),
            ):
                context = ssl.create_default_context(cafile=str(credentials.ca))
                one = client(port, context)
                for _ in expected:
                    one.once()
                self.assertEqual(one.resumed, expected)

    def test_defaultsAreNotMadeEqual(self) -> None:
        """What is said elsewhere so that nobody resumes is not said here."""
        directory = Path(self.mktemp())
        setup = Setup("server", 1, 2, Credentials(*[directory] * 6), directory)
        peers = {each.name: each for each in CONTENDERS}
        words = ("sessionResume", "ssl_session", "cachesize", "tls-protos", "--resumption")
        for contender in defaults.DEFAULTS:
            said = []
            for each in (peers[contender.name], contender):
                directory.mkdir()
                said.append(" ".join(each.command(setup)))
                said[-1] += "".join(path.read_text() for path in directory.iterdir())
                shutil.rmtree(directory)
            self.assertEqual([word for word in words if word in said[1]], [], contender.name)
            if contender.name != "tlstunnel":
                self.assertTrue(any(word in said[0] for word in words), contender.name)

    def test_theClientsDefaultsAreJudged(self) -> None:
        """By those of stunnel."""
        results = Results()
        results.add("client", "tlstunnel", {"default": 111.0})
        results.add("client", "stunnel", {"default": 100.0})
        self.assertEqual(
            [(each.compared, each.most, each.reached) for each in demands(results)],
            [("stunnel", 1.10, False)],
        )


class FloodTests(SynchronousTestCase):
    """What TLS has to flood with."""

    def hostile(self, name: str) -> tuple[Credentials, Path, Path, tuple[str, ...]]:
        """@return: what a hostile server needs, and its command line."""
        directory = Path(self.mktemp()).resolve()
        credentials = create(directory)
        flood = tlsfloods.flood(name)
        speaking = tlsfloods.speaking(flood, "client", credentials, directory)
        tls = ("--tls", str(credentials.chain), str(credentials.key))
        words = (speaking.program, *speaking.backend, *tls)
        return credentials, directory / "flag", directory / "hostile.pem", words

    def heard(self, port: int, context: ssl.SSLContext) -> tuple[bytes, bytes]:
        """@return: what a server says until its answer, and its certificate."""
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        with context.wrap_socket(plain, server_hostname=HOST) as connection:
            certificate = connection.getpeercert(binary_form=True)
            assert certificate is not None
            connection.sendall(b"NOOP\r\n")
            heard = b""
            while not heard.endswith(b"200 ok\r\n"):
                data = connection.recv(1 << 16)
                self.assertTrue(data, heard[-100:])
                heard += data
        return heard, certificate

    def test_recordsThatNoLibraryWritesAreRead(self) -> None:
        """Empty ones and new keys are as good as others, and there is data behind them."""
        for name, count in (("empty records", 1_200), ("key updates", 1_800)):
            credentials, flag, _, words = self.hostile(name)
            context = ssl.create_default_context(cafile=str(credentials.ca))
            with _program(*words) as port:
                self.assertEqual(self.heard(port, context)[0], b"200 ok\r\n")
                flag.touch()
                self.assertEqual(self.heard(port, context)[0], b"x" * count + b"200 ok\r\n", name)

    def test_hostileCertificatesAreTrusted(self) -> None:
        """All of a chain or of the names has to be looked at: the authority is the right one."""
        for name, count in (("10,000 names", certificates.NAMES), ("a chain of 100", 1)):
            credentials, flag, pem, words = self.hostile(name)
            context = ssl.create_default_context(cafile=str(credentials.ca))
            with _program(*words) as port:
                self.assertEqual(self.heard(port, context)[0], b"200 ok\r\n")
                flag.touch()
                self.assertRaises(ssl.SSLCertVerificationError, self.heard, port, context)
                context.check_hostname = False
                found = x509.load_der_x509_certificate(self.heard(port, context)[1])
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            self.assertEqual(len(list(names.value)), count)
            shown = pem.read_text().count("BEGIN CERTIFICATE")
            self.assertEqual(shown, certificates.CHAIN if count == 1 else 1)

    def test_serversDemandCertificatesWhereTheyAreTheFlood(self) -> None:
        """And only there."""
        directory = Path(self.mktemp())
        credentials = create(directory)
        for flood in tlsfloods.TLS_FLOODS:
            speaking = tlsfloods.speaking(flood, "server", credentials, directory)
            self.assertEqual(speaking.demanding, bool(flood.chain), flood.name)
