"""
Asks responders of OCSP by HTTP (RFC 6960, appendix A).

They are strangers: what they send is bounded in size and time, and they lead nowhere else.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tlstunnel import __version__
from tlstunnel.errors import QUOTED, quote
from tlstunnel.identity.ocsp import LARGEST_ANSWER

#: Seconds for a connection, and for all of it.
CONNECT_SECONDS = 10.0
TOTAL_SECONDS = 30.0

#: The most bytes that one of them may send with all that HTTP has around its answer.
MOST_RECEIVED = 2 * LARGEST_ANSWER

_ANSWER_TYPE = b"application/ocsp-response"


class FetchFailed(Exception):
    """
    Nothing of use came; the message says why.
    """


class Fetcher:
    """
    Asks them.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor), pool)

    async def fetch(self, url: str, question: bytes) -> bytes:
        """
        Ask the responder at C{url}.

        @return: what it has answered, which is to be judged.
        @raise FetchFailed: it has not, in time.
        """
        asked = Deferred.fromCoroutine(self._ask(url, question))
        asked.addTimeout(TOTAL_SECONDS, self._reactor, _late)
        try:
            return await asked
        except (FetchFailed, CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - there are many ways not to reach somebody
            raise FetchFailed(_reason(error)) from None

    async def _ask(self, url: str, question: bytes) -> bytes:
        response = await self._agent.request(
            b"POST",
            url.encode("ascii"),
            Headers(
                {
                    b"Content-Type": [b"application/ocsp-request"],
                    b"Accept": [_ANSWER_TYPE],
                    b"User-Agent": [f"tlstunnel/{__version__}".encode()],
                }
            ),
            FileBodyProducer(BytesIO(question)),
        )
        kinds = response.headers.getRawHeaders(b"Content-Type", [b""])
        problem = ""
        if response.code != 200:
            problem = f"it answered with the status {response.code}"
        elif kinds[0].partition(b";")[0].strip().lower() != _ANSWER_TYPE:
            problem = "what it answered is no response of OCSP"
        body = _Body(problem)
        response.deliverBody(body)
        return await body.whole


class _Bounded(ProtocolWrapper):
    """
    Ends a connection on which too much comes: L{Agent} takes headers without end.
    """

    _received = 0

    def dataReceived(self, data: bytes) -> None:
        """
        Something has come.
        """
        self._received += len(data)
        if self._received <= MOST_RECEIVED:
            super().dataReceived(data)
        else:
            self.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is over.
        """
        isTooMuch = self._received > MOST_RECEIVED
        super().connectionLost(Failure(FetchFailed(_TOO_LARGE)) if isTooMuch else reason)


_TOO_LARGE = "what it answered is too large"


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """
    Connects to one.
    """

    def __init__(self, endpoint: HostnameEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.
        """
        bounded = WrappingFactory(protocolFactory)
        bounded.noisy = False
        bounded.protocol = _Bounded
        connected: Deferred[Any] = self._endpoint.connect(bounded)
        return connected.addCallback(lambda protocol: protocol.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """
    Where they are.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """
        See L{IAgentEndpointFactory}.
        """
        host = uri.host.decode("ascii")
        return _Endpoint(HostnameEndpoint(self._reactor, host, uri.port, timeout=CONNECT_SECONDS))


def _late(_: object, seconds: float) -> NoReturn:
    raise FetchFailed(f"it did not answer in {seconds:.0f} seconds")


def _reason(error: BaseException | None) -> str:
    """
    Why somebody could not be reached, in one line.
    """
    reasons = getattr(error, "reasons", None)
    if reasons and isinstance(reasons[0], Failure):
        # What Agent raises has only a list of failures to say.
        return _reason(reasons[0].value)
    text = " ".join(str(error).split())
    if len(text) > QUOTED or not text.isprintable():
        # It may have words of theirs.
        return quote(text.encode())
    return text.rstrip(".") or type(error).__name__


class _Body(Protocol):
    """
    Collects the body of an answer.

    @ivar whole: fires with it.
    """

    def __init__(self, problem: str) -> None:
        """
        @param problem: why it is not wanted; empty if it is.
        """
        self._parts = bytearray()
        self._problem = problem
        self.whole: Deferred[bytes] = Deferred(lambda _: self._drop())

    def connectionMade(self) -> None:
        """
        It begins.
        """
        if self._problem:
            self._drop()

    def dataReceived(self, data: bytes) -> None:
        """
        A part of it has come.
        """
        self._parts += data
        if len(self._parts) > LARGEST_ANSWER and not self._problem:
            self._problem = _TOO_LARGE
            self._drop()

    def _drop(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is over.
        """
        if self.whole.called:
            return
        if self._problem:
            self.whole.errback(FetchFailed(self._problem))
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._parts))
        else:
            self.whole.errback(FetchFailed("its answer was cut"))
