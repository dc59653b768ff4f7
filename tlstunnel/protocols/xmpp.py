"""
XMPP, between clients and servers and between servers (RFC 6120, section 5; RFC 7590)::

    C: <stream:stream to='example.org' version='1.0' xmlns='jabber:client'
         xmlns:stream='http://etherx.jabber.org/streams'>
                                        between servers: xmlns='jabber:server'
    S: <stream:stream from='example.org' id='x' version='1.0' ...>
    S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>
    C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
    S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
    == TLS ==                           directly behind the last ">"; the client opens a new stream

The domain that the client asks for is whom the certificate must name.  In mode C{-c} it is heard
from the app, whose own header is kept and sent inside TLS; so the app sees the second stream only.
"""

from __future__ import annotations

import re
import secrets
from html import escape
from typing import ClassVar

from tlstunnel.address import TCPAddress
from tlstunnel.errors import (
    Closed,
    IdentityRefused,
    Malformed,
    NotOffered,
    Quit,
    Refused,
    TunnelError,
)
from tlstunnel.identity.names import Identity, Selector, normalDomain
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole
from tlstunnel.protocols.filters import Filter
from tlstunnel.protocols.hiding import MAX_LINE_BYTES
from tlstunnel.protocols.xmlstream import MAX_STREAM_BYTES, SPACE, STREAM, Element, Tags, XMLStream

_STREAMS = "http://etherx.jabber.org/streams"
_TLS = "urn:ietf:params:xml:ns:xmpp-tls"
_SASL = ("urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sasl:2")

_FEATURES = f"{_STREAMS} features"
_ERROR = f"{_STREAMS} error"
_STARTTLS = f"{_TLS} starttls"
_PROCEED = f"{_TLS} proceed"
_FAILURE = f"{_TLS} failure"

# What a stream consists of that ends before it has begun.
_PARTING = [STREAM, _ERROR]

# RFC 6120, section 4.7.5: without a version there are no features, hence no TLS.
_VERSION = re.compile(r"0*[1-9][0-9]*\.[0-9]+")

_OFFER = (
    f"<stream:features><starttls xmlns='{_TLS}'><required/></starttls></stream:features>"
).encode()
_END = b"</stream:stream>"

_TAG_BEGINS = ord("<")


def header(content: str, **attributes: str) -> bytes:
    """
    The header of a stream.

    @param content: the namespace of what it carries.
    @param attributes: the attributes that identify it; those that are empty are left out.
    """
    given = "".join(
        f" {name.rstrip('_')}='{escape(value)}'" for name, value in attributes.items() if value
    )
    return (
        f"<?xml version='1.0'?><stream:stream{given} version='1.0'"
        f" xmlns='{content}' xmlns:stream='{_STREAMS}'>"
    ).encode()


def _isDomain(text: str) -> bool:
    try:
        normalDomain(text)
    except ValueError:
        return False
    return True


def _domainOf(identity: Identity | None) -> str:
    """
    What C{identity} is called in a header (RFC 7622, section 3.2); empty if there is none.
    """
    if identity is None:
        return ""
    return f"[{identity.domain}]" if ":" in identity.domain else identity.domain


