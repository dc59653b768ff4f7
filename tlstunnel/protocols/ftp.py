"""
FTP (RFC 959, RFC 2228, RFC 2428, RFC 4217)::

    S: 220-Welcome                      1..n lines; a reply 120 may precede them
    S: 220 ready
    C: AUTH TLS
    S: 234 Proceed with negotiation
    == TLS ==                           control connection only; no new greeting
    C: PBSZ 0
    S: 200 PBSZ=0
    C: PROT P                           from here on data connections speak TLS too
    S: 200 Protection set to Private

The plain leg hears nothing of all this, and gets data connections without TLS: what follows the
switch goes through L{tlstunnel.protocols.ftpcontrol}.  Whoever connects to whom for data, the FTP
client is the TLS client there too (RFC 4217, section 7).
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused, PreAuthenticated, Quit
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.conversation import Conversation
from tlstunnel.protocols.farewells import isReply
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.ftpcontrol import Control
from tlstunnel.protocols.ftpdata import (
    ACTIVE,
    ADDRESS,
    ALLOW_TRUNCATED_UPLOADS,
    PORTS,
    Terms,
)
from tlstunnel.protocols.replies import Continuation, expectReply, isRefusal, readReply, refusal
from tlstunnel.protocols.setting import Setting

#: An option of the server role.
REQUIRE_RESUMPTION = "require-resumption"

# Known commands that need TLS first: RFC 959 and the registry of RFC 5797.
_NEED_TLS = frozenset(
    b"ABOR ACCT ADAT ALGS ALLO APPE CCC CDUP CLNT CONF CWD DELE ENC EPRT EPSV HASH HELP HOST LANG "
    b"LIST LPRT LPSV MDTM MFCT MFF MFMT MIC MKD MLSD MLST MODE NLST OPTS PASS PASV PBSZ PORT PROT "
    b"PWD RANG REIN REST RETR RMD RNFR RNTO SITE SIZE SMNT STAT STOR STOU STRU SYST TYPE USER XCRC "
    b"XCUP XMKD XPWD XRMD".split()
)

# Service not available, closing control connection.
_CLOSING = b"421"

_REFUSED_DATA = frozenset(b"APPE EPRT EPSV LIST MLSD NLST PASV PORT RETR STOR STOU".split())

_ACTIVE_MODE = frozenset((b"PORT", b"EPRT"))

_NOT_HERE = {
    b"ADAT": b"503 There is nothing to negotiate",
    b"MIC": b"533 TLS protects this connection",
    b"CONF": b"533 TLS protects this connection",
    b"ENC": b"533 TLS protects this connection",
    b"PORT": b"502 Active mode is not supported here: use PASV or EPSV",
    b"EPRT": b"502 Active mode is not supported here: use EPSV or PASV",
    b"LPRT": b"502 Active mode is not supported here: use EPSV or PASV",
    # Passive mode in forms that nobody needs, some of them for transfers between two servers.
    b"LPSV": b"502 Not supported here: use EPSV",
    b"SPSV": b"502 Not supported here: use EPSV",
    b"CPSV": b"502 Not supported here: use PASV",
    b"SSCN": b"502 Not supported here",
    # It would take protection back (RFC 4217, section 11).
    b"REIN": b"502 Not supported here: connect again",
}


async def readGreeting(conversation: Conversation) -> tuple[bytes, bytes]:
    """
    A server's greeting; before it 120 may announce that it takes a while (RFC 959, section 5.4).

    @return: its code, and its last line.
    """
    code, line = await readReply(conversation, Continuation.FREE)
    if code == b"120":
        code, line = await readReply(conversation, Continuation.FREE)
    return code, line


def notHere(setting: Setting, verb: bytes) -> bytes:
    """
    What C{verb} is answered in both modes; empty where it is served.
    """
    if verb in _ACTIVE_MODE and ACTIVE in setting.options:
        return b""
    return _NOT_HERE.get(verb, b"")


class WithoutLineEnds(Filter):
    """
    Drops the empty lines behind a reply that we have read; the next one has none before it.
    """

    def feed(self, data: bytes) -> bytes:
        """
        Pass what is more than ends of lines, and all behind it.
        """
        rest = data if self.done else data.lstrip(b"\r\n")
        self.done = bool(rest)
        return rest


class FTPClient(ClientRole):
    """
    Asks a remote FTP server for TLS, for data connections too.
    """

    async def readGreeting(self) -> None:
        """
        RFC 959, section 5.4; who is logged in already cannot ask for TLS.
        """
        code, line = await readGreeting(self)
        if code == b"230":
            raise PreAuthenticated("the server takes us for logged in", line)
        if code != b"220":
            raise refusal(code, line, b"220")

    async def negotiate(self) -> None:
        """
        RFC 4217, section 4; 334 would want more of a mechanism that is none.
        """
        self.sendLine(b"AUTH TLS")
        await expectReply(self, b"234", continuation=Continuation.FREE)

    def isFarewell(self, said: bytes) -> bool | None:
        """
        RFC 959, section 5.4: a server that shuts down may say so at any time.
        """
        return isReply(said, _CLOSING)

    async def greetApp(self) -> None:
        """
        Protect data connections (RFC 4217, section 9), and let the app begin.
        """
        for command in (b"PBSZ 0", b"PROT P"):
            self.sendLine(command)
            code, line = await readReply(self, Continuation.FREE)
            if code == _CLOSING:
                self.takeLeave(line + b"\r\n")
            if code != b"200":
                raise refusal(code, line, b"200")
        # Before what wants silence of the server: the last reply may not be all that it has said.
        self.toPlain.insert(0, WithoutLineEnds())
        terms = Terms.of(self.setting.options, isServer=False)
        control = Control(self.channels, self.plain.transport, self.transport, self.answer, terms)
        self.toNetwork.append(control.commands)
        self.toPlain.append(control.replies)
        await super().greetApp()

    def appGreeting(self) -> bytes:
        """
        The greeting that the app awaits.
        """
        return b"220 " + self.setting.peerName + b" ready\r\n"

    def answer(self, verb: bytes, argument: bytes) -> bytes:
        """
        What we say to the app instead of the server; empty where the server shall.
        """
        if verb == b"AUTH":
            return b"534 TLS is for the tunnel to speak"
        if verb == b"CCC":
            return b"533 TLS is for the tunnel to speak"
        if verb == b"PBSZ":
            return b"200 PBSZ=0"
        if verb == b"PROT":
            clear = argument.upper() == b"C"
            return (
                b"200 Clear, up to the tunnel" if clear else b"536 TLS is for the tunnel to speak"
            )
        return notHere(self.setting, verb)


class FTPServer(ServerRole):
    """
    Offers an FTP client TLS, and nothing else before it; inside it demands that data connections
    are protected too.
    """

    farewell = b"421 Too many errors"

    _hasBufferSize = False
    _isPrivate = False

    async def negotiate(self) -> None:
        """
        RFC 4217, section 4.
        """
        self.sendLine(b"220 " + self.setting.ourName + b" ready")
        while True:
            line = await self.readCommand()
            verb, _, argument = line.partition(b" ")
            verb, argument = verb.upper(), argument.strip().upper()
            if verb == b"AUTH" and argument in (b"TLS", b"TLS-C"):
                self.goAhead(b"234 Proceed with negotiation")
                return
            self._answerInClear(verb)

    def _answerInClear(self, verb: bytes) -> None:
        if verb == b"AUTH":
            self.refuse(b"504 Unknown mechanism")
        elif verb == b"FEAT":
            self.sendLine(b"211-Features\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End")
        elif verb == b"NOOP":
            self.sendLine(b"200 Ok")
        elif verb == b"QUIT":
            self.sendLine(b"221 Bye")
            raise Quit()
        elif verb in _NEED_TLS:
            self.refuse(b"530 AUTH TLS first")
        else:
            self.refuseSyntax(b"500 Unknown command", self.farewell)

    async def meetBackend(self) -> None:
        """
        The client has had its greeting: the backend's is swallowed.
        """
        code, line = await readGreeting(self.plain)
        if code != b"220":
            if isRefusal(code):
                await self.turnAway(self.refuseAll(line, bye=b"221 Bye"))
            raise BackendRefused("expected 220", line)
        if REQUIRE_RESUMPTION in self.setting.options:
            self.channels.demandResumption()
        control = Control(
            self.channels,
            self.transport,
            self.plain.transport,
            self.answer,
            Terms.of(self.setting.options, isServer=True),
        )
        self.toPlain.append(control.commands)
        self.toNetwork.append(control.replies)

    def answer(self, verb: bytes, argument: bytes) -> bytes:
        """
        What we say to the client instead of the backend, which knows nothing of TLS; empty where
        the backend shall.
        """
        if verb == b"AUTH":
            return b"534 TLS is up already"
        if verb == b"CCC":
            return b"534 TLS stays as it is"
        if verb == b"PBSZ":
            self._hasBufferSize = True
            return b"200 PBSZ=0"
        if verb == b"PROT":
            return self._protect(argument.upper())
        answer = notHere(self.setting, verb)
        if not answer and verb in _REFUSED_DATA and not self._isPrivate:
            return b"521 PBSZ 0 and PROT P first"
        return answer

    def _protect(self, level: bytes) -> bytes:
        """
        RFC 2228, section 3, and RFC 4217, section 9: TLS knows the levels C and P.
        """
        if level not in (b"C", b"S", b"E", b"P"):
            return b"504 Unknown protection level"
        if not self._hasBufferSize:
            return b"503 PBSZ 0 first"
        if level == b"C":
            return b"534 Data connections have to be protected: PROT P"
        if level != b"P":
            return b"536 Not supported by TLS: PROT P"
        self._isPrivate = True
        return b"200 Protection set to Private"


ftp = Dialect(
    name="ftp",
    marksEnd=True,
    client=FTPClient,
    server=FTPServer,
    summary="file transfer, data connections included (RFC 4217)",
    aliases=("ftpes",),
    ports=(21,),
    implicitPort=990,
    alpn=(b"ftp",),
    opensChannels=True,
    options={
        ADDRESS.name: "behind address translation: what replies to PASV name",
        PORTS.name: "where data connections are accepted; else the system chooses",
        ACTIVE: "let PORT and EPRT be used, towards the address that they come from",
        ALLOW_TRUNCATED_UPLOADS: "take uploads that end without the end of TLS, as "
        "some clients send them, although whoever cuts one then makes it look complete",
        REQUIRE_RESUMPTION: "refuse each data connection that does not resume the "
        "session of its control connection, also the first ones of a client that may not be able "
        "to",
    },
    values=(ADDRESS, PORTS),
    onlyIn=dict.fromkeys((ALLOW_TRUNCATED_UPLOADS, REQUIRE_RESUMPTION), "server"),
)
