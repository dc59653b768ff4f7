"""
What the tests of all dialects of lines have in common: a dialogue for each role, and what must not
depend on the dialect, drawn from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tlstunnel.errors import PlaintextAfterStartTLS, ServerSpokeFirst, TunnelError
from tlstunnel.identity import Identity
from tlstunnel.interfaces import IDialect, IFilter
from tlstunnel.protocols.base import Setting
from tlstunnel.testing.memory import Driver

Dialogue = list[tuple[str, bytes]]

#: The names of L{setting}.
OURS = b"tunnel.example.net"
THEIRS = b"server.example.org"


def setting(*options: str) -> Setting:
    """
    What a role knows, with these options.
    """
    return Setting(
        ourName=OURS,
        peerName=THEIRS,
        localID=Identity(None, OURS.decode()),
        remoteID=Identity(None, THEIRS.decode()),
        explicit=True,
        options=frozenset(options),
    )


def client(dialect: IDialect, *options: str) -> Driver:
    """
    The client role of C{dialect}, which has sent what it sends unasked.
    """
    return Driver(dialect, "client", setting(*options))


def server(dialect: IDialect, *options: str) -> Driver:
    """
    Its server role.
    """
    return Driver(dialect, "server", setting(*options))


def said(driver: Driver, data: bytes) -> bytes:
    """
    What the role answers on the network leg when it hears C{data}.
    """
    driver.network.takeWritten()
    driver.network.feed(data)
    return driver.network.takeWritten()


def inside(driver: Driver, dialogue: Dialogue) -> Driver:
    """
    Play C{dialogue}, which leads to the switch, and complete the handshake.
    """
    driver.play(dialogue)
    driver.handshake()
    return driver


def split(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """
    C{data} in two pieces in every way, and in single bytes.
    """
    for cut in range(1, len(data)):
        yield data[:cut], data[cut:]
    yield tuple(data[at : at + 1] for at in range(len(data)))


def missingLines(whole: bytes, passed: bytes) -> list[bytes]:
    """
    The lines of C{whole} that C{passed} lacks.

    @raise AssertionError: if that is not all in which they differ.
    """
    missing = []
    for line in re.findall(rb"[^\n]*\n|[^\n]+", whole):
        if passed.startswith(line):
            passed = passed[len(line) :]
        else:
            missing.append(line)
    assert not passed, passed
    return missing


def filtered(each: IFilter, pieces: Iterable[bytes]) -> bytes:
    """
    What passes of C{pieces}, the end of the stream included.
    """
    return b"".join([each.feed(piece) for piece in pieces]) + each.flush()


class Assertions:
    """
    For test cases: how a connection ended.
    """

    dialect: IDialect

    def assertFailed(self, driver: Driver, error: type[TunnelError]) -> None:
        """
        It ended with C{error}, both legs are closed, the app got nothing, and nobody dialled a
        backend.
        """
        assert isinstance(driver.error, error), (driver.error, driver.stage)
        assert driver.network.lost, driver.network
        assert driver.plain.written == b"", driver.plain.written
        assert not driver.backendDialled
        assert not driver.network.isTLS

    def assertSwitched(self, driver: Driver) -> None:
        """
        The handshake is under way.
        """
        assert driver.error is None, driver.error
        assert driver.stage == "switched", driver.stage


class ClientRules(Assertions):
    """
    Rules for the client role, to be mixed in.

    @cvar clientDialogue: from the first byte to the switch.
    @cvar greeting: what the app gets then.
    @cvar silent: whether the server has to be silent inside TLS at first.
    @cvar welcome: what it says first inside TLS, where it has to.
    """

    clientDialogue: Dialogue
    greeting: bytes = b""
    silent = True
    welcome: bytes = b""

    def test_theClientRoleReachesTheSwitchAndGreetsTheApp(self) -> None:
        """
        The app gets nothing before the server is verified, and then the greeting, whole.
        """
        driver = client(self.dialect)
        driver.play(self.clientDialogue)
        self.assertSwitched(driver)
        assert driver.plain.written == b""
        driver.handshake()
        driver.network.feed(self.welcome)
        assert driver.stage == "relay", driver.error
        assert driver.plain.written == self.greeting + self.welcome, driver.plain.written
        assert driver.network.written == b"", driver.network.written

    def test_theServersSegmentsDoNotMatter(self) -> None:
        """
        What the server says leads to the switch in whatever pieces it comes.
        """
        for index, (who, text) in enumerate(self.clientDialogue):
            if who == "C":
                continue
            for pieces in split(text):
                driver = client(self.dialect)
                driver.play(self.clientDialogue[:index])
                for piece in pieces:
                    driver.network.feed(piece)
                driver.play(self.clientDialogue[index + 1 :])
                self.assertSwitched(driver)

    def test_theServersEndIsAFailureInEveryState(self) -> None:
        """
        After every byte that the server can have sent before the switch.
        """
        for index, (who, text) in enumerate(self.clientDialogue):
            if who == "C":
                continue
            for length in range(len(text)):
                driver = client(self.dialect)
                driver.play(self.clientDialogue[:index])
                driver.network.feed(text[:length])
                driver.network.end()
                self.assertFailed(driver, TunnelError)
                assert driver.error is not None
                assert driver.error.reason == "closed", driver.error

    def test_nothingMayFollowTheServersGoAhead(self) -> None:
        """
        One byte in the same segment is too much.
        """
        for extra in (b"x", b" ", b"\r\n", b"\x16\x03\x01", b"* OK\r\n"):
            driver = client(self.dialect)
            driver.play(self.clientDialogue[:-1])
            driver.network.feed(self.clientDialogue[-1][1] + extra)
            self.assertFailed(driver, PlaintextAfterStartTLS)

    def test_whatTheAppSendsEarlyIsHeld(self) -> None:
        """
        It reaches the network once, after the greeting of the app, and inside TLS.
        """
        driver = client(self.dialect)
        driver.plain.feed(b"early 1\r\n")
        driver.play(self.clientDialogue)
        driver.plain.feed(b"early 2\r\n")
        assert driver.network.written == b""
        driver.handshake()
        driver.network.feed(self.welcome)
        assert driver.network.written == b"early 1\r\nearly 2\r\n", driver.network.written

    def test_aServerThatSpeaksFirstInsideTLSIsCutOff(self) -> None:
        """
        Whether it does so while the app waits for its greeting, or later.
        """
        if not self.silent:
            return
        driver = client(self.dialect)
        driver.play(self.clientDialogue)
        driver.network.completeHandshake()
        driver.network.feed(b"spliced\r\n")
        assert isinstance(driver.error, ServerSpokeFirst), driver.error
        assert driver.plain.written == b""
        driver = inside(client(self.dialect), self.clientDialogue)
        driver.network.feed(b"spliced\r\n")
        assert isinstance(driver.error, ServerSpokeFirst), driver.error
        assert driver.plain.written == self.greeting

    def test_insideTLSAllBytesPass(self) -> None:
        """
        In both directions, whatever they are.
        """
        driver = inside(client(self.dialect), self.clientDialogue)
        driver.network.feed(self.welcome)
        payload = bytes(range(256)) * 3
        driver.plain.feed(b"a" + payload)
        assert driver.network.takeWritten() == b"a" + payload
        driver.plain.takeWritten()
        driver.network.feed(payload)
        assert driver.plain.takeWritten() == payload


class ServerRules(Assertions):
    """
    Rules for the server role, to be mixed in.

    @cvar serverDialogue: from the first byte to the switch.
    @cvar backendGreeting: what the backend says before it is asked.
    @cvar passed: how much of that the client gets.
    @cvar needsTLS: a command that is refused before TLS, with what it asks for.
    """

    serverDialogue: Dialogue
    backendGreeting: bytes = b""
    passed: bytes = b""
    needsTLS: bytes

    def start(self, upTo: int | None = None) -> Driver:
        """
        A server role after the dialogue, or a part of it.
        """
        driver = server(self.dialect)
        driver.play(self.serverDialogue[:upTo])
        driver.network.takeWritten()
        return driver

    @property
    def opening(self) -> int:
        """
        How much of the dialogue comes before the client's first words.
        """
        return [who for who, _ in self.serverDialogue].index("C")

    def test_theServerRoleReachesTheSwitchAndMeetsTheBackend(self) -> None:
        """
        The backend is not dialled before the switch, and what the client was told before is not
        told again.
        """
        driver = server(self.dialect)
        driver.play(self.serverDialogue)
        self.assertSwitched(driver)
        assert driver.network.written == b"", driver.network.written
        assert not driver.backendDialled
        driver.handshake()
        assert driver.backendDialled
        driver.plain.feed(self.backendGreeting)
        assert driver.stage == "relay", driver.error
        assert driver.network.written == self.passed, driver.network.written
        assert driver.plain.written == b""

    def test_theClientsSegmentsDoNotMatter(self) -> None:
        """
        What the client says leads to the switch in whatever pieces it comes.
        """
        for index, (who, text) in enumerate(self.serverDialogue):
            if who == "S":
                continue
            for pieces in split(text):
                driver = self.start(index)
                for piece in pieces:
                    driver.network.feed(piece)
                driver.play(self.serverDialogue[index + 1 :])
                self.assertSwitched(driver)

    def test_theBackendsSegmentsDoNotMatter(self) -> None:
        """
        Its greeting is swallowed in whatever pieces it comes.
        """
        if not self.backendGreeting:
            return
        for pieces in split(self.backendGreeting):
            driver = inside(server(self.dialect), self.serverDialogue)
            for piece in pieces:
                driver.plain.feed(piece)
            assert driver.stage == "relay", driver.error
            assert driver.network.written == self.passed, driver.network.written

    def test_theClientsEndIsAFailureInEveryState(self) -> None:
        """
        After every byte that the client can have sent before the switch.
        """
        for index, (who, text) in enumerate(self.serverDialogue):
            if who == "S":
                continue
            for length in range(len(text)):
                driver = self.start(index)
                driver.network.feed(text[:length])
                driver.network.end()
                self.assertFailed(driver, TunnelError)
                assert driver.error is not None
                assert driver.error.reason == "closed", driver.error

    def test_nothingMayFollowTheClientsRequest(self) -> None:
        """
        One byte in the same segment is too much; the client does not even get its go-ahead.
        """
        last = max(index for index, (who, _) in enumerate(self.serverDialogue) if who == "C")
        for extra in (b"x", b" ", b"\r\n", self.needsTLS, b"\x16\x03\x01"):
            driver = self.start(last)
            answer = said(driver, self.serverDialogue[last][1] + extra)
            self.assertFailed(driver, PlaintextAfterStartTLS)
            assert answer == b"", answer

    def test_secretsSentInClearReachNobody(self) -> None:
        """
        What needs TLS is refused, and nothing of it is kept for the backend.
        """
        driver = self.start(self.opening)
        driver.network.feed(self.needsTLS)
        if driver.error is not None:
            self.assertFailed(driver, TunnelError)
            return
        driver.network.takeWritten()
        inside(driver, self.serverDialogue[self.opening :])
        driver.plain.feed(self.backendGreeting)
        assert driver.stage == "relay", driver.error
        assert driver.plain.written == b"", driver.plain.written

    def test_aClientThatKeepsAskingIsCutOff(self) -> None:
        """
        After some refusals.
        """
        driver = self.start(self.opening)
        for _ in range(11):
            driver.network.feed(self.needsTLS)
        self.assertFailed(driver, TunnelError)

    def test_foreignProtocolsGetNoAnswer(self) -> None:
        """
        TLS at once, HTTP and SSH.
        """
        for first in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ):
            driver = self.start(self.opening)
            assert said(driver, first) == b""
            self.assertFailed(driver, TunnelError)
