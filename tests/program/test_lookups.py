"""
Tests for L{tlstunnel.program.lookups}: what is looked up at the start, and that nothing waits for a
resolver later.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.program.processes import TOP, WAIT_SECONDS
from tlstunnel.address import SRVAddress, TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.services import NoRecords
from tlstunnel.program import lookups
from tlstunnel.program.lookups import HostNames, checkRemote, checkRemotes
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel import hostname
from tlstunnel.tunnel.description import Mode, Tunnel

SERVER = Identity(None, "server.example.org")


def described(mode: Mode, *remote: TCPAddress | UNIXAddress | SRVAddress) -> Tunnel:
    """
    A tunnel.
    """
    return Tunnel(mode, (), remote, find("smtp"), localID=SERVER, remoteID=SERVER)


class CheckRemoteTests(SynchronousTestCase):
    """
    L{checkRemote}.
    """

    def test_aNameThatDoesNotResolveIsAnError(self) -> None:
        """
        Unless it may be so.
        """
        tunnel = described(Mode.CLIENT, TCPAddress("no-such-host.invalid", 25))
        error = self.assertRaises(ConfigurationError, checkRemote, tunnel)
        assert isinstance(error, ConfigurationError)
        self.assertEqual(error.key, "remote")
        self.assertIn("or give --skip-resolve", str(error))
        checkRemote(replace(tunnel, skipResolve=True))

    def test_aServiceThatIsNotThereIsAnError(self) -> None:
        """
        Its records are asked for, and no host.
        """
        asked = []

        def ask(owner: str) -> None:
            asked.append(owner)
            if "gone" in owner:
                raise NoRecords

        self.patch(lookups, "askNow", ask)
        checkRemote(described(Mode.CLIENT, SRVAddress("_submission._tcp", "example.org")))
        gone = described(Mode.CLIENT, SRVAddress("_submission._tcp", "gone.example"))
        error = self.assertRaises(ConfigurationError, checkRemote, gone)
        self.assertEqual(
            str(error),
            "--remote srv:_submission._tcp.gone.example: no SRV record of "
            "_submission._tcp.gone.example was found; check its spelling, or give --skip-resolve",
        )
        checkRemote(replace(gone, skipResolve=True))
        names = ["_submission._tcp.example.org", "_submission._tcp.gone.example"]
        self.assertEqual(asked, names)

    def test_addressesAreNotLookedUp(self) -> None:
        """
        They are known; but for the zone of one, which is the name of an interface here.
        """
        asked = []
        self.patch(socket, "getaddrinfo", lambda host, *rest, **more: asked.append(host))
        places = "127.0.0.1", "::1", "fe80::1%lo", "localhost"
        remote = [TCPAddress(host, 25) for host in places]
        checkRemote(described(Mode.SERVER, UNIXAddress("/run/x"), *remote))
        self.assertEqual(asked, ["fe80::1%lo", "localhost"])

    def test_allThatIsWrongIsSaid(self) -> None:
        """
        Of several tunnels, with their names.
        """
        good = replace(described(Mode.CLIENT, TCPAddress("127.0.0.1", 25)), name="good")
        bad = [
            replace(described(Mode.CLIENT, TCPAddress(f"{name}.invalid", 25)), name=name)
            for name in ("one", "other")
        ]
        refusals = checkRemotes([bad[0], good, bad[1]])
        self.assertEqual([name for name, _ in refusals], ["one", "other"])
        self.assertEqual(checkRemotes([good]), [])


class HostNamesTests(SynchronousTestCase):
    """
    L{HostNames}.
    """

    def test_onlyWhoHasNoIdentityAsksForTheNameOfTheHost(self) -> None:
        """
        That may take long, so it is done once.
        """
        names = HostNames()
        asked = []

        def lookUp() -> str:
            asked.append(True)
            return "host.example.net"

        self.patch(hostname, "lookUp", lookUp)
        for mode in Mode:
            self.assertEqual(names.named(described(mode)).hostName, "")
        self.assertEqual(asked, [])
        nobody = replace(described(Mode.CLIENT), localID=None)
        self.assertEqual(names.named(nobody).hostName, "host.example.net")
        unspeakable = replace(nobody, localID=Identity(None, "web_1.example"))
        self.assertTrue(HostNames().isMissing(unspeakable))
        self.assertFalse(names.isMissing(unspeakable))
        self.assertEqual(names.named(unspeakable).hostName, "host.example.net")
        self.assertEqual(asked, [True])


# What it does before the program begins: note who looks a name up, and when.
_NOTING = """
import os, socket, sys, threading
def noting(name):
    real = getattr(socket, name)
    def lookUp(*words, **more):
        reactor = sys.modules.get("twisted.internet.reactor")
        isRunning = getattr(reactor, "running", False)
        isNumeric = more.get("flags", 0) & socket.AI_NUMERICHOST
        if threading.current_thread() is threading.main_thread() and not isNumeric:
            os.write(2, f"{name} {'in' if isRunning else 'before'} the reactor\\n".encode())
        return real(*words, **more)
    setattr(socket, name, lookUp)