class XMPPClient(ClientRole):
    """
    Asks a remote XMPP server for TLS, for a client that knows none.
    """

    maxBytes = MAX_STREAM_BYTES
    content: ClassVar[str] = "jabber:client"

    #: The domain that the app asks for, as it writes it, and in our one form.
    to = ""
    domain = ""

    async def prepare(self) -> None:
        """
        Hear from the app what domain it wants, and keep all that it said for later.

        @raise IdentityRefused: if that is not whom -R names.
        """
        stream = XMLStream(self.plain)
        attributes = await stream.header()
        self.plain.putBack(stream.source)
        self.to = attributes.get("to", "")
        try:
            self.domain = normalDomain(self.to)
        except ValueError:
            raise Malformed("the app asks for no domain", self.to.encode()) from None
        wanted = self.setting.remoteID
        if self.setting.explicit and wanted is not None and wanted.domain != self.domain:
            raise IdentityRefused(f"the app asks for {self.domain}, and -R is {wanted}")
        self.hear(attributes.get("from", ""))

    def prepareAlone(self) -> None:
        """
        The domain is that of -R.
        """
        wanted = self.setting.remoteID
        if wanted is not None:
            self.to = self.domain = wanted.domain
        self.hear("")

    def hear(self, sender: str) -> None:
        """
        What the app calls itself: no business of anybody's before TLS (RFC 6120, section 4.7.1).
        """

    def expected(self) -> Identity | Selector | None:
        """
        The domain that the app wants, whatever host it is served by (RFC 6120, section 13.7.2.1).
        """
        return self.setting.remoteID if self.setting.explicit else Identity(None, self.domain)

    def header(self) -> bytes:
        """
        The header of our first stream.
        """
        return header(self.content, to=self.to)

    async def negotiate(self) -> None:
        """
        RFC 6120, section 5.4; a server that does not offer TLS is not asked (RFC 7590, 3.1).
        """
        self.write(self.header())
        stream = XMLStream(self)
        attributes = await stream.header()
        if not _VERSION.fullmatch(attributes.get("version", "")):
            raise NotOffered("a server without XMPP 1.0", stream.source)
        features = await self._expect(stream, _FEATURES)
        if _STARTTLS not in features.children:
            raise NotOffered("the server does not offer TLS", features.source)
        self.write(f"<starttls xmlns='{_TLS}'/>".encode())
        proceed = await self._expect(stream, _PROCEED)
        if not proceed.isEmpty:
            raise Malformed("something inside of <proceed/>", proceed.source)

    def isFarewell(self, said: bytes) -> bool | None:
        """
        RFC 6120, section 4.9.1.1: a server that will not wait opens its stream, to say why it
        closes it.
        """
        if not said.startswith(b"<"):
            return False
        tags = Tags()
        opened = []
        try:
            while said:
                piece, end, said = said.partition(b">")
                tags.feed(piece + end)
                if tags.opened and tags.level <= 2:
                    opened.append(tags.opened)
                if tags.closed and not tags.path:
                    return opened == _PARTING and not said.strip(SPACE)
        except TunnelError:
            return False
        return None if opened == _PARTING[: len(opened)] else False

    async def _expect(self, stream: XMLStream, name: str) -> Element:
        element = await stream.element()
        if element is None:
            raise Closed("the server closed its stream")
        if element.name in (_ERROR, _FAILURE):
            raise Refused("the server refuses", element.source)
        if element.name != name:
            raise Malformed(f"expected {name.rpartition(' ')[2]}", element.source)
        return element


class XMPPServer(ServerRole):
    """
    Offers an XMPP client TLS, and nothing else before it.
    """

    maxBytes = MAX_STREAM_BYTES
    content: ClassVar[str] = "jabber:client"

    async def negotiate(self) -> None:
        """
        RFC 6120, section 5.4.
        """
        stream = XMLStream(self)
        attributes = await stream.header()
        to = attributes.get("to", "")
        ours = _isDomain(to) and self.setting.isOurs(normalDomain(to))
        if ours:
            self.domain = normalDomain(to)
        name = to if ours else _domainOf(self.setting.localID)
        self.write(header(self.content, from_=name, id=secrets.token_hex(16)))
        # Who has no domain to ask for, as test tools, asks for the address that he connects to.
        if not ours and not TCPAddress(to, 0).isLiteral:
            if not _isDomain(to):
                # RFC 6120, section 4.9.3.7.
                raise self._refusal("improper-addressing", "the client asks for no domain", to)
            raise self._refusal("host-unknown", "the client asks for a domain that is not ours", to)
        if not _VERSION.fullmatch(attributes.get("version", "")):
            raise self._refusal("policy-violation", "a client without XMPP 1.0")
        self.write(_OFFER)
        element = await stream.element()
        if element is None:
            self.write(_END)
            raise Quit()
        if element.name != _STARTTLS or not element.isEmpty:
            raise self._refusal("policy-violation", "the client wants a session without TLS")
        # Clients do send white space here, perhaps late; nothing can hide in it.
        self.transport.skippable = SPACE
        while (residue := self.residue) and not residue.strip(SPACE):
            self.putBack((await self.readSome()).lstrip(SPACE))
        self.goAheadExactly(f"<proceed xmlns='{_TLS}'/>".encode())

    def _refusal(self, condition: str, why: str, said: str = "") -> Refused:
        """
        Tell the client that this is the end (RFC 6120, section 4.9).
        """
        error = f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        self.write(f"<stream:error>{error}</stream:error>".encode() + _END)
        return Refused(why, said.encode())

    async def meetBackend(self) -> None:
        """
        The backend knows the second stream only, in which TLS is not to be offered.
        """
        self.toNetwork.append(WithoutStartTLS())


