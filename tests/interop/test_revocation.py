"""
Certificates that were revoked: an authority of OpenSSL with its lists and its responder of OCSP, in
both modes.
"""

from __future__ import annotations

import os
import signal
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    Stage,
    TunnelProcess,
    curl,
    freePort,
    record,
    run,
    until,
)
from tests.interop.servers.revocation import OpenSSLAuthority, StaplingWeb
from tests.interop.servers.web import PAGE, PlainWeb

NAME = "www.test.example"
SERVER = "srv.test.example"
GOOD, BAD = "good@test.example", "bad@test.example"


def fetch(tunnel: TunnelProcess) -> Outcome:
    """
    A page, in clear from a client tunnel.
    """
    return run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}/page.txt"])


class ListsTests(InteropTestCase):
    """
    C{openssl ca -gencrl}.
    """

    authority: ClassVar[OpenSSLAuthority]
    plain: ClassVar[PlainWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.authority = OpenSSLAuthority(stage.directory("authority"))
        for each in (SERVER, GOOD, BAD):
            cls.authority.issue(each)
        cls.plain = stage.start(PlainWeb(stage.directory("plain")))

    def reload(self, tunnel: TunnelProcess) -> None:
        """
        Let a tunnel read everything again.
        """
        before = tunnel.log.count("reloaded identities and trust")
        os.kill(tunnel.pid, signal.SIGHUP)
        until(lambda: tunnel.log.count("reloaded identities and trust") > before, "a reload")

    def test_clients(self) -> None:
        """
        One is revoked while the tunnel runs: from the next list on it gets in no more, also with an
        older list that somebody puts back.
        """
        authority = self.authority
        pool = str(authority.pool)
        authority.writeList()
        tunnel = self.serverMode(
            f"127.0.0.1:{self.plain.port}", SERVER, None, "--pool", pool, "-R", "@."
        )

        def come(who: str) -> Outcome:
            files = authority.pool / who
            return curl(
                "https", tunnel.port, SERVER, authority.anchors,
                "--cert", str(files / "cert.pem"), "--key", str(files / "privkey.pem"),
                path="/page.txt",
            )  # fmt: skip

        for who in (GOOD, BAD):
            come(who).expect(PAGE)
        authority.revoke(BAD)
        before = authority.writeList()
        self.reload(tunnel)
        come(GOOD).expect(PAGE)
        come(BAD).expectFailure()
        until(lambda: "was revoked on" in tunnel.log and "keyCompromise" in tunnel.log, "why")
        authority.list.write_bytes(before)
        self.reload(tunnel)
        until(lambda: "goes on to count" in tunnel.log, "a warning")
        come(BAD).expectFailure()
        record("none", "server", "curl", "client refused whose certificate was revoked")

    def test_servers(self) -> None:
        """
        nginx shows a certificate that is revoked meanwhile.
        """
        authority = self.authority
        web = StaplingWeb(self.stage.directory("nginx"), authority.issue(NAME))
        web.start()
        self.addCleanup(web.stop)
        authority.writeList()
        tunnel = self.clientMode(f"127.0.0.1:{web.port}", NAME, None, "--pool", str(authority.pool))
        fetch(tunnel).expect(PAGE)
        authority.revoke(NAME)
        authority.writeList()
        self.reload(tunnel)
        fetch(tunnel).expectFailure()
        until(lambda: "was revoked on" in tunnel.log, "why")
        record("none", "client", web, "server refused whose certificate was revoked")

    def test_anExpiredList(self) -> None:
        """
        Nobody can be believed by it, and the log says so from the start.
        """
        authority = OpenSSLAuthority(self.stage.directory("expired"))
        web = StaplingWeb(self.stage.directory("nginx"), authority.issue(NAME))
        web.start()
        self.addCleanup(web.stop)
        authority.writeList("-crl_lastupdate", "20240101000000Z",
                            "-crl_nextupdate", "20240102000000Z")  # fmt: skip
        tunnel = self.clientMode(f"127.0.0.1:{web.port}", NAME, None, "--pool", str(authority.pool))
        until(lambda: "are refused until there is a new one" in tunnel.log, "a warning")
        fetch(tunnel).expectFailure()
        until(lambda: "expired on 2024-01-02" in tunnel.log, "why")


class StaplingTests(InteropTestCase):
    """
    C{openssl ocsp}.
    """

    authority: ClassVar[OpenSSLAuthority]
    plain: ClassVar[PlainWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.authority = OpenSSLAuthority(stage.directory("authority"))
        cls.authority.issue(SERVER)
        stage.start(cls.authority.responder())
        cls.plain = stage.start(PlainWeb(stage.directory("plain")))

    def ask(self, port: int, *options: str, starttls: str | None = None) -> str:
        """
        What C{openssl s_client} sees of a staple.
        """
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", SERVER]
        command += ["-CAfile", str(self.authority.anchors), "-verify_return_error", "-status"]
        upgrade = ["-starttls", starttls] if starttls else []
        return run([*command, *upgrade, *options]).text

    def test_theResponderIsAskedAndItsAnswerIsStapled(self) -> None:
        """
        In both versions, to whoever asks.
        """
        tunnel = self.serverMode(
            f"127.0.0.1:{self.plain.port}", SERVER, None,
            "--pool", str(self.authority.pool), "--ocsp-stapling",
        )  # fmt: skip
        until(lambda: "Cert Status: good" in self.ask(tunnel.port), "a staple")
        self.assertIn("Cert Status: good", self.ask(tunnel.port, "-tls1_2"))
        record("none", "server", "openssl", "OCSP response stapled")

    def test_withSTARTTLS(self) -> None:
        """
        The same behind an upgrade; the backend is dialled only after the handshake.
        """
        tunnel = self.serverMode(
            f"127.0.0.1:{freePort()}", SERVER, "pop3",
            "--pool", str(self.authority.pool), "--ocsp-stapling", "--skip-resolve",
        )  # fmt: skip
        until(lambda: "Cert Status: good" in self.ask(tunnel.port, starttls="pop3"), "a staple")
        record("pop3", "server", "openssl", "OCSP response stapled")

    def test_twoTunnels(self) -> None:
        """
        One staples, and the other requires it.
        """
        pool = str(self.authority.pool)
        server = self.serverMode(
            f"127.0.0.1:{self.plain.port}", SERVER, None, "--pool", pool, "--ocsp-stapling"
        )
        client = self.clientMode(
            f"127.0.0.1:{server.port}", SERVER, None, "--pool", pool, "--require-staple"
        )
        until(lambda: PAGE in fetch(client).text, "a page")

    def test_aServerThatStaples(self) -> None:
        """
        nginx, with a good answer, with none, and with one that says revoked.
        """
        authority = self.authority
        certificate = authority.issue(NAME)

        def tunnelTo(web: StaplingWeb) -> TunnelProcess:
            web.start()
            self.addCleanup(web.stop)
            pool = str(authority.pool)
            options = ("--pool", pool, "--require-staple")
            return self.clientMode(f"127.0.0.1:{web.port}", NAME, None, *options)

        web = StaplingWeb(self.stage.directory("nginx"), certificate, authority.answer(NAME))
        fetch(tunnelTo(web)).expect(PAGE)
        record("none", "client", web, "page fetched with the OCSP response that was required")
        silent = tunnelTo(StaplingWeb(self.stage.directory("nginx"), certificate))
        fetch(silent).expectFailure()
        until(lambda: "staples no response" in silent.log, "why")
        authority.revoke(NAME)
        answer = authority.answer(NAME)
        honest = tunnelTo(StaplingWeb(self.stage.directory("nginx"), certificate, answer))
        fetch(honest).expectFailure()
        until(lambda: "was revoked" in honest.log or "staples no" in honest.log, "why")
