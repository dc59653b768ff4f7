"""
Proxies on the way out: Squid and Dante, in both modes.
"""

from __future__ import annotations

import ftplib
import smtplib
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    TunnelProcess,
    curl,
    freePort,
    tlstunnel,
    until,
)
from tests.interop.servers.ftp import CONTENTS, FILE, ProFTPD
from tests.interop.servers.ftp import PASSWORD as FTP_PASSWORD
from tests.interop.servers.ftp import USER as FTP_USER
from tests.interop.servers.postfix import Postfix
from tests.interop.servers.proxies import (
    HOST,
    PASSWORD,
    USER,
    Dante,
    DanteWithLogin,
    Nginx,
    Proxy,
    Squid,
)
from tests.interop.servers.web import PAGE, PlainWeb
from tests.interop.test_smtp import letter

NAME = "www.test.example"
MAIL = "mail.test.example"

#: Where nobody listens; the proxies would connect there.
SILENT = freePort()


# What is shared is no test case of its own to trial.
if TYPE_CHECKING:
    _Case = InteropTestCase
else:
    _Case = object


class Proxied(_Case):
    """
    What is the same for all proxies.

    @cvar kind: the proxy.
    @cvar host: what the servers behind it are called to it.
    @cvar wantsLogin: whether it wants one.
    """

    kind: ClassVar[type[Proxy]]
    host: ClassVar[str] = HOST
    wantsLogin: ClassVar[bool] = True

    proxy: ClassVar[Proxy]
    nginx: ClassVar[Nginx]
    postfix: ClassVar[Postfix]
    web: ClassVar[PlainWeb]
    forbidden: ClassVar[PlainWeb]
    login: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.nginx = stage.start(Nginx(stage.directory("nginx"), stage.authority.issue(NAME)))
        cls.postfix = stage.start(Postfix(stage.directory("postfix"), stage.authority.issue(MAIL)))
        cls.web = stage.start(PlainWeb(stage.directory("web")))
        cls.forbidden = stage.start(PlainWeb(stage.directory("forbidden")))
        served = (cls.nginx.port, cls.postfix.port, cls.web.port, SILENT)
        cls.proxy = stage.start(cls.kind(stage.directory("proxy"), served))
        cls.login = cls.loginFile(stage, f"{USER}:{PASSWORD}\n")

    @classmethod
    def loginFile(cls, stage: Stage, line: str) -> Path:
        """
        A file with a login.
        """
        path = stage.directory("login")
        path.touch(0o600)
        path.write_text(line)
        return path

    def via(self, port: int, name: str, *options: str, login: Path | None = None) -> TunnelProcess:
        """
        A tunnel through the proxy to one of the servers behind it.
        """
        if self.wantsLogin:
            options = ("--via-auth-file", str(login or self.login), *options)
        remote = f"{self.host}:{port}"
        return self.tunnel("-c", "-r", remote, "-R", name, "--via", self.proxy.url, *options)

    def fetched(self, tunnel: TunnelProcess) -> str:
        """
        The page, in clear.
        """
        with urllib.request.urlopen(f"http://127.0.0.1:{tunnel.port}/page.txt", timeout=20) as page:
            text: str = page.read().decode()
        return text

    def fails(self, tunnel: TunnelProcess, *words: str) -> None:
        """
        A connection is closed without a word, and the log has C{words}.
        """
        self.assertRaises(OSError, self.fetched, tunnel)
        until(lambda: "hint: " in tunnel.log, "the reason")
        for each in (f"{self.host}:", f" via {self.proxy.url}: ", *words):
            self.assertSays(each, tunnel)
        self.assertNotIn(PASSWORD, tunnel.log)

    def test_aPageIsFetched(self) -> None:
        """
        From nginx, with TLS from the first byte; the name of the host is the proxy's to resolve.
        """
        tunnel = self.via(self.nginx.port, NAME)
        for _ in range(3):
            self.assertEqual(self.fetched(tunnel), PAGE)
        self.assertSays(f"to {self.host}:{self.nginx.port} via {self.proxy.url}, ", tunnel)
        until(lambda: tunnel.log.count(f"to {self.host}:{self.nginx.port}: closed") == 3, "the log")

    def test_aMailIsSent(self) -> None:
        """
        To Postfix with STARTTLS, which greets at once.
        """
        tunnel = self.via(self.postfix.port, MAIL, "--starttls", "smtp")
        subject = f"by {self.kind.__name__}"
        with smtplib.SMTP("127.0.0.1", tunnel.port, timeout=20) as client:
            client.send_message(letter(subject))
        self.assertIn("using TLSv1.3", str(self.postfix.received(subject)["Received"]))

    def test_aBackendIsReached(self) -> None:
        """
        In server mode, in clear behind the proxy.
        """
        options = ("--via-auth-file", str(self.login)) if self.wantsLogin else ()
        tunnel = self.serverMode(
            f"{self.host}:{self.web.port}", NAME, None, "--via", self.proxy.url, *options
        )
        curl("https", tunnel.port, NAME, self.stage.authority.anchors, path="/page.txt").expect(
            PAGE
        )
        self.assertNotIn("is not on this host", tunnel.log)

    def test_anotherNameIsRefused(self) -> None:
        """
        Whoever the proxy connects us to.
        """
        tunnel = self.via(self.nginx.port, "other.test.example")
        self.assertRaises(OSError, self.fetched, tunnel)
        until(lambda: "identity: " in tunnel.log, "the reason")

    def test_aPortThatTheProxyRefuses(self) -> None:
        """
        It is the proxy that does not let us.
        """
        self.fails(self.via(self.forbidden.port, NAME), "the proxy has to allow connections")

    def test_aServerThatIsNotThere(self) -> None:
        """
        It is not the proxy that is missing.
        """
        self.fails(self.via(SILENT, NAME), "the proxy is there, and cannot connect")


