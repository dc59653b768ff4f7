"""
Tests for L{tlstunnel.program.mistakes}: ports that are those of something else.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import TunnelTests, wait
from tlstunnel.address import InheritedAddress, TCPAddress, UNIXAddress, parseAddress, parseService
from tlstunnel.identity.names import Identity
from tlstunnel.net import inherit
from tlstunnel.program import mistakes as module
from tlstunnel.program.mistakes import mistakes
from tlstunnel.protocols.base import Dialect
from tlstunnel.protocols.registry import IMPLICIT_PORTS, STARTTLS_PORTS, builtIn, find
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.servedname import ServedName

CHAT = Dialect("chat", find("smtp").client, find("smtp").server)


class MistakesTests(SynchronousTestCase):
    """
    L{mistakes}.
    """

    def said(self, mode: Mode, port: int, starttls: str = "none", **settings: Any) -> list[str]:
        """
        What is said of a tunnel with this port on the network.
        """
        network, plain = (TCPAddress("mx.example", port),), (TCPAddress("127.0.0.1", 4000),)
        isClient = mode is Mode.CLIENT
        tunnel = Tunnel(
            mode, plain if isClient else network, network if isClient else plain, find(starttls)
        )
        return list(map(str, mistakes(replace(tunnel, **settings))))

    def test_withoutSTARTTLSAtAPortForIt(self) -> None:
        """
        In both modes, for every port of every dialect.
        """
        for port, name in STARTTLS_PORTS.items():
            for mode, key, who in (
                (Mode.CLIENT, "remote", "servers"),
                (Mode.SERVER, "local", "clients"),
            ):
                (sentence,) = self.said(mode, port)
                self.assertEqual(
                    sentence,
                    f"--{key}: {who} at port {port} usually begin to speak "
                    f"{name} in clear; --starttls {name} is missing",
                )

    def test_withSTARTTLSAtAPortForTLSFromTheFirstByte(self) -> None:
        """
        Whichever it is, and by a script too.
        """
        for mode in Mode:
            for port in IMPLICIT_PORTS:
                for dialect in "smtp", "ldap":
                    if port != 5432:
                        (sentence,) = self.said(mode, port, dialect)
                        self.assertIn("use TLS from the first byte; leave out --start", sentence)
            (sentence,) = self.said(mode, 465, "smtp", dialect=CHAT)
            self.assertIn("leave out --chat", sentence)

    def test_theSameRemoteTwice(self) -> None:
        """
        It would be no second one; and there is nothing to choose from where there is but one.
        """
        one, other = TCPAddress("192.0.2.1", 25), TCPAddress("192.0.2.2", 25)
        (sentence,) = self.said(Mode.CLIENT, 25, "smtp", remote=(one, other, one))
        self.assertEqual(
            sentence, "--remote: has 192.0.2.1:25 2 times, and it counts once; give each place once"
        )
        (sentence,) = self.said(Mode.CLIENT, 25, "smtp", remote=(one,), balance="round-robin")
        self.assertIn("192.0.2.1:25 is the only one", sentence)
        name = TCPAddress("mx.example", 25)
        for remote in (one, other), (name,):
            self.assertEqual(
                self.said(Mode.CLIENT, 25, "smtp", remote=remote, balance="round-robin"), []
            )

    def test_anIdentityThatNobodyCanAskFor(self) -> None:
        """
        A user, a workload or an address is shown where it is the first one, and nowhere else.
        """
        host, *others = map(
            Identity.parse,
            ("www.example.org", "a@example.org", "192.0.2.1", "spiffe://example.org/a"),
        )
        for other in others:
            (said,) = self.said(Mode.SERVER, 8443, localID=host, otherIDs=(other,))
            self.assertIn(f"{other} is never shown, as clients", said)
            self.assertEqual(self.said(Mode.SERVER, 8443, localID=other, otherIDs=(host,)), [])

    def test_theSameWhereNamesHaveTheirOwn(self) -> None:
        """
        What chooses does so among those of each name.
        """
        one, other = TCPAddress("192.0.2.1", 25), TCPAddress("192.0.2.2", 25)
        for names in (
            (ServedName("a.example", remote=(one, other)),),
            (ServedName("a.example", remotes=((b"h2", (one, other)),)),),
        ):
            said = self.said(
                Mode.SERVER, 587, "smtp", remote=(one,), balance="round-robin", names=names
            )
            self.assertEqual(said, [])
        names = (ServedName("a.example", remotes=((b"h2", (one, one)),)),)
        (sentence,) = self.said(Mode.SERVER, 587, "smtp", remote=(other,), names=names)
        self.assertIn("has 192.0.2.1:25 2 times", sentence)

    def test_aServiceHasThePortThatItUsuallyHas(self) -> None:
        """
        With what belongs to it.
        """
        service = parseService("srv:_submission._tcp.example.org")
        (sentence,) = self.said(Mode.CLIENT, 25, remote=(service,))
        self.assertIn("--starttls smtp is missing", sentence)
        self.assertEqual(self.said(Mode.CLIENT, 25, "smtp", remote=(service,)), [])
        self.assertEqual(
            self.said(Mode.CLIENT, 25, remote=(parseService("srv:_x._tcp.example.org"),)), []
        )

    def test_anotherProtocol(self) -> None:
        """
        STARTTLS, but not of this kind.
        """
        for mode in Mode:
            (sentence,) = self.said(mode, 143, "smtp")
            self.assertIn("usually speak imap; use --starttls imap", sentence)
            (sentence,) = self.said(mode, 5432, "smtp")
            self.assertIn("usually speak postgresql", sentence)

    def test_aBackendThatWantsTLS(self) -> None:
        """
        It is spoken to in clear.
        """
        (sentence,) = self.said(Mode.SERVER, 993, remote=(TCPAddress("::1", 993),))
        self.assertIn("--remote: servers at port 993 usually want TLS", sentence)
        self.assertIn("is port 143 meant?", sentence)

    def test_aTunnelToItself(self) -> None:
        """
        Whichever way its address is written.
        """
        for local, remote in (
            ("127.0.0.1:4000", "127.0.0.1:4000"),
            ("127.0.0.1:4000", "localhost:4000"),
            (":4000", "127.0.0.1:4000"),
            ("[::]:4000", "[::1]:4000"),
            ("0.0.0.0:4000", "127.0.0.2:4000"),
            ("192.0.2.1:4000", "192.0.2.1:4000"),
            ("/run/x", "/run/x"),
        ):
            for mode in Mode:
                (sentence,) = self.said(
                    mode, 1, local=(parseAddress(local),), remote=(parseAddress(remote),)
                )
                self.assertIn(f"--remote: {parseAddress(remote)} is this tunnel itself", sentence)
        for local, remote in (
            ("127.0.0.1:4000", "127.0.0.1:4001"),
            ("127.0.0.1:4000", "127.0.0.2:4000"),
            ("192.0.2.1:4000", "localhost:4000"),
            ("0.0.0.0:4000", "[::1]:4000"),
            (":4000", "192.0.2.1:4000"),
            ("/run/x", "/run/y"),
            ("/run/x", "127.0.0.1:4000"),
        ):
            self.assertEqual(
                self.said(
                    Mode.SERVER, 1, local=(parseAddress(local),), remote=(parseAddress(remote),)
                ),
                [],
            )

    def test_whatIsRight(self) -> None:
        """
        Every port with its own dialect, ports that are nobody's, and what has no port.
        """
        for mode in Mode:
            for dialect in builtIn():
                for port in dialect.ports:
                    self.assertEqual(self.said(mode, port, dialect.name), [])
                self.assertEqual(self.said(mode, 4711, dialect.name), [])
            for port in set(IMPLICIT_PORTS) - set(STARTTLS_PORTS):
                self.assertEqual(self.said(mode, port), [])
            self.assertEqual(self.said(mode, 5432, alpn=(b"postgresql",)), [])
        here = (UNIXAddress("/run/x"),)
        self.assertEqual(self.said(Mode.CLIENT, 1, remote=here), [])
        self.assertEqual(self.said(Mode.SERVER, 1, local=(InheritedAddress("x"),)), [])
        self.assertEqual(self.said(Mode.SERVER, 465, remote=(TCPAddress("::1", 25),)), [])


class ServiceTests(TunnelTests):
    """
    What the service does with it.
    """

    def setUp(self) -> None:
        """
        Listen to warnings.
        """
        super().setUp()
        self.events: list[LogEvent] = []

        def observe(event: LogEvent) -> None:
            if event.get("log_level") is LogLevel.warn:
                self.events.append(event)

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    async def test_itIsWarnedOfAtStartUp(self) -> None:
        """
        In the log, once.
        """
        self.mode = Mode.CLIENT
        self.tunnel("127.0.0.1:587")
        await wait(lambda: bool(self.events))
        (event,) = self.events
        self.assertIn("--starttls smtp is missing", event["notice"])

    async def test_tunnelsOfAFileHaveTheWordsOfOne(self) -> None:
        """
        They have a name.
        """
        self.mode = Mode.CLIENT
        self.tunnel("127.0.0.1:587", name="mail")
        await wait(lambda: bool(self.events))
        (event,) = self.events
        self.assertEqual(event["tunnel"], "mail")
        self.assertIn("begin to speak smtp in clear; starttls smtp is missing", event["notice"])

    async def test_socketsThatWereHandedDownHavePortsToo(self) -> None:
        """
        As those of workers have.
        """
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        self.patch(inherit, "_taken", set())
        self.patch(inherit, "descriptors", lambda *_: [("", sock.detach())])
        self.patch(module, "STARTTLS_PORTS", {port: "smtp"})
        self.tunnel("127.0.0.1:1", local=(InheritedAddress(""),))
        await wait(lambda: bool(self.events))
        (event,) = self.events
        self.assertIn(f"clients at port {port} usually begin", event["notice"])
