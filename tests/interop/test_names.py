"""
Several names on one address: nginx and Apache, and three Postfixes, Dovecots and Prosodys, each
behind one port of a tunnel, found by the name that a client asks for.
"""

from __future__ import annotations

import asyncio
import imaplib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.interop.correspondents import BYE, Correspondent
from tests.interop.harness import (
    Authority,
    InteropTestCase,
    Process,
    Stage,
    curl,
    freePort,
    gnutls,
    openssl,
    record,
    run,
    tlstunnel,
    until,
    verified,
)
from tests.interop.servers.dovecot import PASSWORD, USER, Dovecot
from tests.interop.servers.names import Apache, NamedPostfix, Nginx
from tests.interop.servers.prosody import Prosody
from tests.interop.tunnel import ENVIRONMENT, WORKERS

NAMES = ("one.test.example", "two.test.example", "three.test.example")
FIRST, SECOND, THIRD = NAMES
ALICE = "alice@test.example"


class NamesProcess(Process):
    """
    A tunnel whose names stand in a file.

    @ivar port: where it listens.
    """

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        tables: Mapping[str, str],
        first: str = FIRST,
        **keys: str,
    ) -> None:
        """
        @param tables: what stands in the table of each name; that of the tunnel is empty.
        @param keys: of the tunnel, as TOML has them.
        """
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True)
        self.port = freePort()
        lines = [
            f'[tunnel.names]\nmode = "server"\nlocal = "127.0.0.1:{self.port}"',
            f'local-id = "{first}"\npool = "{authority.pool}"',
            *(f"{key.replace('_', '-')} = {value}" for key, value in keys.items()),
            *(f'[tunnel.names.name."{name}"{text}' for name, text in tables.items()),
        ]
        self.file = directory / "tlstunnel.toml"
        self.file.write_text("\n".join(lines))

    def start(self) -> None:
        """
        Start it.
        """
        tlstunnel("--config", str(self.file), "--check").expect()
        command = [sys.executable, "-m", "tlstunnel", "--config", str(self.file)]
        self.spawn([*command, "--workers", WORKERS], [self.port], environment=ENVIRONMENT)


