"""
Resumption, as client of nginx, OpenSSL and stunnel, and as server of OpenSSL and GnuTLS.
"""

from __future__ import annotations

import json
import os
import signal
from typing import ClassVar
from unittest import SkipTest

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    TunnelProcess,
    record,
    run,
    until,
)
from tests.interop.servers.nginx import NginxTLS12Web, NginxWeb
from tests.interop.servers.stunnel import Stunnel
from tests.interop.servers.web import OpenSSLWeb, PlainWeb
from tests.interop.tunnel import WORKERS
from tests.ports import freePort

NAME = "www.test.example"
CLIENT = "testcli@tlspool.arpa2.lab"
JSON = ("--log-json",)


def resumed(tunnel: TunnelProcess, count: int) -> list[bool]:
    """
    Whether sessions were resumed in the connections that a tunnel has logged, once these are so
    many.
    """

    def ends() -> list[bool]:
        lines = [json.loads(line) for line in tunnel.log.splitlines() if line.startswith("{")]
        return [each["resumed"] for each in lines if each["event"] == "connection"]

    until(lambda: len(ends()) >= count, f"{count} connections")
    return ends()


class ResumptionTestCase(InteropTestCase):
    """
    The base of these tests.
    """

    def setUp(self) -> None:
        if WORKERS != "1":
            raise SkipTest("each worker has sessions of its own")
        super().setUp()


class ClientModeTests(ResumptionTestCase):
    """
    Servers that let us resume.
    """

    nginx: ClassVar[NginxWeb]
    nginx12: ClassVar[NginxTLS12Web]
    openssl: ClassVar[OpenSSLWeb]
    stunnel: ClassVar[Stunnel]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        domain = stage.authority.issue(NAME)
        stage.authority.issue(CLIENT)
        cls.nginx = stage.start(NginxWeb(stage.directory("nginx"), domain))
        cls.nginx12 = stage.start(NginxTLS12Web(stage.directory("nginx12"), domain))
        cls.openssl = stage.start(OpenSSLWeb(stage.directory("openssl"), domain))
        web = stage.start(PlainWeb(stage.directory("web")))
        port = freePort()
        service = (
            f"[web]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{web.port}\n"
            f"cert = {domain.chain}\nkey = {domain.key}\n"
        )
        cls.stunnel = stage.start(Stunnel(stage.directory("stunnel"), service, port))

    def fetch(self, tunnel: TunnelProcess, path: str = "/page.txt") -> str:
        """
        What the server says.
        """
        return run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}{path}"]).expect("")

    def test_nginxResumes(self) -> None:
        """
        As it says itself.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.nginx.port}", NAME, None, *JSON)
        found = [self.fetch(tunnel) for _ in range(3)]
        self.assertEqual(found, ["<. TLSv1.3>", "<r TLSv1.3>", "<r TLSv1.3>"])
        self.assertEqual(resumed(tunnel, 3), [False, True, True])
        record("none", "client", self.nginx, "session resumed")

    def test_nginxResumesAfterItWasShownACertificate(self) -> None:
        """
        With TLS 1.2.
        """
        remote = f"127.0.0.1:{self.nginx12.port}"
        tunnel = self.clientMode(remote, NAME, None, "-L", CLIENT, *JSON)
        found = [self.fetch(tunnel) for _ in range(3)]
        self.assertEqual(found, ["<. TLSv1.2>", "<r TLSv1.2>", "<r TLSv1.2>"])
        self.assertEqual(resumed(tunnel, 3), [False, True, True])

    def test_itDoesNotWhereWeDoNotWant(self) -> None:
        """
        --resumption off.
        """
        remote = f"127.0.0.1:{self.nginx.port}"
        tunnel = self.clientMode(remote, NAME, None, "--resumption", "off")
        self.assertEqual([self.fetch(tunnel) for _ in range(2)], ["<. TLSv1.3>"] * 2)

    def test_itDoesNotAfterAReload(self) -> None:
        """
        All is verified anew.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.nginx.port}", NAME, None, *JSON)
        self.assertEqual([self.fetch(tunnel)[1] for _ in range(2)], [".", "r"])
        os.kill(tunnel.pid, signal.SIGHUP)
        until(lambda: '"reload"' in tunnel.log, "the reload")
        self.assertEqual([self.fetch(tunnel)[1] for _ in range(2)], [".", "r"])

    def test_openSSLResumes(self) -> None:
        """
        C{openssl s_server}.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.openssl.port}", NAME, None, *JSON)
        for _ in range(3):
            self.fetch(tunnel)
        self.assertEqual(resumed(tunnel, 3), [False, True, True])
        record("none", "client", self.openssl, "session resumed")

    def test_stunnelResumes(self) -> None:
        """
        Before a web server.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.stunnel.port}", NAME, None, *JSON)
        for _ in range(3):
            self.fetch(tunnel)
        self.assertEqual(resumed(tunnel, 3), [False, True, True])
        record("none", "client", "stunnel", "session resumed")


