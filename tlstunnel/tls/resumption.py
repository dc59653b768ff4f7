"""
Sessions of TLS that a client keeps, to resume them in later connections to the same server.

A session stands for a handshake in which the server was verified, so that it is worth no more than
that one was: it is bound to the address that was connected to, to whom we expected there, and, as a
tunnel has its own store and makes a new one at each reload, to whom it believes and who it is.  It
ends with the certificates that the server was verified by, and soon in any case.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from OpenSSL import SSL

from tlstunnel.tls.verification import Proof

#: Seconds after a handshake with verification in which what came of it is resumed, also by way of
#: connections that were resumed themselves.
LONGEST_SECONDS = 7200.0

#: Servers that a tunnel knows, and sessions that it keeps in all and of each server: as many of its
#: connections as begin at the same time can resume one.
SERVERS_KNOWN = 1000
SESSIONS_KEPT = 1000
SESSIONS_PER_SERVER = 64

#: The most bytes of a session.  A server may make its ticket so large that no first message has
#: room for it (RFC 8446, section 4.2.11), and that those which are kept take all memory.
LARGEST_BYTES = 32768

#: So many sessions in a row a server may decline, as one with many processes does that share no
#: keys; then none is kept or offered for a while, in seconds.
MOST_DECLINED = 16
REST = 60.0


@dataclass(slots=True)
class Offer:
    """
    A session that may be resumed.

    @ivar session: it.
    @ivar proof: what was proved when it began.
    @ivar until: when it ends, in seconds since 1970.
    @ivar isAsked: whether its server has asked then for our certificate.
    """

    session: SSL.Session
    proof: Proof
    until: float
    isAsked: bool = False


class Server:
    """
    What is kept of one server.

    @ivar offers: its sessions, the youngest last.
    @ivar declined: how many it has declined in a row.
    @ivar restsUntil: when another one is offered, in seconds since 1970; 0 where that is so now.
    @ivar isKnown: whether it is not forgotten.
    """

    __slots__ = ("declined", "isKnown", "offers", "restsUntil")

    def __init__(self) -> None:
        self.offers: deque[Offer] = deque()
        self.declined = 0
        self.restsUntil = 0.0
        self.isKnown = True


class Sessions:
    """
    The sessions of a tunnel.

    @ivar count: how many there are.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """
        @param clock: seconds since 1970, by which certificates end.
        """
        self.count = 0
        self._clock = clock
        self._servers: dict[Hashable, Server] = {}

    def at(self, server: Hashable) -> Server | None:
        """
        Find what is kept of a server.

        @param server: who is to be there, and where.
        @return: C{None} while nothing is to be kept, as it resumes nothing.
        """
        known = self._servers.get(server)
        if known is None:
            known = self._servers[server] = Server()
            if len(self._servers) > SERVERS_KNOWN:
                self._forget()
        elif known.restsUntil:
            if self._clock() < known.restsUntil:
                return None
            # Declined once more, it rests again.
            known.restsUntil = 0.0
        return known

    def take(self, server: Server) -> Offer | None:
        """
        Find a session to offer to C{server}, the youngest.  It is not kept any more: one that is
        used twice tells who listens that both connections come from the same client (RFC 8446,
        appendix C.4), and one whose connection fails is not to be used again (RFC 5246, section
        7.2.2).
        """
        if not server.offers:
            return None
        offer = server.offers.pop()
        self.count -= 1
        return offer if self._clock() < offer.until else None

    def keep(self, server: Server, offer: Offer) -> None:
        """
        Keep a session for C{server}; where there are too many, others go: the oldest of this
        server, or those of the one that has been known longest.
        """
        if not server.isKnown or server.restsUntil:
            return
        if len(server.offers) >= SESSIONS_PER_SERVER:
            server.offers.popleft()
            self.count -= 1
        server.offers.append(offer)
        self.count += 1
        while self.count > SESSIONS_KEPT:
            self._forget()

    def answered(self, server: Server, isResumed: bool) -> None:
        """
        C{server} has resumed what it was offered, or declined it.
        """
        if isResumed:
            server.declined, server.restsUntil = 0, 0.0
            return
        server.declined += 1
        if server.declined >= MOST_DECLINED:
            server.restsUntil = self._clock() + REST
            self._clear(server)

    def failed(self, server: Server) -> None:
        """
        C{server} has ended a handshake in which it was offered one.  With OpenSSL those do so each
        time that demand certificates, and were not told whose sessions they may resume
        (SSL_CTX_set_session_id_context(3)): every other connection would fail.
        """
        server.restsUntil = self._clock() + LONGEST_SECONDS
        self._clear(server)

    def _forget(self) -> None:
        """
        Forget the server that has been known longest.
        """
        server = self._servers.pop(next(iter(self._servers)))
        server.isKnown = False
        self._clear(server)

    def _clear(self, server: Server) -> None:
        self.count -= len(server.offers)
        server.offers.clear()