class ProxiedWithLogin(Proxied):
    """
    The same for those that want a login.
    """

    def test_aWrongPassword(self) -> None:
        """
        The hint names the option.
        """
        wrong = self.loginFile(self.stage, f"{USER}:wrong\n")
        self.fails(
            self.via(self.nginx.port, NAME, login=wrong), "does not take our login", "check user"
        )

    def test_noLogin(self) -> None:
        """
        Likewise.
        """
        self.patch(type(self), "wantsLogin", False)
        tunnel = self.via(self.nginx.port, NAME)
        self.fails(tunnel, "wants a login", "give --via-auth-file")


class SquidTests(ProxiedWithLogin, InteropTestCase):
    """
    CONNECT.
    """

    kind = Squid

    def test_SOCKSIsSpokenToIt(self) -> None:
        """
        Either it says in HTTP what it thinks of that, or nothing.
        """
        tunnel = self.tunnel(
            *("-c", "-r", f"{HOST}:{self.nginx.port}", "-R", NAME, "--connect-timeout", "1"),
            *("--via", f"socks5://127.0.0.1:{self.proxy.port}"),
        )
        self.assertRaises(OSError, self.fetched, tunnel)
        until(lambda: "hint: " in tunnel.log, "the reason")
        self.assertRegex(tunnel.log, "speaks HTTP, and not SOCKS|gave no answer in 1 s")


class DanteTests(Proxied, InteropTestCase):
    """
    SOCKS 5 without a login.
    """

    kind = Dante
    host = "localhost"
    wantsLogin = False

    def test_HTTPIsSpokenToIt(self) -> None:
        """
        It ends the connection.
        """
        tunnel = self.tunnel(
            *("-c", "-r", f"localhost:{self.nginx.port}", "-R", NAME, "--connect-timeout", "5"),
            *("--via", f"http://127.0.0.1:{self.proxy.port}"),
        )
        self.assertRaises(OSError, self.fetched, tunnel)
        until(lambda: "hint: check that a proxy of the kind in --via" in tunnel.log, "the reason")


class DanteWithLoginTests(ProxiedWithLogin, InteropTestCase):
    """
    SOCKS 5 with a login.
    """

    kind = DanteWithLogin


class FTPTests(InteropTestCase):
    """
    Data connections go the way of their control connection.
    """

    def test_aFileIsFetched(self) -> None:
        """
        Through Dante, which notes two connections.
        """
        name = "ftp.test.example"
        server = ProFTPD(self.stage.directory("proftpd"), self.stage.authority.issue(name))
        self.stage.start(server)
        dante = self.stage.start(_AnyPort(self.stage.directory("dante"), ()))
        tunnel = self.tunnel(
            *("-c", "-r", f"localhost:{server.port}", "-R", name, "--starttls", "ftp"),
            *("--via", dante.url),
        )
        parts: list[bytes] = []
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login(FTP_USER, FTP_PASSWORD)
            client.retrbinary(f"RETR {FILE}", parts.append)
        self.assertEqual(b"".join(parts), CONTENTS)
        passed = "pass(1): tcp/connect ["
        until(lambda: dante.log.count(passed) == 2, "two connections")


class _AnyPort(Dante):
    """
    Which connects to all ports.
    """

    def configure(self) -> None:
        super().configure()
        path = self.directory / "danted.conf"
        rule = "socks pass {\nfrom: 127.0.0.0/8 to: 0.0.0.0/0\nlog: connect\ncommand: connect\n}\n"
        path.write_text(path.read_text() + rule)


class StartTests(InteropTestCase):
    """
    What is said before anything is served.
    """

    def test_aPasswordInTheURL(self) -> None:
        """
        Everybody sees it in ps, and nobody has to see it in a log too.
        """
        said = tlstunnel(
            *("-c", "-l", "127.0.0.1:0", "-r", "a.example:1", "--via", "http://me:secret@b:1")
        )
        self.assertNotEqual(said.code, 0)
        self.assertIn("--via-auth-file", said.text)
        self.assertNotIn("secret", said.text)
