"""
Tests for C{via} and C{via-auth-file}: from a configuration to what a tunnel is made with.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import TUNNEL, ConfigurationTests
from tlstunnel.address import Address, SRVAddress, TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.net.via import Login, Via
from tlstunnel.program.check import check
from tlstunnel.program.configuration import Configuration, Status, readConfiguration
from tlstunnel.program.lookups import checkRemote
from tlstunnel.program.risks import farBackends
from tlstunnel.program.show import show
from tlstunnel.program.watch import filesOf
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared

HTTP = Via("http", TCPAddress("proxy.example", 3128))
REMOTE = TCPAddress("mail.example.org", 25)


def described(
    via: Via | None,
    file: Path | None = None,
    remote: Address = REMOTE,
    mode: Mode = Mode.CLIENT,
    skipResolve: bool = False,
) -> Tunnel:
    """
    A tunnel through a proxy.
    """
    return Tunnel(
        mode,
        (TCPAddress("127.0.0.1", 2525),),
        (remote,),
        find("smtp"),
        remoteID=Identity(None, "mail.example.org") if mode is Mode.CLIENT else None,
        pool=Pool(Path("/nonexistent"), asked=False),
        trust=("system",),
        via=via,
        viaAuthFile=file,
        skipResolve=skipResolve,
    )


class ConfiguredTests(ConfigurationTests):
    """
    The keys of a file.
    """

    def wrong(self, more: str) -> str:
        """
        What is wrong with a tunnel that has C{more}.
        """
        (problem,) = self.problems(TUNNEL + more)
        return problem

    def test_theyMakeATunnel(self) -> None:
        """
        The file with the login lies beside the file that names it.
        """
        text = "via = 'socks5://[::1]:1080'\nvia-auth-file = 'login'"
        (tunnel,) = self.read(TUNNEL + text).tunnels
        self.assertEqual(tunnel.via, Via("socks5", TCPAddress("::1", 1080)))
        self.assertEqual(tunnel.viaAuthFile, self.folder / "login")

    def test_whatIsShownReadsBack(self) -> None:
        """
        With the user in it, and without what is in the file.
        """
        (self.folder / "login").write_text("me:secret")
        before = self.read(TUNNEL + "via = 'http://me@[::1]:1'\nvia-auth-file = 'login'")
        shown = show(before)
        self.assertIn('via = "http://me@[::1]:1"', shown)
        self.assertNotIn("secret", shown)
        self.assertEqual(readConfiguration(self.write(shown, "shown.toml")), before)

    def test_noProxyReachesWhatIsOfThisHostAlone(self) -> None:
        """
        UNIX sockets, and addresses with a zone.
        """
        for remote in ("unix:s", "/run/s", "[fe80::1%1]:25"):
            text = TUNNEL.replace("db.example.org:5432", remote) + "via = 'http://p.example:1'"
            (problem,) = self.problems(text + "\nremote-id = 'db.example.org'")
            self.assertIn("of this host, which no proxy can reach; leave out via", problem)

    def test_whatNamesMeanIsForTheProxyAlone(self) -> None:
        """
        So there are no records of a service.
        """
        text = TUNNEL.replace("db.example.org:5432", "srv:_x._tcp.example.org")
        (problem,) = self.problems(text + "via = 'http://p.example:1'")
        self.assertIn("names are resolved by the proxy; leave out via", problem)

    def test_aFileWithoutAProxy(self) -> None:
        """
        Is a mistake.
        """
        self.assertIn(
            "via-auth-file: is for a proxy, and there is none; give via",
            self.wrong("via-auth-file = 'login'"),
        )

    def test_aUserWithoutAFile(self) -> None:
        """
        Has no password.
        """
        self.assertIn(
            "via: http://me@p.example:1: has a user, and there is no password; give via-auth-file",
            self.wrong("via = 'http://me@p.example:1'"),
        )

    def test_aPasswordIsNotRepeated(self) -> None:
        """
        Whoever reads the log should not read it.
        """
        problem = self.wrong("via = 'http://me:secret@p.example:1'")
        self.assertIn("give via-auth-file", problem)
        self.assertNotIn("secret", problem)

    def test_theCheckReadsTheFile(self) -> None:
        """
        What is wrong with it is wrong with its key.
        """
        path = self.folder / "login"
        more = "trust = 'system'\nvia = 'http://p.example:1'\nvia-auth-file = 'login'"

        def found() -> list[str]:
            problems = check(self.read(TUNNEL + more), datetime.now(UTC))
            return [str(each).replace(f"{self.folder}/", "") for each in problems]

        (problem,) = found()
        self.assertIn("via-auth-file: login: cannot be read", problem)
        path.write_text("me:secret")
        path.chmod(0o644)
        (problem,) = found()
        self.assertIn("can be read by others (mode 0644)", problem)
        path.chmod(0o600)
        self.assertEqual(found(), [])


class PreparedTests(SynchronousTestCase):
    """
    What connections are made with.
    """

    def test_theLoginIsReadAnew(self) -> None:
        """
        At each reload; of connections that there are, it is asked no more.
        """
        path = Path(self.mktemp())
        path.touch(0o600)
        tunnel = described(HTTP, path)
        for content, password in (("me:a", b"a"), ("me:b", b"b")):
            path.write_text(content)
            self.assertEqual(Prepared(tunnel).login, Login(b"me", password))
        path.write_text("")
        error = self.assertRaises(ConfigurationError, Prepared, tunnel)
        self.assertEqual(error.subject, str(path))
        self.assertIsNone(Prepared(described(HTTP)).login)

    def test_aLibraryIsHeldToTheRulesToo(self) -> None:
        """
        Who makes a tunnel by hand.
        """
        tunnel = described(HTTP, remote=UNIXAddress("/run/s"))
        error = self.assertRaises(ConfigurationError, Prepared, tunnel)
        self.assertIn("which no proxy can reach", str(error))

    def test_theFileIsWatched(self) -> None:
        """
        As keys are.
        """
        for file in (None, Path("login")):
            tunnels = (described(HTTP, file),)
            found = set(filesOf(Configuration(Path("c"), {}, Status(), tunnels)))
            self.assertEqual(Path("login") in found, file is not None)


class NamesTests(SynchronousTestCase):
    """
    Nobody but the proxy resolves the name of a remote.
    """

    def test_onlyTheProxyIsLookedUpAtTheStart(self) -> None:
        """
        And not even that, where it need not resolve.
        """
        asked = []

        def lookUp(host: str, *_: object, **__: object) -> None:
            asked.append(host)
            raise socket.gaierror(-2, "no such name")

        self.patch(socket, "getaddrinfo", lookUp)
        error = self.assertRaises(ConfigurationError, checkRemote, described(HTTP))
        self.assertIn("--via proxy.example:3128: the host name does not resolve", str(error))
        checkRemote(described(HTTP, skipResolve=True))
        self.assertEqual(asked, ["proxy.example"])

    def said(self, via: Via) -> tuple[list[str], list[str]]:
        """
        What is said of a backend behind C{via}, and whose names were asked for.
        """
        asked = []

        async def lookUp(address: TCPAddress | SRVAddress) -> list[str]:
            asked.append(address.host)
            return ["192.0.2.1"]

        tunnel = described(via, mode=Mode.SERVER)
        said = Deferred.fromCoroutine(farBackends(tunnel, lookUp))
        return self.successResultOf(said), asked

    def test_aProxyOnAnotherHostIsReported(self) -> None:
        """
        In server mode: everything goes there in clear.
        """
        notices, asked = self.said(HTTP)
        self.assertIn("the proxy at proxy.example:3128 is not on this host: every", notices[0])
        self.assertEqual((len(notices), asked), (1, ["proxy.example"]))

    def test_aProxyOnThisHostIsNot(self) -> None:
        """
        Where it goes then, nobody here knows.
        """
        self.assertEqual(self.said(Via("socks5", TCPAddress("127.0.0.1", 1080))), ([], []))
