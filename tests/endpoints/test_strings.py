"""
Tests for L{tlstunnel.endpoints.strings} and L{tlstunnel.endpoints.describing}: what endpoint
strings mean, and what is said of those that mean nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis.strategies import text
from twisted.internet import reactor
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    UNIXServerEndpoint,
    clientFromString,
    serverFromString,
)
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.endpoints.client import TunnelClientEndpoint
from tlstunnel.endpoints.server import TunnelServerEndpoint
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.tunnel.description import Mode

TOP = Path(__file__).resolve().parents[2]
PIN = "sha256//" + "A" * 43 + "="

#: A string, and what of its sentence says what to do about it.
BAD_CLIENTS = {
    "tlstunnel": "tlstunnel: HOST is missing; write tlstunnel:HOST:PORT",
    "tlstunnel:mail.example.org": "PORT is missing; write tlstunnel:HOST:PORT",
    "tlstunnel::25": "HOST is missing",
    "tlstunnel:a:25:smtp": "'smtp' is one word too many: tlstunnel:HOST:PORT is followed by key=",
    "tlstunnel:a:25:startls=smtp": "there is no key startls=; did you mean starttls?",
    "tlstunnel:a:25:quite=different": "there is no key quite=; there are host, port, starttls,",
    "tlstunnel:a:25:port=26": "port= is given twice",
    "tlstunnel:a:25:remote=": "remote= is empty; give a value, or leave it out",
    "tlstunnel:a:65536": "has a port above 65535",
    "tlstunnel:a b:25": "tlstunnel: a b port 25: ",
    "tlstunnel:a:25:starttls=smpt": "starttls= there is no protocol 'smpt'; did you mean smtp?",
    "tlstunnel:a:25:starttls=ftp": "starttls=ftp: has data connections beside this one",
    "tlstunnel:127.0.0.1:25": "remote= is missing, and 127.0.0.1:25 does not name",
    "tlstunnel:a:25:remote=@@": "remote=@@: ",
    "tlstunnel:a:25:local=@": "local=@: ",
    "tlstunnel:a:25:minimum=1.1": "minimum=1.1: is no version that we speak; give 1.2 or 1.3",
    "tlstunnel:a:25:pin=md5": "pin=md5: ",
    "tlstunnel:a:25:alpn=,": "alpn=,: an id has 1 to 255 bytes",
    "tlstunnel:a:25:timeout=soon": "timeout=soon is no time; give seconds",
    "tlstunnel:a:25:timeout=-1": "timeout=-1 is no time",
    "tlstunnel:a:25:timeout=nan": "timeout=nan is no time",
    "tlstunnel:a:25:option=x": "option=x: TLS from the first byte has no options",
}

BAD_SERVERS = {
    "starttls": "starttls: DIALECT is missing; write starttls:DIALECT:INNER",
    "starttls:smtp": "INNER is missing; write starttls:DIALECT:INNER",
    "starttls:smtp:tcp\\:25:local=auto": "local=auto: is for client tunnels: the rules of a pool",
    "starttls:smtp:tcp:25:local=a.example.org": "'25' is one word too many",
    "starttls:smtp:tcp\\:25": "local= is missing; say who the server is",
    "starttls:nothing:tcp\\:25:local=a.example.org": "starttls= there is no protocol 'nothing'",
    "starttls:smtp:nix\\:25:local=a.example.org": "Unknown endpoint type: 'nix'",
    "starttls:smtp:tcp\\:25:local=a.example.org:remote=@": "remote=@: ",
    "starttls:smtp:tcp\\:25:local=a.example.org:remote=x@@": "remote=x@@: ",
    "starttls:smtp:tcp\\:25:locale=a.example.org": "there is no key locale=; did you mean local?",
    "starttls:postgresql:tcp\\:25:local=a:option=drect": "option=drect: postgresql has no such",
    "starttls:postgresql:tcp\\:25:local=a:option=direct=1": "direct takes no value; give direct",
    "starttls:ftp:tcp\\:25:local=a.example.org": "starttls=ftp: has data connections",
}


def clientOf(string: str) -> TunnelClientEndpoint:
    """
    The endpoint of a client string.
    """
    endpoint = clientFromString(reactor, string)
    assert isinstance(endpoint, TunnelClientEndpoint)
    return endpoint


def serverOf(string: str) -> TunnelServerEndpoint:
    """
    The same of a server string.
    """
    endpoint = serverFromString(reactor, string)
    assert isinstance(endpoint, TunnelServerEndpoint)
    return endpoint


class StringTests(SynchronousTestCase):
    """
    By way of Twisted, which finds our plugin.
    """

    def test_aShortStringIsEnough(self) -> None:
        """
        The host is who must be there.
        """
        tunnel = clientOf("tlstunnel:mail.example.org:587:starttls=submission").tunnel
        self.assertEqual(tunnel.mode, Mode.CLIENT)
        self.assertEqual(tunnel.dialect.name, "smtp")
        self.assertEqual(tunnel.remote, (TCPAddress("mail.example.org", 587),))
        self.assertEqual(tunnel.remoteID, Identity(None, "mail.example.org"))
        self.assertTrue(tunnel.quiet)

    def test_theRulesMaySayWhoWeAre(self) -> None:
        """
        With the word that tunnels have for it.
        """
        tunnel = clientOf("tlstunnel:mail.example.org:25:local=auto").tunnel
        self.assertEqual((tunnel.localID, tunnel.byRules), (None, True))
        tunnel = clientOf("tlstunnel:mail.example.org:25:local=auto.").tunnel
        self.assertEqual((tunnel.localID, tunnel.byRules), (Identity(None, "auto"), False))

    def test_allKeysAreTaken(self) -> None:
        """
        Each where it belongs.
        """
        endpoint = clientOf(
            "tlstunnel:host=2001\\:db8\\:\\:1:port=443:remote=www.example.org:local=me@example.org:"
            f"pool=/a/pool:trust=system:alpn=h2,http/1.1:minimum=1.3:timeout=2.5:pin={PIN},{PIN}"
        )
        tunnel = endpoint.tunnel
        self.assertEqual(endpoint.timeout, 2.5)
        self.assertEqual(tunnel.remote, (TCPAddress("2001:db8::1", 443),))
        self.assertEqual(tunnel.remoteID, Identity(None, "www.example.org"))
        self.assertEqual(tunnel.localID, Identity("me", "example.org"))
        self.assertEqual(str(tunnel.pool.path), "/a/pool")
        self.assertEqual(tunnel.trust, ("system",))
        self.assertEqual(tunnel.alpn, (b"h2", b"http/1.1"))
        self.assertEqual(tunnel.minimum, "1.3")
        self.assertEqual([str(each) for each in tunnel.pins], [PIN, PIN])

    def test_aServerStringHasAnotherInside(self) -> None:
        """
        With its colons escaped; an equals sign need not be.
        """
        for inner, kind in (
            ("tcp\\:8025\\:interface=127.0.0.1", TCP4ServerEndpoint),
            ("tcp\\:8025\\:interface\\=127.0.0.1", TCP4ServerEndpoint),
            ("tcp\\:port=8025", TCP4ServerEndpoint),
            ("tcp\\:8025", TCP4ServerEndpoint),
            ("unix\\:/a/socket\\:mode=660", UNIXServerEndpoint),
        ):
            endpoint = serverOf(f"starttls:smtp:{inner}:local=a.example.org,b.example.org")
            self.assertIsInstance(endpoint.inner, kind, inner)
            self.assertEqual(endpoint.tunnel.localID, Identity(None, "a.example.org"))
            self.assertEqual(endpoint.tunnel.otherIDs, (Identity(None, "b.example.org"),))
            self.assertIsNone(endpoint.tunnel.remoteID)

    def test_aServerMayAskWhoIsThere(self) -> None:
        """
        Whoever the selector matches may come.
        """
        string = "starttls:none:tcp\\:443:local=a.example.org:remote=@example.org:option="
        self.assertRaises(ValueError, serverOf, string)
        tunnel = serverOf(string.removesuffix(":option=")).tunnel
        self.assertEqual(tunnel.remoteID, Selector.parse("@example.org"))
        self.assertEqual(tunnel.mode, Mode.SERVER)

    def test_whatIsWrongIsSaid(self) -> None:
        """
        In a sentence.
        """
        for strings, parse in ((BAD_CLIENTS, clientOf), (BAD_SERVERS, serverOf)):
            for string, said in strings.items():
                error: Any = self.assertRaises(ValueError, parse, string)
                self.assertIn(said, str(error), string)

    @given(text(), text())
    def test_nonsenseIsAValueError(self, first: str, second: str) -> None:
        """
        Whatever it is.
        """
        from tlstunnel.endpoints.strings import clientEndpoint, serverEndpoint

        for parse in (clientEndpoint, serverEndpoint):
            for given_ in ({"remote": first}, {"local": second}, {"alpn": first, "pin": second}):
                try:
                    parse(reactor, first, second, **given_)
                except ValueError:
                    continue

    def test_thePluginIsCheap(self) -> None:
        """
        Looking for endpoints loads nothing of ours; the first of our strings does.
        """
        code = (
            "import sys\n"
            "from twisted.internet.endpoints import clientFromString\n"
            "clientFromString(None, 'tcp:host=localhost:port=1')\n"
            "from twisted.plugins import tlstunnel_endpoints\n"
            "print([each for each in sys.modules if each.split('.')[0] == 'tlstunnel'])\n"
            "clientFromString(None, 'tlstunnel:localhost:1')\n"
            "print('tlstunnel.endpoints.strings' in sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout, "[]\nTrue\n")


class EndpointTests(SynchronousTestCase):
    """
    Endpoints that are made without strings.
    """

    def test_eachTakesTunnelsOfItsMode(self) -> None:
        """
        And a server leads nowhere else.
        """
        client = clientOf("tlstunnel:a.example.org:1").tunnel
        server = serverOf("starttls:none:tcp\\:1:local=a.example.org").tunnel
        inner: Any = None
        self.assertRaises(ValueError, TunnelClientEndpoint, reactor, server)
        self.assertRaises(ValueError, TunnelServerEndpoint, reactor, inner, client)
