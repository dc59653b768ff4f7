"""
Tests for tunnels whose backend is a program: what it gets from us, and from its client.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.loopback import CLIENT, SERVER, Encrypted, Reset, smtpClient, wait
from tests.tunnel.programstage import MIB, OURSELVES, ProgramTests, ask, readLineOf, rest, shell
from tlstunnel.address import ExecAddress
from tlstunnel.identity.names import Selector
from tlstunnel.net import launch
from tlstunnel.tunnel.execution import Execution
from tlstunnel.tunnel.servedname import ServedName

# The signals 32 and 33.
_OF_LIBRARY = 3 << 31


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
