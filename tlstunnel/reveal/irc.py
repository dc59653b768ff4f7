"""
IRC: C{WEBIRC}, by which a gateway tells a server whom it brings (the IRCv3 extension C{webirc})::

    G: WEBIRC password tlstunnel 192.0.2.7 192.0.2.7 :secure local-port=6697 remote-port=41000
    G: PING :tlstunnel                  does the server still serve us?
    S: PONG irc.example.org :tlstunnel  or 451: it does
    C: NICK alice ...

A name that DNS has for the address is proved by nobody: the address stands in its place.
"""

from __future__ import annotations

from ipaddress import ip_address

from cryptography.hazmat.primitives.hashes import SHA256

from tlstunnel.address import TCPAddress
from tlstunnel.errors import BackendRefused, ConfigurationError, Oversize
from tlstunnel.identity.names import Kind
from tlstunnel.protocols.irc import parse
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.facts import Facts
from tlstunnel.reveal.ircguard import MAX_MESSAGE_BYTES, Registered, Unregistered
from tlstunnel.reveal.secrets import readSecret
from tlstunnel.reveal.word import Introduction, Word

#: What we are called as a gateway, and what we ask a server to repeat.
GATEWAY = "tlstunnel"

#: The most bytes of a password that leave room for all else in a message.
LARGEST_PASSWORD = 200

# How a server answers our PING: to whoever is not registered some say so instead.
_SERVES = (b"PONG", b"451")

# What a server says that does not know the gateway or its password: 464 (ngIRCd), 461 and 421 where
# it wants something else, ERROR where it closes the connection.
_REFUSES = (b"ERROR", b"421", b"461", b"464", b"465")


def readPassword(disclosure: Disclosure) -> str:
    """
    What the server knows us by.

    @raise ConfigurationError: there is none, or it is no word of a message of IRC.
    """
    path = disclosure.webircPasswordFile
    if path is None:
        raise ConfigurationError(
            "`reveal` irc",
            "takes a password by which the server knows the tunnel",
            "give `webirc-password-file`",
        )
    password = readSecret(path)
    if " " in password or password.startswith(":") or len(password.encode()) > LARGEST_PASSWORD:
        raise ConfigurationError(
            str(path),
            "does not have a password that IRC can carry",
            f"choose one without spaces, with no colon first, of {LARGEST_PASSWORD} bytes at most",
        )
    return password


def textOf(address: TCPAddress) -> str:
    """
    Its host as a parameter: what begins with a colon would be the last one.
    """
    text = str(ip_address(address.withoutZone))
    return f"0{text}" if text.startswith(":") else text


def options(facts: Facts) -> str:
    """
    What is known beside the address.
    """
    assert isinstance(facts.peer, TCPAddress)
    known = ["secure"]
    if isinstance(facts.local, TCPAddress):
        known.append(f"local-port={facts.local.port}")
    known.append(f"remote-port={facts.peer.port}")
    certificate, identity = facts.certificate, facts.identity
    if certificate is not None:
        known.append(f"certfp-sha-256={certificate.fingerprint(SHA256()).hex()}")
    if identity is not None and identity.kind is Kind.USER:
        known.append(f"account={identity}")
    return " ".join(known)


class IRCIntroduction(Introduction):
    """
    Tells a server of IRC who is there.
    """

    async def introduce(self) -> None:
        """
        Say it, and hear whether the server goes on with us; what it says besides is for the client.

        Whoever connects by a UNIX socket has no address: the server sees ours.
        """
        unregistered = Unregistered()
        self.toPlain.append(unregistered)
        self.toNetwork.append(Registered(unregistered))
        peer, backend = self.facts.peer, self.backend
        if not isinstance(peer, TCPAddress):
            return
        address = textOf(peer)
        message = (
            f"WEBIRC {self.known} {GATEWAY} {address} {address} :{options(self.facts)}"
        ).encode()
        if len(message) > MAX_MESSAGE_BYTES - 2:
            raise Oversize(f"WEBIRC would take {len(message)} bytes, more than a message has")
        backend.isSecret = True
        backend.sendLine(message)
        backend.isSecret = False
        backend.sendLine(f"PING :{GATEWAY}".encode())
        backend.putBack(await self._answer())

    async def _answer(self) -> bytes:
        """
        Read up to the answer to our PING.

        @return: what came before.
        @raise BackendRefused: if the server does not take our word.
        """
        notices = b""
        while True:
            line = await self.backend.readLine()
            command, parameters = parse(line)
            if command in _SERVES or (command == b"421" and b"PING" in parameters.upper()):
                return notices
            if command in _REFUSES:
                raise BackendRefused("it does not take WEBIRC from us", line, "gateway")
            notices += line + b"\r\n"


irc = Word(
    name="irc",
    summary="the client's address and certificate, by WEBIRC",
    dialects=("irc",),
    introduction=IRCIntroduction,
    prepare=readPassword,
)
