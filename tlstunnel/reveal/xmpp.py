"""
XMPP, for clients and between servers: SASL EXTERNAL with the proven identity (RFC 6120, section 6;
XEP-0178), towards a server that trusts the tunnel::

    C: <stream:stream to='example.org' ...>
    S: <stream:stream from='example.org' id='x' ...>
       <stream:features><mechanisms ...><mechanism>EXTERNAL</mechanism>
       <mechanism>PLAIN</mechanism></mechanisms></stream:features>
    C: <auth mechanism='EXTERNAL'>=</auth>
        T: <stream:stream to='example.org' ...>
        B: <stream:stream ...><stream:features>...</stream:features>
        T: <auth mechanism='EXTERNAL'>YWxpY2VAZXhhbXBsZS5vcmc=</auth>
        B: <success/>
    S: <success/>
    C: <stream:stream to='example.org' ...>         from here on it is the server's

A server that knows a key of ours instead, as ejabberd does, gets C{PLAIN} with a token in the place
of a password.

Up to the success the tunnel is the server of its client, and the client of the server: not one byte
of either is passed on, so that there is no spelling in which a client could log in as somebody
else.
"""

from __future__ import annotations

import base64
import secrets
import time

from tlstunnel.errors import (
    BackendRefused,
    ConfigurationError,
    Forged,
    Malformed,
    Quit,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.protocols.xmlstream import Element, XMLStream
from tlstunnel.protocols.xmpp import header
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.identitymap import Names, namesFor
from tlstunnel.reveal.jwt import readKey, sign
from tlstunnel.reveal.secrets import readUser
from tlstunnel.reveal.word import Introduction, Word
from tlstunnel.reveal.xmpplogin import (
    SASL,
    ClientLogin,
    Denied,
    Login,
    ServerLogin,
    decoded,
    domainOf,
)

#: How often a client may try to log in (RFC 6120, section 6.4.5).
MAX_ATTEMPTS = 5

#: How long a server may take our word for it, in seconds: clocks differ.
TOKEN_SECONDS = 60

_CLIENT, _SERVER = "jabber:client", "jabber:server"
_FEATURES = "http://etherx.jabber.org/streams features"
_AUTH, _RESPONSE, _ABORT, _SUCCESS, _FAILURE = (
    f"{SASL} {name}" for name in ("auth", "response", "abort", "success", "failure")
)
_END = "</stream:stream>"


class XMPPIntroduction(Introduction):
    """
    Logs a client, or a server, in as who it has proved to be.

    @ivar content: the namespace of what the stream carries, which says what kind it is.
    @ivar to: the domain that the client asks for.
    @ivar sender: what a server calls itself; empty for clients.
    @ivar names: as whom identities may log in.
    @ivar key: signs what we tell the server; empty where it believes us as we are.
    """

    content = to = sender = ""
    names: Names
    key: bytes

    async def converse(self) -> None:
        """
        RFC 6120, section 6.4.
        """
        self.names, self.key = self.known
        stream = XMLStream(self.client)
        name = await self._loggedIn(stream, await self._open(stream))
        self.heard = self.backend
        await self._vouch(name)
        self.heard = self.client
        self._say(f"<success xmlns='{SASL}'/>")
        await self._reopen()

    # The client

    def _say(self, text: str) -> None:
        self.client.write(text.encode())

    async def _open(self, stream: XMLStream) -> Login:
        """
        Read the client's header, answer it, and offer what there is.
        """
        attributes = await stream.header()
        self.content = stream.content
        isKnown = self.content in (_CLIENT, _SERVER)
        try:
            self.to = domainOf(attributes.get("to", ""))
        except ValueError:
            self.to = ""
        content = self.content if isKnown else _CLIENT
        self.client.write(header(content, from_=self.to, id=secrets.token_hex(16)))
        if not isKnown:
            # Section 4.9.3.10.
            raise self._end("invalid-namespace", "the client's stream carries something else")
        if not self.to:
            # Section 4.9.3.7.
            raise self._end("improper-addressing", "the client asks for no domain in ASCII")
        login = self._login(attributes.get("from", ""))
        offer = "".join(f"<mechanism>{name}</mechanism>" for name in login.mechanisms)
        self._say(
            f"<stream:features><mechanisms xmlns='{SASL}'>{offer}</mechanisms></stream:features>"
        )
        return login

    def _login(self, sender: str) -> Login:
        """
        What decides as whom.

        @param sender: what the client calls itself: a claim.
        """
        identity = self.facts.identity
        # The word needs an identity: nobody comes here without.
        assert identity is not None
        if self.content == _CLIENT:
            return ClientLogin(self.names, identity, self.to)
        try:
            self.sender = domainOf(sender)
            return ServerLogin(self.names, identity, self.sender)
        except ValueError:
            # Section 4.9.3.9.
            why = f"the peer is {identity}, and calls itself something else"
            raise self._end("invalid-from", why, sender.encode()) from None

    async def _loggedIn(self, stream: XMLStream, login: Login) -> str:
        """
        Let the client say as whom it wants to log in.

        @return: as whom it may.
        """
        for _ in range(MAX_ATTEMPTS):
            element = await self._element(stream)
            if element.name != _AUTH:
                # Section 4.9.3.12; so is what else there is to log in with, as SASL 2, and that may
                # have a password in it.
                name = element.name.encode()
                raise self._end("not-authorized", "the client has not logged in", name)
            mechanism = element.attributes.get("mechanism", "")
            try:
                if mechanism not in login.mechanisms:
                    raise Denied("invalid-mechanism")
                return login.name(mechanism, await self._response(stream, element))
            except Denied as denied:
                self._say(f"<failure xmlns='{SASL}'><{denied.condition}/></failure>")
        self._say("<stream:error>" + _condition("policy-violation") + "</stream:error>" + _END)
        raise TooManyErrors(f"the client was refused {MAX_ATTEMPTS} times as {self.facts.identity}")

    async def _response(self, stream: XMLStream, auth: Element) -> bytes:
        """
        What the client says with its request, or when it is asked for it (section 6.4.2).
        """
        text = auth.text
        if not text.strip():
            self._say(f"<challenge xmlns='{SASL}'/>")
            element = await self._element(stream)
            if element.name != _RESPONSE:
                raise Denied("aborted" if element.name == _ABORT else "malformed-request")
            text = element.text
        return decoded(text)

    async def _element(self, stream: XMLStream) -> Element:
        element = await stream.element()
        if element is None:
            self._say(_END)
            raise Quit()
        return element

    def _end(self, condition: str, why: str, said: bytes = b"") -> TunnelError:
        """
        Tell the client that this is the end (section 4.9).
        """
        self._say(f"<stream:error>{_condition(condition)}</stream:error>{_END}")
        return Malformed(why, said)

    async def _reopen(self) -> None:
        """
        Section 6.4.6: a new stream, which must not be for somebody else.  Its header is put back.
        """
        stream = XMLStream(self.client)
        attributes = await stream.header()
        try:
            isSame = (
                stream.content == self.content and domainOf(attributes.get("to", "")) == self.to
            )
            if self.sender:
                isSame = isSame and domainOf(attributes.get("from", "")) == self.sender
        except ValueError:
            isSame = False
        if not isSame:
            raise Forged(
                "the client logged in, and opens a stream for somebody else", stream.source
            )
        self.client.putBack(stream.source)

    # The server

    async def _vouch(self, name: str) -> None:
        """
        Log in as C{name}.  Whether the server offers that says nothing: its answer does.

        @raise BackendRefused: if the server does not let us; the client hears that it did not work.
        """
        backend = self.backend
        backend.write(header(self.content, from_=self.sender, to=self.to))
        stream = XMLStream(backend)
        await stream.header()
        features = await stream.element()
        if features is None or features.name != _FEATURES:
            raise self._refused(features)
        mechanism, response = self._request(name)
        text = base64.b64encode(response.encode()).decode()
        backend.isSecret = True
        backend.write(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>".encode())
        backend.isSecret = False
        answer = await stream.element()
        if answer is None or answer.name != _SUCCESS:
            raise self._refused(answer)

    def _request(self, name: str) -> tuple[str, str]:
        """
        By which mechanism we log in as C{name}, and what we say.
        """
        if self.sender or not self.key:
            return "EXTERNAL", name
        claims: dict[str, str | int] = {"jid": name, "exp": int(time.time()) + TOKEN_SECONDS}
        local = name.rpartition("@")[0]
        return "PLAIN", f"\0{local}\0{sign(claims, self.key)}"

    def _refused(self, answer: Element | None) -> BackendRefused:
        condition = "temporary-auth-failure"
        if answer is not None and f"{SASL} not-authorized" in answer.children:
            condition = "not-authorized"
        self._say(f"<failure xmlns='{SASL}'><{condition}/></failure>{_END}")
        said = b"" if answer is None else answer.source
        return BackendRefused("it does not let us log in for others", said, "vouching")


def _condition(name: str) -> str:
    return f"<{name} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"


def prepare(disclosure: Disclosure) -> tuple[Names, bytes]:
    """
    As whom identities may log in, and what the server knows us by, if anything.

    @raise ConfigurationError: a file is wrong.
    """
    names, path = namesFor(disclosure, "xmpp"), disclosure.loginAuthFile
    if path is None:
        return names, b""
    kind, text = readUser(path)
    if kind != "jwt":
        raise ConfigurationError(
            str(path), f"is about {kind}, and for xmpp should be about jwt", "write jwt:KEY"
        )
    try:
        return names, readKey(text)
    except ValueError as error:
        raise ConfigurationError.of(str(path), error) from None


xmpp = Word(
    name="xmpp",
    summary="a login as who the client has proved to be, by SASL EXTERNAL",
    dialects=("xmpp-client", "xmpp-server"),
    introduction=XMPPIntroduction,
    needsIdentity=True,
    prepare=prepare,
)
