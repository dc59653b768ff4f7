"""
Tests for L{tlstunnel.program.risks}: what is said at start-up.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import TunnelTests, wait
from tlstunnel.address import Address, TCPAddress, UNIXAddress, parseAddress
from tlstunnel.identity.names import Identity
from tlstunnel.net.networks import Networks, parseNetwork
from tlstunnel.program import risks as module
from tlstunnel.program.risks import farBackends, isOurs, risks
from tlstunnel.program.splicing import STARTTLS
from tlstunnel.protocols.http import ALLOW_UPGRADE_DESYNC
from tlstunnel.protocols.registry import builtIn, find
from tlstunnel.protocols.vnc import vnc
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.ends import MARKED_ENDS
from tlstunnel.tunnel.servedname import ServedName

LOOPBACK = TCPAddress("127.0.0.1", 1)
ANYWHERE = TCPAddress("", 8000)


class RisksTests(SynchronousTestCase):
    """
    What is reported, and what is not.
    """

    def setUp(self) -> None:
        """
        Nobody else listens.
        """
        self.ports: set[int] = set()
        self.patch(module, "listeningPorts", lambda: self.ports)

    def said(
        self,
        dialect: str = "none",
        mode: Mode = Mode.SERVER,
        local: Address = ANYWHERE,
        remote: Address = LOOPBACK,
        *options: str,
    ) -> list[str]:
        """
        What is said of a tunnel.
        """
        tunnel = Tunnel(mode, (local,), (remote,), find(dialect), options=frozenset(options))
        return list(risks(tunnel, (local,)))

    def test_keysThatAreWrittenDown(self) -> None:
        """
        Whatever else there is to be said.
        """
        tunnel = Tunnel(
            Mode.CLIENT, (LOOPBACK,), (LOOPBACK,), find("none"), keyLog=Path("/var/log/keys")
        )
        (said,) = risks(tunnel, (LOOPBACK,))
        self.assertIn("keys of all connections are written to /var/log/keys: whoever has", said)

    def test_headersFromEverybody(self) -> None:
        """
        Whoever connects could say that he was somebody else.
        """
        for networks, isSaid in (
            (["0.0.0.0/0"], True),
            (["::/0"], True),
            (["0.0.0.0/1", "128.0.0.0/1"], True),
            (["10.0.0.0/8", "2001:db8::/32"], False),
            ([], False),
        ):
            found = Networks.of(map(parseNetwork, networks))
            tunnel = Tunnel(Mode.SERVER, (ANYWHERE,), (LOOPBACK,), find("none"), proxyFrom=found)
            said = [each for each in risks(tunnel, ()) if "proxy-from" in each]
            self.assertEqual(bool(said), isSaid, networks)

    def test_screensWithoutALogin(self) -> None:
        """
        Unless a certificate is one.
        """
        someone = Identity.parse("us@a.example")
        for mode, options, remoteID, isSaid in (
            (Mode.SERVER, {"none"}, None, True),
            (Mode.SERVER, {"none", "vncauth"}, None, True),
            (Mode.SERVER, {"vncauth"}, None, False),
            (Mode.SERVER, set(), None, False),
            (Mode.SERVER, {"none"}, someone, False),
            (Mode.CLIENT, {"none"}, someone, False),
        ):
            tunnel = Tunnel(
                mode,
                (LOOPBACK,),
                (LOOPBACK,),
                find("vnc"),
                remoteID=remoteID,
                options=frozenset(options),
            )
            said = [each for each in risks(tunnel, ()) if "see and use the screen" in each]
            self.assertEqual(bool(said), isSaid, (mode, options))

    def test_aDialectSaysItselfWhatWhoeverComesCanDo(self) -> None:
        """
        Also one of a third party.
        """
        dialect = replace(vnc, name="x", options={"all": "all"}, grants={"all": "open the doors"})
        for options, isSaid in ({"all"}, True), (set[str](), False):
            tunnel = Tunnel(
                Mode.SERVER, (LOOPBACK,), (LOOPBACK,), dialect, options=frozenset(options)
            )
            said = " ".join(risks(tunnel, ()))
            words = (
                "with `dialect-option` all any client can open the doors, and needs no certificate"
            )
            self.assertEqual(words in said, isSaid, said)

    def test_aServerThatTrustsItsOwnHostMayRelayForEverybody(self) -> None:
        """
        Not at another port or host, with a certificate, or where it is told who is there.
        """
        someone = Identity.parse("us@a.example")
        told = Disclosure(proxyOut="v2")
        for remote, dialect, more, isSaid in (
            ("127.0.0.1:25", "smtp", {}, True),
            ("localhost:25", "smtp", {}, True),
            ("127.0.0.1:10587", "smtp", {}, False),
            ("192.0.2.1:25", "smtp", {}, False),
            ("127.0.0.1:25", "lmtp", {}, False),
            ("127.0.0.1:25", "smtp", {"remoteID": someone}, False),
            ("127.0.0.1:25", "smtp", {"disclosure": told}, False),
            ("127.0.0.1:25", "smtp", {"mode": Mode.CLIENT, "remoteID": someone}, False),
        ):
            values: dict[str, Any] = {"mode": Mode.SERVER, "dialect": find(dialect), **more}
            tunnel = Tunnel(local=(LOOPBACK,), remote=(parseAddress(remote),), **values)
            said = " ".join(risks(tunnel, ()))
            self.assertEqual("send mail to all the world" in said, isSaid, (remote, more, said))

    def test_screensWithoutALoginUnderSomeNames(self) -> None:
        """
        It is said once where there is one for all, and in a bridge by the key that it has.
        """
        someone = Identity.parse("us@a.example")
        names = ServedName("a.example", anybody=True), ServedName("b.example", remoteID=someone)
        for mode, remoteID, said in (
            (Mode.SERVER, someone, "whoever asks for a.example can see and use .* `remote-id`"),
            (Mode.SERVER, None, "any client can see and use .* `remote-id`"),
            (Mode.BRIDGE, None, "any client can see and use .* `client-id`"),
        ):
            tunnel = Tunnel(
                mode,
                (LOOPBACK,),
                (LOOPBACK,),
                find("vnc"),
                remoteID=remoteID,
                options=frozenset({"none"}),
                names=names,
            )
            found = [each for each in risks(tunnel, ()) if "the screen" in each]
            self.assertEqual(len(found), 1, found)
            self.assertRegex(found[0], said)

    def test_theListOfPortsIsReadOnlyWhereItMatters(self) -> None:
        """
        On a host with many connections it is long.
        """

        def refuse() -> set[int]:
            raise AssertionError("it was read")

        self.patch(module, "listeningPorts", refuse)
        self.assertEqual(self.said(), [])
        self.assertRaises(AssertionError, self.said, local=TCPAddress("", 465))

    def test_aListenerForTheNetworkIsReportedInClientMode(self) -> None:
        """
        It lends our identity to whoever connects; in server mode the network is there on purpose.
        """
        for local in (ANYWHERE, TCPAddress("::", 1), TCPAddress("192.0.2.1", 1)):
            (notice,) = self.said("smtp", Mode.CLIENT, local)
            self.assertIn(f"other hosts can connect to {local}: what they say there is", notice)
            self.assertEqual(self.said("smtp", Mode.SERVER, local), [])
        tunnel = Tunnel(
            Mode.CLIENT, (ANYWHERE,), (LOOPBACK,), find("smtp"), Identity.parse("us@a.example")
        )
        (notice,) = risks(tunnel, (ANYWHERE,))
        self.assertIn("in clear, and the server takes them for us@a.example", notice)

    def test_aListenerForThisHostIsNoRisk(self) -> None:
        """
        Nor a UNIX socket.
        """
        for local in (LOOPBACK, TCPAddress("::1", 1), UNIXAddress("/s")):
            self.assertEqual(self.said("smtp", Mode.CLIENT, local), [])

    def test_cutDataAtUNIXSocketsIsReportedWhereTheyCannotTell(self) -> None:
        """
        Neither the protocol nor the socket, in both modes; with Linux's epoll it can.
        """
        self.patch(module, "AVAILABLE", False)
        socket_ = UNIXAddress("/run/s")
        server, client = TCPAddress("", 8443), TCPAddress("a.example", 443)
        for dialect in ("none", "telnet"):
            (notice,) = self.said(dialect, Mode.SERVER, server, socket_)
            self.assertIn("at /run/s a connection that somebody cuts", notice)
            (notice,) = self.said(dialect, Mode.CLIENT, socket_, client)
            self.assertIn("at /run/s a connection that somebody cuts", notice)
            self.assertEqual(self.said(dialect, Mode.CLIENT, LOOPBACK, client), [])
        self.assertEqual(len(self.said("http", Mode.CLIENT, socket_, client)), 1)
        self.patch(module, "AVAILABLE", True)
        self.assertEqual(self.said("http", Mode.CLIENT, socket_, client), [])

    def test_protocolsThatMarkTheirEndsAreNoRisk(self) -> None:
        """
        Nor what is known to be one by its port: for a backend so is HTTP.
        """
        self.patch(module, "AVAILABLE", False)
        socket_ = UNIXAddress("/run/s")
        for dialect in builtIn():
            if dialect.marksEnd:
                self.assertEqual(self.said(dialect.name, Mode.SERVER, remote=socket_), [])
                self.assertEqual(self.said(dialect.name, Mode.CLIENT, socket_), [])
        for port in (993, 465, 443):
            self.assertEqual(self.said("none", Mode.SERVER, TCPAddress("", port), socket_), [])
        for port, count in ((993, 0), (443, 1), (992, 1)):
            remote = TCPAddress("a.example", port)
            self.assertEqual(len(self.said("none", Mode.CLIENT, socket_, remote)), count)

    def test_whichProtocolsMarkTheirEndsIsKnown(self) -> None:
        """
        All but those that may end data by closing.
        """
        unmarked = [dialect.name for dialect in builtIn() if not dialect.marksEnd]
        self.assertEqual(sorted(unmarked), ["http", "none", "telnet"])

    def test_soIsWhichPortsDo(self) -> None:
        """
        Those of protocols that do so with STARTTLS.
        """
        marked = {each.implicitPort for each in builtIn() if each.marksEnd and each.implicitPort}
        self.assertEqual(set(MARKED_ENDS), marked & set(STARTTLS))

    def test_theUpgradeOfHTTPIsReported(self) -> None:
        """
        Also where it was accepted.
        """
        (notice,) = self.said(
            "http", Mode.SERVER, TCPAddress("", 80), LOOPBACK, ALLOW_UPGRADE_DESYNC
        )
        self.assertIn("Opossum", notice)
        self.assertEqual(self.said("http", Mode.CLIENT, LOOPBACK), [])

    def test_theOtherWayToTLSIsReported(self) -> None:
        """
        STARTTLS and TLS from the first byte, for the same protocol on one host.
        """
        for dialect, port, other in (
            ("imap", 143, 993),
            ("none", 993, 143),
            ("none", 465, 587),
            ("smtp", 2525, 465),
        ):
            self.ports = {22, other, port}
            (notice,) = self.said(dialect, local=TCPAddress("", port))
            self.assertIn(f"port {other} of this host", notice)
            self.assertIn("Opossum", notice)

    def test_whatIsNoOtherWayIsNotReported(self) -> None:
        """
        Other protocols, the backend itself, and what the client role connects to.
        """
        self.ports = {22, 25, 143, 443, 993, 995, 5432}
        for dialect, port, remote in (
            ("none", 993, TCPAddress("127.0.0.1", 143)),
            ("none", 8443, LOOPBACK),
            ("none", 5432, LOOPBACK),
            ("postgresql", 5432, LOOPBACK),
            ("sieve", 4190, LOOPBACK),
            ("irc", 6667, LOOPBACK),
        ):
            self.assertEqual(self.said(dialect, local=TCPAddress("", port), remote=remote), [])
        self.assertEqual(self.said("imap", Mode.CLIENT, LOOPBACK), [])

    def test_thePortsAreThoseOfTheDialects(self) -> None:
        """
        But for those whose two ports are not like the others.
        """
        known = {
            dialect.implicitPort: dialect.ports
            for dialect in builtIn()
            if dialect.implicitPort and dialect.name not in ("http", "postgresql")
        }
        self.assertEqual(known, STARTTLS)


class FarBackendsTests(SynchronousTestCase):
    """
    L{farBackends}.
    """

    def said(self, remote: Address, *hosts: str, mode: Mode = Mode.SERVER) -> list[str]:
        """
        What is said of a tunnel to C{remote}, while its name stands for C{hosts}.
        """
        answer: Deferred[list[str]] = Deferred()
        tunnel = Tunnel(mode, (ANYWHERE,), (remote,), find("smtp"))
        said = Deferred.fromCoroutine(farBackends(tunnel, lambda address: answer))
        answer.callback(list(hosts))
        return self.successResultOf(said)

    def test_aBackendOnThisHostIsNoRisk(self) -> None:
        """
        At a loopback address, by name, or at a UNIX socket.
        """
        for remote in (
            LOOPBACK,
            TCPAddress("::1", 1),
            TCPAddress("localhost", 1),
            UNIXAddress("/run/x"),
        ):
            self.assertEqual(self.said(remote, "192.0.2.1"), [])
        self.assertEqual(self.said(TCPAddress("here.example", 1), "127.0.0.1", "::1"), [])

    def test_aBackendOnAnotherHostIsReported(self) -> None:
        """
        In server mode: that leg is in clear.
        """
        remote = TCPAddress("192.0.2.1", 25)
        (notice,) = self.said(remote)
        self.assertIn("192.0.2.1:25 is not on this host", notice)
        self.assertEqual(self.said(remote, mode=Mode.CLIENT), [])

    def test_aNameIsWhatItStandsFor(self) -> None:
        """
        On another host if any of its addresses is; a name that nobody knows is not judged.
        """
        remote = TCPAddress("mail.example.org", 25)
        (notice,) = self.said(remote, "127.0.0.1", "2001:db8::1")
        self.assertIn("mail.example.org:25 is not on this host", notice)
        self.assertEqual(self.said(remote), [])

    def test_addressesOfOurOwnAreHere(self) -> None:
        """
        Whether an address is ours, the system knows.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Nothing is sent: the system only chooses an address.
                probe.connect(("192.0.2.1", 9))
                ours = probe.getsockname()[0]
            except OSError:
                ours = "127.0.0.2"
        self.assertTrue(isOurs(ours))
        self.assertTrue(isOurs("::1"))
        for other in ("192.0.2.1", "2001:db8::1", "fe80::1%no-such"):
            self.assertFalse(isOurs(other))


class ServiceTests(TunnelTests):
    """
    What the service does with it.
    """

    async def test_risksAreWarnedOfAtStartUp(self) -> None:
        """
        In the log, once.
        """
        events: list[LogEvent] = []

        def observe(event: LogEvent) -> None:
            if event.get("log_level") is LogLevel.warn:
                events.append(event)

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]
        self.tunnel("192.0.2.1:25", "smtp")
        await wait(lambda: bool(events))
        (event,) = events
        self.assertIn("192.0.2.1:25 is not on this host", event["notice"])
