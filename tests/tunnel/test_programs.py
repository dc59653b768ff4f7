"""
Tests for tunnels whose backend is a program: what it gets, what it sees of each way to end, and
what becomes of it.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from errno import EMFILE, EPERM
from functools import partial
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessValue
from twisted.logger import LogEvent, globalLogPublisher

from tests.loopback import (
    CLIENT,
    PATIENCE,
    SERVER,
    Encrypted,
    Reset,
    TunnelTests,
    smtpClient,
    wait,
    waitFor,
)
from tlstunnel.address import ExecAddress
from tlstunnel.identity.names import Selector
from tlstunnel.net import child as children
from tlstunnel.net import launch
from tlstunnel.program.service import TunnelService
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.execution import Execution
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.servedname import ServedName

#: As ourselves, also where that is root.
OURSELVES = "root" if os.geteuid() == 0 else ""

MIB = 1 << 20

#: Descriptors with which a program can be started for certain.
MORE_THAN_NEEDED = 14

# The signals 32 and 33.
_OF_LIBRARY = 3 << 31


def shell(script: str) -> ExecAddress:
    """
    A script as a program.
    """
    return ExecAddress(("/bin/sh", "-c", script))


def isThere(pid: int) -> bool:
    """
    Whether a process is there, a zombie or not.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class ProgramTests(TunnelTests):
    """
    A client, a tunnel, and a program.

    @ivar complaints: what programs said on standard error.
    @ivar service: the tunnel.
    """

    service: TunnelService

    def setUp(self) -> None:
        """
        Listen to what programs complain of.
        """
        super().setUp()
        self.complaints: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "program":
                self.complaints.append(event["line"])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def described(self, backend: str, dialect: str = "none", **settings: Any) -> Tunnel:
        """
        The remote is given as it is.
        """
        settings.setdefault("execution", Execution(OURSELVES))
        settings["limits"] = settings.get("limits", Limits(close=5.0))
        return Tunnel(
            **{
                "mode": self.mode,
                "local": settings.pop("local", super().described("127.0.0.1:1").local),
                "dialect": find(dialect),
                "localID": SERVER,
                "pool": self.pool,
                **settings,
            }
        )

    def connect(
        self, service: TunnelService, preamble: Any = None, identity: Any = None
    ) -> Encrypted:
        """
        A client whose handshake is complete.
        """
        host, port = service.addresses[0].rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), PATIENCE)
        context = self.context(True)
        if identity is not None:
            directory = self.pool.path / str(identity)
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
        network = Encrypted(sock, context, True, SERVER.domain.encode())
        if preamble is not None:
            preamble(sock)
        network.handshake()
        return network

    async def served(
        self,
        program: ExecAddress | str,
        script: Callable[[Encrypted], Any],
        dialect: str = "none",
        preamble: Any = None,
        identity: Any = None,
        **settings: Any,
    ) -> Any:
        """
        Run C{script} in a thread, with a client of a tunnel to C{program}.
        """
        remote = program if isinstance(program, ExecAddress) else shell(program)
        self.service = self.tunnel("", dialect, remote=(remote,), **settings)

        def run() -> Any:
            network = self.connect(self.service, preamble, identity)
            try:
                return script(network)
            finally:
                network.sock.close()

        return await deferToThread(run)

    async def ended(self, outcome: str = "clean") -> LogEvent:
        """
        Wait for the line of the connection.
        """
        await wait(lambda: bool(self.ends))
        self.assertEqual([each["outcome"] for each in self.ends], [outcome], self.ends)
        return self.ends[0]


def rest(network: Encrypted) -> bytes | type[Reset]:
    """
    All that comes before a clean end.
    """
    return network.read(64 * MIB)


def ask(words: bytes = b"") -> Callable[[Encrypted], bytes | type[Reset]]:
    """
    A client that says C{words} and its end, and listens to the end.
    """

    def script(network: Encrypted) -> bytes | type[Reset]:
        if words:
            network.write(words)
        network.end()
        return rest(network)

    return script


