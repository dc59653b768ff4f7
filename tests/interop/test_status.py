"""
The status page in a browser.

The picture in C{docs/status.md} is taken here, of tunnels that have carried something.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.interop.browser import Chromium
from tests.interop.processes import until
from tests.loopback import SERVER, Encrypted, Plain, smtpClient
from tests.status.stage import SeenTests, dial
from tlstunnel.identity.issuer import LIFETIME, authorityOf, keep
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.program.service import TunnelService

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"

#: What somebody calls himself who wants to run a script in the browser of an administrator.
HOSTILE = b"<script>document.title='taken'</script><img src=x onerror=alert(1)>"

MAIL = Identity(None, "mail.example.org")

T = TypeVar("T")


class BrowserTests(SeenTests):
    """
    The page in Chromium.
    """

    def setUp(self) -> None:
        """
        Open a window.
        """
        super().setUp()
        self.browser = Chromium(self.base / "browser")
        self.addCleanup(deferToThread, self.browser.stop)

    def issue(self, identity: Identity, daysLeft: float) -> None:
        """
        Make an identity whose certificate has C{daysLeft} to go.
        """
        begun = datetime.now(UTC) - LIFETIME + timedelta(days=daysLeft)
        keep(self.pool, authorityOf(self.pool).issue(identity, begun), replace=True)

    async def look(self, script: Callable[[], T]) -> T:
        """
        Drive the browser in a thread, while the tunnels are served here.
        """
        return await deferToThread(script)

    async def test_showsWhatThereIs(self) -> None:
        """
        The tunnel with its address, its identity, and a connection with all that is known of it;
        and the browser has nothing against the page.
        """
        backend = self.listen()
        service = self.before(backend, name="submission", dialect="smtp")
        backend.settimeout(20)

        def script() -> None:
            client, server = self.submit(service, backend)
            client.write(b"x" * 5000)
            server.read(5000)
            self.browser.start()
            self.browser.open(self.url)
            row = self.browser.text("table.tunnels tbody tr")
            for each in ("submission", "up", service.addresses[0], "smtp", "server"):
                self.assertIn(each, row)
            row = self.browser.text("table.connections tbody tr")
            host, port = client.sock.getsockname()
            for each in (f"{host}:{port}", "TLSv1.3", "submission", "smtp", "4.9 KiB"):
                self.assertIn(each, row)
            self.assertIn(str(SERVER), self.browser.text(".card.valid"))
            self.assertIn("364 days", self.browser.text(".card.valid"))
            self.assertEqual(self.browser.text("#health"), "the tunnel is up")
            self.assertEqual(self.browser.complaints(), [])
            client.close()
            server.close()

        await self.look(script)

    async def test_refreshesItself(self) -> None:
        """
        A connection that comes later is seen without loading the page again, and what the reader
        has unfolded stays so.
        """
        backend = self.listen()
        service = self.before(backend)

        def script() -> None:
            self.failTwice(service)
            self.browser.start()
            self.browser.open(self.url)
            self.browser.run("window.isOld = true; document.querySelector('details').open = true")
            self.assertIn("There are none.", self.browser.text())
            client = self.connect(service)
            accepted, _ = backend.accept()
            until(
                lambda: "TLSv1.3" in self.browser.text("#live"), "the connection is on the page", 30
            )
            self.assertTrue(self.browser.run("return window.isOld"))
            self.assertTrue(self.browser.run("return document.querySelector('details').open"))
            self.assertEqual(self.browser.complaints(), [])
            accepted.close()
            client.close()

        await self.look(script)

    async def test_saysWhenNobodyAnswersAnyMore(self) -> None:
        """
        A page that is not refreshed any more does not look as if it were.
        """

        def script() -> None:
            self.browser.start()
            self.browser.open(self.url)
            state = "return document.documentElement.dataset.state"
            until(lambda: self.browser.run(state) == "live", "the page is live", 30)

        await self.look(script)
        self.status.stopService()
        await self.look(
            lambda: until(
                lambda: self.browser.run("return document.documentElement.dataset.state") == "lost",
                "the page says that nobody answers",
                30,
            )
        )

    async def test_canBeReadWithoutScripts(self) -> None:
        """
        All is there in a browser that runs none.
        """
        backend = self.listen()
        service = self.before(backend)

        def script() -> None:
            client = self.connect(service)
            accepted, _ = backend.accept()
            self.browser.start()
            self.browser.withoutScripts(True)
            self.browser.open(self.url)
            self.browser.withoutScripts(False)
            self.assertIsNone(
                self.browser.run("return document.documentElement.dataset.state || null")
            )
            self.assertIn("TLSv1.3", self.browser.text("table.connections"))
            accepted.close()
            client.close()

        await self.look(script)

    async def test_whatAPeerCallsItselfDoesNothing(self) -> None:
        """
        Names in SNI, in EHLO and in a certificate that are HTML are shown as they are.
        """
        backend = self.listen()
        service = self.before(backend, name="submission", dialect="smtp", anyName=True)

        def script() -> None:
            sock = dial(service)
            smtpClient(sock)
            network = Encrypted(sock, self.context(True), True, HOSTILE)
            network.handshake()
            accepted, _ = backend.accept()
            with dial(service) as other:
                other.recv(100)
                other.sendall(b"EHLO " + HOSTILE + b"\xff\r\n" + HOSTILE + b"\r\nQUIT\r\n")
                while other.recv(1000):
                    pass
            self.browser.start()
            self.browser.open(self.url)
            self.browser.run("document.querySelectorAll('details').forEach(e => { e.open = true })")
            self.assertIn(HOSTILE.decode(), self.browser.text("table.connections"))
            foreign = "return document.querySelectorAll('script:not([src]), img:not([alt])').length"
            self.assertEqual(self.browser.run(foreign), 0)
            until(
                lambda: self.browser.run("return document.documentElement.dataset.state") == "live",
                "the page was refreshed",
            )
            self.assertIn("tlstunnel on", self.browser.run("return document.title"))
            self.assertEqual(self.browser.run(foreign), 0)
            self.assertEqual(self.browser.complaints(), [])
            accepted.close()
            network.close()

        await self.look(script)

    async def test_fitsOnAPhoneAndIsDarkAtNight(self) -> None:
        """
        On a narrow screen nothing has to be moved aside to be read; where dark pages are wanted the
        page is dark.
        """
        backend = self.listen()
        service = self.before(backend, name="a-tunnel-with-quite-a-long-name")

        def script() -> None:
            client = self.connect(service)
            accepted, _ = backend.accept()
            self.browser.start()
            self.browser.emulate(360, 740, "dark")
            self.browser.open(self.url)
            self.assertLessEqual(
                self.browser.run("return document.documentElement.scrollWidth"), 360
            )
            hidden = (
                "return [...document.querySelectorAll('.scroll')]"
                ".filter(e => e.scrollWidth > e.clientWidth).length"
            )
            self.assertEqual(self.browser.run(hidden), 0)
            ground = "return getComputedStyle(document.body).backgroundColor"
            dark = self.browser.run(ground)
            self.browser.emulate(360, 740, "light")
            self.assertNotEqual(self.browser.run(ground), dark)
            accepted.close()
            client.close()

        await self.look(script)

    async def test_pictureForTheDocuments(self) -> None:
        """
        A page with all that it can have, as C{docs/status.png} shows it.
        """
        self.issue(MAIL, 22.5)
        self.issue(Identity(None, "www.example.org"), 81.5)
        backends = [self.listen() for _ in range(4)]
        submission = self.before(backends[0], name="submission", dialect="smtp", localID=MAIL)
        web = self.before(backends[1], name="web", localID=Identity(None, "www.example.org"))
        database = self.before(backends[2], name="database")
        sync = self.before(backends[3], name="sync", remoteID=Selector.parse("@example.org"))
        self.ledger.reloaded("applied", ["tunnel web: changed: local-id", "tunnel database: added"])
        wrong = "there is no identity 'ww.example.org' in the pool; did you mean www.example.org?"
        self.ledger.reloaded(
            "failed",
            problems=[f"tunnels.toml:14: tunnel.web.local-id: {wrong}"],
        )

        def connections(turn: int) -> None:
            """
            What comes in one interval.
            """
            busy = 1 + (turn * 7919 % 5) + (4 if 20 < turn < 34 else 0)
            for _ in range(busy):
                client = self.connect(web, b"www.example.org")
                accepted, _ = backends[1].accept()
                server = Plain(accepted)
                client.write(b"request" * 50)
                server.read(350)
                server.write(b"answer" * (2000 + 900 * (turn % 11)))
                server.close()
                client.read(6 * (2000 + 900 * (turn % 11)) + 1)
                client.end()
                client.close()
            if turn % 3 == 0:
                client, server = self.submit(submission, backends[0], MAIL.domain.encode())
                client.write(b"mail" * 1000 * (turn % 7))
                server.read(4000 * (turn % 7))
                client.end()
                server.end()
                client.close()
                server.close()
            if turn % 20 == 5:
                self.failTwice(web)

        for turn in range(60):
            await deferToThread(connections, turn)
            # An interval ends when we say so.
            for entry in self.ledger.entries.values():
                entry.sample()

        def script() -> None:
            opened = [self.submit(submission, backends[0], MAIL.domain.encode()) for _ in range(3)]
            opened[0][0].write(b"x" * 300_000)
            opened[0][1].read(300_000)
            for _ in range(2):
                client = self.connect(web, b"www.example.org")
                opened.append((client, Plain(backends[1].accept()[0])))
            opened[-1][1].write(b"y" * 2_400_000)
            opened[-1][0].read(2_400_000)
            client = self.connect(database)
            opened.append((client, Plain(backends[2].accept()[0])))
            client = self.connect(sync, isKnown=True)
            opened.append((client, Plain(backends[3].accept()[0])))
            opened[-1][0].write(b"z" * 70_000)
            opened[-1][1].read(70_000)
            self.browser.start()
            pictures = {}
            for name, width, scheme in (
                ("status.png", 1280, "light"),
                ("status-phone.png", 390, "dark"),
            ):
                self.browser.emulate(width, 844, scheme)
                self.browser.open(self.url)
                self.assertIn("database", self.browser.text())
                pictures[name] = self.browser.screenshot(isWhole=width > 600)
            for name, picture in pictures.items():
                self.assertTrue(picture.startswith(b"\x89PNG"))
                target = os.environ.get("TLSTUNNEL_PICTURES")
                if target:
                    (CHECKOUT / target / name).write_bytes(picture)
            for one, other in opened:
                one.close()
                other.close()

        await self.look(script)

    def submit(
        self, service: TunnelService, backend: socket.socket, name: bytes = SERVER.domain.encode()
    ) -> tuple[Encrypted, Plain]:
        """
        A connection through a tunnel of SMTP, with both its ends.
        """
        sock = dial(service)
        smtpClient(sock)
        client = Encrypted(sock, self.context(True), True, name)
        client.handshake()
        accepted, _ = backend.accept()
        accepted.settimeout(20)
        accepted.sendall(b"220 mx ESMTP\r\n")
        return client, Plain(accepted)

    def failTwice(self, service: TunnelService) -> None:
        """
        A client that does not believe the tunnel, and one that speaks HTTP.
        """
        with dial(service) as sock:
            context = SSL.Context(SSL.TLS_METHOD)
            context.set_verify(SSL.VERIFY_PEER)
            network = Encrypted(sock, context, True, SERVER.domain.encode())
            try:
                network.handshake()
            except (SSL.Error, ConnectionError):
                pass
        with dial(service) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n")
            try:
                while sock.recv(1000):
                    pass
            except ConnectionError:
                pass
