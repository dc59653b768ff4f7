"""
Tests for STARTTLS of every dialect, from one endpoint to the other: protocols see what programs at
tunnels see.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.mail.imap4 import IAccount, IMAP4Client, IMAP4Server, MemoryAccount
from twisted.mail.smtp import ESMTP, ESMTPClient, SMTPFactory
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from tests.endpoints.stage import SERVER, EndpointTests, Made, Talker, reactor
from tests.loopback import wait
from tlstunnel.errors import TimedOut
from tlstunnel.protocols.mysqlpackets import Greeting, packet
from tlstunnel.protocols.nbd import FLAGS, GREETING, option
from tlstunnel.protocols.registry import BUILT_IN, find
from tlstunnel.tunnel.limits import Limits

_STARTUP = b"\0\x03\0\0user\0alice\0\0"
_LOGIN = packet(
    1,
    struct.pack("<IIB23s", 0x000FA68D, 1 << 24, 45, b"")
    + b"alice\0\x14"
    + b"x" * 20
    + b"mysql_native_password\0",
)
_STREAM = (
    b"<?xml version='1.0'?><stream:stream to='server.example.org' version='1.0' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
_HELLO = b"220 server.example.org ESMTP\r\n"

#: How the server begins, which has greeted the client in clear in our words; what the client awaits
#: of that before it speaks; and what it says then.
TALKS: dict[str, tuple[bytes, bytes, bytes]] = {
    "none": (b"", b"", b"anything\n"),
    "smtp": (_HELLO, b"220 ", b"EHLO a.example.org\r\n"),
    "lmtp": (_HELLO, b"220 ", b"LHLO a.example.org\r\n"),
    "imap": (b"* OK hello\r\n", b"* OK ", b"a NOOP\r\n"),
    "pop3": (b"+OK hello\r\n", b"+OK", b"CAPA\r\n"),
    "nntp": (b"200 hello\r\n", b"200 ", b"HELP\r\n"),
    "sieve": (b'"IMPLEMENTATION" "x"\r\n"SIEVE" ""\r\nOK\r\n', b'"IMPL', b"NOOP\r\n"),
    "ldap": (b"", b"", bytes.fromhex("300c020101600702010304008000")),
    "postgresql": (b"", b"", struct.pack(">I", 4 + len(_STARTUP)) + _STARTUP),
    "irc": (b"", b"", b"NICK alice\r\n"),
    "xmpp-client": (b"", b"", _STREAM),
    "mysql": (packet(0, Greeting.substitute().payload()), packet(0, b"\x0a")[3:5], _LOGIN),
    "nats": (b'INFO {"server_id":"x"}\r\n', b"INFO {", b"CONNECT {}\r\n"),
    "http": (b"", b"", b"GET / HTTP/1.1\r\nHost: server.example.org\r\n\r\n"),
    "telnet": (b"", b"", b"hello\r\n"),
    "nut": (b"", b"", b"LIST UPS\n"),
    "nbd": (GREETING, GREETING, FLAGS + option(6)),
    # A server of 3.3 says all at once, and an app has nothing to pick.
    "vnc": (
        b"RFB 003.003\n\0\0\0\2" + b"challenge" + bytes(7),
        b"RFB 003.008\n",
        b"RFB 003.003\nresponse" + bytes(8),
    ),
    "munin": (b"# munin node at a.example.org\n", b"# munin node at ", b"cap multigraph\n"),
}


class DialectTests(EndpointTests):
    """
    Both endpoints, with protocols that say the least there is to say.
    """

    async def talk(self, name: str) -> None:
        """
        From the beginning to the first words of the client.
        """
        greeting, awaited, first = TALKS[name]

        class Server(Talker):
            def connectionMade(self) -> None:
                super().connectionMade()
                transport: Any = self.transport
                if greeting:
                    transport.write(greeting)

        class Client(Talker):
            asked = False

            def connectionMade(self) -> None:
                super().connectionMade()
                self.ask()

            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.ask()

            def ask(self) -> None:
                transport: Any = self.transport
                if not self.asked and awaited in self.heard:
                    self.asked = True
                    transport.write(first)

        servers = Made(Server)
        demanded = find(name).demands
        options = frozenset([demanded] if demanded else [])
        port = await self.server(servers, name, options=options)
        client: Any = await self.client(port, name).connect(Made(Client))
        self.assertEqual(client.transport.identity, SERVER)
        await wait(lambda: any(first[-10:] in each.heard for each in servers.made))
        (server,) = servers.made
        self.assertEqual(server.transport.version, "TLSv1.3")
        client.transport.abortConnection()
        await client.lost
        await server.lost

    async def test_smtpGreets(self) -> None:
        """
        Though the server has done so in clear: the protocol did not hear that.
        """
        port = await self.server(Made(lambda: Greeter(_HELLO)), "smtp")
        client: Any = await self.client(port, "smtp").connect(Made())
        await wait(lambda: b"\n" in client.heard)
        self.assertTrue(client.heard.startswith(b"220 server.example.org "))

    async def test_whoeverHasToSpeakFirstHasToDoSo(self) -> None:
        """
        In time.
        """
        port = await self.server(Made(), "postgresql")
        limits = Limits(negotiation=0.2)
        client: Any = await self.client(port, "postgresql", limits=limits).connect(Made())
        await client.lost
        self.assertIsInstance(client.reason.value.__cause__, TimedOut)

    async def test_anAppMayAskForEncryption(self) -> None:
        """
        PostgreSQL's do by default, and hear that there is none.
        """
        port = await self.server(Made(), "postgresql")
        client: Any = await self.client(port, "postgresql").connect(Made())
        client.transport.write(bytes.fromhex("0000000804d2162f"))
        await wait(lambda: client.heard == b"N")


def _test(name: str) -> Any:
    async def test(self: DialectTests) -> None:
        await self.talk(name)

    test.__doc__ = f"{name}, from one endpoint to the other."
    return test


for _name in TALKS:
    setattr(DialectTests, f"test_{_name}", _test(_name))


class Greeter(Talker):
    """
    A server that greets.
    """

    def __init__(self, greeting: bytes) -> None:
        super().__init__()
        self._greeting = greeting

    def connectionMade(self) -> None:
        """
        At once.
        """
        super().connectionMade()
        transport: Any = self.transport
        transport.write(self._greeting)


@implementer(IAgentEndpointFactory)
class Always:
    """
    Connects to one place.
    """

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint

    def endpointForURI(self, uri: Any) -> Any:
        """
        That one.
        """
        return self.endpoint


@implementer(IRealm)
class Realm:
    """
    Has an account without mailboxes for everybody.
    """

    def requestAvatar(self, avatar: Any, mind: Any, *interfaces: Any) -> Any:
        """
        That one.
        """
        return IAccount, MemoryAccount(avatar), lambda: None


class TwistedTests(EndpointTests):
    """
    Protocols of Twisted, which know nothing of tunnels.
    """

    async def test_itsSMTP(self) -> None:
        """
        Regards the connection as secure, and asks for no TLS of its own.
        """
        servers = SMTPFactory()
        servers.noisy = False
        servers.protocol = ESMTP
        port = await self.server(servers, "smtp")
        ready: Deferred[None] = Deferred()

        class Client(ESMTPClient):
            def getMailFrom(self) -> None:
                ready.callback(None)

        client: Any = await self.client(port, "smtp").connect(
            Made(lambda: Client(b"secret", None, b"a.example.org"))
        )
        self.assertTrue(client._tlsMode)
        client.requireAuthentication = False
        await ready
        client.transport.loseConnection()
        await wait(lambda: not client.connected or client.transport.protocol is None)

    async def test_itsIMAP(self) -> None:
        """
        Logs in, since it is on TLS.
        """
        checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
        portal: Any = Portal(Realm(), [checker])

        class Server(IMAP4Server):
            def connectionMade(self) -> None:
                self.portal = portal
                super().connectionMade()

        port = await self.server(Made(Server), "imap")
        client: Any = await self.client(port, "imap").connect(Factory.forProtocol(IMAP4Client))
        await client.login(b"alice", b"secret")
        self.assertEqual(await client.list("", "*"), [])
        await client.logout()

    async def test_itsWeb(self) -> None:
        """
        A page of several records, over several connections.
        """

        class Page(Resource):
            isLeaf = True

            def render_GET(self, request: Any) -> bytes:
                return b"secure" * 100000 if request.isSecure() else b""

        site: Any = Site(Page())
        site.noisy = False
        port = await self.server(site)
        agent = Agent.usingEndpointFactory(reactor, Always(self.client(port)))
        for _ in range(3):
            response: Any = await agent.request(b"GET", b"http://server.example.org/")
            body: Any = await readBody(response)
            self.assertEqual(body, b"secure" * 100000)
        self.flushWarnings()
        await wait(lambda: not self.endpoint.connections[0].pairs)


class ExhaustionTests(EndpointTests):
    """
    Whether anything was forgotten.
    """

    def test_allDialectsAreTried(self) -> None:
        """
        But those that need what an endpoint does not have, and one that is another's twin.
        """
        self.assertEqual(set(BUILT_IN) - set(TALKS), {"ftp", "xmpp-server"})
