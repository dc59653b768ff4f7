"""
What testssl.sh and sslyze find to complain about in server mode: nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    TunnelProcess,
    record,
    run,
    tlstunnel,
)
from tests.interop.servers.dovecot import Dovecot
from tests.interop.servers.postfix import Postfix
from tests.interop.servers.web import PlainWeb

NAME = "mail.test.example"
SSLYZE = "/opt/tlstunnel-interop/sslyze/bin/sslyze"

#: What testssl.sh notes about its own OpenSSL; what it misses in the certificates of small
#: authorities; and that it cannot resume a session, for which it has no ticket.
EXPECTED = {"engine_problem", "DNS_CAArecord", "cert_revocation", "sessionresumption_ticket"}


class ScannerTests(InteropTestCase):
    """
    The certificate is one of C{tlstunnel identity create}, as a user would have it.
    """

    postfix: ClassVar[Postfix]
    dovecot: ClassVar[Dovecot]
    web: ClassVar[PlainWeb]
    pool: ClassVar[Path]
    anchors: ClassVar[str]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.postfix = stage.start(Postfix(stage.directory("postfix")))
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot")))
        cls.web = stage.start(PlainWeb(stage.directory("web")))
        cls.pool = stage.directory("pool")
        tlstunnel("identity", "create", "--pool", str(cls.pool), NAME).expect()
        cls.anchors = str(cls.pool / "ca" / "cert.pem")

    def server(self, backend: str, dialect: str | None) -> TunnelProcess:
        """
        A tunnel in server mode with that certificate.
        """
        return self.serverMode(backend, NAME, dialect, "--pool", str(self.pool))

    def sslyze(self, backend: str, dialect: str | None) -> None:
        """
        Compare with Mozilla's intermediate recommendation.
        """
        upgrade = () if dialect is None else ("--starttls", dialect)
        target = f"127.0.0.1:{self.server(backend, dialect).port}"
        options = ("--sni", NAME, "--certinfo_ca_file", self.anchors)
        outcome = run([SSLYZE, *upgrade, *options, target], seconds=60)
        if "OK - Compliant" not in outcome.text:
            raise AssertionError(str(outcome))

    def test_sslyzeOverHTTPS(self) -> None:
        """
        TLS from the first byte.
        """
        self.sslyze(f"127.0.0.1:{self.web.port}", None)
        record("none", "server", "sslyze", "Mozilla intermediate")

    def test_sslyzeOverSMTP(self) -> None:
        """
        STARTTLS of smtp.
        """
        self.sslyze(f"127.0.0.1:{self.postfix.port}", "smtp")
        record("smtp", "server", "sslyze", "Mozilla intermediate")

    def test_sslyzeOverIMAP(self) -> None:
        """
        STARTTLS of imap.
        """
        self.sslyze(self.dovecot.address("imap"), "imap")
        record("imap", "server", "sslyze", "Mozilla intermediate")

    def test_sslyzeOverPOP3(self) -> None:
        """
        STLS of pop3.
        """
        self.sslyze(self.dovecot.address("pop3"), "pop3")
        record("pop3", "server", "sslyze", "Mozilla intermediate")

    def test_testsslOverSMTP(self) -> None:
        """
        Protocols, server defaults and vulnerabilities, over STARTTLS; every finding counts.
        """
        report = self.stage.directory("testssl.json")
        port = self.server(f"127.0.0.1:{self.postfix.port}", "smtp").port
        outcome = run(
            [
                *("testssl", "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1"),
                *("--add-ca", self.anchors, "--jsonfile", str(report)),
                *("-p", "-S", "-U", "-t", "smtp", f"{NAME}:{port}"),
            ],
            seconds=400,
        )
        findings = json.loads(report.read_text())
        self.assertIn("TLS1_3", {finding["id"] for finding in findings}, str(outcome))
        complaints = [
            finding
            for finding in findings
            if finding["severity"] not in ("OK", "INFO", "DEBUG") and finding["id"] not in EXPECTED
        ]
        self.assertEqual(complaints, [], str(outcome))
        record("smtp", "server", "testssl", "protocols, defaults and vulnerabilities")
