"""
What is said up to TLS with XMPP, for tests.
"""

from __future__ import annotations

from dataclasses import replace

from tlstunnel.identity.names import Identity
from tlstunnel.protocols.base import ClientRole, Dialect
from tlstunnel.protocols.setting import Setting
from tlstunnel.protocols.xmpp import xmppClient
from tlstunnel.testing.dialogues import OURS, setting
from tlstunnel.testing.memory import Driver

TLS = b"urn:ietf:params:xml:ns:xmpp-tls"

#: As an app writes it: not as we do.
APP = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<s:stream xmlns:s="http://etherx.jabber.org/streams"'
    b' xmlns="jabber:client" from="alice@example.org" to="example.org" xml:lang="en" version="1.0">'
)
OPEN = (
    b"<?xml version='1.0'?><stream:stream to='example.org' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
ANSWER = (
    b"<?xml version='1.0'?><stream:stream from='example.org' id='x' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
OFFER = b"<starttls xmlns='" + TLS + b"'><required/></starttls>"
FEATURES = b"<stream:features>" + OFFER + b"</stream:features>"
ASK = b"<starttls xmlns='" + TLS + b"'/>"
PROCEED = b"<proceed xmlns='" + TLS + b"'/>"
END = b"</stream:stream>"

#: A tunnel without -R: whom to expect is for the app to say.
ANY = Setting(ourName=OURS, localID=None, remoteID=Identity(None, "xmpp.example.net"))


SECOND = ANSWER + b"<stream:features/>"

ANYTHING = bytes(range(256)) * 4


FROM_SERVER = APP.replace(b"alice@example.org", b"alice.example").replace(b":client", b":server")


HELLO = OPEN.replace(b"example.org", OURS)


def server(hello: bytes = HELLO, covers: str = "", dialect: Dialect = xmppClient) -> Driver:
    """
    The server role, with a client that has said C{hello}.
    """
    driver = Driver(dialect, "server", replace(setting(), covers=lambda domain: domain == covers))
    driver.network.feed(hello)
    return driver


AUTH = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>"
HERE = (
    b"<?xml version='1.0'?><stream:stream from='" + OURS + b"' id='x' version='1.0'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)


def error(condition: bytes) -> bytes:
    """
    How a server takes its leave.
    """
    name = b"<" + condition + b" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
    return b"<stream:error>" + name + b"</stream:error>" + END


def client(given: Setting = ANY, app: bytes = APP, dialect: Dialect = xmppClient) -> Driver:
    """
    The client role, with an app that has opened its stream.
    """
    driver = Driver(dialect, "client", given)
    driver.plain.feed(app)
    return driver


def asked() -> Driver:
    """
    The client role once it has asked for TLS.
    """
    driver = client()
    driver.play([("C", OPEN), ("S", ANSWER + FEATURES), ("C", ASK)])
    return driver


def expected(driver: Driver) -> object:
    """
    Whom the role wants the certificate to name.
    """
    assert isinstance(driver.role, ClientRole)
    return driver.role.expected()
