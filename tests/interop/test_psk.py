"""
Pre-shared keys with OpenSSL, GnuTLS, stunnel and mosquitto, in both modes and both versions of TLS.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    Stage,
    TunnelProcess,
    freePort,
    record,
    run,
    tlstunnel,
    until,
)
from tests.interop.servers.keyed import (
    KeyedDaemon,
    KeyedGnuTLS,
    KeyedMosquitto,
    KeyedOpenSSL,
    onlyVersion,
    priority,
)
from tests.interop.servers.stunnel import Stunnel
from tests.interop.servers.web import PAGE, OpenSSLWeb, PlainWeb

DEVICE = "device7@test.example"
SERVER = "srv.test.example"
VERSIONS = ("1.2", "1.3")
REQUEST = "GET /page.txt HTTP/1.0\r\n\r\n"
PSK = ("--trust", "psk")


def option(version: str) -> str:
    """
    How OpenSSL's programs are told to speak one version alone.
    """
    return f"-tls{version.replace('.', '_')}"


class KeysTestCase(InteropTestCase):
    """
    The base of these tests: a pool with a key that C{tlstunnel identity} has made.

    @cvar key: that, in hexadecimal digits.
    """

    key: ClassVar[str]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        pool = stage.authority.pool
        tlstunnel("identity", "create", "--psk", "--pool", str(pool), DEVICE).expect("psk")
        cls.key = (pool / DEVICE / "psk").read_text().strip()

    def stunnel(self, service: str, version: str, port: int) -> Stunnel:
        """
        stunnel with the key, for this one test.
        """
        directory = self.stage.directory("stunnel")
        secrets = self.stage.base / f"{directory.name}.txt"
        secrets.write_text(f"{DEVICE}:{self.key}\n")
        secrets.chmod(0o600)
        settings = f"sslVersion = TLSv{version}\nciphers = PSK\nPSKsecrets = {secrets}\n"
        process = Stunnel(directory, f"[psk]\n{service}{settings}", port)
        process.start()
        self.addCleanup(process.stop)
        return process


class ServerModeTests(KeysTestCase):
    """
    Clients with keys.
    """

    web: ClassVar[PlainWeb]
    mosquitto: ClassVar[KeyedMosquitto]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.web = stage.start(PlainWeb(stage.directory("web")))
        cls.mosquitto = stage.start(
            KeyedMosquitto(stage.directory("mosquitto"), DEVICE, cls.key, "1.2")
        )

    def server(self, *options: str, port: int | None = None) -> TunnelProcess:
        """
        A tunnel before the web server.
        """
        backend = f"127.0.0.1:{port or self.web.port}"
        return self.serverMode(backend, SERVER, None, *PSK, "-R", "@test.example", *options)

    def openssl(
        self, tunnel: TunnelProcess, version: str, name: str = DEVICE, key: str | None = None
    ) -> Outcome:
        """
        C{openssl s_client}.
        """
        return run(
            [
                *("openssl", "s_client", "-connect", f"127.0.0.1:{tunnel.port}", "-ign_eof"),
                *("-psk_identity", name, "-psk", key or self.key, option(version), "-brief"),
            ],
            REQUEST,
        )

    def gnutls(self, tunnel: TunnelProcess, version: str, key: str | None = None) -> Outcome:
        """
        C{gnutls-cli}.
        """
        return run(
            [
                *("gnutls-cli", f"--port={tunnel.port}", f"--pskusername={DEVICE}"),
                *(f"--pskkey={key or self.key}", f"--priority={priority(version)}", "127.0.0.1"),
            ],
            REQUEST,
            endless=True,
        )

    def assertLogged(self, tunnel: TunnelProcess, version: str) -> None:
        """
        The tunnel knows who has come.
        """
        until(lambda: f"{DEVICE} by its pre-shared key" in tunnel.log, "the line of the connection")
        self.assertSays(f"TLSv{version}", tunnel)

    def test_openSSL(self) -> None:
        """
        It fetches a page.
        """
        for version in VERSIONS:
            tunnel = self.server()
            self.openssl(tunnel, version).expect(PAGE)
            self.assertLogged(tunnel, version)
            record("none", "server", "openssl", f"pre-shared key, TLS {version}")

    def test_gnuTLS(self) -> None:
        """
        It fetches a page with TLS 1.3.  With 1.2 it completes the handshake, and then crashes, as
        it does with servers of others: it wants to show the name of its own identity.
        """
        for version in VERSIONS:
            tunnel = self.server()
            found = self.gnutls(tunnel, version)
            if version == "1.3" or found.code != -signal.SIGSEGV:
                found.expect(PAGE)
            self.assertLogged(tunnel, version)
            record("none", "server", "gnutls-cli", f"pre-shared key, TLS {version}")

    def test_stunnel(self) -> None:
        """
        A page is fetched through it.
        """
        for version in VERSIONS:
            tunnel = self.server()
            port = freePort()
            service = (
                f"client = yes\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{tunnel.port}\n"
                f"PSKidentity = {DEVICE}\n"
            )
            self.stunnel(service, version, port)
            found = run(["curl", "-sS", f"http://127.0.0.1:{port}/page.txt"]).expect("")
            self.assertEqual(found, PAGE)
            self.assertLogged(tunnel, version)
            record("none", "server", "stunnel", f"pre-shared key, TLS {version}")

    def test_mosquitto(self) -> None:
        """
        What is published by TLS is heard by TLS.
        """
        for version in VERSIONS:
            tunnel = self.server(port=self.mosquitto.ports["mqtt"])
            common = [
                *("-h", "127.0.0.1", "-p", str(tunnel.port), "-t", "topic", "--psk", self.key),
                *("--psk-identity", DEVICE),
            ]
            only = onlyVersion(self.stage.directory("openssl"), version)
            said = f"word {version}"
            run(["mosquitto_pub", *common, "-r", "-m", said], environment=only).expect("")
            run(["mosquitto_sub", *common, "-C", "1", "-W", "10"], environment=only).expect(said)
            self.assertLogged(tunnel, version)
            record("none", "server", "mosquitto_sub", f"pre-shared key, TLS {version}")

    def test_anotherKeyAndAnUnknownNameLookAlike(self) -> None:
        """
        The client hears the same alert; our log tells.
        """
        for version, alert in zip(VERSIONS, ("bad record mac", "decrypt error"), strict=True):
            tunnel = self.server()
            self.openssl(tunnel, version, key="00" * 32).expectFailure(alert)
            until(lambda log=tunnel: "has another key" in log.log, "the refusal")  # type: ignore[misc]
            self.openssl(tunnel, version, name="nobody").expectFailure(alert)
            until(lambda log=tunnel: '"nobody"' in log.log, "the refusal")  # type: ignore[misc]
            self.gnutls(tunnel, version, key="00" * 32).expectFailure("")
            self.assertSays("identity import --psk", tunnel)

    def test_aClientWithoutAKey(self) -> None:
        """
        It is not shown a certificate, although our pool has one.
        """
        self.stage.authority.issue(SERVER)
        for version in VERSIONS:
            tunnel = self.server()
            found = run(
                [
                    *("openssl", "s_client", "-connect", f"127.0.0.1:{tunnel.port}"),
                    option(version),
                ]
            )
            found.expectFailure("no peer certificate available", "alert handshake failure")
            until(lambda log=tunnel: "no pre-shared key" in log.log, "the refusal")  # type: ignore[misc]

    def test_aKeyThatIsRemovedIsOfNoUseAfterAReload(self) -> None:
        """
        And all others go on.
        """
        pool = self.stage.authority.pool
        name = "gone@test.example"
        tlstunnel("identity", "create", "--psk", "--pool", str(pool), name).expect("psk")
        file = pool / name / "psk"
        key = file.read_text().strip()
        tunnel = self.server()
        self.openssl(tunnel, "1.3", name, key).expect(PAGE)
        file.unlink()
        os.kill(tunnel.pid, signal.SIGHUP)
        until(lambda: "reloaded" in tunnel.log.lower(), "the reload")
        self.openssl(tunnel, "1.3", name, key).expectFailure("decrypt error")
        self.openssl(tunnel, "1.3").expect(PAGE)


class ClientModeTests(KeysTestCase):
    """
    Servers that know our key.
    """

    def fetch(self, version: str, server: Stunnel | KeyedDaemon, page: str = "/page.txt") -> str:
        """
        Fetch a page through a tunnel.
        """
        tunnel = self.client(server.port)
        found = run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}{page}"]).expect("")
        until(lambda: f"by the key of {DEVICE}" in tunnel.log, "the line of the connection")
        self.assertSays(f"TLSv{version}", tunnel)
        self.assertSays(SERVER, tunnel)
        return found

    def client(self, port: int, *options: str) -> TunnelProcess:
        """
        A tunnel to a server.
        """
        remote = f"127.0.0.1:{port}"
        return self.clientMode(remote, SERVER, None, "-L", DEVICE, *PSK, *options)

    def started(self, kind: type[KeyedDaemon], version: str) -> KeyedDaemon:
        """
        A server, for this one test.
        """
        server = kind(self.stage.directory(kind.title.split()[-1]), DEVICE, self.key, version)
        server.start()
        self.addCleanup(server.stop)
        return server

    def test_openSSL(self) -> None:
        """
        It shows a page.
        """
        for version in VERSIONS:
            server = self.started(KeyedOpenSSL, version)
            self.assertIn(PAGE, self.fetch(version, server))
            record("none", "client", server, f"pre-shared key, TLS {version}")

    def test_gnuTLS(self) -> None:
        """
        It shows a page.
        """
        for version in VERSIONS:
            server = self.started(KeyedGnuTLS, version)
            self.assertIn("GnuTLS", self.fetch(version, server, "/"))
            record("none", "client", server, f"pre-shared key, TLS {version}")

    def test_stunnel(self) -> None:
        """
        Before a web server.
        """
        web = self.stage.start(PlainWeb(self.stage.directory("web")))
        for version in VERSIONS:
            port = freePort()
            service = f"accept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{web.port}\n"
            server = self.stunnel(service, version, port)
            self.assertEqual(self.fetch(version, server), PAGE)
            record("none", "client", "stunnel", f"pre-shared key, TLS {version}")

    def test_mosquitto(self) -> None:
        """
        Clients that know no TLS publish and hear.
        """
        for version in VERSIONS:
            server = self.started(KeyedMosquitto, version)
            tunnel = self.client(server.port)
            common = ["-h", "127.0.0.1", "-p", str(tunnel.port), "-t", "topic"]
            run(["mosquitto_pub", *common, "-r", "-m", f"word {version}"]).expect("")
            run(["mosquitto_sub", *common, "-C", "1", "-W", "10"]).expect(f"word {version}")
            self.assertSays(f"TLSv{version}", tunnel)
            record("none", "client", server, f"pre-shared key, TLS {version}")

    def test_aServerWithAnotherKey(self) -> None:
        """
        It refuses us, and the app hears nothing but the end.
        """
        for version in VERSIONS:
            server = KeyedOpenSSL(self.stage.directory("other"), DEVICE, "00" * 32, version)
            server.start()
            self.addCleanup(server.stop)
            self.assertRefused(server.port, f"does not take the key of {DEVICE}")

    def test_aServerWithACertificateAlone(self) -> None:
        """
        However good that is, nothing goes there.
        """
        domain = self.stage.authority.issue(SERVER)
        server = self.stage.start(OpenSSLWeb(self.stage.directory("certified"), domain))
        self.assertRefused(server.port, "shows a certificate, and does not use the key")

    def assertRefused(self, port: int, because: str) -> None:
        """
        Nothing comes through, and the log says why, with what to do.
        """
        tunnel = self.client(port)
        run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}/"]).expectFailure("")
        until(lambda: because in tunnel.log, "the refusal")
        self.assertSays("--local-id", tunnel)


class ImportTests(KeysTestCase):
    """
    Files of others.
    """

    def test_whatPsktoolHasMade(self) -> None:
        """
        For GnuTLS.
        """
        file = self.stage.base / "psktool.txt"
        run(["psktool", "-u", "made@test.example", "-p", str(file)]).expect("")
        self.check(file, "made@test.example")

    def check(self, file: Path, name: str) -> None:
        """
        Import it, and see that all is well.
        """
        pool = str(self.stage.authority.pool)
        tlstunnel("identity", "import", "--pool", pool, "--psk", str(file)).expect(name)
        tlstunnel("identity", "check", "--pool", pool, name).expect("all is well")
