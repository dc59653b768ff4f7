"""
nbd with nbdkit, qemu-nbd and nbd-server, in both modes.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    Stage,
    find,
    openssl,
    record,
    run,
    tlstunnel,
    until,
)
from tests.interop.servers.nbd import (
    BYTES,
    EXPORT,
    AskingNBDKit,
    NBDKit,
    NBDServer,
    OldNBDKit,
    QemuNBD,
    directoryOf,
)

NAME = "disk.test.example"
CLIENT = "client.test.example"


def qemuIO(port: int, certificates: Path | None = None, export: str = "") -> str:
    """
    Write to a disk, and read that again; within TLS, if there are anchors for it.
    """
    image = {"driver": "nbd", "server.type": "inet", "export": export}
    image |= {"server.host": "127.0.0.1", "server.port": str(port)}
    words: list[str] = []
    if certificates is not None:
        words = ["--object", f"tls-creds-x509,id=tls,dir={certificates},endpoint=client"]
        image |= {"tls-creds": "tls", "tls-hostname": NAME}
    commands = ["-c", "write -P 171 4096 65536", "-c", "read -P 171 4096 65536", "-c", "flush"]
    program = find("qemu-io", "qemu-utils")
    options = ",".join(f"{key}={value}" for key, value in image.items())
    said = run([program, *words, *commands, "--image-opts", options]).expect(
        "wrote 65536/65536", "read 65536/65536"
    )
    assert "failed" not in said, said
    return said


def nbdinfo(uri: str) -> Outcome:
    """
    The size that a server says its disk has.
    """
    return run([find("nbdinfo", "libnbd-bin"), "--size", uri])


def checkSize(uri: str) -> None:
    """
    It has to be as large as it is.
    """
    nbdinfo(uri).expect(f"{BYTES}\n")


class ClientModeTests(InteropTestCase):
    """
    Servers with TLS, and programs without.
    """

    nbdkit: ClassVar[NBDKit]
    asking: ClassVar[AskingNBDKit]
    qemu: ClassVar[QemuNBD]
    nbdserver: ClassVar[NBDServer]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME)
        stage.authority.issue(CLIENT)
        cls.nbdserver = stage.start(NBDServer(stage.directory("nbd-server"), certificate))
        cls.nbdkit = stage.start(NBDKit(stage.directory("nbdkit"), certificate))
        cls.asking = stage.start(AskingNBDKit(stage.directory("asking"), certificate))
        cls.qemu = stage.start(QemuNBD(stage.directory("qemu-nbd"), certificate))

    def test_aDiskIsWrittenAndRead(self) -> None:
        """
        By QEMU, with the structured replies of both servers.
        """
        for server in (self.nbdkit, self.qemu):
            qemuIO(self.clientMode(f"127.0.0.1:{server.port}", NAME, "nbd").port)
            record("nbd", "client", server, "written and read by qemu-io")

    def test_aDiskIsLookedAt(self) -> None:
        """
        By libnbd.
        """
        for server in (self.nbdkit, self.qemu):
            port = self.clientMode(f"127.0.0.1:{server.port}", NAME, "nbd").port
            checkSize(f"nbd://127.0.0.1:{port}")
            record("nbd", "client", server, "looked at by nbdinfo")

    def test_aServerThatWantsACertificateGetsOne(self) -> None:
        """
        As nbd-server does of everybody; without one, TLS ends, and the log says what to do.
        """
        for server, export in ((self.nbdserver, EXPORT), (self.asking, "")):
            remote = f"127.0.0.1:{server.port}"
            port = self.clientMode(remote, NAME, "nbd", "-L", CLIENT).port
            qemuIO(port, export=export)
            checkSize(f"nbd://127.0.0.1:{port}/{export}")
            record("nbd", "client", server, "written and read by qemu-io")
            tunnel = self.clientMode(remote, NAME, "nbd")
            nbdinfo(f"nbd://127.0.0.1:{tunnel.port}/{export}").expectFailure()
            self.assertSays("certificate from us: give --local-id", tunnel)

    def test_exportsAreListed(self) -> None:
        """
        By nbd-client, which needs no kernel for that.
        """
        port = self.clientMode(f"127.0.0.1:{self.qemu.port}", NAME, "nbd").port
        client = find("nbd-client", "nbd-client")
        run([client, "-l", "127.0.0.1", str(port)]).expect("Negotiation: ..")
        record("nbd", "client", self.qemu, "exports listed by nbd-client")

    def test_aServerThatIsSomebodyElseIsNotUsed(self) -> None:
        """
        The program gets the end of its connection, and the log names both.
        """
        remote = f"127.0.0.1:{self.nbdkit.port}"
        tunnel = self.clientMode(remote, "other.test.example", "nbd")
        nbdinfo(f"nbd://127.0.0.1:{tunnel.port}").expectFailure()
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")

    def test_othersSpeakTLSWithIt(self) -> None:
        """
        The tunnel negotiates only.
        """
        remote = f"127.0.0.1:{self.nbdkit.port}"
        tunnel = self.tunnel("-c", "-r", remote, "--starttls", "nbd", "--negotiate-only")
        anchors = self.stage.authority.anchors
        leave = "IHAVEOPT\0\0\0\2\0\0\0\0"
        openssl(tunnel.port, NAME, anchors, say=leave).expect("Verification: OK")
        record("nbd", "client", "openssl", "TLS with nbdkit (negotiate-only)")

    def test_theProbeLooksAtIt(self) -> None:
        """
        Also where another protocol is said, whose servers greet as well.
        """
        words = ("-R", NAME, "--pool", str(self.stage.authority.pool))
        remote = f"127.0.0.1:{self.nbdkit.port}"
        tlstunnel("probe", remote, "--starttls", "nbd", *words).expect(f"good: {NAME}")
        other = tlstunnel("probe", remote, "--starttls", "smtp", *words)
        self.assertEqual(other.code, 3, other)


class ServerModeTests(InteropTestCase):
    """
    Servers without TLS, and programs that insist on it.
    """

    nbdkit: ClassVar[NBDKit]
    nbdserver: ClassVar[NBDServer]
    old: ClassVar[OldNBDKit]
    anchors: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        certificate = stage.authority.issue(NAME, "127.0.0.1")
        cls.anchors = directoryOf(stage.directory("anchors"), certificate, side="")
        cls.nbdkit = stage.start(NBDKit(stage.directory("nbdkit")))
        cls.nbdserver = stage.start(NBDServer(stage.directory("nbd-server")))
        cls.old = stage.start(OldNBDKit(stage.directory("oldstyle")))

    def port(self, server: NBDKit | NBDServer) -> int:
        """
        Of a tunnel before it.
        """
        return self.serverMode(f"127.0.0.1:{server.port}", NAME, "nbd").port

    def test_QEMU(self) -> None:
        """
        It verifies the name.
        """
        for server, export in ((self.nbdkit, ""), (self.nbdserver, EXPORT)):
            qemuIO(self.port(server), self.anchors, export)
        record("nbd", "server", "qemu-utils", "a disk written and read by qemu-io")

    def test_libnbd(self) -> None:
        """
        It verifies the name, too.
        """
        for server, export in ((self.nbdkit, ""), (self.nbdserver, EXPORT)):
            uri = f"nbds://127.0.0.1:{self.port(server)}/{export}"
            checkSize(f"{uri}?tls-certificates={self.anchors}")
        record("nbd", "server", "libnbd-bin", "a disk looked at by nbdinfo")

    def test_aTunnelAtEitherEnd(self) -> None:
        """
        Between a program and a server without TLS.
        """
        for server, export in ((self.nbdkit, ""), (self.nbdserver, EXPORT)):
            far = f"127.0.0.1:{self.port(server)}"
            port = self.clientMode(far, NAME, "nbd").port
            qemuIO(port, export=export)
            checkSize(f"nbd://127.0.0.1:{port}/{export}")

    def test_aBridge(self) -> None:
        """
        Where either side upgrades, or one alone: what is said in clear is said once.
        """
        near, straight = self.port(self.nbdkit), f"127.0.0.1:{self.nbdkit.port}"
        direct = self.serverMode(straight, NAME, None).port
        for remote, ways in (
            (near, ("--starttls-in", "nbd", "--starttls-out", "nbd")),
            (direct, ("--starttls-in", "nbd")),
            (near, ("--starttls-out", "nbd")),
        ):
            identities = ("-L", NAME, "-R", NAME)
            port = self.tunnel("-b", *identities, "-r", f"127.0.0.1:{remote}", *ways).port
            if "--starttls-in" in ways:
                qemuIO(port, self.anchors)
            else:
                qemuIO(self.clientMode(f"127.0.0.1:{port}", NAME, None).port)
        record("nbd", "server", "qemu-utils", "a disk written and read by qemu-io, by a bridge")

    def test_whoeverGoesWithoutTLSIsRefused(self) -> None:
        """
        And told why.
        """
        port = self.port(self.nbdkit)
        words = ["-c", "quit", f"nbd://127.0.0.1:{port}"]
        run([find("qemu-io", "qemu-utils"), *words]).expectFailure("TLS required")

    def test_aServerWithoutTLSSaysSo(self) -> None:
        """
        In client mode; the log has it in words, and what to do.
        """
        for server, why in (
            (self.nbdkit, "the server does not speak TLS"),
            (self.nbdserver, "the server does not speak TLS"),
            (self.old, "begins with the oldstyle negotiation"),
        ):
            tunnel = self.clientMode(f"127.0.0.1:{server.port}", NAME, "nbd")
            nbdinfo(f"nbd://127.0.0.1:{tunnel.port}").expectFailure()
            until(lambda tunnel=tunnel, why=why: why in tunnel.log, why)  # type: ignore[misc]
            self.assertSays("nbdkit", tunnel)

    def test_aVeryOldServerIsNotServed(self) -> None:
        """
        As its clients have no options to say.
        """
        tunnel = self.serverMode(f"127.0.0.1:{self.old.port}", NAME, "nbd")
        nbdinfo(f"nbds://127.0.0.1:{tunnel.port}?tls-certificates={self.anchors}").expectFailure()
        until(lambda: "oldstyle" in tunnel.log, "the reason")