class XMPPServerClient(XMPPClient):
    """
    Asks a remote XMPP server for TLS, for a server that knows none.
    """

    content = "jabber:server"
    sender = ""

    def hear(self, sender: str) -> None:
        """
        Many servers want to know who calls: what the app says, which may serve many domains, unless
        -L is for others; else the domain of that.
        """
        ours = self.setting.localID
        if _isDomain(sender) and (ours is None or self.setting.isOurs(normalDomain(sender))):
            self.sender = sender
        else:
            self.sender = _domainOf(ours)

    def header(self) -> bytes:
        """
        The header of our first stream.
        """
        return header(self.content, from_=self.sender, to=self.to)


class XMPPServerServer(XMPPServer):
    """
    Offers a server that calls TLS.
    """

    content = "jabber:server"


# First-level elements of a server after which features may still offer TLS.
_BEFORE_LOGIN = frozenset(
    [_FEATURES]
    + [f"{sasl} {name}" for sasl in _SASL for name in ("challenge", "failure", "continue")]
)


class WithoutStartTLS(Filter):
    """
    Takes <starttls/> out of the features that a backend offers before the client is logged in.
    Tags that are not whole are waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tags = Tags()
        self._seen = 0
        self._hiding = False

    def feed(self, data: bytes) -> bytes:
        """
        Pass all but that element.
        """
        kept = self._kept
        # What is kept is the start of a tag, in which there is no end.
        start, searched = 0, len(kept)
        kept += data
        passed: list[bytes] = []
        while not self.done and start < len(kept):
            if kept[start] != _TAG_BEGINS:
                end = kept.find(b"<", start)
                end = len(kept) if end < 0 else end
                passed.append(self._text(bytes(kept[start:end])))
            elif (end := kept.find(b">", max(start, searched)) + 1) > 0:
                passed.append(self._tag(bytes(kept[start:end])))
            else:
                self.done = len(kept) - start > MAX_LINE_BYTES
                break
            self.messages += 1
            start = end
        del kept[:start]
        if self.done:
            passed.append(self.flush())
        return b"".join(passed)

    def _text(self, text: bytes) -> bytes:
        """
        What is to be passed on of C{text}; if a tag ends in it, it had a C{>} before its end.
        """
        self._read(text)
        self.done = self.done or bool(self._tags.opened or self._tags.closed)
        return b"" if self._hiding and not self.done else text

    def _tag(self, tag: bytes) -> bytes:
        """
        What is to be passed on of C{tag}.
        """
        tags = self._tags
        self._read(tag)
        if self.done:
            return tag
        offers = tags.opened == _STARTTLS and tags.level == 3 and tags.path[1] == _FEATURES
        if self._hiding or offers:
            self._hiding = len(tags.path) > 2
            return b""
        begins = tags.opened and tags.level == 2 and tags.opened not in _BEFORE_LOGIN
        ends = tags.closed and not tags.path
        self.done = bool(begins or ends or self._seen > MAX_STREAM_BYTES)
        return tag

    def _read(self, piece: bytes) -> None:
        """
        Read on, or give up where this is no stream.
        """
        self._seen += len(piece)
        try:
            self._tags.feed(piece)
        except TunnelError:
            self.done = True


xmppClient = Dialect(
    name="xmpp-client",
    marksEnd=True,
    client=XMPPClient,
    server=XMPPServer,
    summary="instant messaging, for clients (RFC 6120)",
    aliases=("xmpp", "jabber"),
    ports=(5222,),
    implicitPort=5223,
    alpn=(b"xmpp-client",),
    srvService="xmpp-client",
    learnsPeer=True,
)

xmppServer = Dialect(
    name="xmpp-server",
    marksEnd=True,
    client=XMPPServerClient,
    server=XMPPServerServer,
    summary="instant messaging, between servers (RFC 6120)",
    aliases=("xmpp-s2s",),
    ports=(5269,),
    implicitPort=5270,
    alpn=(b"xmpp-server",),
    srvService="xmpp-server",
    learnsPeer=True,
)