class NamesTestCase(InteropTestCase):
    """
    Certificates for all names.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        for name in NAMES:
            stage.authority.issue(name)
        stage.authority.issue(ALICE)

    def names(self, tables: Mapping[str, str], **keys: str) -> NamesProcess:
        """
        A tunnel for this test.
        """
        directory = self.stage.directory("tunnel")
        process = NamesProcess(directory, self.stage.authority, tables, **keys)
        process.start()
        self.addCleanup(process.stop)
        return process

    @property
    def anchors(self) -> Path:
        """
        Of all of them.
        """
        return self.stage.authority.anchors


class WebTests(NamesTestCase):
    """
    nginx and Apache by SNI, with TLS from the first byte.
    """

    nginx: ClassVar[Nginx]
    apache: ClassVar[Apache]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.nginx = stage.start(Nginx(stage.directory("nginx")))
        cls.apache = stage.start(Apache(stage.directory("apache")))

    def at(self, service: str) -> str:
        """
        The address of a service of nginx.
        """
        return f"127.0.0.1:{self.nginx.ports[service]}"

    def web(self) -> NamesProcess:
        """
        The first name is nginx, the second Apache, and the third nginx for clients with a
        certificate.
        """
        h2 = f'.alpn.h2]\nremote = "{self.at("h2c")}"\n'
        return self.names(
            {
                FIRST: f'{h2}[tunnel.names.name."{FIRST}".alpn."http/1.1"]',
                SECOND: f']\nremote = "127.0.0.1:{self.apache.port}"\nminimum-tls = "1.3"',
                THIRD: f']\nremote = "{self.at("h2c")}"\nremote-id = "{ALICE}"\nalpn = "h2"',
            },
            remote=f'"{self.at("http")}"',
        )

    def test_eachNameHasItsServer(self) -> None:
        """
        And its version of TLS.
        """
        port = self.web().port
        curl("https", port, FIRST, self.anchors, "--http1.1").expect(f"nginx for {FIRST}, HTTP/1.1")
        curl("https", port, SECOND, self.anchors, path="/page.txt").expect("a page of Apache")
        old = ("--tls-max", "1.2")
        curl("https", port, FIRST, self.anchors, *old).expect("nginx for")
        curl("https", port, SECOND, self.anchors, *old).expectFailure("alert protocol version")
        record("none", "server", "curl", "nginx and Apache by name")

    def test_theProtocolChoosesTheServer(self) -> None:
        """
        HTTP/2 at another port.
        """
        port = self.web().port
        curl("https", port, FIRST, self.anchors, "--http2").expect(f"nginx for {FIRST}, HTTP/2.0")
        curl("https", port, FIRST, self.anchors, "--no-alpn", "--http1.1").expect("HTTP/1.1")
        record("none", "server", "curl", "HTTP/2 by ALPN")

    def test_aCertificateIsDemandedUnderOneName(self) -> None:
        """
        Not under the others; and none leads to that server without it.
        """
        tunnel = self.web()
        pool = self.stage.authority.pool / ALICE
        shown = ("--cert", str(pool / "fullchain.pem"), "--key", str(pool / "privkey.pem"))
        for version in (("--tls-max", "1.2"), ("--tlsv1.3",)):
            curl("https", tunnel.port, THIRD, self.anchors, "--http2", *shown, *version).expect(
                f"nginx for {THIRD}"
            )
            curl("https", tunnel.port, THIRD, self.anchors, "--http2", *version).expectFailure()
            # The Host of another name, inside the connection of one that is open.
            said = curl(
                "https", tunnel.port, SECOND, self.anchors, "-H", f"Host: {THIRD}", path="/page.txt"
            )
            said.expect("a page of Apache")

    def test_aNameThatNobodyHas(self) -> None:
        """
        Alert 112.
        """
        port = self.web().port
        run(
            [
                "curl",
                "-sSk",
                "--resolve",
                f"x.example:{port}:127.0.0.1",
                f"https://x.example:{port}",
            ]
        ).expectFailure("unrecognized name")
        gnutls(port, "x.example", self.anchors).expectFailure("alert [112]")


class MailTests(NamesTestCase):
    """
    smtp with three Postfixes.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.servers = {
            name: stage.start(NamedPostfix(stage.directory("postfix"), name)) for name in NAMES
        }

    servers: ClassVar[dict[str, NamedPostfix]]

    def test_threeNamesBehindOnePort(self) -> None:
        """
        Chosen inside STARTTLS, by three kinds of clients; what greets is the tunnel.
        """
        tables = {
            name: f']\nremote = "127.0.0.1:{server.port}"' for name, server in self.servers.items()
        }
        tables[THIRD] += f'\nremote-id = "{ALICE}"'
        first = self.servers[FIRST].port
        tunnel = self.names(tables, remote=f'"127.0.0.1:{first}"', starttls='"smtp"')
        say = "EHLO x\r\nQUIT\r\n"
        for name in (FIRST, SECOND):
            for client in (openssl, gnutls):
                client(tunnel.port, name, self.anchors, starttls="smtp", say=say).expect(
                    f"250-{name}"
                )
            swaks = run(
                [
                    *("swaks", "--server", f"127.0.0.1:{tunnel.port}", "--tls", "--quit", "RCPT"),
                    *("--tls-sni", name, "--tls-verify", "--tls-ca-path", str(self.anchors)),
                    *("--from", "a@test.example", "--to", "b@test.example"),
                ]
            ).expect(f"<~  250-{name}", f"<-  220 {FIRST} ESMTP")
            self.assertIn("TLS started", swaks)
        openssl(tunnel.port, THIRD, self.anchors, starttls="smtp", say=say).expectFailure()
        pool = self.stage.authority.pool / ALICE
        shown = ("-cert", str(pool / "fullchain.pem"), "-key", str(pool / "privkey.pem"))
        for version in ("-tls1_2", "-tls1_3"):
            openssl(
                tunnel.port, THIRD, self.anchors, *shown, version, starttls="smtp", say=say
            ).expect(f"250-{THIRD}")
        for peer in ("openssl", "gnutls-cli", "swaks"):
            record("smtp", "server", peer, "three Postfixes by name")


