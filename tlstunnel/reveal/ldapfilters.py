"""
What flows between a client and the LDAP server, once the client has been introduced.

Each request of the client gets a control that says for whom it is, or is answered by us.  Answers
come in any order in LDAP, but not within each other: ours are put between two messages of the
server.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from tlstunnel.errors import Oversize, TooManyErrors, TunnelError
from tlstunnel.interfaces import ISpontaneous
from tlstunnel.protocols.ber import measure
from tlstunnel.protocols.filters import PIECE_BYTES, Filter
from tlstunnel.protocols.ldap import (
    ABANDON_REQUEST,
    BIND_REQUEST,
    RESPONSES,
    UNBIND_REQUEST,
    result,
)
from tlstunnel.reveal.ldapcontrols import actingFor, objection, passing
from tlstunnel.reveal.ldaplogin import ANONYMOUS, Client, bind
from tlstunnel.reveal.ldapmessages import Request, readRequest

#: Bytes of a request at most: of somebody whom nobody knows, and of a user.
MAX_ANONYMOUS_BYTES = 262144
MAX_BYTES = 1048576

#: Bytes of answers that a client has not taken yet.
MAX_ANSWERS = 65536


@implementer(ISpontaneous)
class Responses(Filter):
    """
    Passes what the server says, and what we have to say between two of its messages.
    """

    wake: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        super().__init__()
        self._answers = bytearray()
        # Bytes of the message under way that are still to come; what is kept is its beginning.
        self._missing = 0

    def answer(self, message: bytes) -> None:
        """
        Tell the client something.

        @raise TooManyErrors: if it does not take what it is told.
        """
        self._answers += message
        if len(self._answers) > MAX_ANSWERS:
            raise TooManyErrors("the peer goes on with what is refused, and does not read")
        self.wake()

    def feed(self, data: bytes) -> bytes:
        """
        Take what arrived.
        """
        said = bytearray()
        at = 0
        while at < len(data):
            if not self._missing:
                said += self._takeAnswers()
                self._kept.append(data[at])
                at += 1
                measured = measure(self._kept)
                if measured is not None:
                    said += self._kept
                    self._kept.clear()
                    self._missing = measured[1]
                    self.messages += 1
            else:
                part = data[at : at + self._missing]
                said += part
                at += len(part)
                self._missing -= len(part)
        if not self._missing:
            said += self._takeAnswers()
        self.pieceBytes = max(PIECE_BYTES, self._missing)
        return bytes(said)

    def _takeAnswers(self) -> bytes:
        answers = bytes(self._answers)
        self._answers.clear()
        return answers


class Requests(Filter):
    """
    Lets the client's requests pass, each for whom the client has proved to be, or for nobody.
    """

    def __init__(self, client: Client, responses: Responses) -> None:
        super().__init__()
        self._client = client
        self._responses = responses
        self._authzID = ANONYMOUS

    def feed(self, data: bytes) -> bytes:
        """
        Take what arrived; see L{Filter.feed}.
        """
        try:
            return self._take(data)
        except TunnelError as error:
            error.unquoted()
            raise

    def _take(self, data: bytes) -> bytes:
        kept = self._kept
        kept += data
        passed = bytearray()
        self.pieceBytes = PIECE_BYTES
        while (measured := measure(kept)) is not None:
            start, length = measured
            most = MAX_BYTES if self._authzID else MAX_ANONYMOUS_BYTES
            if length > most:
                raise Oversize(f"a request of {length} bytes, where {most} are the most")
            if len(kept) < start + length:
                # The rest is only awaited.
                self.pieceBytes = max(PIECE_BYTES, start + length - len(kept))
                break
            request = readRequest(bytes(kept[start : start + length]))
            del kept[: start + length]
            # It may have an element in every other byte.
            self.messages += 1 + length // PIECE_BYTES
            passed += self._judge(request)
        return bytes(passed)

    def flush(self) -> bytes:
        """
        Half a request is none.
        """
        self._kept.clear()
        return b""

    def _judge(self, request: Request) -> bytes:
        """
        @return: what the server is told.
        """
        if request.operation in (UNBIND_REQUEST, ABANDON_REQUEST):
            # They have no answer, and are about the client's own requests.
            return request.written(())
        if request.operation == BIND_REQUEST:
            # Whoever fails is nobody (RFC 4513, section 4).
            self._authzID = ANONYMOUS
        why = objection(request)
        if why is not None:
            self._answer(request, *why)
            return b""
        if request.operation == BIND_REQUEST:
            verdict = bind(self._client, request.fields)
            self._authzID = verdict.authzID
            self._answer(request, verdict.code, verdict.words)
            return b""
        # Ours is the first, so that the others are looked at for whom the request is.
        return request.written((actingFor(self._authzID), *passing(request.controls)))

    def _answer(self, request: Request, code: int, words: str) -> None:
        response = RESPONSES[request.operation]
        self._responses.answer(result(request.messageID, response, code, words))
