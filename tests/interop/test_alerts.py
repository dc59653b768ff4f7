"""
What a peer that is refused is told: the alerts of RFC 8446, section 6.2, as OpenSSL's programs see
them at the other end.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tests.certificates import (
    OTHER_USE,
    Issued,
    Recipe,
    alternative,
    dns,
    mail,
    make,
    root,
)
from tests.interop.certificates import ServerCertificate
from tests.interop.harness import InteropTestCase, Stage, openssl, run, until
from tests.interop.servers.web import OpenSSLWeb

NAME = "www.test.example"
USER = "testcli@tlspool.arpa2.lab"


def write(directory: Path, issued: Issued) -> ServerCertificate:
    """
    Put a certificate and its key into files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    chain, key, anchors = (directory / f"{each}.pem" for each in ("chain", "key", "anchors"))
    chain.write_bytes(issued.chainPEM())
    key.write_bytes(issued.keyPEM())
    anchor = root().certificate
    anchors.write_bytes(Issued(anchor, root().key, (anchor,)).chainPEM())
    return ServerCertificate(NAME, chain, key, anchors)


def _hears(server: OpenSSLWeb, alert: str) -> bool:
    return f"alert {alert}" in server.log


#: What may be wrong with a certificate, apart from its name, and what its owner hears.
WRONG: dict[str, dict[str, Any]] = {
    "certificate expired": {"end": timedelta(minutes=-1)},
    "unsupported certificate": {"purposes": (OTHER_USE,)},
}


class AlertsTests(InteropTestCase):
    """
    C{s_server} and C{s_client} with certificates that the tunnel refuses.
    """

    servers: ClassVar[dict[str, OpenSSLWeb]]
    anchors: ClassVar[str]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        san = alternative(dns(NAME))
        shown = {alert: make(Recipe(san=san, **wrong), root()) for alert, wrong in WRONG.items()}
        shown["unknown ca"] = make(Recipe(san=san), root("Unknown"))
        shown["bad certificate"] = make(Recipe(san=alternative(dns("a.example"))), root())
        cls.servers = {}
        for alert, issued in shown.items():
            directory = stage.directory(alert.replace(" ", "-"))
            files = write(directory / "files", issued)
            cls.servers[alert] = stage.start(OpenSSLWeb(directory, files))
            cls.anchors = str(files.anchors)

    def test_servers(self) -> None:
        """
        A server that is refused hears why.
        """
        for alert, server in self.servers.items():
            remote = f"127.0.0.1:{server.port}"
            tunnel = self.clientMode(remote, NAME, None, "--trust", self.anchors)
            run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}/page.txt"]).expectFailure()
            until(partial(_hears, server, alert), alert)

    def test_clients(self) -> None:
        """
        A client that is refused hears why, also one without a certificate.
        """
        web = next(iter(self.servers.values()))
        options = ("-R", USER, "--trust", self.anchors)
        port = self.serverMode(f"127.0.0.1:{web.port}", NAME, None, *options).port
        san = alternative(mail(USER))
        shown = {alert: make(Recipe(san=san, **wrong), root()) for alert, wrong in WRONG.items()}
        shown["unknown ca"] = make(Recipe(san=san), root("Unknown"))
        shown["bad certificate"] = make(Recipe(san=alternative(mail("a@b.example"))), root())
        for version in ("-tls1_2", "-tls1_3"):
            for alert, issued in shown.items():
                files = write(self.stage.directory("client"), issued)
                words = ("-cert", str(files.chain), "-key", str(files.key), version)
                done = openssl(port, NAME, self.stage.authority.anchors, *words, say="x")
                done.expectFailure(f"alert {alert}")
        done = openssl(port, NAME, self.stage.authority.anchors, "-tls1_3", say="x")
        done.expectFailure("alert certificate required")
