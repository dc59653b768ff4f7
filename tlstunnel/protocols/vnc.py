"""
VNC, screens on the network (RFC 6143, with VeNCrypt 0.2 of rfbproto)::

    S: RFB 003.008
    C: RFB 003.008
    S: 01 13                                one security type: 19, VeNCrypt
    C: 13
    S: 00 02                                its version
    C: 00 02
    S: 00                                   agreed
    S: 02  00 00 01 05  00 00 01 04         two subtypes: 261 X509Vnc, 260 X509None
    C: 00 00 01 05
    S: 01                                   go ahead
    == TLS ==
    S: 16 bytes                             a challenge in X509Vnc; nothing in X509None
    C: 16 bytes                             the response; a name and a password in X509Plain
    S: 00 00 00 00                          let in

Which login there is inside TLS is agreed on before it.  So the app is offered what the server was
asked for, without TLS: None, VncAuth, or VeNCrypt's Plain (256), which few viewers know; and a
client is offered what C{dialect-option} says that the backend has, since that is not connected to
yet.  The subtypes without a certificate, 257 to 259, prove nothing, and are neither wanted nor
offered.

Versions are those of the two legs: an outcome follows X509None in all of them, and None since 3.8
only; reasons there are since 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from tlstunnel.errors import BackendRefused, Closed, Malformed, NotOffered, Refused, TunnelError
from tlstunnel.protocols.base import ClientRole, Dialect, Role, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.foreign import checkForeign
from tlstunnel.protocols.rfb import (
    CHALLENGE_BYTES,
    FAILED,
    LISTS,
    LOGINS,
    NAMES,
    NONE,
    OK,
    PLAIN,
    PLAIN_IN_CLEAR,
    REASONS,
    VENCRYPT,
    VNC_AUTH,
    Login,
    Outcome,
    offer,
    offerSubtypes,
    readReason,
    readSubtypes,
    readTypes,
    readVersion,
    text,
    version,
)

#: What may be read before the switch, and of a refusal behind it, in all.
MAX_CLEAR_BYTES = 4096

_NO_TLS = b"TLS is required: use a viewer that knows VeNCrypt with X509 certificates"
_NO_NAME = b"RFB 3.7 or later is needed to log in with a name"
_ANOTHER_LOGIN = b"The server behind this tunnel has another login"


class _VNC(Role):
    """
    What both roles know of their leg.

    @ivar minor: the version that is spoken there.
    @ivar login: what was agreed on.
    """

    maxBytes = MAX_CLEAR_BYTES

    minor: int
    login: Login


class VNCClient(_VNC, ClientRole):
    """
    Asks a remote server for TLS, and for the login that the app is then offered.
    """

    async def readGreeting(self) -> None:
        """
        There are no security types to choose from before 3.7.
        """
        self.minor = await readVersion(self)
        if self.minor < LISTS:
            raise NotOffered("the peer speaks RFB 3.3, which has no VeNCrypt", cause="no VeNCrypt")
        self.checkEmpty()

    async def negotiate(self) -> None:
        """
        A type, a version of it, and a subtype.
        """
        client = self._bridged
        if client is not None:
            self.minor = min(self.minor, client.minor)
        self.write(version(self.minor))
        types = await readTypes(self, self.minor)
        if not types:
            reason = await readReason(self)
            raise Refused("the peer refuses the connection", reason, cause="VNC wants nobody")
        if VENCRYPT not in types:
            raise NotOffered(
                f"the peer offers no VeNCrypt, only security types {_listed(types)}",
                cause="no VeNCrypt",
            )
        self.write(bytes((VENCRYPT,)))
        self.login = self._chosen(await readSubtypes(self, Refused))
        self.write(self.login.inside.to_bytes(4))
        if await self.readExactly(1) != b"\1":
            raise Refused(f"the peer does not begin with subtype {self.login.inside}")

    @property
    def _bridged(self) -> VNCServer | None:
        """
        What a client has come to TLS with, which has agreed on a login already.
        """
        return self.plain if self.isAppGreeted and isinstance(self.plain, VNCServer) else None

    def _chosen(self, offered: Sequence[int]) -> Login:
        """
        The first login that the server offers and that is wanted; the one that few apps know only
        if there is no other.
        """
        client = self._bridged
        wanted = (client.login,) if client is not None else _wanted(self.setting.options) or LOGINS
        found = [each for subtype in offered for each in wanted if each.inside == subtype]
        if not found:
            hasX509 = any(each.inside in offered for each in LOGINS)
            raise NotOffered(
                f"the peer offers other subtypes of VeNCrypt than are wanted: {_listed(offered)}",
                cause="another VNC login" if hasX509 else "no VeNCrypt",
            )
        return min(found, key=lambda each: each is PLAIN)

    async def greetApp(self) -> None:
        """
        The app is offered the login, in a version that the server has as well.
        """
        client = self._bridged
        if client is not None:
            heard, isAwaited = client.minor, True
        else:
            heard = await self._meetApp()
            isAwaited = self.login is not NONE or heard >= REASONS
        if self.login is PLAIN:
            await self.demandSilence()
        else:
            # A response may begin as TLS does, and so may what tells whether a screen is shared
            # (RFC 6143, section 7.3.1): nothing looks for that.
            self.toNetwork.clear()
        self.toPlain.append(Outcome(self.login, self.minor, heard, isAwaited))

    async def _meetApp(self) -> int:
        """
        @return: the version that the app speaks.
        """
        app = self.plain
        try:
            app.write(version(self.minor))
            minor = min(await readVersion(app), self.minor)
            await self._offerTo(app, minor)
        except TunnelError as error:
            raise error.by(app.transport.who) from None
        return minor

    async def _offerTo(self, app: Conversation, minor: int) -> None:
        kind = self.login.inClear
        if minor >= LISTS:
            await offer(app, kind)
        elif self.login is PLAIN:
            app.write(bytes(4) + text(_NO_NAME))
            raise Refused("the peer speaks RFB 3.3, which has no login with a name")
        else:
            # Before 3.7 the server decides (RFC 6143, section 7.1.2).
            app.write(kind.to_bytes(4))
        if self.login is PLAIN:
            picked = await offerSubtypes(app, (PLAIN_IN_CLEAR,))
            if picked != PLAIN_IN_CLEAR:
                raise Malformed(f"the peer picks subtype {picked}, which it was not offered")


class VNCServer(_VNC, ServerRole):
    """
    Offers a viewer TLS with the logins that the backend has, and nothing else.
    """

    async def negotiate(self) -> None:
        """
        As a server that has VeNCrypt alone.
        """
        self.write(version(REASONS))
        await checkForeign(self)
        self.minor = await readVersion(self)
        if self.minor < LISTS:
            self.write(bytes(4) + text(_NO_TLS))
            raise Refused("the peer speaks RFB 3.3, which has no VeNCrypt", cause="no VeNCrypt")
        try:
            await offer(self, VENCRYPT)
        except Closed as closed:
            raise Closed(closed.detail, closed.said, cause="no VeNCrypt") from None
        logins = {each.inside: each for each in _wanted(self.setting.options) or (VNC_AUTH,)}
        try:
            wanted = await offerSubtypes(self, tuple(logins))
        except Closed as closed:
            raise Closed(closed.detail, closed.said, "no VNC type in common") from None
        if wanted not in logins:
            # What has no certificate is refused like any other that was not offered.
            self.write(b"\0")
            why = f"the peer picks subtype {wanted}, which it was not offered"
            raise Malformed(why, cause="no VeNCrypt")
        self.login = logins[wanted]
        self.goAheadExactly(b"\1")

    async def meetBackend(self) -> None:
        """
        Ask the backend for the login that the client has chosen.
        """
        backend, kind = self.plain, self.login.inClear
        minor = min(await readVersion(backend), self.minor)
        backend.write(version(minor))
        types = await readTypes(backend, minor)
        if not types:
            reason = await readReason(backend)
            await self.turnAway(self._refuse(reason))
            raise BackendRefused(
                "the peer refuses the connection", reason, cause="VNC wants nobody"
            )
        if kind not in types:
            await self._lacks("security types", types, isTLS=VENCRYPT in types)
        if minor >= LISTS:
            backend.write(bytes((kind,)))
        if self.login is PLAIN:
            subtypes = await readSubtypes(backend, BackendRefused)
            if PLAIN_IN_CLEAR not in subtypes:
                await self._lacks("subtypes of VeNCrypt", subtypes, isTLS=True)
            backend.write(PLAIN_IN_CLEAR.to_bytes(4))
        if self.login is NONE and minor < REASONS:
            # Here it is awaited, and there it was not sent (RFC 6143, section 7.2.1).
            self.write(OK)
        elif minor < self.minor:
            self.toNetwork.append(Outcome(self.login, minor, self.minor))

    async def _lacks(self, what: str, offered: Sequence[int], isTLS: bool) -> NoReturn:
        hasOther = any(each.inClear in offered for each in (NONE, VNC_AUTH))
        await self.turnAway(self._refuse(_ANOTHER_LOGIN))
        raise BackendRefused(
            f"the peer has another login than {self.login.option}: it offers {what} "
            f"{_listed(offered)}",
            cause="VNC with TLS" if isTLS and not hasOther else "another VNC login",
        )

    async def _refuse(self, reason: bytes) -> None:
        """
        Tell the client that it is not let in, when it is its turn to hear that.
        """
        if self.login is VNC_AUTH:
            # Whatever it responds is as good as anything else.
            self.write(bytes(CHALLENGE_BYTES))
            await self.readExactly(CHALLENGE_BYTES)
        elif self.login is PLAIN:
            lengths = await self.readExactly(8)
            await self.readExactly(int.from_bytes(lengths[:4]) + int.from_bytes(lengths[4:]))
        self.write(FAILED + (text(reason) if self.minor >= REASONS else b""))


def _wanted(options: frozenset[str]) -> tuple[Login, ...]:
    return tuple(each for each in LOGINS if each.option in options)


def _listed(numbers: Sequence[int]) -> str:
    named = (f"{each} ({NAMES[each]})" if each in NAMES else str(each) for each in numbers)
    return ", ".join(named) or "none"


vnc = Dialect(
    name="vnc",
    marksEnd=True,
    client=VNCClient,
    server=VNCServer,
    summary="screens, VNC (VeNCrypt with X509 certificates)",
    aliases=("rfb",),
    ports=(5900,),
    silentServer=False,
    goesOn=True,
    options={
        NONE.option: "no password behind TLS (X509None, and None without TLS)",
        VNC_AUTH.option: "a password (X509Vnc, VncAuth); what a server tunnel offers by default",
        PLAIN.option: "a name and a password (X509Plain, and Plain of VeNCrypt without TLS)",
    },
    grants={NONE.option: "see and use the screen without a password"},
)
