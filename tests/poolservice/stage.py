"""
A pool service in this process, without a protocol between it and programs: a program is an object,
and the peer speaks from a thread.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.loopback import CLIENT, PATIENCE, SERVER, Encrypted, Plain
from tlstunnel.address import UNIXAddress
from tlstunnel.errors import TunnelError
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.pool import Pool
from tlstunnel.interfaces import ILeg
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.handovers import HandOvers
from tlstunnel.poolservice.interfaces import IProgram
from tlstunnel.poolservice.wanted import Wanted
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.limits import Limits

reactor: Any = _reactor

#: A program that may use everything, as we are it.
ME = Caller(os.geteuid(), frozenset(os.getgroups()), os.getpid())


@implementer(IProgram)
class Program:
    """
    A program.

    @ivar story: what it was told, in order.
    @ivar sock: its plaintext socket, once it has that.
    @ivar over: fires at the end, with the error if there is one.
    """

    def __init__(self, handOvers: HandOvers, caller: Caller = ME) -> None:
        self.caller = caller
        self.story: list[str] = []
        self.over: Deferred[TunnelError | None] = Deferred()
        self.met: Deferred[None] = Deferred()
        self.reason = ""
        self.sock: socket.socket
        self._handOvers = handOvers

    async def plain(self, handOver: HandOver) -> ILeg:
        """A pair of UNIX sockets."""
        self.story.append("plain")
        ours, self.sock = socket.socketpair()
        self.sock.settimeout(PATIENCE)
        ours.setblocking(False)
        self.met.callback(None)
        return self._handOvers.unixLegs.leg(ours, UNIXAddress(""))

    def verified(self, handOver: HandOver) -> None:
        """It is asked for before."""
        self.story.append("verified")

    def heardAll(self, error: TunnelError | None) -> None:
        """The network is over."""
        self.story.append(f"heard {'closed' if error is None else error.reason}")

    def ended(self, handOver: HandOver, error: TunnelError | None) -> None:
        """All is."""
        self.story.append("ended")
        self.over.callback(error)


class HandOverTests(TestCase):
    """
    Base class.
    """

    timeout = 60

    def setUp(self) -> None:
        """Make a pool, and the service."""
        self.pool = Pool(Path(self.mktemp()))
        createIdentity(self.pool, SERVER)
        createIdentity(self.pool, CLIENT)
        described = PoolDescription(self.pool, limits=Limits(close=5.0), quiet=True)
        self.handOvers = HandOvers(described, reactor)
        self.addCleanup(self.handOvers.stop)

    def context(self, isClient: bool, showing: Any = None) -> SSL.Context:
        """What the peer speaks TLS with."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.load_verify_locations(str(self.pool.path / "ca" / "cert.pem"))
        if isClient:
            context.set_verify(SSL.VERIFY_PEER)
        if showing is not None or not isClient:
            directory = self.pool.path / str(showing or SERVER)
            context.use_certificate_chain_file(str(directory / "fullchain.pem"))
            context.use_privatekey_file(str(directory / "privkey.pem"))
        return context

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A connection: the end that is handed over, and that of the peer."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            theirs, _ = listening.accept()
        ours.setblocking(False)
        theirs.settimeout(PATIENCE)
        self.addCleanup(theirs.close)
        return ours, theirs

    def wanted(self, isClient: bool, dialect: str = "none", **fields: Any) -> Wanted:
        """What the program wants."""
        fields = {"remote": SERVER if isClient else None} | fields
        return Wanted(isClient, find(dialect), **fields)

    async def handOver(
        self,
        wanted: Wanted,
        peer: Callable[[Encrypted, Callable[[], Plain]], Any],
        preamble: Callable[[socket.socket], object] = lambda sock: None,
        showing: Any = None,
        name: bytes = b"server.example.org",
    ) -> tuple[Program, HandOver, Any]:
        """
        Hand a connection over.

        @param peer: the other end, in a thread, with its TLS up and what waits for the program's
            end of the plaintext.
        """
        sock, theirs = self.pair()
        program = Program(self.handOvers)
        handOver = self.handOvers.begin(program, wanted, sock)
        isClient = not wanted.isClient
        network = Encrypted(theirs, self.context(isClient, showing), isClient, name)

        def meet() -> Plain:
            blockingCallFromThread(reactor, lambda: program.met)  # type: ignore[arg-type]
            self.addCleanup(program.sock.close)
            return Plain(program.sock)

        def run() -> Any:
            preamble(theirs)
            network.handshake()
            return peer(network, meet)

        return program, handOver, await deferToThread(run)