class ServerModeTests(ResumptionTestCase):
    """
    Clients that resume.
    """

    web: ClassVar[PlainWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        stage.authority.issue(CLIENT)
        cls.web = stage.start(PlainWeb(stage.directory("web")))

    def connect(self, tunnel: TunnelProcess, *options: str) -> list[bool]:
        """
        Connect three times by C{openssl s_client}, with the session of the time before.

        @return: whether each was resumed.
        """
        session = self.stage.directory("session")
        files = self.stage.authority.pool / CLIENT
        found = []
        for _ in range(3):
            # Where it gets none, it writes none.
            before = ["-sess_in", str(session)] if session.exists() else []
            said = run(
                [
                    *("openssl", "s_client", "-connect", f"127.0.0.1:{tunnel.port}"),
                    *("-servername", NAME, "-CAfile", str(self.stage.authority.anchors)),
                    *("-cert", str(files / "fullchain.pem"), "-key", str(files / "privkey.pem")),
                    *("-verify_return_error", "-ign_eof", "-sess_out", str(session)),
                    *before,
                    *options,
                ],
                "GET /page.txt HTTP/1.0\r\n\r\n",
            ).expect("A page that was fetched.")
            found.append("\nReused, " in said)
        return found

    def test_openSSLResumes(self) -> None:
        """
        In both versions, with a certificate, which is that of whom the log names.
        """
        backend = f"127.0.0.1:{self.web.port}"
        options = ("-R", "@tlspool.arpa2.lab", "--resumption", "on", *JSON)
        for version in ("-tls1_2", "-tls1_3"):
            tunnel = self.serverMode(backend, NAME, None, *options)
            self.assertEqual(self.connect(tunnel, version), [False, True, True], version)
            self.assertEqual(resumed(tunnel, 3), [False, True, True])
            self.assertEqual(tunnel.log.count(f'"identity": "{CLIENT}"'), 3)
        record("none", "server", "openssl", "session resumed")

    def test_itDoesNotUnlessWeWant(self) -> None:
        """
        No ticket is sent, and there is no cache.
        """
        backend = f"127.0.0.1:{self.web.port}"
        for version in ("-tls1_2", "-tls1_3"):
            tunnel = self.serverMode(backend, NAME, None)
            self.assertEqual(self.connect(tunnel, version), [False] * 3, version)

    def test_GnuTLSResumes(self) -> None:
        """
        C{gnutls-cli --resume} connects twice.
        """
        backend = f"127.0.0.1:{self.web.port}"
        tunnel = self.serverMode(backend, NAME, None, "--resumption", "on", *JSON)
        run(
            [
                *("gnutls-cli", "--resume", f"--port={tunnel.port}"),
                *(f"--x509cafile={self.stage.authority.anchors}", f"--sni-hostname={NAME}"),
                *(f"--verify-hostname={NAME}", "127.0.0.1"),
            ],
            "GET /page.txt HTTP/1.0\r\n\r\n",
            endless=True,
        ).expect("This is a resumed session")
        self.assertEqual(resumed(tunnel, 2), [False, True])
        record("none", "server", "gnutls-cli", "session resumed")
