"""
Endpoints: the programs of C{docs/endpoints.md}, which use protocols of Twisted, with real servers
and clients, and with tunnels.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import ClassVar

from tests.endpoints.programs import runExample, served
from tests.interop.harness import InteropTestCase, Stage, curl, openssl, run
from tests.interop.servers.dovecot import PASSWORD, USER, Dovecot
from tests.interop.servers.nginx import NginxTLS12Web, NginxWeb
from tests.interop.servers.postfix import Postfix

NAME = "mail.test.example"
OTHER = "other.test.example"
READER = "reader@test.example"
SENDER = "writer@sender.test"


class _Endpoints(InteropTestCase):
    """
    Base class of both.
    """

    def client(self, address: str, name: str = NAME, **keys: str) -> str:
        """
        A client string.
        """
        more = "".join(f":{key}={value}" for key, value in keys.items())
        return f"tlstunnel:{address}:remote={name}:pool={self.stage.authority.pool}{more}"

    def server(self, dialect: str, **keys: str) -> str:
        """
        A server string.
        """
        more = "".join(f":{key}={value}" for key, value in keys.items())
        pool = self.stage.authority.pool
        inner = "tcp\\:0\\:interface=127.0.0.1"
        return f"starttls:{dialect}:{inner}:local={NAME}:pool={pool}{more}"

    def mail(self, endpoint: str, subject: str) -> str:
        """
        Send a mail.
        """
        return runExample("send_mail.py", endpoint, SENDER, READER, subject, said="Words.\n")


class ServerTests(_Endpoints):
    """
    Real servers.
    """

    postfix: ClassVar[Postfix]
    plain: ClassVar[Postfix]
    dovecot: ClassVar[Dovecot]
    nginx: ClassVar[NginxWeb]
    strict: ClassVar[NginxWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        issued = stage.authority.issue(NAME)
        stage.authority.issue(READER)
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), issued))
        cls.plain = stage.start(Postfix(stage.directory("plain")))
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot"), issued))
        cls.nginx = stage.start(NginxWeb(stage.directory("nginx"), issued))
        cls.strict = stage.start(NginxTLS12Web(stage.directory("strict"), issued))

    def test_postfixGetsAMail(self) -> None:
        """
        By STARTTLS, from Twisted's SMTP client.
        """
        printed = self.mail(
            self.client(f"127.0.0.1:{self.postfix.port}", starttls="smtp"), "by an endpoint"
        )
        self.assertEqual(printed, f"{NAME} by TLSv1.3\nsent\n")
        received = self.postfix.received("by an endpoint")
        self.assertIn("using TLSv1.3", str(received["Received"]))

    def test_whoeverIsNotThereGetsNoMail(self) -> None:
        """
        Nor who offers no TLS.
        """
        for port, name, why in (
            (self.postfix.port, OTHER, "identity: the certificate is for"),
            (self.plain.port, NAME, "refused: "),
        ):
            endpoint = self.client(f"127.0.0.1:{port}", name, starttls="smtp")
            printed = self.mail(endpoint, "to no server")
            self.assertIn(why, printed)
            self.assertNotIn("sent\n", printed)

    def test_dovecotCountsMails(self) -> None:
        """
        By STARTTLS, to Twisted's IMAP client, which logs in.
        """
        self.dovecot.deliver("one of them")
        endpoint = self.client(self.dovecot.address("imap"), starttls="imap")
        printed = runExample("count_mail.py", endpoint, USER, PASSWORD)
        self.assertRegex(printed, r"^mails: [1-9]\d*\n$")

    def test_nginxGivesAPage(self) -> None:
        """
        To Twisted's web client; with TLS 1.2 and a client's certificate as well.
        """
        for nginx, version, keys in (
            (self.nginx, "TLSv1.3", {}),
            (self.strict, "TLSv1.2", {"local": READER}),
        ):
            endpoint = self.client(f"127.0.0.1:{nginx.port}", **keys)
            printed = runExample("fetch.py", endpoint, f"http://{NAME}/")
            self.assertEqual(printed, f"200 <. {version}>\n")

    def test_aVersionThatIsTooLowIsRefused(self) -> None:
        """
        As it was asked for.
        """
        endpoint = self.client(f"127.0.0.1:{self.strict.port}", minimum="1.3", local=READER)
        printed = runExample("fetch.py", endpoint, f"http://{NAME}/")
        self.assertIn("tlstunnel.errors.TLSFailed", printed)


class ClientTests(_Endpoints):
    """
    Real clients, and tunnels.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        stage.authority.issue(READER)

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors

    def printed(self, process: subprocess.Popen[str], isLast: Callable[[str], bool]) -> str:
        """
        What a program says up to some line.
        """
        assert process.stdout is not None
        lines = ""
        for line in process.stdout:
            lines += line
            if isLast(line):
                break
        return lines

    def test_swaksBringsAMail(self) -> None:
        """
        By STARTTLS, to Twisted's SMTP server.
        """
        with served("mail_server.py", self.server("smtp")) as (port, process):
            run(
                [
                    *("swaks", "--server", "127.0.0.1", "--port", str(port)),
                    *("--tls", "--tls-verify", "--tls-ca-path", str(self.anchors)),
                    *("--tls-sni", NAME, "--from", SENDER, "--to", READER),
                ]
            ).expect("TLS started with cipher", "250 Delivery in progress")
            said = self.printed(process, lambda line: line.startswith("end"))
        self.assertIn(f"from {SENDER}, brought by None, TLSv1.3", said)

    def test_curlShowsWhoItIs(self) -> None:
        """
        By a certificate; without, it hears nothing.
        """
        ours = self.stage.authority.pool / READER
        shown = ("--cert", str(ours / "fullchain.pem"), "--key", str(ours / "privkey.pem"))
        endpoint = self.server("none", remote="@test.example", alpn="http/1.1")
        with served("who_am_i.py", endpoint) as (port, _):
            curl("https", port, NAME, self.anchors, *shown).expect(
                f"you are {READER}, by TLSv1.3, secure"
            )
            curl("https", port, NAME, self.anchors).expectFailure("")

    def test_opensslEndsCleanly(self) -> None:
        """
        A request that is ended by close_notify is answered.
        """
        with served("who_am_i.py", self.server("none")) as (port, _):
            openssl(
                port,
                NAME,
                self.anchors,
                say=f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n",
            ).expect("you are None, by TLSv1.3")

    def test_aTunnelIsAPeerLikeOthers(self) -> None:
        """
        Before and behind an endpoint.
        """
        with served("mail_server.py", self.server("smtp")) as (port, process):
            tunnel = self.clientMode(f"127.0.0.1:{port}", NAME, "smtp")
            run(
                [
                    *("swaks", "--server", "127.0.0.1", "--port", str(tunnel.port)),
                    *("--from", SENDER, "--to", READER),
                ]
            ).expect("250 Delivery in progress")
            self.printed(process, lambda line: line.startswith("end"))
            tunnel.stop()
            backend = self.clientMode(f"127.0.0.1:{port}", NAME, "smtp")
            server = self.serverMode(f"127.0.0.1:{backend.port}", NAME, "smtp")
            printed = self.mail(
                self.client(f"127.0.0.1:{server.port}", starttls="smtp"), "by three of us"
            )
        self.assertEqual(printed, f"{NAME} by TLSv1.3\nsent\n")
