"""
Tests for L{tlstunnel.tunnel.bridge}: what a bridge must be like, and what its log says first.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import CLIENT, SERVER, wait
from tests.tunnel.bridgestage import FRONT, BridgeTests
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Selector
from tlstunnel.protocols.registry import find
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.tunnel.bridge import checkBridge
from tlstunnel.tunnel.description import DANE, Mode, Tunnel
from tlstunnel.tunnel.servedname import ServedName


class CheckTests(SynchronousTestCase):
    """
    What can be no bridge.
    """

    def bridge(self, before: str, behind: str, **settings: Any) -> Tunnel:
        """
        One that is described, and not served.
        """
        anywhere = (TCPAddress("127.0.0.1", 1),)
        out = Tunnel(Mode.CLIENT, anywhere, anywhere, find(behind), remoteID=SERVER)
        out = replace(out, **settings.pop("out", {}))
        return Tunnel(
            Mode.BRIDGE, anywhere, anywhere, find(before), localID=FRONT, onward=out, **settings
        )

    def refusal(self, *ways: str, **settings: Any) -> str:
        """
        Why it is none.
        """
        with self.assertRaises(ConfigurationError) as raised:
            checkBridge(self.bridge(*ways, **settings))
        return str(raised.exception)

    def test_nothingIsTranslated(self) -> None:
        """
        Protocols that are alike are two, too.
        """
        for ways in (("smtp", "imap"), ("smtp", "lmtp"), ("xmpp-client", "xmpp-server")):
            self.assertIn("is another protocol than --starttls-out", self.refusal(*ways))

    def test_whatNeedsMoreThanOneConnectionIsRefused(self) -> None:
        """
        On either side.
        """
        for ways in (("ftp", "ftp"), ("ftp", "none"), ("none", "ftp")):
            self.assertIn("has data connections", self.refusal(*ways))

    def test_whatShowsTheServerBeforeTLSIsRefused(self) -> None:
        """
        Those are MySQL and NATS.
        """
        early = (("mysql", "mysql"), ("mysql", "none"), ("none", "mysql"), ("nats", "nats"))
        for ways in early:
            self.assertIn("before TLS", self.refusal(*ways))

    def test_aChosenProtocolCannotBePassedOnWithDANE(self) -> None:
        """
        Where nobody says which protocol it is.
        """
        settings: dict[str, Any] = {"alpn": (b"h2",), "out": {"trust": (DANE,)}}
        self.assertIn("--alpn", self.refusal("none", "none", **settings))

    def test_aNameWithAServerOfItsOwnSaysWhoThatIs(self) -> None:
        """
        An address says nobody.
        """
        served = ServedName("a.example.net", remote=(TCPAddress("192.0.2.1", 1),))
        self.assertIn(
            "--remote-id: is missing",
            self.refusal("none", "none", names=(served,), out={"remoteID": None}),
        )

    def test_nobodyIsToldWhoIsThere(self) -> None:
        """
        A bridge of a program that uses the library is looked at as well.
        """
        for disclosure in (Disclosure(words=("smtp",)), Disclosure(proxyOut="v2")):
            refusal = self.refusal("smtp", "smtp", disclosure=disclosure)
            self.assertIn("means nothing with --bridge", refusal)
        self.assertIn("--negotiate-only", self.refusal("smtp", "smtp", negotiatesOnly=True))

    def test_allElseIsABridge(self) -> None:
        """
        Every other dialect, on one side and on both.
        """
        others = "lmtp", "imap", "pop3", "nntp", "sieve", "ldap", "xmpp-client", "irc"
        for name in ("smtp", *others, "nut", "munin", "nbd", "vnc"):
            for ways in ((name, name), (name, "none"), ("none", name)):
                checkBridge(self.bridge(*ways))


class StartTests(BridgeTests):
    """
    What is said of a bridge that is served.
    """

    async def test_theLogSaysWhatBothSidesAre(self) -> None:
        """
        The ways to TLS, who may come, and who has to be there.
        """
        started: list[Any] = []

        def observe(event: LogEvent) -> None:
            if event.get("event") == "start":
                started.append(event)

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]
        come = Selector.parse("@example.org")
        service = self.tunnel("127.0.0.1:1", "none-smtp", remoteID=come, out={"localID": CLIENT})
        await wait(lambda: bool(started))
        (event,) = started
        self.assertIn("implicit TLS in and smtp out, as front.example.net", formatEvent(event))
        self.assertEqual((event["mode"], event["dialect"]), ("bridge", "smtp"))
        self.assertEqual(event["expected"], str(SERVER))
        self.assertEqual(event["client_expected"], "@example.org")
        assert service.factory is not None
        prepared = service.factory.prepared
        self.assertEqual(set(prepared.certificates), {FRONT, CLIENT})

    async def test_whatIsRenewedIsSoOnBothSides(self) -> None:
        """
        A reload that finds anything missing, on either side, changes nothing.
        """
        service = self.tunnel("127.0.0.1:1", "none", out={"localID": CLIENT})
        factory = service.factory
        assert factory is not None
        before = factory.prepared
        factory.renew(before.tunnel)
        renewed = factory.prepared
        assert before.onward is not None and renewed.onward is not None
        self.assertIsNot(renewed.onward, before.onward)
        shutil.rmtree(self.pool.path / str(CLIENT))
        self.assertRaises(ConfigurationError, factory.renew, before.tunnel)
        self.assertIs(factory.prepared, renewed)
