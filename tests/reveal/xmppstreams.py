"""
Streams of XMPP that log in, for tests.
"""

from __future__ import annotations

import base64
from pathlib import Path

from tlstunnel.identity.names import Identity
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.xmpp import xmppClient
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.xmpp import xmpp
from tlstunnel.testing.dialogues import setting
from tlstunnel.testing.memory import Driver

ALICE = Identity.parse("alice@test.example")
PEER = Identity.parse("peer.example")
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"

#: Of 32 bytes, in base64url.
KEY = base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")


def opening(content: str = "jabber:client", to: str = "test.example", more: str = "") -> bytes:
    """
    What begins a stream, not as we write it.
    """
    return (
        f'<?xml version="1.0"?>\n<s:stream xmlns:s="http://etherx.jabber.org/streams"'
        f' xmlns="{content}" to="{to}" {more} version="1.0">'
    ).encode()


def said(text: str | bytes) -> str:
    """
    As SASL has it.
    """
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode() or "="


def auth(text: str, mechanism: str = "EXTERNAL") -> bytes:
    """
    What asks for a login.
    """
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>".encode()


OPEN = opening()
SERVER = opening("jabber:server", more='from="peer.example"')
FEATURES = (
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms xmlns='"
    + SASL.encode()
    + b"'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>"
)
ANSWER = (
    b"<?xml version='1.0'?><stream:stream from='test.example' id='x' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>" + FEATURES
)
SUCCESS = f"<success xmlns='{SASL}'/>".encode()


def start(
    identity: Identity = ALICE,
    map: str = "",
    startTLS: bool = False,
    disclosure: Disclosure | None = None,
) -> Driver:
    """
    A driver behind its handshake, with a backend that is connected.

    @param map: the text of an identity map; none, if empty.
    """
    disclosure = disclosure or Disclosure()
    if map:
        path = Path(f"map-{abs(hash(map))}")
        path.write_text(map)
        disclosure = Disclosure(identityMap=path)
    driver = Driver(
        xmppClient if startTLS else implicit,
        "server",
        setting(),
        words=[(xmpp, xmpp.prepare(disclosure))],
        identity=identity,
    )
    if startTLS:
        driver.feed("C", opening(to="tunnel.example.net"))
        driver.feed("C", b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    driver.network.takeWritten()
    driver.handshake()
    return driver


def login(driver: Driver, request: bytes, opened: bytes = OPEN) -> str:
    """
    As whom the tunnel logs in at the backend, if it does.
    """
    driver.feed("C", opened)
    driver.feed("C", request)
    driver.plain.takeWritten()
    driver.feed("B", ANSWER)
    sent = driver.plain.takeWritten()
    if not sent:
        return ""
    start, _, rest = sent.partition(b">")
    assert start == f"<auth xmlns='{SASL}' mechanism='EXTERNAL'".encode()
    return base64.b64decode(rest.removesuffix(b"</auth>"), validate=True).decode()
