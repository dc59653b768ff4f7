"""
The stories of a connection on which TLS is somebody else's: C{negotiate-only}.

The tunnel says and hears what leads up to TLS, and steps aside at the switch: bytes pass as they
are from then on, between a program that speaks TLS and knows no upgrade, and whoever is at the
other end.  Nothing is verified here, as nothing can be; what is looked at is that TLS begins, and
nothing else.  What the rules say up to the switch holds here as well.
"""

from __future__ import annotations

from tlstunnel.errors import ConfigurationError, Refused, TimedOut, TunnelError
from tlstunnel.interfaces import IDialect
from tlstunnel.net.waiting import Waiting
from tlstunnel.protocols.base import ClientRole, Role, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.onlytls import CLIENT_HELLO, SERVER_HELLO, OnlyTLS
from tlstunnel.tunnel.clientpair import ClientPair
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.pair import ATTACKS, Pair
from tlstunnel.tunnel.record import HANDSHAKING
from tlstunnel.tunnel.serverpair import ServerPair
from tlstunnel.tunnel.upgrade import Upgrade


class _StepsAside(Pair):
    """
    What both have in common.
    """

    __slots__ = ()

    def stepAside(self, role: Role, rest: bytes, plainEnded: bool) -> Waiting[TunnelError | None]:
        """
        Let bytes pass, TLS first.

        @param rest: what the plain leg has said already.
        @param plainEnded: whether that was all.
        """
        self.factory.verified(self)
        self.record.advance(HANDSHAKING)
        limit = self.prepared.tunnel.limits.handshake
        due = self.endAfter(limit, TimedOut(f"TLS did not begin within {limit:g} s"))
        begins = OnlyTLS(CLIENT_HELLO, due), OnlyTLS(SERVER_HELLO)
        fromClient, fromServer = role.toNetwork, role.toPlain
        if isinstance(role, ServerRole):
            fromClient, fromServer = fromServer, fromClient
        fromClient[:], fromServer[:] = ([each] for each in begins)
        return self.join(role, rest, plainEnded)


class ClientNegotiation(_StepsAside, ClientPair):
    """
    Mode -c: the app speaks TLS with the server.
    """

    __slots__ = ()

    async def serve(self, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        Up to the switch, and bytes from there on.
        """
        app = Conversation(self.factory.deadlines)
        upgrade.attach(app, self.accepted)
        self.prepareHeader()
        search = self.search = self.dialler.search(self.record, self.accepted)
        while True:
            role = self._begin(app)
            try:
                self.network = self.dialled = network = await upgrade.dial(search)
                network.who = self.dials
                self.announce(network)
                upgrade.attach(role, network)
                await upgrade.negotiate(self.prepared.tunnel.dialect, role)
            except TunnelError as error:
                if not (search.failed(error) and upgrade.mayDial) or isinstance(error, ATTACKS):
                    raise
                self.leave(error, role)
                self.network = None
                self.record.restart()
            else:
                search.served()
                role.checkEmpty()
                return self.stepAside(role, app.takeRest(), app.inputEnded)

    def _begin(self, app: Conversation) -> ClientRole:
        role = super()._begin(app)
        role.prepareAlone()
        return role


class ServerNegotiation(_StepsAside, ServerPair):
    """
    Mode -s: the backend speaks TLS with the client.
    """

    __slots__ = ()

    async def serve(self, upgrade: Upgrade) -> Waiting[TunnelError | None]:
        """
        Up to the switch, and bytes from there on.
        """
        dialect = self.prepared.tunnel.dialect
        role: ServerRole = dialect.server(self.prepared.setting, self.factory.deadlines)
        self.role = role
        self.network = network = self.accepted
        upgrade.attach(role, network)
        await upgrade.negotiate(dialect, role)
        if role.inClear:
            raise Refused("a message without TLS, which the backend awaits")
        # What arrives from here on is TLS, or the filter refuses it.
        role.checkEmpty()
        self.prepareHeader()
        await self._dialBackend(role, upgrade)
        self._found()
        return self.stepAside(role, role.plain.takeRest(), role.plain.inputEnded)


def checkNegotiation(tunnel: Tunnel) -> None:
    """
    See that there is something to negotiate, and that nobody relies on what is not done.

    @raise ConfigurationError: there is not, or somebody does.
    """
    if not tunnel.negotiatesOnly:
        return
    dialect = tunnel.dialect
    if not dialect.talks:
        raise ConfigurationError(
            "`negotiate-only`",
            "has nothing to negotiate with TLS from the first byte",
            "give `starttls`, or leave it out",
        )
    if tunnel.mode is Mode.SERVER:
        _checkBackend(dialect)
    for key in _relied(tunnel):
        raise ConfigurationError(
            f"`{key}`",
            "is about TLS, which with `negotiate-only` is for others to speak, and to judge",
            "leave it out, and see that the program that speaks TLS checks who is there",
        )


def _checkBackend(dialect: IDialect) -> None:
    """
    A backend with TLS from the first byte must say nothing there that clients do not await behind
    an upgrade.
    """
    if dialect.earlyDial:
        raise ConfigurationError(
            f"`starttls` {dialect.name}",
            "needs the first words of a backend, which speaks TLS here",
            "leave out `negotiate-only`",
        )
    if dialect.goesOn:
        raise ConfigurationError(
            f"`starttls` {dialect.name}",
            "goes on inside TLS from what was agreed on before it, which a backend with TLS from "
            "the first byte has not heard",
            "leave out `negotiate-only`, and let the tunnel speak TLS, to a backend without it",
        )
    if dialect.silentServer and dialect.client.readGreeting is not ClientRole.readGreeting:
        raise ConfigurationError(
            f"`starttls` {dialect.name}",
            "has no greeting inside TLS, and a backend with TLS from the first byte greets there, "
            "so that clients would take every answer for that to the command before",
            "leave out `negotiate-only`, and let the tunnel speak TLS, to a backend without it",
        )


def _relied(tunnel: Tunnel) -> list[str]:
    """
    The settings that are about TLS, and were given.
    """
    given = {
        "trust": tunnel.trust,
        "pin": tunnel.pins,
        "alpn": tunnel.alpn,
        "require-alpn": tunnel.requireALPN,
        "require-sni": tunnel.requireSNI,
        "any-name": tunnel.anyName,
        "ocsp-stapling": tunnel.ocspStapling,
        "require-staple": tunnel.requireStaple,
        "resumption": tunnel.resumption is not None,
        "minimum-tls": tunnel.minimum != "1.2",
        "remote-id": tunnel.remoteID is not None and not tunnel.dialect.learnsPeer,
        "remote-id-file": tunnel.remoteIDFiles,
        "reveal": tunnel.disclosure.words,
        "proxy-tlv": tunnel.disclosure.proxyTLVs,
        "name": tunnel.names,
        "key-log": tunnel.keyLog,
        "agent": tunnel.agent,
    }
    return [key for key, value in given.items() if value]
