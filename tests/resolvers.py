"""
Resolvers that follow a script, on real loopback sockets in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver

from tlstunnel.address import TCPAddress

reactor: Any = _reactor

#: The type of TLSA records.
TLSA = 52

#: What a resolver answers to a query, in datagrams; or in messages of a stream.
Script = Callable[[dns.Message], Sequence[bytes]]


def silent(query: dns.Message) -> Sequence[bytes]:
    """Nothing."""
    return []


def record(name: str, kind: int, payload: Any, ttl: int = 300) -> dns.RRHeader:
    """A resource record."""
    return dns.RRHeader(name.encode(), kind, ttl=ttl, payload=payload)


def tlsa(name: str, data: bytes = b"\3\1\1" + b"d" * 32, ttl: int = 300) -> dns.RRHeader:
    """A TLSA record."""
    return record(name, TLSA, dns.UnknownRecord(data, ttl), ttl)


def alias(name: str, target: str, ttl: int = 300) -> dns.RRHeader:
    """An alias."""
    return record(name, dns.CNAME, dns.Record_CNAME(target.encode(), ttl), ttl)


def soa(minimum: int, ttl: int = 300) -> dns.RRHeader:
    """What an answer has where there is nothing."""
    return record("example.org", dns.SOA, dns.Record_SOA(b"a", b"b", minimum=minimum), ttl)


def answer(
    query: dns.Message,
    *answers: dns.RRHeader,
    isSecure: bool = True,
    code: int = 0,
    authority: Sequence[dns.RRHeader] = (),
    **more: Any,
) -> bytes:
    """
    An answer to C{query}.

    @param more: what of the message is to be otherwise.
    """
    message = dns.Message(query.id, answer=1, recDes=1, recAv=1, rCode=code, maxSize=0)
    message.authenticData = int(isSecure)
    message.queries = query.queries
    message.answers = list(answers)
    message.authority = list(authority)
    for name, value in more.items():
        setattr(message, name, value)
    return message.toStr()


class Resolver(DatagramProtocol):
    """
    A resolver at one port of UDP and TCP.

    @ivar queries: what it was asked.
    @ivar peers: from where.
    @ivar streamed: what it was asked by TCP.
    """

    noisy = False

    def __init__(self, script: Script, streamScript: Script = silent, host: str = "127.0.0.1"):
        self.script = script
        self.streamScript = streamScript
        self.queries: list[dns.Message] = []
        self.peers: list[Any] = []
        self.streamed: list[dns.Message] = []
        self._stream = reactor.listenTCP(0, self._factory(), interface=host)
        port = self._stream.getHost().port
        self._datagrams = reactor.listenUDP(port, self, interface=host, maxPacketSize=65535)
        self.address = TCPAddress(host, port)

    def _factory(self) -> Factory:
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: _Stream(self)  # type: ignore[method-assign]
        return factory

    async def close(self) -> None:
        """Listen no more."""
        await self._datagrams.stopListening()
        await succeed(None).addCallback(lambda _: self.closeStream())

    def closeStream(self) -> Deferred[None] | None:
        """Listen no more to TCP."""
        stopped: Deferred[None] | None = self._stream.stopListening()
        return stopped

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """A query."""
        query = dns.Message()
        query.fromStr(datagram)
        self.queries.append(query)
        self.peers.append(addr)
        transport: Any = self.transport
        for each in self.script(query):
            transport.write(each, addr)


class _Stream(Int16StringReceiver):
    """A query by TCP."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def stringReceived(self, string: bytes) -> None:
        """Answer it."""
        query = dns.Message()
        query.fromStr(string)
        self._resolver.streamed.append(query)
        for each in self._resolver.streamScript(query):
            self.sendString(each)