class MailboxTests(NamesTestCase):
    """
    imap with three Dovecots.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.servers = {}
        for name in NAMES:
            cls.servers[name] = stage.start(Dovecot(stage.directory("dovecot")))
            cls.servers[name].deliver(f"mail of {name}")

    servers: ClassVar[dict[str, Dovecot]]

    def test_threeNamesBehindOnePort(self) -> None:
        """
        Each has its own mail.
        """
        tables = {
            name: f']\nremote = "{server.address("imap")}"' for name, server in self.servers.items()
        }
        remote = f'"{self.servers[FIRST].address("imap")}"'
        port = self.names(tables, remote=remote, starttls='"imap"').port
        say = (
            f'a LOGIN {USER} "{PASSWORD}"\r\nb SELECT INBOX\r\n'
            "c FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]\r\nd LOGOUT\r\n"
        )
        for name in NAMES:
            for client in (openssl, gnutls):
                client(port, name, self.anchors, starttls="imap", say=say).expect(f"mail of {name}")
        # Python's client asks for the name that it connects to, which is an address: for none.
        context = verified(self.anchors)
        context.check_hostname = False
        with imaplib.IMAP4("127.0.0.1", port) as mailbox:
            mailbox.starttls(context)
            mailbox.login(USER, PASSWORD)
            mailbox.select()
            _, found = mailbox.fetch("1", "(BODY[HEADER.FIELDS (SUBJECT)])")
            self.assertIn(f"mail of {FIRST}", str(found))
        for peer in ("openssl", "gnutls-cli", "imaplib"):
            record("imap", "server", peer, "three Dovecots by name")


class ChatTests(NamesTestCase):
    """
    xmpp with three Prosodys.
    """

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.servers = {
            name: stage.start(Prosody(stage.directory("prosody"), domain=name)) for name in NAMES
        }

    servers: ClassVar[dict[str, Prosody]]

    def chat(self) -> NamesProcess:
        """
        A tunnel before all of them.
        """
        tables = {
            name: f']\nremote = "127.0.0.1:{server.port}"' for name, server in self.servers.items()
        }
        remote = f'"127.0.0.1:{self.servers[FIRST].port}"'
        return self.names(tables, remote=remote, starttls='"xmpp-client"')

    def test_threeNamesBehindOnePort(self) -> None:
        """
        A user of each server logs in.
        """
        port = self.chat().port

        async def correspond(name: str) -> tuple[str, str]:
            async with (
                Correspondent(name, "a", port, self.anchors) as one,
                Correspondent(name, "b", port, self.anchors) as other,
            ):
                return await one.correspond(other)

        for name in NAMES:
            there, _ = asyncio.run(correspond(name))
            self.assertTrue(there)
        record("xmpp-client", "server", "slixmpp", "three Prosodys by name")

    def test_theStreamAndSNIMustAgree(self) -> None:
        """
        Who asks for one domain in clear and for another in TLS comes to none.
        """
        tunnel = self.chat()
        asked = ("-xmpphost", SECOND)
        openssl(tunnel.port, SECOND, self.anchors, *asked, starttls="xmpp", say=BYE).expect(
            "Verification: OK"
        )
        for version in ("-tls1_2", "-tls1_3"):
            openssl(
                tunnel.port, THIRD, self.anchors, *asked, version, starttls="xmpp", say=BYE
            ).expectFailure("unrecognized name")
        until(lambda: tunnel.log.count("for another name before") == 2, "both are in the log")
