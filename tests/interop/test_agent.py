"""
C{tlstunnel identity agent} as one user, and tunnels as another: real processes, and OpenSSL as the
client.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.asuser import asUser
from tests.interop.harness import (
    InteropTestCase,
    Process,
    Stage,
    find,
    freePort,
    openssl,
    requireRoot,
    run,
    tlstunnel,
    until,
)
from tests.interop.tunnel import CHECKOUT, ENVIRONMENT
from tests.issuers import chainFor
from tlstunnel.identity.intermediate import Intermediate

#: Whose the issuer is, and whose the tunnels are.
AGENT, TUNNEL = 64001, 64002

#: Seconds for which certificates are good here.
LIFETIME = 5

#: What whoever has taken over a tunnel tries, each as a line: how it ended.
_TRIES = r"""
import ctypes, os, sys
from tests.interop.asuser import become
uid, pid, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
become(uid)
libc = ctypes.CDLL(None, use_errno=True)

def said(result):
    return "done" if result >= 0 else os.strerror(ctypes.get_errno())

def opened(path):
    try:
        with open(path, "rb") as file:
            file.seek(0)
        return "done"
    except OSError as error:
        return error.strerror

print("file:", opened(key))
print("memory:", opened(f"/proc/{pid}/mem"))
print("maps:", opened(f"/proc/{pid}/maps"))
print("ptrace:", said(libc.ptrace(0x4206, pid, 0, 0)))
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
room = ctypes.create_string_buffer(8)
here, there = Part(ctypes.addressof(room), 8), Part(0x400000, 8)
print("vm:", said(libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)))
print("signal:", said(libc.kill(pid, 0)))
"""


class AsUser(Process):
    """
    C{tlstunnel ARGUMENTS} as another user.
    """

    def __init__(self, directory: Path, uid: int, address: int | Path, *arguments: str) -> None:
        """
        @param address: where it listens.
        """
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.uid, self.address, self.arguments = uid, address, arguments

    @property
    def port(self) -> int:
        """
        Where it listens.
        """
        assert isinstance(self.address, int)
        return self.address

    def start(self) -> None:
        """
        @raise AssertionError: it ended, or does not listen in time; carries its log.
        """
        self.spawn(
            [*asUser(self.uid), sys.executable, "-m", "tlstunnel", *self.arguments],
            [self.address],
            environment={**ENVIRONMENT, "HOME": "/nonexistent"},
        )


class AgentTests(InteropTestCase):
    """
    What a private authority, its agent and its tunnels do.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        requireRoot("processes of other users")
        base = stage.base
        pool = str(base / "private")
        tlstunnel("identity", "create", "--pool", pool, "first.example.org").expect()
        cls.root = Path(pool) / "ca" / "cert.pem"
        cls.issuer = base / "issuer"
        permitted = ("--permit", "example.org", "--permit", "@example.org")
        made = tlstunnel("identity", "issuer", "--pool", pool, *permitted, str(cls.issuer))
        made.expect("may certify example.org, @example.org, good until 20")
        anchors = base / "anchors.pem"
        anchors.write_bytes(cls.root.read_bytes())
        cls.root = anchors
        run(["chown", "-R", str(AGENT), str(cls.issuer)]).expect()
        place = base / "run"
        place.mkdir(mode=0o755)
        os.chown(place, AGENT, AGENT)
        cls.socket = place / "agent"
        cls.backend = f"exec:{find('sed', 'sed')} -u /quit/q"
        cls.agent = cls.makeAgent(stage)
        stage.start(cls.agent)
        port = freePort()
        arguments = (
            *("-s", "-l", f"127.0.0.1:{port}", "-r", cls.backend),
            *("-L", "www.example.org", "-L", "mail.example.org", "--agent", str(cls.socket)),
        )
        cls.server = stage.start(AsUser(base / "server", TUNNEL, port, *arguments))

    @classmethod
    def makeAgent(cls, stage: Stage) -> AsUser:
        """
        An agent, which is to be started.
        """
        return AsUser(
            stage.base / "agent",
            AGENT,
            cls.socket,
            *("identity", "agent", "--socket", str(cls.socket), "--issuer", str(cls.issuer)),
            *("--lifetime", str(LIFETIME), "--allow", f"user:{TUNNEL}"),
        )

    root: Path
    issuer: Path
    socket: Path
    backend: str
    agent: AsUser
    server: AsUser

    def connect(self, name: str = "www.example.org") -> ssl.SSLSocket:
        """
        A connection whose server is who it must be, by the root alone.
        """
        context = ssl.create_default_context(cafile=str(self.root))
        sock = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
        try:
            return context.wrap_socket(sock, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    def shown(self, connection: ssl.SSLSocket) -> x509.Certificate:
        """
        The certificate of its server.
        """
        found = connection.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found)

    def serves(self) -> bool:
        """
        Whether a client is served.
        """
        with contextlib.suppress(OSError), self.connect() as connection:
            return echoes(connection)
        return False

    def test_aClientBelievesItByTheRootAlone(self) -> None:
        """
        Under each of its names, for seconds.
        """
        for name in ("www.example.org", "mail.example.org"):
            openssl(self.server.port, name, self.root, say="quit\n").expect("Verification: OK")
            with self.connect(name) as connection:
                leaf = self.shown(connection)
            left = leaf.not_valid_after_utc - datetime.now(UTC)
            self.assertTrue(timedelta() < left <= timedelta(seconds=LIFETIME), left)

    def test_nobodyIsDroppedWhileCertificatesChange(self) -> None:
        """
        Connections go on that were there before, and all that come are served.
        """
        serials: set[int] = set()
        with self.connect() as first:
            self.assertTrue(echoes(first))
            until_ = time.monotonic() + 1.1 * LIFETIME
            while time.monotonic() < until_:
                with self.connect() as each:
                    serials.add(self.shown(each).serial_number)
                    self.assertTrue(echoes(each))
            self.assertTrue(echoes(first))
            self.assertLess(self.shown(first).not_valid_after_utc, datetime.now(UTC))
        self.assertGreaterEqual(len(serials), 3)

    def test_anAgentThatIsKilledIsMissedAndFoundAgain(self) -> None:
        """
        What is there is shown until it ends; then clients are refused, and told so.
        """
        self.assertTrue(self.serves())
        self.agent.stop()
        try:
            self.assertTrue(self.serves())
            until(lambda: not self.serves(), "the end of the certificate")
            openssl(self.server.port, "www.example.org", self.root).expectFailure("internal error")
            for said in ("nothing answers there", "our own certificate for this name has ended"):
                self.assertSays(said, self.server)
        finally:
            self.agent.start()
        until(self.serves, "the tunnel's recovery", 45)
        self.assertSays("the agent gives certificates again", self.server)

    def test_theTunnelsUserCannotReadTheKey(self) -> None:
        """
        Nor anything else of the agent's; root can, so that the test shows something.
        """
        tries = (str(self.agent.pid), str(self.issuer / "privkey.pem"))
        for uid, isAllowed in ((TUNNEL, False), (0, True)):
            done = subprocess.run(
                [sys.executable, "-c", _TRIES, str(uid), *tries],
                capture_output=True,
                text=True,
                env={**os.environ, **ENVIRONMENT},
                cwd=CHECKOUT,
                check=False,
            )
            self.assertEqual(done.stderr, "")
            found = dict(re.findall(r"(\w+): (.*)", done.stdout))
            self.assertEqual(set(found), {"file", "memory", "maps", "ptrace", "vm", "signal"})
            if isAllowed:
                self.assertEqual((found["file"], found["memory"]), ("done", "done"))
            else:
                denied = {"Permission denied", "Operation not permitted"}
                self.assertLessEqual(set(found.values()), denied, found)

    def test_aNameOutsideIsRefusedByTheAgentAndByClients(self) -> None:
        """
        In words; and what the intermediate issues all the same, nobody believes.
        """
        failed = self.once(TUNNEL, "www.example.com")
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(
            failed.stderr,
            r"\Atlstunnel: --agent \S+: gives no certificate for www.example.com: it says: the "
            r"issuer's name constraints do not permit www.example.com; [^\n]*\n\Z",
        )
        copy = self.stage.base / "stolen"
        shutil.copytree(self.issuer, copy)
        stolen = Intermediate.load(copy, datetime.now(UTC))
        chain = chainFor(stolen, "www.example.com")
        files = [self.stage.base / f"{number}.pem" for number in range(2)]
        for file, certificate in zip(files, chain, strict=True):
            file.write_bytes(certificate.public_bytes(Encoding.PEM))
        leaf, above = map(str, files)
        anchors = ("-CAfile", str(self.root), "-untrusted", above)
        said = run(["openssl", "verify", *anchors, leaf]).expectFailure()
        self.assertIn("permitted subtree violation", said)
        whole = self.stage.base / "whole.pem"
        for chain_, outcome in (
            (chain, "violates the signer's constraints"),
            (chainFor(stolen, "a.example.org"), "The certificate is trusted"),
        ):
            every = b"".join(each.public_bytes(Encoding.PEM) for each in chain_)
            whole.write_bytes(every)
            certtool = ("certtool", "--verify", "--load-ca-certificate", str(self.root))
            done = run([*certtool, "--infile", str(whole)])
            self.assertEqual(done.code == 0, chain_ is not chain, done)
            self.assertIn(outcome, done.text)

    def once(self, uid: int, name: str) -> subprocess.CompletedProcess[str]:
        """
        A tunnel that cannot start.
        """
        words = [*"-s -l 127.0.0.1:0 -r 127.0.0.1:1 -L".split(), name, "--agent", str(self.socket)]
        return subprocess.run(
            [*asUser(uid), sys.executable, "-m", "tlstunnel", *words],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, **ENVIRONMENT, "HOME": "/nonexistent"},
            cwd=CHECKOUT,
            check=False,
        )

    def test_anotherUserGetsNothing(self) -> None:
        """
        Though he can connect.
        """
        failed = self.once(TUNNEL + 1, "www.example.org")
        self.assertEqual(failed.returncode, 1)
        self.assertIn(f"it says: user {TUNNEL + 1} gets nothing here", failed.stderr)
        self.assertSays(f"refused user {TUNNEL + 1}", self.agent)

    def test_workersAskEachForItself(self) -> None:
        """
        And a client tunnel shows what it gets.
        """
        before = self.agent.log.count("for in.example.org to user 0")
        ours = ("--agent", str(self.socket), "--trust", str(self.root))
        port = freePort()
        arguments = (
            *("-s", "-l", f"127.0.0.1:{port}", "-r", self.backend),
            *("-L", "in.example.org", "-R", "@example.org", "--workers", "2", *ours),
            *("--exec-user", "nobody"),
        )
        accepting = AsUser(self.stage.directory("workers"), 0, port, *arguments)
        self.addCleanup(accepting.stop)
        accepting.start()
        sending = self.tunnel(
            *("-c", "-r", f"127.0.0.1:{port}", "-R", "in.example.org"),
            *("-L", "alice@example.org", *ours),
        )

        def haveAsked() -> bool:
            with socket.create_connection(("127.0.0.1", sending.port), timeout=10) as plain:
                self.assertTrue(echoes(plain))
            # The parent, and each worker twice.
            return self.agent.log.count("for in.example.org to user 0") - before >= 5

        until(haveAsked, "renewal in both workers")
        self.assertSays("alice@example.org", accepting)

    def test_aCheckAsksTheAgent(self) -> None:
        """
        As a start would.
        """
        file = self.stage.base / "tunnels.toml"
        file.write_text(
            "".join(
                f'[tunnel.{name}]\nmode = "server"\nlocal = ["127.0.0.1:{number}"]\n'
                f'local-id = ["www.example.{name}"]\nremote = ["127.0.0.1:1"]\n'
                f'agent = "{self.socket}"\n'
                for number, name in enumerate(("org", "com"), 2)
            )
        )
        said = tlstunnel("--config", str(file), "--check").expectFailure()
        self.assertIn("name constraints do not permit www.example.com", said)
        self.assertNotIn("www.example.org", said)


def echoes(connection: socket.socket) -> bool:
    """
    Whether a backend is at the other end.
    """
    connection.sendall(b"hello\n")
    return connection.recv(100) == b"hello\n"
