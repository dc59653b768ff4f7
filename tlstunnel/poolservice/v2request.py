"""
What a STARTTLS of the TLS Pool's protocol V2 means: its fields and flags, as we say it.
"""

from __future__ import annotations

import errno
import socket

from tlstunnel.identity.names import Identity, Selector
from tlstunnel.poolservice.refusals import BadRequest, NoRemote
from tlstunnel.poolservice.v2errors import Code, V2Error
from tlstunnel.poolservice.v2frames import NAME_BYTES, Flag, StartTLS, field, text
from tlstunnel.poolservice.wanted import Demand, Wanted
from tlstunnel.protocols import registry

#: Seconds for which a question to a program waits, where the program says nothing about it, and
#: at most.
ANSWER_SECONDS = 15.0
LONGEST_ANSWER_SECONDS = 300.0

# The protocols that one of our connections may be on, as the IANA numbers them; 0 is what the
# TLS Pool's own tunnel says.
_PROTOCOLS = frozenset((0, socket.IPPROTO_TCP))

_DEFAULT, _NEVER = 0, 0xFFFFFFFF

_EITHER = Flag.CLIENT | Flag.SERVER
_EITHER_REMOTE = Flag.REMOTE_CLIENT | Flag.REMOTE_SERVER


def isClient(request: StartTLS) -> bool:
    """
    Whether the program is the TLS client of the connection.

    @raise BadRequest: if it does not say.
    @raise V2Error: if it leaves that to the peer.
    """
    ours, theirs = request.flags & _EITHER, request.flags & _EITHER_REMOTE
    if not ours:
        raise BadRequest("STARTTLS has to say whether we are the client or the server")
    if ours == _EITHER:
        if theirs not in (Flag.REMOTE_CLIENT, Flag.REMOTE_SERVER):
            raise V2Error(Code.NOT_IMPLEMENTED, "who is client and who is server must be known")
        return theirs == Flag.REMOTE_SERVER
    if theirs and not theirs & (Flag.REMOTE_SERVER if ours == Flag.CLIENT else Flag.REMOTE_CLIENT):
        raise BadRequest("both sides of STARTTLS would have the same role")
    return ours == Flag.CLIENT


def check(request: StartTLS) -> None:
    """
    Find what we do not do, before anything is done.

    @raise TunnelError: there is something.
    """
    if request.ipproto not in _PROTOCOLS:
        raise V2Error(
            Code.NOT_IMPLEMENTED, f"TLS is for TCP here (ipproto 6), not for {request.ipproto}"
        )
    if request.flags & Flag.RENEGOTIATE:
        raise V2Error(Code.RENEGOTIATION, "TLS is not negotiated again here; TLS 1.3 has no way to")
    if isClient(request) and request.flags & Flag.WITHOUT_SNI:
        raise V2Error(Code.NOT_IMPLEMENTED, "a client always names the server by SNI here")
    wantedOf(request)


def wantedOf(request: StartTLS) -> Wanted:
    """
    The same in our terms.

    @raise TunnelError: if it makes no sense.
    """
    local = _identity("localid", request.localid)
    dialect = registry.find("none")
    seconds = secondsOf(request)
    if isClient(request):
        remote = _identity("remoteid", request.remoteid)
        if remote is None:
            raise NoRemote("a client has to name the server in remoteid")
        return Wanted(True, dialect, remote, local, seconds=seconds)
    demand = demandOf(request)
    expected = _selector(request.remoteid)
    if expected is not None:
        if demand is Demand.IGNORE:
            raise BadRequest("remoteid names the client, and the flags say not to ask who it is")
        demand = Demand.REQUIRE
    return Wanted(False, dialect, expected, local, demand=demand, seconds=seconds)


def demandOf(request: StartTLS) -> Demand:
    """
    What a server asks of its clients.
    """
    if request.flags & Flag.IGNORE_REMOTEID:
        return Demand.IGNORE
    if request.flags & Flag.REQUEST_REMOTEID:
        return Demand.REQUEST
    return Demand.REQUIRE


def secondsOf(request: StartTLS) -> float | None:
    """
    What the program gives the handshake, if it says so.
    """
    return None if request.timeout in (_DEFAULT, _NEVER) else request.timeout / 1000


def answerSeconds(request: StartTLS) -> float:
    """
    For how long the program may think about a question.
    """
    if request.timeout == _DEFAULT:
        return ANSWER_SECONDS
    return min(request.timeout / 1000, LONGEST_ANSWER_SECONDS)


def nameField(identity: Identity | Selector | None) -> bytes:
    """
    An identity as a field has it; empty for nobody.

    @raise V2Error: if it is too long: what remained of it might be somebody else.
    """
    name = b"" if identity is None else str(identity).encode()
    if len(name) > NAME_BYTES:
        raise V2Error(errno.ENAMETOOLONG, f"{identity} is too long for the TLS Pool's protocol")
    return field(name, NAME_BYTES + 1)


def _identity(name: str, said: bytes) -> Identity | None:
    try:
        return Identity.parse(text(said).decode()) if text(said) else None
    except ValueError as error:
        raise _bad(name, said, error) from None


def _selector(said: bytes) -> Selector | None:
    try:
        return Selector.parse(text(said).decode()) if text(said) else None
    except ValueError as error:
        raise _bad("remoteid", said, error) from None


def _bad(name: str, said: bytes, error: ValueError) -> BadRequest:
    if isinstance(error, UnicodeError):
        return BadRequest(f"{name} is no identity", text(said))
    return BadRequest(f"{name}: {error}")
