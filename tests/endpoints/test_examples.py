"""
The programs of C{docs/endpoints.md}, against each other, on the reactors that Twisted has.
"""

from __future__ import annotations

import os
import select
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

TOP = Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "docs" / "example" / "endpoints"

ENVIRONMENT = os.environ | {"PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"}

#: Seconds that a program may take.
PATIENCE = 60

# Installs a reactor, then runs a program.
_ON = """
import runpy, sys
from twisted.application.reactors import installReactor
installReactor(sys.argv[1])
sys.argv[:2] = []
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


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

    def command(self, program: str, *words: str, reactor: str = "default") -> list[str]:
        """
        How to run an example.
        """
        return [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            _ON,
            reactor,
            str(EXAMPLES / program),
            *words,
        ]

    def run_(self, program: str, *words: str, said: str = "", reactor: str = "default") -> str:
        """
        Run an example to its end.

        @return: what it has printed.
        """
        done = subprocess.run(
            self.command(program, *words, reactor=reactor),
            input=said,
            env=ENVIRONMENT,
            text=True,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.stdout + done.stderr

    @contextmanager
    def served(
        self, program: str, endpoint: str, reactor: str = "default"
    ) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        """
        While an example serves.
        """
        process = subprocess.Popen(
            self.command(program, endpoint, reactor=reactor),
            env=ENVIRONMENT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            self.assertIn("listening at port", line)
            yield int(line.split()[-1]), process
        finally:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()

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
        with self.served("mail_server.py", endpoint, reactor) as (port, server):
            printed = self.run_(
                "send_mail.py",
                self.outer(port, starttls="smtp", local="client@example.org"),
                "me@example.org",
                "you@example.net",
                said="Words.\n",
                reactor=reactor,
            )
            assert printed == "server.example.org by TLSv1.3\nsent\n", printed
            assert server.stdout is not None
            said = [server.stdout.readline() for _ in range(7)]
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
        with self.served("mail_server.py", self.inner("smtp")) as (port, _):
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
        with self.served("who_am_i.py", endpoint) as (port, _):
            where = self.outer(port, local="client@example.org", alpn="http/1.1")
            printed = self.run_("fetch.py", where, "http://server.example.org/")
        self.assertEqual(printed, "200 you are client@example.org, by TLSv1.3, secure\n\n")

    def test_whoeverIsNotThereIsNotSpokenTo(self) -> None:
        """
        The program fails with the reason.
        """
        with self.served("who_am_i.py", self.inner("none")) as (port, _):
            where = self.outer(port).replace("remote=server", "remote=other")
            printed = self.run_("fetch.py", where, "http://server.example.org/")
        self.assertIn("tlstunnel.errors.", printed)
        self.assertNotIn("200", printed)
