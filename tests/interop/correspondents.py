"""
Who writes messages by XMPP, and two servers that pass them on to each other.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import slixmpp

from tests.interop.harness import Stage, TunnelProcess, verified
from tests.interop.servers.ejabberd import FederatedEjabberd
from tests.interop.servers.prosody import PASSWORD, USER, Prosody
from tests.interop.servers.unbound import XMPPNames
from tests.interop.tunnel import TunnelsProcess

NAME = "test.example"
TEXT = "the Snark was a Boojum"

#: What makes a server close inside TLS.
BYE = "</stream:stream>"

#: The domains of two servers, of which the first knows no TLS.
NEAR, FAR = "near.test.example", "far.test.example"

#: More of them, which stand in the same certificates.
ALSO_NEAR, ALSO_FAR = "near.other.example", "far.other.example"


class Correspondent(slixmpp.ClientXMPP):
    """
    A user who answers a message with the same message, and remembers all that came.
    """

    def __init__(self, domain: str, resource: str, port: int, anchors: Path | None) -> None:
        """
        @param anchors: STARTTLS with a good certificate for the domain; None: no TLS.
        """
        context = ssl.create_default_context() if anchors is None else verified(anchors)
        super().__init__(f"{USER}@{domain}/{resource}", PASSWORD, ssl_context=context)
        self.enable_direct_tls = False
        self.enable_starttls = anchors is not None
        self.enable_plaintext = anchors is None
        if anchors is None:
            mechanisms: Any = self["feature_mechanisms"]
            mechanisms.unencrypted_scram = True
            mechanisms.unencrypted_plain = True
        self.online = asyncio.get_running_loop().create_future()
        self.received: asyncio.Queue[str] = asyncio.Queue()
        self._port = port
        self.add_event_handler("session_start", self._begin)
        self.add_event_handler("message", self._message)

    async def __aenter__(self) -> Correspondent:
        self.connect("127.0.0.1", self._port)
        await asyncio.wait_for(asyncio.shield(self.online), 20)
        return self

    async def __aexit__(self, *reason: object) -> None:
        self.cancel_connection_attempt()
        await self.disconnect(wait=2)

    async def _begin(self, event: object) -> None:
        self.send_presence()
        self.online.set_result(None)

    def _message(self, message: slixmpp.Message) -> None:
        body = str(message["body"])
        self.received.put_nowait(body)
        if not body.startswith("Re: "):
            message.reply(f"Re: {body}").send()

    async def correspond(self, other: Correspondent) -> tuple[str, str]:
        """
        @return: what the other got, and what came back.
        """
        self.send_message(mto=other.boundjid, mbody=TEXT, mtype="chat")
        there = await asyncio.wait_for(other.received.get(), 20)
        return there, await asyncio.wait_for(self.received.get(), 20)


async def exchange(port: int, anchors: Path | None) -> tuple[str, str]:
    """
    A message between two resources of one user, and its answer, by slixmpp.
    """
    async with (
        Correspondent(NAME, "first", port, anchors) as first,
        Correspondent(NAME, "second", port, anchors) as second,
    ):
        return await first.correspond(second)


async def betweenServers(
    near: Prosody, far: Prosody, anchors: Path, isFarFirst: bool = False
) -> tuple[str, str]:
    """
    The same between two users, each of another server, of which C{near} knows no TLS.

    @param isFarFirst: whether the user of the other one begins.
    """
    async with (
        Correspondent(near.domain, "here", near.ports["c2s"], None) as here,
        Correspondent(far.domain, "there", far.ports["c2s"], anchors) as there,
    ):
        return await (there.correspond(here) if isFarFirst else here.correspond(there))


def federated(
    stage: Stage, near: Prosody, service: str, *options: str, other: type[Prosody] = Prosody
) -> Prosody:
    """
    Start L{NEAR}, which knows no TLS, and another server, which speaks to nobody without: a tunnel
    in each mode stands between them.

    @param service: what of C{near} the tunnel in server mode connects to.
    @param options: more of that tunnel.
    @param other: of which kind the other server is.
    @return: that.
    """
    far = other(stage.directory("far"), stage.authority.issue(FAR), FAR)
    common = ("--pool", str(stage.authority.pool), "--starttls", "xmpp-server", "-r")
    there = stage.start(
        TunnelProcess(*(stage.directory("there"), *common, f"127.0.0.1:{far.ports['s2s']}", "-c"))
    )
    back = stage.start(
        TunnelProcess(
            *(stage.directory("back"), *common, f"127.0.0.1:{near.ports[service]}"),
            *("-s", "-L", NEAR, *options),
        )
    )
    near.peer = (FAR, there.port)
    far.peer = (NEAR, back.port)
    stage.start(near)
    return stage.start(far)


Federated = Prosody | FederatedEjabberd
Users = list[Correspondent]


class Neighbours:
    """
    All tunnels of a server that knows no TLS, with two domains: to and from another with two, and
    for the users of both.
    """

    def __init__(
        self,
        stage: Stage,
        near: Federated,
        far: Federated,
        shown: str,
    ) -> None:
        """
        Start the servers, and all tunnels.

        @param shown: who C{near} is to C{far}, by the certificate of its tunnel.
        """
        self._near, self._far = near, far
        self._anchors = stage.authority.anchors

        def to(server: Federated, service: str) -> dict[str, str]:
            language = "xmpp-client" if service == "c2s" else "xmpp-server"
            return {"remote": f"127.0.0.1:{server.ports[service]}", "starttls": language}

        calling, called = {"mode": "client"}, {"mode": "server", "local-id": NEAR}
        tunnels = {
            "there": {**calling, "local-id": shown, **to(far, "s2s")},
            "back": {**called, **to(near, "s2s")},
            "far-users": {**calling, **to(far, "c2s")},
            "near-users": {**called, **to(near, "c2s")},
        }
        self.tunnels = stage.start(
            TunnelsProcess(stage.directory("tunnels"), stage.authority.pool, tunnels)
        )
        ports = dict.fromkeys(far.domains, self.tunnels.ports["there"])
        ports |= dict.fromkeys(near.domains, self.tunnels.ports["back"])
        names = stage.start(XMPPNames(stage.directory("names"), ports))
        near.dns = far.dns = names.port
        stage.start(near)
        stage.start(far)

    async def everybody(self) -> list[tuple[str, str]]:
        """
        A message from a user of each domain to one of each of the other server's, and its answer;
        users of the far server know no TLS, and the others insist on it.

        @return: what came there, and what came back, of each.
        """
        async with AsyncExitStack() as online:

            async def users(server: Federated, port: int, anchors: Path | None) -> Users:
                return [
                    await online.enter_async_context(Correspondent(each, "x", port, anchors))
                    for each in server.domains
                ]

            here = await users(self._near, self.tunnels.ports["near-users"], self._anchors)
            there = await users(self._far, self.tunnels.ports["far-users"], None)
            # Each server begins once with a domain of the other.
            first, second = zip(here, there, strict=True)
            pairs = (first, second[::-1], (here[0], there[1]), (there[0], here[1]))
            return [await each.correspond(other) for each, other in pairs]
