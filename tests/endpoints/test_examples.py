"""
The programs of C{docs/endpoints.md}, against each other, on the reactors that Twisted has.
"""

from __future__ import annotations

import select
import smtplib
import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.endpoints.programs import runExample, served
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool


class ExampleTests(SynchronousTestCase):
    """
    Programs in processes of their own.
    """

    def setUp(self) -> None:
        """
        A pool.
        """
        self.pool = Pool(Path(self.mktemp()).absolute(), asked=False)
        for name in ("server.example.org", "client@example.org"):
            createIdentity(self.pool, Identity.parse(name))

    def inner(self, dialect: str, **keys: str) -> str:
        """
        A server string.
        """
        more = "".join(f":{key}={value}" for key, value in keys.items())
        return (
            f"starttls:{dialect}:tcp\\:0\\:interface=127.0.0.1"
            f":local=server.example.org:pool={self.pool.path}{more}"
        )

    def outer(self, port: int, **keys: str) -> str:
        """
        A client string.
        """
        more = "".join(f":{key}={value}" for key, value in keys.items())
        return f"tlstunnel:127.0.0.1:{port}:remote=server.example.org:pool={self.pool.path}{more}"

    def mail(self, reactor: str) -> None:
        """
        Send one, from one to the other.
        """
        endpoint = self.inner("smtp", remote="@example.org")
        with served("mail_server.py", endpoint, reactor) as (port, server):
            printed = runExample(
                "send_mail.py",
                self.outer(port, starttls="smtp", local="client@example.org"),
                "me@example.org",
                "you@example.net",
                "Greetings",
                said="Words.\n",
                reactor=reactor,
            )
            assert printed == "server.example.org by TLSv1.3\nsent\n", printed
            assert server.stdout is not None
            said = [server.stdout.readline() for _ in range(8)]
        self.assertEqual(said[0], "from me@example.org, brought by client@example.org, TLSv1.3\n")
        self.assertIn("  Words.\n", said)

    def test_aMailIsSent(self) -> None:
        """
        On the reactor that Twisted chooses.
        """
        self.mail("default")

    def test_anyReactorDoes(self) -> None:
        """
        That watches descriptors.
        """
        for reactor in ("select", "poll", "asyncio", "epoll", "tlstunnel"):
            if reactor in ("epoll", "tlstunnel") and not hasattr(select, "epoll"):
                continue
            self.mail(reactor)

    def test_othersMaySendMail(self) -> None:
        """
        With a STARTTLS of their own; without, they hear that they must.
        """
        context = ssl.create_default_context(cafile=str(self.pool.path / "ca" / "cert.pem"))
        with served("mail_server.py", self.inner("smtp")) as (port, _):
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                client._host = "server.example.org"  # type: ignore[attr-defined]
                client.starttls(context=context)
                client.sendmail("me@example.org", "you@example.net", "Subject: x\r\n\r\nWords.")
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                self.assertRaises(
                    smtplib.SMTPSenderRefused, client.sendmail, "me@example.org", "you@e.net", "x"
                )

    def test_aPageIsFetched(self) -> None:
        """
        By Twisted's client from Twisted's server, which knows who is there.
        """
        endpoint = self.inner("none", remote="@example.org", alpn="http/1.1")
        with served("who_am_i.py", endpoint) as (port, _):
            where = self.outer(port, local="client@example.org", alpn="http/1.1")
            printed = runExample("fetch.py", where, "http://server.example.org/")
        self.assertEqual(printed, "200 you are client@example.org, by TLSv1.3, secure\n\n")

    def test_whoeverIsNotThereIsNotSpokenTo(self) -> None:
        """
        The program fails with the reason.
        """
        with served("who_am_i.py", self.inner("none")) as (port, _):
            where = self.outer(port).replace("remote=server", "remote=other")
            printed = runExample("fetch.py", where, "http://server.example.org/")
        self.assertIn("tlstunnel.errors.", printed)
        self.assertNotIn("200", printed)
