"""
The web server: who is answered, and how long anybody may take.

Nobody can hold it up: a connection is for one request, and ends after some seconds, whatever its
peer does; where there are many, a new one takes the place of the oldest that has not asked for
anything yet.  Nothing can be changed here, and what follows the header of a request is dropped
unread: to take it apart could take a whole turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tlstunnel.status.answers import Answer, Answers, plain

#: Seconds that a connection lasts at most.
CONNECTION_SECONDS = 20.0

#: Connections at the same time.
CONNECTIONS = 64

#: Of a request.
MAX_HEADER_BYTES = 8192
MAX_HEADERS = 64

#: What browsers are to make of our answers: nothing but what we serve counts, nobody may put them
#: into a page of theirs, and nothing is kept.
HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; "
    b"img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}

# What says where the body of a request ends, and that its client waits before it sends it.
_ABOUT_BODIES = frozenset((b"content-length", b"transfer-encoding", b"expect"))


class Status(Resource):
    """
    Whatever path is asked for.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, answers: Answers, allow: Callable[[str], bool] | None) -> None:
        """
        @param allow: whether a request may be for this host; C{None} where no browser can come, so
            that it does not matter.
        """
        super().__init__()
        self._answers = answers
        self._allow = allow

    def render(self, request: Request) -> int:
        """
        Answer C{request}.
        """
        request.responseHeaders.removeHeader(b"server")
        refusal = self._refusal(request)
        if refusal is not None:
            self._send(refusal, request)
            return NOT_DONE_YET
        answering = self._answers.to(request.path)
        answering.addCallbacks(self._send, self._failed, (request,), errbackArgs=(request,))
        return NOT_DONE_YET

    def _refusal(self, request: Request) -> Answer | None:
        """
        Why C{request} is not answered, if it is not.
        """
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return plain(405, "nothing can be changed here")
        if self._allow is None:
            return None
        said = request.requestHeaders.getRawHeaders(b"host", [])
        if len(said) != 1 or not self._allow(said[0].decode("latin-1")):
            return plain(
                421, "the Host of the request is not this one; ask by address, or as localhost"
            )
        return None

    def _send(self, answer: Answer, request: Request) -> None:
        if request._disconnected:  # there is no other way to ask
            return
        request.setResponseCode(answer.code, HTTPStatus(answer.code).phrase.encode())
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        request.setHeader(b"content-type", answer.kind.encode())
        request.setHeader(b"content-length", str(len(answer.body)).encode())
        if request.method != b"HEAD":
            request.write(answer.body)
        request.finish()

    def _failed(self, failure: Failure, request: Request) -> None:
        if request._disconnected:
            return
        self._log.failure("the status cannot be shown", failure)
        self._send(plain(500, "this went wrong; the log says how"), request)


class Channel(HTTPChannel):
    """
    One connection, for one request.

    @ivar isAnswered: whether that has come.
    """

    totalHeadersSize = MAX_HEADER_BYTES
    maxHeaders = MAX_HEADERS
    site: StatusSite
    isAnswered = False
    _end: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        From now on it has its time.
        """
        super().connectionMade()
        self.site.opened(self)
        self._end = self.site.reactor.callLater(CONNECTION_SECONDS, self.abort)

    def abort(self) -> None:
        """
        End it, whatever is going on.
        """
        transport: Any = self.transport
        transport.abortConnection()

    def headerReceived(self, line: bytes) -> bool:
        """
        There is a line of the header: a request ends with that, whatever it says of a body.
        """
        if line.partition(b":")[0].lower() in _ABOUT_BODIES:
            return True
        isGood: bool = super().headerReceived(line)
        return isGood

    def rawDataReceived(self, data: bytes) -> None:
        """
        Drop what comes behind the header.
        """

    def checkPersistence(self, request: HTTPRequest, version: bytes) -> bool:
        """
        One request is all.
        """
        self.isAnswered = True
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is over.
        """
        self.site.closed(self)
        if self._end is not None and self._end.active():
            self._end.cancel()
        super().connectionLost(reason)


class StatusSite(Site):
    """
    The server at one address.
    """

    noisy = False
    protocol = Channel  # type: ignore[assignment]  # it wants one that knows HTTP/2 too
    requestFactory = Request

    def __init__(self, answers: Answers, allow: Callable[[str], bool] | None, reactor: Any) -> None:
        super().__init__(
            Status(answers, allow),
            reactor=reactor,
            timeout=CONNECTION_SECONDS,
            parsePOSTFormSubmission=False,
        )
        self._channels: dict[Channel, None] = {}

    def opened(self, channel: Channel) -> None:
        """
        There is one more connection.
        """
        self._channels[channel] = None
        if len(self._channels) > CONNECTIONS:
            # Who has not even asked yet leaves first.
            idle = (each for each in self._channels if not each.isAnswered)
            leaving = next(idle, next(iter(self._channels)))
            del self._channels[leaving]
            leaving.abort()

    def closed(self, channel: Channel) -> None:
        """
        There is one less.
        """
        self._channels.pop(channel, None)

    def closeAll(self) -> None:
        """
        End all connections.
        """
        for each in tuple(self._channels):
            each.abort()

    def startFactory(self) -> None:
        """
        There is no log of requests, and no clock for it.
        """

    def stopFactory(self) -> None:
        """
        So there is nothing to stop.
        """

    def log(self, request: HTTPRequest) -> None:
        """
        No line for each request: they come every few seconds.
        """
