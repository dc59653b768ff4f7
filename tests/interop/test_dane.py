"""
DANE: a resolver that validates, Postfix as the server, and Postfix's own prober, which has to
agree.
"""

from __future__ import annotations

import smtplib
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from tests.certificates import Issued, Recipe, alternative, dns, make, named, root
from tests.identity.test_tlsa import record as tlsa
from tests.interop.harness import (
    InteropTestCase,
    ServerCertificate,
    Stage,
    find,
    record,
    run,
    until,
)
from tests.interop.servers.postfix import Postfix
from tests.interop.servers.unbound import Unbound
from tests.interop.test_smtp import letter
from tlstunnel.identity.tlsa import TLSA

SIGNED, PLAIN, BOGUS = "signed.example", "plain.example", "bogus.example"

#: Behind an authority that it shows, for names in all zones.
NAMES = alternative(*(dns(f"*.{zone}") for zone in (SIGNED, PLAIN, BOGUS)))
MAIL = make(Recipe(san=NAMES, subject=named("mail")), root())

#: Self-signed, for another name, and expired.
OLD = make(
    Recipe(
        san=alternative(dns("else.example")),
        subject=named("old"),
        start=timedelta(days=-9),
        end=timedelta(days=-1),
    )
)

WRONG = TLSA(3, 1, 1, sha256(b"wrong").digest())


class Case(NamedTuple):
    """
    @ivar host: the first part of a name.
    @ivar records: its records.
    @ivar outcome: what the tunnel logs; empty where it is content.
    @ivar judged: what Postfix says.
    @ivar zone: where the name is.
    @ivar isOld: whether it is that of the server with the old certificate.
    """

    host: str
    records: tuple[TLSA, ...]
    outcome: str = ""
    judged: str = "Verified TLS"
    zone: str = SIGNED
    isOld: bool = False


CASES = (
    *(
        Case(f"ee-{selector}{matching}", (tlsa(f"3 {selector} {matching}", MAIL),))
        for selector in (0, 1)
        for matching in (0, 1, 2)
    ),
    Case("ee-old", (tlsa("3 1 1", OLD),), isOld=True),
    *(
        Case(f"ta-{selector}{matching}", (tlsa(f"2 {selector} {matching}", root()),))
        for selector in (0, 1)
        for matching in (0, 1, 2)
    ),
    Case("two", (WRONG, tlsa("3 1 1", MAIL))),
    Case("both", (WRONG, tlsa("2 0 1", root()))),
    Case("wrong", (WRONG,), "identity", "Untrusted TLS"),
    Case("stranger", (tlsa("2 0 1", root("Stranger")),), "identity", "Untrusted TLS"),
    Case(
        "digest",
        (tlsa("3 1 1", MAIL), TLSA(3, 1, 2, bytes(64))),
        "identity",
        "Untrusted TLS",
    ),
    Case("pkix", (TLSA(1, 1, 1, tlsa("3 1 1", MAIL).data),), "identity", "Untrusted TLS"),
    Case("none", (), "identity", "Untrusted TLS"),
    Case("deep.name", (tlsa("2 0 1", root()),), "identity", "Untrusted TLS"),
    Case("ee", (tlsa("3 1 1", MAIL),), "identity", "Untrusted TLS", PLAIN),
    Case("ee", (tlsa("3 1 1", MAIL),), "connect", "lookup failed", BOGUS),
)


def written(directory: Path, issued: Issued, authorities: tuple[Issued, ...]) -> ServerCertificate:
    """
    The files of a certificate, and of the authorities that are shown with it.
    """
    directory.mkdir()
    chain, key, anchors = (directory / name for name in ("chain.pem", "key.pem", "anchors.pem"))
    shown = [each.certificate.public_bytes(Encoding.PEM) for each in authorities]
    chain.write_bytes(issued.certificate.public_bytes(Encoding.PEM) + b"".join(shown))
    key.touch(mode=0o600)
    key.write_bytes(issued.keyPEM())
    anchors.write_bytes(root().certificate.public_bytes(Encoding.PEM))
    return ServerCertificate("mail", chain, key, anchors)


