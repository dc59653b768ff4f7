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
from tlstunnel.protocols.xmlstream import MAX_STREAM_BYTES, SPACE, STREAM, Element, Tags, XMLStream
from tlstunnel.protocols.xmppfeatures import (
    ERROR,
    FEATURES,
    STARTTLS,
    STREAMS,
    TLS,
    WithoutMultiplexing,
    WithoutStartTLS,
)

_PROCEED = f"{TLS} proceed"
_FAILURE = f"{TLS} failure"

# What a stream consists of that ends before it has begun.
_PARTING = [STREAM, ERROR]

# RFC 6120, section 4.7.5: without a version there are no features, hence no TLS.
_VERSION = re.compile(r"0*[1-9][0-9]*\.[0-9]+")

_OFFER = (
    f"<stream:features><starttls xmlns='{TLS}'><required/></starttls></stream:features>"
).encode()
_END = b"</stream:stream>"


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
        f" xmlns='{content}' xmlns:stream='{STREAMS}'>"
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
            why = f"the app asks for {self.domain}, and not for {wanted}"
            raise IdentityRefused(why, cause="other domain")
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
        features = await self._expect(stream, FEATURES)
        if STARTTLS not in features.children:
            raise NotOffered("the server does not offer TLS", features.source)
        self.write(f"<starttls xmlns='{TLS}'/>".encode())
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
        if element.name in (ERROR, _FAILURE):
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
            why = "the client asks for a domain that is not ours"
            raise self._refusal("host-unknown", why, to, cause="unknown domain")
        if not _VERSION.fullmatch(attributes.get("version", "")):
            raise self._refusal("policy-violation", "a client without XMPP 1.0")
        self.write(_OFFER)
        element = await stream.element()
        if element is None:
            self.write(_END)
            raise Quit()
        if element.name != STARTTLS or not element.isEmpty:
            raise self._refusal("policy-violation", "the client wants a session without TLS")
        # Clients do send white space here, perhaps late; nothing can hide in it.
        self.transport.skippable = SPACE
        while (residue := self.residue) and not residue.strip(SPACE):
            self.putBack((await self.readSome()).lstrip(SPACE))
        self.goAheadExactly(f"<proceed xmlns='{TLS}'/>".encode())

    def _refusal(self, condition: str, why: str, said: str = "", cause: str = "") -> Refused:
        """
        Tell the client that this is the end (RFC 6120, section 4.9).
        """
        error = f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        self.write(f"<stream:error>{error}</stream:error>".encode() + _END)
        return Refused(why, said.encode(), cause)

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

    def prepareAlone(self) -> None:
        """
        Many servers want to know who calls: the domain of -L.
        """
        super().prepareAlone()
        self.sender = _domainOf(self.setting.localID)

    def hear(self, sender: str) -> None:
        """
        The app may speak for many domains, whomever the certificate of -L is for, and servers end a
        second stream that is from another one than the first.
        """
        self.sender = sender if _isDomain(sender) else ""

    def header(self) -> bytes:
        """
        The header of our first stream.
        """
        return header(self.content, from_=self.sender, to=self.to)

    async def greetApp(self) -> None:
        """
        The app waits for no words; a stream is for one domain.
        """
        self.toPlain.append(WithoutMultiplexing())


class XMPPServerServer(XMPPServer):
    """
    Offers a server that calls TLS.
    """

    content = "jabber:server"


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