for each in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getfqdn"):
    noting(each)
from tlstunnel.__main__ import main
sys.exit(main())
"""

# What it does before the program begins, in namespaces of its own: there is a resolver, which never
# answers.
_DEAD = """
import fcntl, os, socket, struct, subprocess, sys
UP = 0x41  # IFF_UP, IFF_RUNNING
with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", UP))  # SIOCSIFFLAGS
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("127.0.0.1", 53))
with open("resolv.conf", "w") as file:
    file.write("nameserver 127.0.0.1\\noptions timeout:30 attempts:5\\n")
subprocess.run(["mount", "--bind", "resolv.conf", "/etc/resolv.conf"], check=True)
os.write(2, b"ready\\n")
from tlstunnel.__main__ import main
sys.exit(main())
"""
_ISOLATED = ("unshare", "--mount", "--net")

# Who connects there, and stays.
_CROWD = """
import socket, sys
port = int(sys.argv[1])
crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
print("connected", flush=True)
sys.stdin.read()
"""


class ProgramTests(SynchronousTestCase):
    """
    The program, run.
    """

    def setUp(self) -> None:
        """
        A pool with one identity.
        """
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        createIdentity(Pool(self.directory / "pool", asked=False), SERVER)
        self.lines: list[str] = []

    def start(self, program: str, *words: str, within: tuple[str, ...] = ()) -> None:
        """
        Start a tunnel.

        @param within: what starts it.
        """
        all_ = (*words, "-l", "127.0.0.1:0", "--pool", str(self.directory / "pool"))
        process = subprocess.Popen(
            [*within, sys.executable, "-c", program, *all_],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            cwd=self.directory,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.process = process

        def end() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(end)

    def await_(self, words: str) -> None:
        """
        Read what it says until there is a line with C{words}.
        """
        assert self.process.stderr is not None
        while not (self.lines and words in self.lines[-1]):
            line = self.process.stderr.readline()
            self.assertTrue(line, self.lines)
            self.lines.append(line)

    def test_nothingIsLookedUpWhileTheReactorRuns(self) -> None:
        """
        Neither at the start, of a client without a name of its own or of a server, nor at a reload;
        what has to be, is before.
        """
        for words, names in (
            ("-c -r localhost:1 -R server.example.org --starttls smtp", {"getaddrinfo", "getfqdn"}),
            ("-s -r localhost:1 -L server.example.org", {"getaddrinfo"}),
        ):
            self.lines = []
            self.start(_NOTING, *words.split())
            self.await_("tunnel up")
            self.process.send_signal(signal.SIGHUP)
            self.await_("reloaded")
            self.process.send_signal(signal.SIGTERM)
            self.await_("stopped")
            said = "".join(self.lines)
            self.assertNotIn("in the reactor", said)
            for name in names:
                self.assertIn(f"{name} before the reactor", said)

    def test_aDeadResolverHoldsUpNothing(self) -> None:
        """
        A tunnel whose backend has a name starts, reloads and stops, also while that is looked up.
        """
        try:
            subprocess.run([*_ISOLATED, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SkipTest("there can be no resolver of our own here (unshare(1))") from error
        words = "-s -r backend.example.org:1 -L server.example.org --skip-resolve"
        self.start(_DEAD, *words.split(), within=_ISOLATED)
        self.await_("ready")
        self.await_("tunnel up")
        self.process.send_signal(signal.SIGHUP)
        self.await_("reloaded")
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(WAIT_SECONDS), 0)

    def test_aDeadResolverCostsAThreadForEachNameAndNoMore(self) -> None:
        """
        However many connections wait for it: a reload finds a thread all the same.
        """
        try:
            subprocess.run([*_ISOLATED, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SkipTest("there can be no resolver of our own here (unshare(1))") from error
        words = (
            "-c -r one.example.org:1 -r other.example.org:1 -r srv:_x._tcp.example.org "
            "-R server.example.org --skip-resolve"
        )
        self.start(_DEAD, *words.split(), within=_ISOLATED)
        self.await_("tunnel up")
        port = self.lines[-1].split("127.0.0.1:")[1].split()[0]
        inside = ("nsenter", "--net", "--target", str(self.process.pid))
        with subprocess.Popen(
            [*inside, sys.executable, "-c", _CROWD, port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as crowd:
            assert crowd.stdout is not None and crowd.stdin is not None
            self.assertEqual(crowd.stdout.readline(), b"connected\n")
            self.process.send_signal(signal.SIGHUP)
            self.await_("reloaded")
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            (threads,) = (line.split()[1] for line in status.splitlines() if "Threads" in line)
            self.assertLessEqual(int(threads), 4)
            crowd.stdin.close()
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(WAIT_SECONDS), 0)
