"""
A Twisted program with two tunnels of its own.

Programs on this machine connect to APP in clear.  The first tunnel puts TLS around what they say
and insists on meeting NAME; the second one proves to be that, and takes the TLS off again, before
BACKEND::

    app -- APP [client tunnel] ==== TLS ==== 127.0.0.1:PORT [server tunnel] -- BACKEND

On real duty there would be one of them on each of two machines.  To run it::

    tlstunnel identity create server.example.org --pool pool
    python library_example.py pool server.example.org unix:app.sock 4433 127.0.0.1:8000
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater, react
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.registry import find
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.connectionlog import ConnectionLog
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.observers import Observer
from tlstunnel.tunnel.record import Record


class Counts(Observer):
    """
    How many connections there are now, and how those before have ended.
    """

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        self.over: Counter[tuple[str, str]] = Counter()

    def began(self, record: Record) -> None:
        """One more."""
        self.open[record.tunnel] += 1

    def ended(self, record: Record) -> None:
        """One less."""
        self.open[record.tunnel] -= 1
        self.over[record.tunnel, record.outcome] += 1


class Program:
    """
    Two tunnels, and what the program does with them.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.counts = Counts()
        self.factories: list[ProxyFactory] = []
        self.ports: list[IListeningPort] = []
        self.stopped: Deferred[None] = Deferred()

    async def listen(self, endpoint: Any, tunnel: Tunnel) -> Any:
        """
        Start a tunnel.

        @return: where it listens.
        """
        # Without the second argument there would be the log alone.
        factory = ProxyFactory(tunnel, self.reactor, (ConnectionLog(), self.counts))
        port = await endpoint.listen(factory)
        self.factories.append(factory)
        self.ports.append(port)
        return port.getHost()

    async def start(self, pool: Pool, name: Identity, app: str, port: int, backend: str) -> None:
        """
        Start both tunnels.
        """
        server = Tunnel(
            name="server",
            mode=Mode.SERVER,
            # The endpoint listens.
            local=(),
            remote=(parseAddress(backend),),
            dialect=find("none"),
            localID=name,
            pool=pool,
        )
        endpoint = TCP4ServerEndpoint(self.reactor, port, interface="127.0.0.1")
        network = await self.listen(endpoint, server)
        client = Tunnel(
            name="client",
            mode=Mode.CLIENT,
            local=(),
            remote=(TCPAddress(network.host, network.port),),
            dialect=find("none"),
            remoteID=name,
            pool=pool,
        )
        await self.listen(serverFromString(self.reactor, app), client)
        self.log.info("serving {app} and port {port}", app=app, port=network.port)

    def reload(self) -> None:
        """
        Read certificates, keys and trust again: new connections are made with them.
        """
        for factory in self.factories:
            try:
                factory.renew(factory.tunnel)
            except ConfigurationError as error:
                self.log.error(
                    "{name} is as before: {error}", name=factory.tunnel.name, error=error
                )
            else:
                self.log.info("{name} is renewed", name=factory.tunnel.name)

    async def stop(self) -> None:
        """
        Accept no more, end what is left, and count.
        """
        ports, self.ports = self.ports, []
        if not ports:
            return
        for port in ports:
            await port.stopListening()  # type: ignore[misc]
        await DeferredList([factory.stop() for factory in self.factories])
        for (tunnel, outcome), number in sorted(self.counts.over.items()):
            self.log.info(
                "{tunnel}: {number} {outcome}", tunnel=tunnel, number=number, outcome=outcome
            )
        self.stopped.callback(None)

    def takeSignals(self) -> None:
        """
        Those of the program: no tunnel takes any.
        """

        def take(number: int, act: Any) -> None:
            signal.signal(number, lambda *_: self.reactor.callFromThread(act))

        for number in (signal.SIGINT, signal.SIGTERM):
            take(number, lambda: ensureDeferred(self.stop()))
        take(signal.SIGHUP, self.reload)
        take(signal.SIGUSR1, lambda: self.log.info("open: {open}", open=dict(self.counts.open)))


async def main(reactor: Any, pool: str, name: str, app: str, port: str, backend: str) -> None:
    """
    The program, from its words to its end.
    """
    program = Program(reactor)
    # The reactor takes signals as it starts, and we do after it.
    await deferLater(reactor, 0)
    program.takeSignals()
    try:
        await program.start(Pool(Path(pool)), Identity.parse(name), app, int(port), backend)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
    await program.stopped


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    react(main, sys.argv[1:])
