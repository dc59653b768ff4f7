"""
The PROXY protocol with real programs: those that send headers to a tunnel, and those that are sent
some, and tell what they were told.
"""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import ClassVar

import pymysql

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    ServerCertificate,
    Stage,
    TunnelProcess,
    openssl,
    record,
    run,
    until,
)
from tests.interop.servers.dovecot import ToldDovecot
from tests.interop.servers.mariadb import PASSWORD, ToldMariaDB
from tests.interop.servers.postfix import Postfix, ToldPostfix, ToldPostscreen
from tests.interop.servers.proxying import (
    ApacheReader,
    HAProxyReader,
    HAProxySender,
    NginxReader,
    NginxStream,
)
from tests.interop.servers.web import PAGE, PlainWeb
from tests.tunnel.test_announcing import within

NAME = "www.test.example"
USER = "reader@test.example"

#: Where clients connect from, so that it is nobody else's address.
CALLER = "127.0.0.5"

_FROM = ("--proxy-from", "127.0.0.0/8")
_EVERYTHING = (
    "--proxy-out v2 --proxy-tlv alpn --proxy-tlv authority --proxy-tlv unique-id "
    "--proxy-tlv crc32c --proxy-tlv ssl --proxy-tlv identity"
).split()


def curl(url: str, anchors: Path, *options: str, connect: int = 0) -> Outcome:
    """
    Fetch a page from 127.0.0.5.

    @param connect: the port to connect to instead.
    """
    where = ("--connect-to", f"::127.0.0.1:{connect}") if connect else ()
    words = ("-sS", "--max-time", "20", "--interface", CALLER, "--cacert", str(anchors))
    return run(["curl", *words, *where, *options, url])


def told(outcome: Outcome) -> dict[str, str]:
    """
    What a reader tells.
    """
    return dict(part.split("=", 1) for part in outcome.expect().strip().split("|") if "=" in part)


