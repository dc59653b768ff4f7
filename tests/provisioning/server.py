"""
A directory that says whatever it is told to say, at a UNIX socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.protocol import Protocol, ServerFactory

from tests.provisioning.examples import result
from tlstunnel.protocols.ber import elements, measure
from tlstunnel.provisioning import sync
from tlstunnel.provisioning.messages import Message, readMessage

#: What is said to a search: bytes made with its number; C{None} closes the connection.
Say = Callable[[int], bytes]
Line = Say | None


class _Speaker(Protocol):
    factory: FakeDirectory
    transport: Any

    def connectionMade(self) -> None:
        self._data = b""
        self.factory.speakers.append(self)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        while (sizes := measure(self._data)) is not None and sum(sizes) <= len(self._data):
            whole, self._data = self._data[: sum(sizes)], self._data[sum(sizes) :]
            ((_, content),) = elements(whole)
            self.factory.asked(self, readMessage(content))


class FakeDirectory(ServerFactory):
    """
    @ivar scripts: what is said to the search of each connection; the last one to all others.
    @ivar cookies: what each search had.
    @ivar numbers: that of each search.
    @ivar results: of changes, in their order.
    @ivar changes: the operations that were asked for.
    """

    protocol = _Speaker  # type: ignore[assignment]
    noisy = False

    def __init__(self, *scripts: Sequence[Line]) -> None:
        self.scripts: Sequence[Sequence[Line]] = scripts
        self.speakers: list[_Speaker] = []
        self.cookies: list[bytes] = []
        self.numbers: list[int] = []
        self.bound = 0
        self.results: list[int] = []
        self.changes: list[int] = []
        self.bindResult = 0

    def asked(self, speaker: _Speaker, message: Message) -> None:
        """
        A client wants something.
        """
        if message.operation == 0x60:
            self.bound += 1
            speaker.transport.write(result(message.number, 0x61, self.bindResult))
        elif message.operation in (0x66, 0x68):
            self.changes.append(message.operation)
            code = self.results.pop(0)
            speaker.transport.write(result(message.number, message.operation + 1, code))
        elif message.operation == 0x63:
            control = message.control(sync.REQUEST) or b""
            ((_, fields),) = elements(control)
            cookie = [content for tag, content in elements(fields) if tag == 4]
            self.cookies.append(cookie[0] if cookie else b"")
            self.numbers.append(message.number)
            script = self.scripts[min(len(self.cookies), len(self.scripts)) - 1]
            for line in script:
                if line is None:
                    speaker.transport.loseConnection()
                else:
                    speaker.transport.write(line(message.number))

    def say(self, line: Say) -> None:
        """
        To the last one who has searched.
        """
        self.speakers[-1].transport.write(line(self.numbers[-1]))
