"""
Mail servers that are told who is there: what they log of a client, what they let it do, and what
they do not believe it.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

from tests.interop.certificates import ServerCertificate
from tests.interop.harness import (
    InteropTestCase,
    Process,
    Stage,
    TunnelProcess,
    curl,
    freePort,
    record,
    run,
    until,
)
from tests.interop.servers.believing import (
    PASSWORD,
    UNWANTED,
    USER,
    BelievingDovecot,
    BelievingPostfix,
    RelayingPostfix,
)

NAME = "mail.test.example"
WRITER = "writer@clients.test"
RECIPIENT = "reader@test.example"
ELSEWHERE = "somebody@elsewhere.test"

#: How long a client waits for anything, in seconds.
TIMEOUT = 20

#: Where clients come from, and where one would like to.
HOST, FORGED = "127.0.0.7", "127.0.0.99"

ATTACK = f"XCLIENT ADDR={FORGED} LOGIN=root@test.example\r\n".encode()
OPENING = f"EHLO x\r\nMAIL FROM:<{WRITER}>\r\nRCPT TO:<{RECIPIENT}>\r\n".encode()


def mail(subject: str, text: str = "Words.") -> str:
    """
    A mail; its subject says which test sent it.
    """
    return f"Subject: {subject}\r\n\r\n{text}\r\n"


def contains(process: Process, words: str, count: int = 1) -> bool:
    """
    Whether a log has these words, so often.
    """
    return process.log.count(words) == count


class MailTestCase(InteropTestCase):
    """
    Clients, with and without a certificate.
    """

    writer: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.writer = stage.authority.issue(WRITER)

    def context(self, isKnown: bool = True) -> ssl.SSLContext:
        """
        That of a client.

        @param isKnown: whether it has a certificate.
        """
        context = ssl.create_default_context(cafile=str(self.stage.authority.anchors))
        context.check_hostname = False
        if isKnown:
            context.load_cert_chain(self.writer.chain, self.writer.key)
        return context

    @contextmanager
    def client(
        self, tunnel: TunnelProcess, isKnown: bool = True, host: str = HOST, lmtp: bool = False
    ) -> Iterator[smtplib.SMTP]:
        """
        One that has begun TLS.
        """
        kind = smtplib.LMTP if lmtp else smtplib.SMTP
        client = kind("127.0.0.1", tunnel.port, source_address=(host, 0), timeout=TIMEOUT)
        try:
            client.starttls(context=self.context(isKnown))
            yield client
        finally:
            client.close()

    def implicitly(self, tunnel: TunnelProcess, host: str = HOST) -> smtplib.SMTP:
        """
        One that speaks TLS from the first byte.
        """
        return smtplib.SMTP_SSL(
            *("127.0.0.1", tunnel.port),
            context=self.context(),
            source_address=(host, 0),
            timeout=TIMEOUT,
        )

    def says(self, client: smtplib.SMTP, said: bytes, *expected: int) -> None:
        """
        Say C{said}, and see the codes of the answers.
        """
        assert client.sock is not None
        client.sock.sendall(said)
        self.assertEqual([client.getreply()[0] for _ in expected], [*expected])


class PostfixTests(MailTestCase):
    """
    XCLIENT and XFORWARD.
    """

    postfix: ClassVar[BelievingPostfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.postfix = stage.start(BelievingPostfix(stage.directory("postfix")))

    def behind(
        self,
        service: str = "smtp",
        word: str = "smtp",
        dialect: str | None = "smtp",
        clients: Sequence[str] = ("-R", "@."),
    ) -> TunnelProcess:
        """
        A tunnel before one of its services.
        """
        backend = f"127.0.0.1:{self.postfix.ports[service]}"
        return self.serverMode(backend, NAME, dialect, "--reveal", word, *clients)

    def assertLogged(self, *words: str) -> None:
        """
        One line of the log has them all.
        """

        def isThere() -> bool:
            return any(
                all(word in line for word in words) for line in self.postfix.log.splitlines()
            )

        until(isThere, f"{words} in the log")

    def test_aCertificateIsALogin(self) -> None:
        """
        For mail to elsewhere; the log has the client's own address and port.
        """
        with self.client(self.behind()) as client:
            assert client.sock is not None
            port = client.sock.getsockname()[1]
            client.sendmail(WRITER, ELSEWHERE, mail("relayed"))
        self.assertLogged(
            f"client=unknown[{HOST}]:{port}, sasl_method=XCLIENT, sasl_username={WRITER}"
        )
        received = str(self.postfix.received("relayed")["Received"])
        self.assertIn(f"(unknown [{HOST}])", received)
        self.assertIn(f"(Authenticated sender: {WRITER})", received)
        self.assertIn("with ESMTPA", received)
        record("smtp", "server", self.postfix, "XCLIENT: address, port and login in the log")

    def test_withoutOneThereIsNone(self) -> None:
        """
        Mail for the server itself is taken, with the address.
        """
        with self.client(self.behind(clients=()), isKnown=False) as client:
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                client.sendmail(WRITER, ELSEWHERE, mail("never"))
            client.sendmail(WRITER, RECIPIENT, mail("nobody"))
        received = str(self.postfix.received("nobody")["Received"])
        self.assertIn(f"(unknown [{HOST}])", received)
        self.assertNotIn("Authenticated", received)

    def test_withTLSFromTheFirstByte(self) -> None:
        """
        The same: the client hears the greeting of the server.
        """
        tunnel = self.behind(dialect=None)
        with self.implicitly(tunnel) as client:
            client.ehlo()
            self.assertFalse(client.has_extn("xclient") or client.has_extn("chunking"))
            client.sendmail(WRITER, ELSEWHERE, mail("implicitly"))
        received = str(self.postfix.received("implicitly")["Received"])
        self.assertIn(f"(unknown [{HOST}])", received)
        record("none", "server", self.postfix, "XCLIENT behind TLS from the first byte")

    def test_whoIsNotWelcomeHearsSo(self) -> None:
        """
        By its own address, and before anything else.
        """
        with self.client(self.behind("choosy"), host=UNWANTED) as client:
            self.assertEqual(client.ehlo()[0], 554)
            self.assertEqual(client.quit()[0], 221)
        with self.client(self.behind("choosy")) as client:
            self.assertEqual(client.ehlo()[0], 250)
        tunnel = self.behind("choosy", dialect=None)
        with self.assertRaises(smtplib.SMTPConnectError) as caught:
            smtplib.SMTP_SSL(
                "127.0.0.1",
                tunnel.port,
                context=self.context(),
                source_address=(UNWANTED, 0),
                timeout=TIMEOUT,
            )
        self.assertEqual(caught.exception.smtp_code, 554)

    def test_theLogHasTheClientByXFORWARD(self) -> None:
        """
        Of each mail; where XCLIENT is not offered, and where it is not wanted.
        """
        for number, (service, word) in enumerate((("forward", "smtp"), ("smtp", "xforward"))):
            with self.client(self.behind(service, word)) as client:
                client.ehlo(f"client{number}.test")
                self.assertFalse(client.has_extn("xforward"))
                for subject in (f"first {number}", f"second {number}"):
                    assert client.sock is not None
                    port = client.sock.getsockname()[1]
                    client.sendmail(WRITER, RECIPIENT, mail(subject))
                    client.rset()
                with self.assertRaises(smtplib.SMTPRecipientsRefused):
                    client.sendmail(WRITER, ELSEWHERE, mail("never"))
            for subject in (f"first {number}", f"second {number}"):
                self.postfix.received(subject)
            told = f"orig_client=unknown[{HOST}]:{port}"
            until(partial(contains, self.postfix, told, 2), "both in the log")
        record("smtp", "server", self.postfix, "XFORWARD: orig_client in the log")

    def test_whereNothingIsBelievedNothingIsServed(self) -> None:
        """
        The log says what to set.
        """
        for word in ("smtp", "xforward"):
            tunnel = self.behind("distrustful", word)
            with self.client(tunnel) as client, self.assertRaises(smtplib.SMTPServerDisconnected):
                client.ehlo()
            setting = "xclient" if word == "smtp" else "xforward"
            hint = f"smtpd_authorized_{setting}_hosts"
            until(partial(contains, tunnel, hint), "the hint")

    def test_addressesOfIPv6AreForServersThatKnowThem(self) -> None:
        """
        The log says what to set where one does not.
        """
        port = freePort()
        self.behind("both", clients=("-l", f"[::1]:{port}"))
        with smtplib.SMTP("::1", port, timeout=TIMEOUT) as client:
            client.starttls(context=self.context())
            client.sendmail(WRITER, RECIPIENT, mail("by IPv6"))
        self.assertIn("(unknown [IPv6:::1])", str(self.postfix.received("by IPv6")["Received"]))
        port = freePort()
        tunnel = self.behind(clients=("-l", f"[::1]:{port}"))
        with smtplib.SMTP("::1", port, timeout=TIMEOUT) as client:
            client.starttls(context=self.context())
            with self.assertRaises(smtplib.SMTPServerDisconnected):
                client.ehlo()
        until(lambda: "inet_protocols" in tunnel.log, "the hint")

    def test_aBigMailPasses(self) -> None:
        """
        Byte for byte, dots at the beginnings of lines included.
        """
        text = "".join(f".{number} of a big mail.\r\nXCLIENT x\r\n" for number in range(100_000))
        with self.client(self.behind()) as client:
            client.sendmail(WRITER, RECIPIENT, mail("big", text))
            client.sendmail(WRITER, RECIPIENT, mail("behind it"))
        payload = str(self.postfix.received("big").get_payload())
        self.assertEqual(payload.splitlines(), [*text.splitlines(), ""])
        self.postfix.received("behind it")

    def test_otherClients(self) -> None:
        """
        swaks, which pipelines; curl; and Postfix itself, with several mails over one connection.
        """
        tunnel = self.behind(clients=())
        run(
            [
                *("swaks", "--server", "127.0.0.1", "--port", str(tunnel.port), "--pipeline"),
                *("--tls", "--tls-verify", "--tls-ca-path", str(self.stage.authority.anchors)),
                *("--tls-sni", NAME, "--local-interface", HOST),
                *("--from", WRITER, "--to", RECIPIENT, "--header", "Subject: by swaks"),
            ]
        ).expect("TLS started with cipher", "queued as")
        letter = self.stage.directory("letter")
        letter.write_text(mail("by curl"))
        curl(
            *("smtp", tunnel.port, NAME, self.stage.authority.anchors, "--interface", HOST),
            *("--mail-from", WRITER, "--mail-rcpt", RECIPIENT, "--upload-file", str(letter)),
            path="/client.test",
        ).expect()
        relaying = RelayingPostfix(
            self.stage.directory("relaying"), self.stage.authority.anchors, tunnel.port
        )
        relaying.start()
        self.addCleanup(relaying.stop)
        with smtplib.SMTP("127.0.0.1", relaying.port, timeout=TIMEOUT) as client:
            for number in range(3):
                client.sendmail(WRITER, RECIPIENT, mail(f"by Postfix {number}", "..\r\n.\r\n" * 9))
        for subject in ("by swaks", "by curl", *(f"by Postfix {number}" for number in range(3))):
            received = self.postfix.received(subject)
            self.assertIn(f"(unknown [{HOST}])", str(received["Received"]))
        record("smtp", "server", "swaks", "mail in a pipeline, with XCLIENT behind the tunnel")
        record("smtp", "server", "curl", "mail, with XCLIENT behind the tunnel")
        record("smtp", "server", relaying, "mails, with XCLIENT behind the tunnel")

    def test_itWouldBeBelievedWithoutTheTunnel(self) -> None:
        """
        Postfix takes XCLIENT from there again and again, and two other ends of mails.
        """
        attack = b"XCLIENT ADDR=127.0.0.98 LOGIN=other@test.example\r\n"
        with smtplib.SMTP(
            "127.0.0.1", self.postfix.port, source_address=(HOST, 0), timeout=TIMEOUT
        ) as client:
            self.says(client, attack + b" " + attack, 220, 220)
            for end in (b"\n.\n", b"\r\n.\r\r\n"):
                self.says(client, OPENING + b"DATA\r\n", 250, 250, 250, 354)
                self.says(client, b"text" + end + attack, 250, 220)
        self.assertLogged("client=unknown[127.0.0.98]", "sasl_username=other@test.example")

    def test_nothingIsBelievedOfTheClient(self) -> None:
        """
        Behind STARTTLS, pipelined behind a login, with what Postfix skips, behind a mail; and it
        would be, from there, were it not for the tunnel.
        """
        tunnel = self.behind(clients=())
        for said, expected in (
            (ATTACK, (550,)),
            (b" " + ATTACK, (550,)),
            (b"\t" + ATTACK.lower(), (550,)),
            (ATTACK.replace(b"CLIENT", b"FORWARD"), (550,)),
            (b"STARTTLS\r\n", (550,)),
            (b"AUTH PLAIN AHgAeA==\r\n" + ATTACK, (535, 550)),
            (b"NOOP\n" + ATTACK + b"NOOP\n", (250, 550, 250)),
            (OPENING + b"RSET\r\n" + ATTACK, (250, 250, 250, 250, 550)),
        ):
            with self.client(tunnel, isKnown=False) as client:
                client.ehlo()
                self.says(client, said, *expected)
                self.says(client, OPENING, 250, 250, 250)
                self.says(client, b"DATA\r\n", 354)
                self.says(client, b"XCLIENT x\r\n.\r\n" + ATTACK, 250, 550)
        self.assertNotIn(FORGED, self.postfix.log)
        self.assertNotIn("sasl_username=root", self.postfix.log)
        record("smtp", "server", self.postfix, "XCLIENT of clients refused")

    def test_whoMakesItDoubtfulIsCutOff(self) -> None:
        """
        Ends of mails of which Postfix takes some for such, chunks, and a mail that comes too early.
        """
        tunnel = self.behind(clients=())
        ends = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r\r\n", b"\r.\r", b"\r\n.\0\r\n")
        for end in ends:
            with self.client(tunnel, isKnown=False) as client:
                self.says(client, OPENING, 250, 250, 250)
                self.says(client, b"DATA\r\n", 354)
                with self.assertRaises((smtplib.SMTPServerDisconnected, OSError)):
                    self.says(client, b"text" + end + ATTACK + b"NOOP\r\n", 250)
        chunk = b"BDAT %d LAST\r\n" % len(ATTACK) + ATTACK
        for said in (chunk, b"DATA\r\ntext\r\n.\r\n" + ATTACK):
            with self.client(tunnel, isKnown=False) as client:
                self.says(client, OPENING, 250, 250, 250)
                with self.assertRaises((smtplib.SMTPServerDisconnected, OSError)):
                    self.says(client, said + b"NOOP\r\n", 354, 250, 250)
        self.assertNotIn(FORGED, self.postfix.log)


class DovecotTests(MailTestCase):
    """
    Submission and lmtp.
    """

    postfix: ClassVar[BelievingPostfix]
    dovecot: ClassVar[BelievingDovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.postfix = stage.start(BelievingPostfix(stage.directory("postfix")))
        cls.dovecot = stage.start(
            BelievingDovecot(stage.directory("dovecot"), cls.postfix.ports["smtp"])
        )

    def behind(self, backend: str, dialect: str | None, *clients: str) -> TunnelProcess:
        """
        A tunnel before one of its services.
        """
        return self.serverMode(backend, NAME, dialect, "--reveal", "smtp", *clients)

    def test_submissionLogsTheClient(self) -> None:
        """
        At its login.
        """
        for dialect in ("smtp", None):
            tunnel = self.behind(self.dovecot.address("submission"), dialect)
            begun = self.client(tunnel) if dialect else self.implicitly(tunnel)
            with begun as client:
                assert client.sock is not None
                port = client.sock.getsockname()[1]
                client.login(USER, PASSWORD)
                client.sendmail(WRITER, RECIPIENT, mail(f"by {dialect}"))
            told = f"rip={HOST}, rport={port}"
            until(partial(contains, self.dovecot, told), "the login in the log")
            self.postfix.received(f"by {dialect}")
        record("smtp", "server", self.dovecot, "XCLIENT: submission logs the address")

    def test_submissionBelievesNothingOfTheClient(self) -> None:
        """
        Before the login: afterwards it knows XCLIENT no longer.
        """
        with self.client(self.behind(self.dovecot.address("submission"), "smtp")) as client:
            client.ehlo()
            self.assertFalse(client.has_extn("xclient") or client.has_extn("chunking"))
            self.says(client, ATTACK, 550)
            client.login(USER, PASSWORD)
            self.says(client, ATTACK, 550)
        self.assertNotIn(FORGED, self.dovecot.log)

    def test_lmtpLogsTheClient(self) -> None:
        """
        With several recipients, of which each has an answer.
        """
        tunnel = self.behind(self.dovecot.address("lmtp"), "lmtp")
        with self.client(tunnel, lmtp=True) as client:
            client.ehlo()
            for subject in ("by lmtp", "by lmtp again"):
                to = f"MAIL FROM:<>\r\nRCPT TO:<{USER}@a>\r\nRCPT TO:<>\r\nRCPT TO:<{USER}@b>\r\n"
                self.says(client, to.encode() + b"DATA\r\n", 250, 250, 501, 250, 354)
                said = f"{mail(subject)}.\r\n".encode()
                self.says(client, said + ATTACK, 250, 250, 550)
            self.says(client, b"MAIL FROM:<>\r\n", 250)
            self.says(client, b"RCPT TO:<reader@x> XRCPTFORWARD=bWFzdGVyPXg=\r\n", 550)
        for subject in ("by lmtp", "by lmtp again"):
            self.assertIn(f"[{HOST}]", str(self.dovecot.delivered(subject)["Received"]))
        until(lambda: f"Disconnect from {HOST}" in self.dovecot.log, "the address in the log")
        self.assertNotIn(FORGED, self.dovecot.log)
        record("lmtp", "server", self.dovecot, "XCLIENT: lmtp logs the address")

    def test_lmtpWithTLSFromTheFirstByte(self) -> None:
        """
        That it is LMTP is found out.
        """
        tunnel = self.behind(self.dovecot.address("lmtp"), None)
        with self.implicitly(tunnel) as client:
            client.ehlo_msg = "lhlo"
            client.sendmail(WRITER, RECIPIENT, mail("implicitly"))
        self.assertIn(f"[{HOST}]", str(self.dovecot.delivered("implicitly")["Received"]))

    def test_atItsSocketItBelievesNothing(self) -> None:
        """
        No network is there that it could trust; the log says what to set.
        """
        tunnel = self.behind(str(self.dovecot.lmtpSocket), "lmtp")
        with (
            self.client(tunnel, lmtp=True) as client,
            self.assertRaises(smtplib.SMTPServerDisconnected),
        ):
            client.ehlo()
        until(lambda: "login_trusted_networks" in tunnel.log, "the hint")
