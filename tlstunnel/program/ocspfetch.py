"""
Asks responders of OCSP by HTTP (RFC 6960, appendix A).

They are strangers: what they send is bounded in size and time, and they lead nowhere else.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from tlstunnel import __version__
from tlstunnel.identity.ocsp import LARGEST_ANSWER

#: Seconds for a connection, and for all of it.
CONNECT_SECONDS = 10.0
TOTAL_SECONDS = 30.0

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
        self._agent = Agent(reactor, connectTimeout=CONNECT_SECONDS, pool=pool)

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
            self._problem = "what it answered is too large"
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