class DANETests(InteropTestCase):
    """
    A table of records, and two who judge.
    """

    postfix: ClassVar[Postfix]
    old: ClassVar[Postfix]
    unbound: ClassVar[Unbound]
    anchors: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        find("posttls-finger", "postfix")
        mail = written(stage.directory("mail"), MAIL, (root(),))
        old = written(stage.directory("old"), OLD, ())
        cls.anchors = mail.anchors
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), mail))
        cls.old = stage.start(Postfix(stage.directory("postfix"), old))
        cls.unbound = Unbound(stage.directory("unbound"))
        for zone in SIGNED, PLAIN, BOGUS:
            lines = [f"alias IN A 127.0.0.1\n_{cls.postfix.port}._tcp.alias IN CNAME _keys"]
            lines += [f"_keys IN TLSA {cls.line(tlsa('3 1 1', MAIL))}"]
            for case in CASES:
                if case.zone == zone:
                    lines.append(f"{case.host} IN A 127.0.0.1")
                    port = cls.server(case).port
                    lines += [
                        f"_{port}._tcp.{case.host} IN TLSA {cls.line(each)}"
                        for each in case.records
                    ]
            cls.unbound.zone(zone, lines, zone != PLAIN, zone != BOGUS)
        stage.start(cls.unbound)
        cls.resolv = stage.base / "resolv.conf"
        cls.resolv.write_text(f"nameserver {cls.unbound.plain}\noptions edns0 trust-ad timeout:5\n")

    resolv: ClassVar[Path]

    @staticmethod
    def line(one: TLSA) -> str:
        """
        A record as a zone has it.
        """
        return f"{one} {one.data.hex()}"

    @classmethod
    def server(cls, case: Case) -> Postfix:
        """
        Whose records they are.
        """
        return cls.old if case.isOld else cls.postfix

    def finger(self, name: str, port: int) -> str:
        """
        What Postfix finds of a server; it knows no resolver but that of its system.
        """
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        finger = [find("posttls-finger", "postfix"), "-c", "-l", "dane", "-t", "20"]
        return run(
            ["unshare", "-m", "sh", "-c", script, str(self.resolv), *finger, f"[{name}]:{port}"],
            environment={"MAIL_CONFIG": str(self.postfix.directory)},
        ).text

    def judge(self, name: str, port: int, *options: str) -> str:
        """
        How a connection to a server ends, by the log; empty where a mail was sent.
        """
        tunnel = self.clientMode(
            f"127.0.0.1:{port}",
            name,
            "smtp",
            *("--trust", "dane", "--dane-resolver", self.unbound.address, *options),
        )
        try:
            with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
                client.send_message(letter("by DANE"))
        except (smtplib.SMTPException, OSError):
            until(lambda: "hint:" in tunnel.log or "detail" in tunnel.log, "the end")
            return tunnel.log
        until(lambda: " bytes sent to the network" in tunnel.log, "the end")
        self.assertSays(": closed; ", tunnel)
        return tunnel.log

    def test_theyAgree(self) -> None:
        """
        In all cases.
        """
        for case in CASES:
            name, port = f"{case.host}.{case.zone}", self.server(case).port
            with self.subTest(name):
                log = self.judge(name, port)
                if case.outcome:
                    self.assertIn(f" {case.outcome}: ", log)
                    self.assertIn("hint: ", log)
                else:
                    self.assertRegex(log, f"identity {name} by TLSA [23] [01] [012] of _{port}._")
                judged = self.finger(name, port)
                self.assertIn(case.judged, judged, f"{name}: {judged}")
        record("smtp", "client", self.postfix, "mail sent by TLSA records, as posttls-finger says")

    def test_anAlias(self) -> None:
        """
        One record for many servers.
        """
        name, port = f"alias.{SIGNED}", self.postfix.port
        self.assertIn(f"by TLSA 3 1 1 of _{port}._tcp.{name}", self.judge(name, port))
        self.assertIn("Verified TLS", self.finger(name, port))

    def test_othersBesideIt(self) -> None:
        """
        They decide where there are no records, and never where these cannot be known.
        """
        trust = ("--trust", str(self.anchors))
        port = self.postfix.port
        for host in f"none.{SIGNED}", f"ee.{PLAIN}", f"pkix.{SIGNED}":
            log = self.judge(host, port, *trust)
            self.assertIn(f"identity {host}, TLS", log)
        for host, outcome in (f"wrong.{SIGNED}", "identity"), (f"ee.{BOGUS}", "connect"):
            self.assertIn(f" {outcome}: ", self.judge(host, port, *trust))