class ServingTests(ProgramTests):
    """
    What goes well.
    """

    async def test_aProgramHasThePlaintextOnItsStandardInputAndOutput(self) -> None:
        """
        And the log has its name, and that it ended.
        """
        said = await self.served(ExecAddress(("cat",)), ask(b"hello\n"))
        self.assertEqual(said, b"hello\n")
        event = await self.ended()
        self.assertEqual(event["backend"], "exec:cat")
        self.assertIsNone(event["detail"])

    async def test_muchPassesBothWaysAtOnce(self) -> None:
        """
        More than any buffer holds.
        """
        data = bytes(range(256)) * (8 * MIB // 256)

        def script(network: Encrypted) -> bytes:
            got = b""
            for at in range(0, len(data), 65536):
                network.write(data[at : at + 65536])
                more = network.read(65536)
                assert isinstance(more, bytes)
                got += more
            network.end()
            more = rest(network)
            assert isinstance(more, bytes)
            return got + more

        self.assertEqual(await self.served(ExecAddress(("cat",)), script), data)
        await self.ended()

    async def test_whatTheClientEndsFlowsOn(self) -> None:
        """
        A program sees the end of its input, and its output goes on until it ends that.
        """
        said = await self.served("cat >/dev/null; sleep 0.3; echo later", ask(b"x" * 1000))
        self.assertEqual(said, b"later\n")
        await self.ended()

    async def test_whatTheProgramEndsFlowsOn(self) -> None:
        """
        A program that closes its output hears the client to its end.
        """
        path = self.mktemp()
        script = f"exec 3<&0; echo bye; exec >&-; exec 0<&3; cat >{Path(path).absolute()}"

        def client(network: Encrypted) -> Any:
            network.write(b"first ")
            said = network.read(4)
            network.write(b"second")
            network.end()
            return said, rest(network)

        self.assertEqual(await self.served(script, client), (b"bye\n", b""))
        await self.ended()
        self.assertEqual(Path(path).read_bytes(), b"first second")

    async def test_aProgramNeedNotReadAll(self) -> None:
        """
        What one has said that ended by itself is whole, whatever it was told besides.
        """
        data = b"x" * (4 * MIB)

        def client(network: Encrypted) -> Any:
            try:
                network.write(data)
            except OSError:
                pass
            return rest(network)

        said = await self.served("head -c 3; echo; sleep 0.2; exit 0", client)
        self.assertEqual(said, b"xxx\n")
        await self.ended()

    async def test_aStatusIsInTheLog(self) -> None:
        """
        It is no error of the connection.
        """
        self.assertEqual(await self.served("echo no; exit 3", ask()), b"no\n")
        event = await self.ended()
        self.assertEqual(event["detail"], "closed (the program ended with status 3)")

    async def test_whatItComplainsOfIsInTheLog(self) -> None:
        """
        What cannot be printed is escaped there.
        """
        await self.served(r"printf 'one\ntwo\033[1m\n' >&2; printf rest >&2", ask())
        await self.ended()
        self.assertEqual(self.complaints, ["one", r'"two\x1b[1m"', "rest"])

    async def test_whoComplainsMuchDoesNotFillTheLog(self) -> None:
        """
        And does not wait for anybody.
        """
        said = await self.served("yes 0123456789 | head -c 1000000 >&2; echo ok", ask())
        self.assertEqual(said, b"ok\n")
        await self.ended()
        self.assertEqual(len(self.complaints), 51)
        self.assertIn("(lines that are not told: ", self.complaints[-1])

    async def test_aProgramGreetsBehindStartTLS(self) -> None:
        """
        As any other backend of the protocol.
        """
        script = (
            r"printf '220 mx ESMTP\r\n'; read x; printf '250 mx\r\n'; read x;"
            r"printf '221 %s\r\n' $x"
        )

        def client(network: Encrypted) -> Any:
            network.write(b"EHLO me\r\n")
            said = readLineOf(network)
            network.write(b"QUIT\r\n")
            network.end()
            return said, rest(network)

        said = await self.served(script, client, "smtp", smtpClient)
        self.assertEqual(said[0], b"250 mx\r\n")
        self.assertTrue(said[1].startswith(b"221 QUIT"), said)
        await self.ended()

    async def test_aNameHasAProgramOfItsOwn(self) -> None:
        """
        Others have that of the tunnel.
        """
        name = ServedName(SERVER.domain, remote=(shell("echo own"),))
        self.assertEqual(await self.served("echo all", ask(), names=(name,)), b"own\n")
        event = await self.ended()
        self.assertEqual(event["backend"], "exec:/bin/sh -c 'echo own'")
        factory = self.service.factory
        assert factory is not None
        self.assertEqual(
            {str(each.address): each.connections for each in factory.backends},
            {"exec:/bin/sh -c 'echo own'": 1, "exec:/bin/sh -c 'echo all'": 0},
        )

    async def test_nothingIsLeftOfThem(self) -> None:
        """
        No descriptor, whatever their end was.
        """
        self.service = self.tunnel("", remote=(shell("echo x >&2; read x; exit $x"),))

        def client(number: int) -> None:
            network = self.connect(self.service)
            if number % 3:
                network.write(b"%d\n" % (number % 2))
                rest(network)
            elif number % 2:
                network.truncate()
            else:
                network.reset()
            network.sock.close()

        await deferToThread(client, 1)
        await wait(lambda: len(self.ends) == 1)
        before = len([*Path("/proc/self/fd").iterdir()])
        for number in range(40):
            await deferToThread(client, number)
        await wait(lambda: len(self.ends) == 41)
        factory = self.service.factory
        assert factory is not None
        await wait(lambda: not len(factory.linger) and not len(factory.unixLegs.hold))
        self.assertLessEqual(len([*Path("/proc/self/fd").iterdir()]), before)
        self.assertEqual(factory.backends[0].open, 0)


class InheritanceTests(ProgramTests):
    """
    What a program has of us.
    """

    async def test_nothingButWhatItShouldHave(self) -> None:
        """
        Three descriptors, no signal ignored or blocked, a session of its own, and the root
        directory.
        """
        before = signal.getsignal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        inherited = os.open(os.devnull, os.O_RDONLY)
        os.set_inheritable(inherited, True)
        self.addCleanup(os.close, inherited)
        script = (
            "ls /proc/$$/fd | tr '\\n' ' '; pwd; grep -E 'SigIgn|SigBlk' /proc/self/status;"
            "ps -o pid=,pgid=,sid= -p $$; ulimit -n"
        )
        said = await self.served(script, ask())
        descriptors, blocked, ignored, numbers, files = said.decode().splitlines()
        self.assertTrue(descriptors.startswith("0 1 2 "), descriptors)
        self.assertNotIn(f" {inherited} ", descriptors)
        self.assertTrue(descriptors.endswith("/"), descriptors)
        self.assertEqual(int(blocked.split()[1], 16), 0)
        # The C library keeps two for itself, which nobody can set (nptl(7)).
        self.assertEqual(int(ignored.split()[1], 16) & ~_OF_LIBRARY, 0)
        self.assertEqual(len(set(numbers.split())), 1, numbers)
        self.assertLessEqual(int(files), launch.USUAL_DESCRIPTORS)
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)

    async def test_theEnvironmentHasWhoIsThere(self) -> None:
        """
        And nothing else.
        """
        os.environ["OURS"] = "secret"
        self.addCleanup(os.environ.pop, "OURS")
        said = await self.served(
            ExecAddress(("env",)), ask(), identity=CLIENT, remoteID=Selector.parse("@example.org")
        )
        found = dict(line.split("=", 1) for line in said.decode().splitlines())
        port = found["REMOTE_PORT"]
        self.assertEqual(found.pop("TCPLOCALPORT"), found.pop("SSLLOCALPORT"))
        issuer = found.pop("SSL_CLIENT_I_DN")
        self.assertTrue(issuer.startswith("CN=tlstunnel pool CA "), issuer)
        subject = found.pop("SSL_CLIENT_S_DN")
        self.assertEqual(subject, found.pop("SSL_CLIENT_DN"))
        self.assertEqual(
            found,
            {
                "PATH": os.environ["PATH"],
                "PROTO": "SSL",
                "REMOTE_HOST": "127.0.0.1",
                "REMOTE_PORT": port,
                "REMOTE_USER": str(CLIENT),
                "SSLLOCALIP": "127.0.0.1",
                "SSLREMOTEIP": "127.0.0.1",
                "SSLREMOTEPORT": port,
                "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
                "SSL_PROTOCOL": "TLSv1.3",
                "SSL_TLS_SNI_SERVERNAME": SERVER.domain,
                "TCPLOCALIP": "127.0.0.1",
                "TCPREMOTEIP": "127.0.0.1",
                "TCPREMOTEPORT": port,
                "TLS_CIPHER": "TLS_AES_256_GCM_SHA384",
                "TLS_IDENTITY": str(CLIENT),
                "TLS_SNI": SERVER.domain,
                "TLS_VERSION": "TLSv1.3",
            },
        )

    async def test_whoHasProvedNothingHasNoName(self) -> None:
        """
        Where anybody may come, a certificate means nothing.
        """
        said = await self.served(ExecAddress(("env",)), ask(), identity=CLIENT)
        for name in (b"REMOTE_USER", b"TLS_IDENTITY", b"SSL_CLIENT"):
            self.assertNotIn(name, said)

    async def test_anotherUserAndItsLimits(self) -> None:
        """
        For good.
        """
        if os.geteuid() != 0:
            self.skipTest("only root can be somebody else")
        limits = (("files", 40), ("memory", 1 << 28), ("core", 0))
        script = "id -u; id -G; ulimit -n; ulimit -v; ulimit -Hn; env | grep -c LC_"
        said = await self.served(script, ask(), execution=Execution("nobody", limits=limits))
        uid, groups, files, memory, hard, locales = said.decode().splitlines()
        self.assertNotEqual(uid, "0")
        self.assertNotIn("0", groups.split())
        self.assertEqual((files, hard, memory), ("40", "40", str((1 << 28) // 1024)))
        self.assertEqual(locales, "0")

    async def test_aTerminal(self) -> None:
        """
        With a size, of its own session, and with its end.
        """
        script = "test -t 0 && test -t 1 && stty size; cat; ps -o tty= -p $$"

        def client(network: Encrypted) -> Any:
            network.write(b"typed\n")
            network.end()
            return rest(network)

        said = await self.served(script, client, execution=Execution(OURSELVES, True))
        lines = said.decode().splitlines()
        self.assertEqual(sorted(lines[:3]), ["24 80", "typed", "typed"], lines)
        self.assertTrue(lines[3].startswith("pts/"), lines)
        await self.ended()

    async def test_aTerminalEndsWithItsProgram(self) -> None:
        """
        Whatever that has left in the background.
        """

        def client(network: Encrypted) -> bytes | type[Reset]:
            said = rest(network)
            network.end()
            return said

        began = time.monotonic()
        said = await self.served(
            "trap '' HUP; sleep 30 & seq 20000; echo end",
            client,
            execution=Execution(OURSELVES, True),
        )
        assert isinstance(said, bytes)
        self.assertTrue(said.endswith(b"20000\r\nend\r\n"), said[-20:])
        self.assertLess(time.monotonic() - began, 15)
        await self.ended()

    async def test_whatIsTypedReachesWhoeverIsInFront(self) -> None:
        """
        Control-C interrupts it.
        """

        def client(network: Encrypted) -> Any:
            said = network.read(6)
            network.write(b"\x03")
            return said, rest(network)

        said = await self.served(
            "echo here; exec sleep 100", client, execution=Execution(OURSELVES, True)
        )
        self.assertEqual(said[0], b"here\r\n")
        self.assertIs(said[1], Reset)
        event = await self.ended("program")
        self.assertIn("SIGINT", event["detail"])


class EndTests(ProgramTests):
    """
    What is cut, on either side.
    """

    async def test_aProgramThatIsKilledCutsTheConnection(self) -> None:
        """
        The client must not take for whole what it has got.
        """
        said = await self.served("echo some; kill -SEGV $$", lambda n: (n.read(5), rest(n)))
        self.assertEqual(said, (b"some\n", Reset))
        event = await self.ended("program")
        self.assertIn("SIGSEGV", event["detail"])
        self.assertTrue(event["hint"])

    async def test_aCutIsNoEnd(self) -> None:
        """
        A program that only reads is ended before it can see an end of file.
        """
        path = str(Path(self.mktemp()).absolute())
        script = f"echo $$ >{path}.pid; cat >/dev/null; touch {path}"

        def client(network: Encrypted) -> None:
            network.write(b"some")
            waitFor(f"{path}.pid")
            time.sleep(0.1)
            network.truncate()
            time.sleep(0.3)

        await self.served(script, client)
        event = await self.ended("truncated")
        self.assertNotIn("program", event["detail"].split(" (")[0])
        pid = int(Path(f"{path}.pid").read_text())
        await wait(lambda: not isThere(pid))
        self.assertFalse(Path(path).exists())

    async def test_whoTakesTheHangUpSeesNoEndEither(self) -> None:
        """
        It reads a reset if it has said anything, and nothing at all until it is ended if not.
        """
        self.patch(children, "LEAVE_SECONDS", 0.5)
        self.patch(children, "TERMINATE_SECONDS", 0.5)
        for first, expected in (("echo hi;", "error"), ("", "nothing")):
            path = str(Path(self.mktemp()).absolute())
            Path(path).write_text("nothing")
            script = (
                f"trap '' HUP TERM; {first} exec python3 -c '\n"
                "import os, signal\n"
                'open("PATH.up", "w").close()\n'
                "try:\n"
                "    while os.read(0, 100): pass\n"
                '    result = "end"\n'
                "except OSError:\n"
                '    result = "error"\n'
                'open("PATH", "w").write(result)\n\''
            ).replace("PATH", path)

            self.ends.clear()
            await self.served(script, partial(self.cutting, f"{path}.up", bool(first)))
            await self.ended("truncated")
            self.assertEqual(Path(path).read_text(), expected, first)

    def cutting(self, up: str, isGreeted: bool, network: Encrypted) -> None:
        """
        A client whose connection is cut.

        @param up: a file that is there once the program is ready.
        @param isGreeted: whether the program says something before.
        """
        if isGreeted:
            network.read(3)
        network.write(b"some")
        waitFor(up)
        time.sleep(0.1)
        network.truncate()
        time.sleep(0.3)

    async def test_whoStaysIsEnded(self) -> None:
        """
        And the connection takes its place until then.
        """
        self.patch(children, "LEAVE_SECONDS", 0.3)
        self.patch(children, "TERMINATE_SECONDS", 0.3)
        script = "trap '' HUP TERM; echo $$; exec 0<&- 1>&-; while :; do sleep 0.05; done"
        said = await self.served(script, ask())
        pid = int(said)
        factory = self.service.factory
        assert factory is not None
        self.assertEqual(len(factory.pairs), 1)
        event = await self.ended()
        self.assertIn("SIGKILL", event["detail"])
        self.assertFalse(isThere(pid))
        self.assertEqual(factory.backends[0].open, 0)

    async def test_whoLeavesChildrenBehindIsNotWaitedFor(self) -> None:
        """
        A program may leave the connection to others.
        """
        said = await self.served("(sleep 0.5; echo late) & exit 0", ask())
        self.assertEqual(said, b"late\n")
        await self.ended()

    async def test_aStopEndsPrograms(self) -> None:
        """
        And waits for them, for a moment.
        """
        self.patch(children, "HURRY_SECONDS", 0.3)
        pid, stopped = await self.stopping()
        await stopped
        self.assertFalse(isThere(pid))
        event = await self.ended("stopped")
        self.assertIn("SIGKILL", event["detail"])

    async def test_whoCannotBeEndedIsLeftAlone(self) -> None:
        """
        One that has become somebody else must not keep us from stopping; the log has its number.
        """
        self.patch(children, "HURRY_SECONDS", 0.1)
        self.patch(children, "LET_GO_SECONDS", 0.1)
        pid, stopped = await self.stopping()
        kill = os.killpg

        def refuse(pid: int, number: int) -> None:
            raise PermissionError(EPERM, "no")

        self.patch(os, "killpg", refuse)
        notices: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "notice":
                notices.append(event["notice"])

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]
        await stopped
        self.assertTrue(isThere(pid))
        self.assertTrue(any(str(pid) in each for each in notices), notices)
        kill(pid, signal.SIGKILL)
        await wait(lambda: not isThere(pid))

    async def test_aStopGivesTimeToOneThatIsStillAtWork(self) -> None:
        """
        The connection is over, and the program is not.
        """
        path = Path(self.mktemp()).absolute()
        said = await self.served(
            f"trap 'sleep 0.3; touch {path}; exit' TERM; echo x; exec 0<&- 1>&-;"
            "while :; do sleep 0.05; done",
            ask(),
        )
        self.assertEqual(said, b"x\n")
        self.patch(children, "HURRY_SECONDS", 0.5)
        factory = self.service.factory
        assert factory is not None
        await wait(lambda: all(each.accepted.isClosed for each in factory.pairs))
        self.assertEqual(len(factory.pairs), 1)
        stopped = self.service.stopService()
        self.service.hurry()
        await stopped
        self.assertTrue(path.exists())

    async def stopping(self) -> tuple[int, Any]:
        """
        Stop a tunnel whose program does not want to.

        @return: the number of that, and what fires at the end.
        """
        service = self.service = self.tunnel(
            "", remote=(shell("trap '' HUP TERM; echo $$; sleep 100"),)
        )
        network = await deferToThread(self.connect, service)
        self.addCleanup(network.sock.close)
        pid = int(await deferToThread(readLineOf, network))
        stopped = service.stopService()
        service.hurry()
        return pid, stopped

    async def test_noZombiesAreLeft(self) -> None:
        """
        Whoever else waits for processes.
        """
        self.service = self.tunnel("", remote=(shell("echo $$"),))

        def run() -> list[int]:
            found = []
            for _ in range(10):
                network = self.connect(self.service)
                said = network.read(100)
                assert isinstance(said, bytes)
                found.append(int(said))
                network.sock.close()
            return found

        pids = await deferToThread(run)
        await wait(lambda: len(self.ends) == 10)
        self.assertEqual([each for each in pids if isThere(each)], [])

    async def test_whoeverElseHasChildrenHearsOfThem(self) -> None:
        """
        Twisted hears of its own, and we of ours.
        """
        self.service = self.tunnel("", remote=(shell("exit 3"),))
        others = [
            getProcessValue("/bin/sh", ("-c", f"sleep 0.0{number}; exit {number}"))
            for number in range(8)
        ]
        for _ in range(5):
            await deferToThread(lambda: rest(self.connect(self.service)))
        self.assertEqual([await each for each in others], list(range(8)))
        await wait(lambda: len(self.ends) == 5)
        self.assertTrue(all("status 3" in each["detail"] for each in self.ends))

    async def test_withoutADescriptorForItsEndItIsLookedFor(self) -> None:
        """
        On systems that have none, or where none is left.
        """

        def refuse(pid: int) -> int:
            raise OSError(EMFILE, "none")

        self.patch(os, "pidfd_open", refuse)
        self.assertEqual(await self.served("echo no; exit 3", ask()), b"no\n")
        event = await self.ended()
        self.assertIn("status 3", event["detail"])


def readLineOf(network: Encrypted) -> bytes:
    """
    A line of what a program says.
    """
    line = b""
    while not line.endswith(b"\n"):
        said = network.read(1)
        assert isinstance(said, bytes) and said
        line += said
    return line


class StartTests(ProgramTests):
    """
    What keeps a program from being started.
    """

    async def test_nothingIsStartedBeforeTheClientIsVerified(self) -> None:
        """
        Neither by a connection, nor by a handshake that fails.
        """
        path = str(Path(self.mktemp()).absolute())

        def run() -> None:
            host, port = self.service.addresses[0].rsplit(":", 1)
            with socket.create_connection((host, int(port)), PATIENCE):
                time.sleep(0.1)
            network = self.connect(self.service)
            network.read(1)
            network.sock.close()

        self.service = self.tunnel(
            "", remote=(shell(f"touch {path}"),), remoteID=Selector.parse("@example.org")
        )
        try:
            await deferToThread(run)
        except SSL.Error:
            pass
        await wait(lambda: len(self.ends) == 2)
        self.assertFalse(Path(path).exists())

    async def test_whatIsGoneMeanwhileIsOneLine(self) -> None:
        """
        With a hint.
        """
        path = Path(self.mktemp()).absolute()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        self.service = self.tunnel("", remote=(ExecAddress((str(path),)),))
        path.unlink()
        said = await deferToThread(lambda: rest(self.connect(self.service)))
        self.assertIn(said, (b"", Reset))
        event = await self.ended("connect")
        self.assertIn("No such file", event["detail"])
        self.assertIn("--remote", event["hint"])

    async def test_whatTheUserMayNotExecuteCutsTheConnection(self) -> None:
        """
        It was the launcher that could not be it.
        """
        if os.geteuid() != 0:
            self.skipTest("only root can be somebody else")
        path = Path(self.mktemp()).absolute()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o700)
        said = await self.served(ExecAddress((str(path),)), rest, execution=Execution("nobody"))
        self.assertIs(said, Reset)
        event = await self.ended("program")
        self.assertIn("not executed: status 126", event["detail"])
        self.assertIn("--exec-user", event["hint"])
        self.assertIn("Permission denied", self.complaints[0])

    async def test_aReloadThatDoesNotFindItChangesNothing(self) -> None:
        """
        New connections are served as before, and one that finds another program gets that.
        """
        path = Path(self.mktemp()).absolute()
        path.write_text("#!/bin/sh\necho one\n")
        path.chmod(0o755)
        self.assertEqual(await self.served(ExecAddress((str(path),)), ask()), b"one\n")
        path.chmod(0o644)
        problem = await self.service.reload()
        self.assertIn("may not be executed", problem)
        path.chmod(0o755)
        self.assertEqual(await self.service.reload(), "")
        self.assertEqual(await deferToThread(lambda: ask()(self.connect(self.service))), b"one\n")
        await wait(lambda: len(self.ends) == 2)

    def test_whateverIsMissingNothingIsLeft(self) -> None:
        """
        With so few descriptors left that it fails at one step after the other.
        """
        described = launch.Launch(ExecAddress(("true",)), "/bin/true")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
        failures = 0
        for left in range(MORE_THAN_NEEDED):
            free = sorted(set(range(max(before) + 20)) - before)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free[left], hard))
            try:
                launched = launch.start(described, {})
            except OSError as error:
                self.assertEqual(error.errno, EMFILE)
                failures += 1
            else:
                launched.sock.close()
                os.close(launched.complaints)
                os.waitpid(launched.pid, 0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            now = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
            self.assertEqual(now, before)
        self.assertGreater(failures, 3)
        self.assertLess(failures, MORE_THAN_NEEDED)

    async def test_noDescriptorLeftIsOneLine(self) -> None:
        """
        And the next one is served.
        """
        self.service = self.tunnel("", remote=(shell("echo ok"),))
        original = socket.socketpair
        self.patch(socket, "socketpair", lambda: exec("raise OSError(24, 'Too many open files')"))
        await deferToThread(lambda: rest(self.connect(self.service)))
        event = await self.ended("connect")
        self.assertIn("Too many open files", event["detail"])
        self.assertIn("LimitNOFILE", event["hint"])
        self.patch(socket, "socketpair", original)
        said = await deferToThread(lambda: rest(self.connect(self.service)))
        self.assertEqual(said, b"ok\n")

    def test_aLargeProcessStartsThemAsFast(self) -> None:
        """
        Nothing of it is copied: a start takes a small part of what fork(2) takes there.
        """
        ballast = bytearray(400 * MIB)
        ballast[::4096] = b"x" * len(ballast[::4096])
        address = ExecAddress(("true",))

        def seconds(start: Callable[[], Any]) -> float:
            times = []
            for _ in range(9):
                began = time.perf_counter()
                start()
                times.append(time.perf_counter() - began)
            return sorted(times)[4]

        def ours() -> None:
            launched = launch.start(launch.Launch(address, "/bin/true"), {"PATH": "/bin"})
            launched.sock.close()
            os.close(launched.complaints)
            os.waitpid(launched.pid, 0)

        def copying() -> None:
            subprocess.run(["/bin/true"], preexec_fn=lambda: None, check=True)

        self.assertLess(seconds(ours), seconds(copying) / 2)
        del ballast


class LimitTests(ProgramTests):
    """
    There are never more programs than connections.
    """

    async def test_aPlaceIsFreeWhenTheProgramIsGone(self) -> None:
        """
        Not when its connection is.
        """
        self.patch(children, "LEAVE_SECONDS", 0.6)
        self.service = self.tunnel(
            "",
            remote=(shell("trap '' HUP; echo $$; exec 0<&- 1>&-; exec sleep 100"),),
            limits=Limits(connections=1, unverified=1, close=5.0),
        )

        def one() -> float:
            network = self.connect(self.service)
            network.end()
            rest(network)
            network.sock.close()
            return time.monotonic()

        first, second = await deferToThread(lambda: (one(), one()))
        self.assertGreater(second - first, 0.4)
        await wait(lambda: len(self.ends) == 2)