class SenderTests(InteropTestCase):
    """
    Who sends headers to a tunnel.
    """

    plain: ClassVar[PlainWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.plain = stage.start(PlainWeb(stage.directory("plain")))

    def behind(self, port: int, *options: str) -> TunnelProcess:
        """
        A tunnel at a port to which a sender forwards.
        """
        tunnel = TunnelProcess(
            self.stage.directory("tunnel"),
            *("-s", "-L", NAME, "-r", f"127.0.0.1:{self.plain.port}", *_FROM, *options),
            *("--pool", str(self.stage.authority.pool)),
        )
        tunnel.port = port
        tunnel.start()
        self.addCleanup(tunnel.stop)
        self._tunnels.append(tunnel)
        return tunnel

    def fetch(self, sender: int) -> None:
        """
        A page by TLS through a sender.
        """
        curl(f"https://{NAME}/page.txt", self.anchors, connect=sender).expect(PAGE)

    @property
    def anchors(self) -> Path:
        return self.stage.authority.anchors

    def assertNamed(self, tunnel: TunnelProcess, count: int = 1) -> None:
        """
        The log says that the client was there, and who said so.
        """
        until(lambda: tunnel.log.count(f" {CALLER}:") >= count, "the lines of the connections")
        lines = [line for line in tunnel.log.splitlines() if f" {CALLER}:" in line]
        for line in lines:
            self.assertIn(" by 127.0.0.1:", line)

    def test_HAProxy(self) -> None:
        """
        Both versions; a check of its health is its own connection.
        """
        sender = self.stage.start(HAProxySender(self.stage.directory("haproxy")))
        tunnel = self.behind(sender.target)
        for name in "v1", "v2":
            self.fetch(sender.ports[name])
        self.assertNamed(tunnel, 2)
        until(lambda: " 127.0.0.1:" in tunnel.log, "a check")
        record("none", "server", sender, "PROXY v1 and v2 received")

    def test_beforeClientMode(self) -> None:
        """
        Where nothing is encrypted before the tunnel.
        """
        behind = self.serverMode(f"127.0.0.1:{self.plain.port}", NAME, None)
        haproxy = self.stage.start(HAProxySender(self.stage.directory("haproxy")))
        nginx = self.stage.start(NginxStream(self.stage.directory("nginx")))
        for target, ports in (
            (haproxy.target, (haproxy.ports["v1"], haproxy.ports["v2"])),
            (nginx.target, (nginx.ports["sender"],)),
        ):
            tunnel = TunnelProcess(
                self.stage.directory("tunnel"),
                *("-c", "-R", NAME, "-r", f"127.0.0.1:{behind.port}", *_FROM),
                *("--pool", str(self.stage.authority.pool)),
            )
            tunnel.port = target
            tunnel.start()
            self.addCleanup(tunnel.stop)
            for port in ports:
                curl(f"http://127.0.0.1:{port}/page.txt", self.anchors).expect(PAGE)
            self.assertNamed(tunnel, len(ports))
        record("none", "client", haproxy, "PROXY v1 and v2 received")
        record("none", "client", nginx, "PROXY v1 received")

    def test_HAProxyBeforeSTARTTLS(self) -> None:
        """
        The header comes before the greeting.
        """
        postfix = self.stage.start(Postfix(self.stage.directory("postfix")))
        sender = self.stage.start(HAProxySender(self.stage.directory("haproxy")))
        tunnel = TunnelProcess(
            self.stage.directory("tunnel"),
            *("-s", "-L", NAME, "-r", f"127.0.0.1:{postfix.port}", "--starttls", "smtp", *_FROM),
            *("--pool", str(self.stage.authority.pool)),
        )
        tunnel.port = sender.target
        tunnel.start()
        self.addCleanup(tunnel.stop)
        for name in "v1", "v2":
            done = openssl(
                sender.ports[name], NAME, self.anchors, "-bind", f"{CALLER}:0", starttls="smtp",
                say="QUIT\r\n",
            )  # fmt: skip
            done.expect("221 ")
        self.assertNamed(tunnel, 2)
        record("smtp", "server", sender, "PROXY v1 and v2 received")

    def test_nginx(self) -> None:
        """
        Version 1, of a stream.
        """
        sender = self.stage.start(NginxStream(self.stage.directory("nginx")))
        tunnel = self.behind(sender.target)
        self.fetch(sender.ports["sender"])
        self.assertNamed(tunnel)
        record("none", "server", sender, "PROXY v1 received")

    def test_curl(self) -> None:
        """
        It says for itself who it is, before TLS.
        """
        tunnel = self.serverMode(f"127.0.0.1:{self.plain.port}", NAME, None, *_FROM)
        url = f"https://{NAME}/page.txt"
        done = curl(url, self.anchors, "--haproxy-protocol", connect=tunnel.port)
        done.expect(PAGE)
        until(lambda: f" {CALLER}:" in tunnel.log, "the line of the connection")
        curl(url, self.anchors, connect=tunnel.port).expectFailure()
        record("none", "server", "curl", "PROXY v1 received")

    def test_curlWithoutTLS(self) -> None:
        """
        To a tunnel in client mode.
        """
        behind = self.serverMode(f"127.0.0.1:{self.plain.port}", NAME, None)
        tunnel = self.clientMode(f"127.0.0.1:{behind.port}", NAME, None, *_FROM)
        url = f"http://127.0.0.1:{tunnel.port}/page.txt"
        curl(url, self.anchors, "--haproxy-protocol").expect(PAGE)
        until(lambda: f" {CALLER}:" in tunnel.log, "the line of the connection")
        record("none", "client", "curl", "PROXY v1 received")

    def test_aTunnelInClientMode(self) -> None:
        """
        Its header is read by one in server mode.
        """
        behind = self.serverMode(f"127.0.0.1:{self.plain.port}", NAME, None, *_FROM)
        out = ("--proxy-out", "v2", "--proxy-out-to", "network", "--proxy-tlv", "unique-id")
        tunnel = self.clientMode(f"127.0.0.1:{behind.port}", NAME, None, *out)
        curl(f"http://127.0.0.1:{tunnel.port}/page.txt", self.anchors).expect(PAGE)
        self.assertNamed(behind)


class ReaderTests(InteropTestCase):
    """
    Who is told who is there.
    """

    user: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.user = stage.authority.issue(USER)

    def fetch(self, backend: int, *options: str, show: bool = True) -> Outcome:
        """
        A page by TLS, with the certificate of a user.
        """
        who = ("-R", "@test.example") if show else ()
        tunnel = self.serverMode(f"127.0.0.1:{backend}", NAME, None, *who, *options)
        shown = ("--cert", str(self.user.chain), "--key", str(self.user.key)) if show else ()
        return curl(
            f"https://{NAME}/page.txt", self.stage.authority.anchors, *shown, connect=tunnel.port
        )

    def test_HAProxy(self) -> None:
        """
        All that it can tell.
        """
        reader = self.stage.start(HAProxyReader(self.stage.directory("haproxy")))
        done = told(self.fetch(reader.port, *_EVERYTHING, "--alpn", "http/1.1"))
        self.assertTrue(done["src"].startswith(f"{CALLER}:"), done)
        self.assertTrue(done["dst"].startswith("127.0.0.1:"), done)
        self.assertEqual(done["authority"], NAME)
        self.assertEqual(done["identity"], USER)
        self.assertEqual(done["alpn"], "http/1.1")
        self.assertEqual(len(done["id"]), 32)
        flags, verified, parts = within(bytes.fromhex(done["tls"]))
        self.assertEqual((flags, verified, parts[0x21]), (7, 0, b"TLSv1.3"))
        done = told(self.fetch(reader.port, *_EVERYTHING, show=False))
        self.assertEqual(done["identity"], "")
        flags, verified, _ = within(bytes.fromhex(done["tls"]))
        self.assertEqual((flags, verified), (1, 1))
        done = told(self.fetch(reader.port, "--proxy-out", "v1"))
        self.assertTrue(done["src"].startswith(f"{CALLER}:"), done)
        record("none", "server", reader, "PROXY v1 and v2 sent")

    def test_HAProxyIsToldWhatWeWereTold(self) -> None:
        """
        By curl, of somebody; and by HAProxy with an id.
        """
        reader = self.stage.start(HAProxyReader(self.stage.directory("haproxy")))
        sender = HAProxySender(self.stage.directory("sender"))
        self.stage.start(sender)
        tunnel = TunnelProcess(
            self.stage.directory("tunnel"),
            *("-s", "-L", NAME, "-r", f"127.0.0.1:{reader.port}", *_FROM, *_EVERYTHING),
            *("--pool", str(self.stage.authority.pool), "--log-json"),
        )
        tunnel.port = sender.target
        tunnel.start()
        self.addCleanup(tunnel.stop)
        anchors = self.stage.authority.anchors
        done = told(curl(f"https://{NAME}/", anchors, connect=sender.ports["v2"]))
        self.assertTrue(done["src"].startswith(f"{CALLER}:"), done)
        self.assertTrue(done["dst"].endswith(f":{sender.ports['v2']}"), done)
        self.assertEqual(len(done["id"]), 36)
        until(lambda: f'"unique_id": "{done["id"]}"' in tunnel.log, "the id in the log")

    def test_nginx(self) -> None:
        """
        By its variables.
        """
        reader = self.stage.start(NginxReader(self.stage.directory("nginx")))
        done = told(self.fetch(reader.port, *_EVERYTHING, "--alpn", "http/1.1"))
        self.assertTrue(done["src"].startswith(f"{CALLER}:"), done)
        self.assertEqual(done["authority"], NAME)
        self.assertEqual(done["identity"], USER)
        self.assertEqual(done["alpn"], "http/1.1")
        self.assertEqual(done["version"], "TLSv1.3")
        self.assertTrue(done["cipher"].startswith("TLS_"), done)
        self.assertEqual(done["signature"], "ecdsa-with-SHA256")
        self.assertEqual(done["key"], "EC256")
        self.assertEqual((done["verified"], done["cn"]), ("0", USER))
        self.assertEqual(len(done["id"]), 32)
        done = told(self.fetch(reader.port, *_EVERYTHING, show=False))
        self.assertEqual((done["identity"], done["verified"]), ("", "1"))
        record("none", "server", reader, "PROXY v2 sent")

    def test_nginxOfStreams(self) -> None:
        """
        With version 1; it speaks first, and has to be told first.
        """
        reader = self.stage.start(NginxStream(self.stage.directory("nginx")))
        backend = f"127.0.0.1:{reader.ports['reader']}"
        tunnel = self.serverMode(backend, NAME, None, "--proxy-out", "v1")
        done = openssl(tunnel.port, NAME, self.stage.authority.anchors, "-bind", f"{CALLER}:0")
        done.expect(f"src={CALLER}:")
        record("none", "server", reader, "PROXY v1 sent")

    def test_Apache(self) -> None:
        """
        Its log has the client.
        """
        reader = self.stage.start(ApacheReader(self.stage.directory("apache")))
        for words in (("--proxy-out", "v1"), _EVERYTHING):
            self.fetch(reader.port, *words).expect(PAGE)
        until(lambda: reader.log.count(f"from {CALLER}:") == 2, "two lines of the log")
        record("none", "server", reader, "PROXY v1 and v2 sent")

    def speak(self, tunnel: TunnelProcess, say: str, starttls: str, *options: str) -> Outcome:
        """
        What C{s_client} is answered behind STARTTLS.
        """
        shown = ("-cert", str(self.user.chain), "-key", str(self.user.key))
        words = ("-bind", f"{CALLER}:0", *shown, *options)
        anchors = self.stage.authority.anchors
        return openssl(tunnel.port, NAME, anchors, *words, say=say, starttls=starttls)

    def test_Postfix(self) -> None:
        """
        It has the client in its log, by smtpd and by postscreen.
        """
        for kind, words in ((ToldPostfix, "connect from"), (ToldPostscreen, "CONNECT from")):
            postfix = self.stage.start(kind(self.stage.directory("postfix")))
            for version in ("--proxy-out", "v1"), _EVERYTHING:
                backend = f"127.0.0.1:{postfix.port}"
                tunnel = self.serverMode(backend, NAME, "smtp", "-R", "@test.example", *version)
                self.speak(tunnel, "QUIT\r\n", "smtp").expect("221 ")
            said = re.compile(rf"\]: {words} \S*\[{re.escape(CALLER)}\]")
            until(lambda: len(said.findall(postfix.log)) == 2, "two lines of the log")  # noqa: B023
            record("smtp", "server", postfix, "PROXY v1 and v2 sent")

    def test_Dovecot(self) -> None:
        """
        It has the client in its log; a certificate is the login.
        """
        dovecot = self.stage.start(ToldDovecot(self.stage.directory("dovecot")))
        # Its limit is 1,500 bytes, which a certificate may be longer than.
        told = ("-R", "@test.example", *_EVERYTHING)
        tunnel = self.serverMode(dovecot.address("imap"), NAME, "imap", *told)
        say = "a AUTHENTICATE EXTERNAL =\r\nb LOGOUT\r\n"
        self.speak(tunnel, say, "imap").expect("a OK")
        login = f"imap-login: Info: Login: user=<{USER}>, method=EXTERNAL, rip={CALLER}"
        until(lambda: login in dovecot.log, login)
        tunnel = self.serverMode(dovecot.address("pop3"), NAME, "pop3", *told)
        self.speak(tunnel, "AUTH EXTERNAL =\r\nQUIT\r\n", "pop3").expect("+OK Logged in")
        until(lambda: "pop3-login: Info: Login" in dovecot.log, "the login")
        record("imap", "server", dovecot, "PROXY v2 sent, login by certificate")

    def test_DovecotBelievesNobodyElse(self) -> None:
        """
        Without a certificate there is no login without a password.
        """
        dovecot = self.stage.start(ToldDovecot(self.stage.directory("dovecot")))
        tunnel = self.serverMode(dovecot.address("imap"), NAME, "imap", *_EVERYTHING)
        say = f"a AUTHENTICATE EXTERNAL {b64encode(USER.encode()).decode()}\r\nb LOGOUT\r\n"
        self.assertIn("a NO", self.speak(tunnel, say, "imap").text)

    def test_MariaDB(self) -> None:
        """
        It knows where its users come from; there, the header comes before TLS.
        """
        server = self.stage.start(ToldMariaDB(self.stage.directory("mariadb")))
        backend = f"127.0.0.1:{server.port}"
        early = "--proxy-out v2 --proxy-tlv unique-id --proxy-tlv crc32c".split()
        for out in (["--proxy-out", "v1"], early):
            tunnel = self.serverMode(backend, NAME, "mysql", *out)
            done = pymysql.connect(
                host="127.0.0.1",
                port=tunnel.port,
                bind_address=CALLER,
                user="native",
                password=PASSWORD,
                ssl={"ca": str(self.stage.authority.anchors), "check_hostname": False},
            )
            with done, done.cursor() as cursor:
                cursor.execute("SELECT USER()")
                self.assertEqual(cursor.fetchone(), (f"native@{CALLER}",))
        record("mysql", "server", server, "PROXY v1 and v2 sent")

    def test_aHeaderInsideTLSIsPayload(self) -> None:
        """
        The backend has read ours, and takes the client's for a bad request.
        """
        reader = self.stage.start(HAProxyReader(self.stage.directory("haproxy")))
        tunnel = self.serverMode(f"127.0.0.1:{reader.port}", NAME, None, "--proxy-out", "v2")
        done = openssl(
            tunnel.port, NAME, self.stage.authority.anchors,
            say="PROXY TCP4 203.0.113.9 203.0.113.9 1 2\r\nGET / HTTP/1.0\r\n\r\n",
        )  # fmt: skip
        self.assertIn("400 Bad request", done.text)
        self.assertNotIn("203.0.113.9", done.text)
