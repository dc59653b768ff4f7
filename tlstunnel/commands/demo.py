"""
C{tlstunnel demo}: both modes at work, on this machine alone, without any configuration.

A web server that knows no TLS, a server tunnel before it and a client tunnel to that one are
started in this process, and a page is fetched through both.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from tlstunnel.address import parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.log import losses
from tlstunnel.program.process import Process
from tlstunnel.program.service import TunnelService
from tlstunnel.program.syntax import ProgramOptions
from tlstunnel.status.answers import Answers
from tlstunnel.status.facts import Gathered
from tlstunnel.status.ledger import Ledger
from tlstunnel.status.service import StatusService
from tlstunnel.status.snapshot import take

reactor: Any = _reactor

SERVER = "testsrv@tlspool.arpa2.lab"
CLIENT = "testcli@tlspool.arpa2.lab"

#: Seconds that the page may take to come, or the tunnels to say how that ended.
FETCH_SECONDS = 15

_PAGE = b"""<!DOCTYPE html>
<title>tlstunnel</title>
<h1>It works</h1>
<p>This page was served by a web server that knows no TLS, and came to you through
two tunnels that do.</p>
"""


class DemoOptions(ProgramOptions):
    """
    The options of the demonstration.
    """

    optFlags = [["once", None, "end after one page was fetched"]]
    synopsis = "Usage: tlstunnel demo [--once]"
    longdesc = "Show both modes at work, on this machine alone."


class _Page(Resource):
    """
    The only page there is.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        Serve it.
        """
        return _PAGE


@implementer(ILogObserver)
class _Ends:
    """
    Remembers how the connections of both tunnels ended.
    """

    def __init__(self) -> None:
        self.events: dict[str, LogEvent] = {}
        self.both: Deferred[None] = Deferred()

    def __call__(self, event: LogEvent) -> None:
        if event.get("event") == "connection":
            mode = "client" if event["identity"] == SERVER else "server"
            self.events.setdefault(mode, event)
            if len(self.events) == 2 and not self.both.called:
                self.both.callback(None)


class Demo:
    """
    The demonstration, in one temporary directory and one process.
    """

    def __init__(self, directory: Path, process: Process) -> None:
        self._pool = directory / "pool"
        self._process = process
        self._host = "[::1]" if _hasIPv6() else "127.0.0.1"
        self._ledger = Ledger(reactor)
        self._ledger.start()
        self._served: list[TunnelService] = []

    async def run(self) -> None:
        """
        Start all, and fetch the page.
        """
        _say("1. A pool with two identities, made by its own small CA:")
        for name in (SERVER, CLIENT):
            createIdentity(Pool(self._pool, asked=False), Identity.parse(name))
            _say(f"     tlstunnel identity create {name}")
        site = Site(_Page())
        site.noisy = False
        endpoint = TCP6ServerEndpoint if "[" in self._host else TCP4ServerEndpoint
        web = await endpoint(reactor, 0, interface=self._host.strip("[]")).listen(site)
        backend = f"{self._host}:{web.getHost().port}"
        _say(f"\n2. A web server that knows no TLS: http://{backend}/")
        _say("\n3. A tunnel that takes TLS off before it:")
        server = self._tunnel("-s", "-L", SERVER, "-r", backend)
        _say("\n4. A tunnel that puts TLS around, and knows whom it expects:")
        url = f"http://{self._tunnel('-c', '-L', CLIENT, '-r', server, '-R', SERVER)}/"
        _say(f"\n5. A page fetched through both, from {url}:")
        ends = _Ends()
        globalLogPublisher.addObserver(ends)
        try:
            await self._fetch(url)
            await ends.both.addTimeout(FETCH_SECONDS, reactor)
        finally:
            globalLogPublisher.removeObserver(ends)
        event = ends.events["client"]
        _say(f"     the client tunnel verified the server as {event['identity']}")
        _say("     the server tunnel asked the client for no certificate, as it has no -R")
        _say(f"     {event['version']}, {event['suite']}, key agreement {event['group']}")
        _say(f"     {event['to_network']} bytes sent to the network, {event['to_plain']} received")
        _say(f"\n6. How both are, for people and programs: http://{self._showStatus()}/")

    def served(self) -> list[TunnelService]:
        """
        See L{tlstunnel.status.source.Source.served}.
        """
        return self._served

    def dropped(self) -> int:
        """
        See L{tlstunnel.status.source.Source.dropped}.
        """
        return losses.lines

    def _showStatus(self) -> str:
        """
        Show the status.

        @return: where.
        """

        def gather() -> Deferred[Gathered]:
            return succeed(Gathered((take(self._ledger, self),)))

        status = StatusService(reactor, Answers(reactor, gather))
        status.bind([parseAddress(f"{self._host}:0")])
        status.commit()
        status.setServiceParent(self._process)
        return status.addresses[0]

    def _tunnel(self, *words: str) -> str:
        """
        Start a tunnel, as the command line would.

        @return: where it listens.
        """
        options = TunnelOptions()
        options.parseOptions([*words, "-l", f"{self._host}:0", "--pool", str(self._pool)])
        mode, *rest = words
        tunnel = replace(options["tunnel"], name="server" if mode == "-s" else "client")
        service = TunnelService(tunnel, reactor, observers=[self._ledger.observer(tunnel.name)])
        service.privilegedStartService()
        self._served.append(service)
        address = service.addresses[0]
        _say(f"     tlstunnel {mode} -l {address} {' '.join(rest)}")
        self._process.addService(service)
        return address

    async def _fetch(self, url: str) -> None:
        response = (
            await Agent(reactor).request(b"GET", url.encode()).addTimeout(FETCH_SECONDS, reactor)
        )
        body = await readBody(response).addTimeout(FETCH_SECONDS, reactor)
        if response.code != 200 or body != _PAGE:
            raise ConfigurationError(
                url,
                f"answered {response.code} with {len(body)} bytes",
                "see whether something else listens there",
            )
        _say(f"     {response.code} OK, {len(body)} bytes")


def _hasIPv6() -> bool:
    """
    Whether this machine has a loopback address of IPv6.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    print(text, flush=True)


def main(options: DemoOptions) -> int:
    """
    Run the demonstration.

    @return: 0 if the page came through.
    """
    code = 0

    def over(result: Failure | None) -> None:
        nonlocal code
        if isinstance(result, Failure):
            print(f"tlstunnel demo: {result.value}", file=sys.stderr)
            code = 1
        elif not options["once"]:
            _say("\nOpen these pages to see it; Ctrl-C ends.")
            return
        reactor.stop()

    with tempfile.TemporaryDirectory(prefix="tlstunnel-demo-") as directory:
        process = Process(reactor)
        demo = Demo(Path(directory), process)
        reactor.callWhenRunning(process.startService)
        reactor.callWhenRunning(lambda: Deferred.fromCoroutine(demo.run()).addBoth(over))
        reactor.addSystemEventTrigger("before", "shutdown", process.stopService)
        reactor.run()
    return code
