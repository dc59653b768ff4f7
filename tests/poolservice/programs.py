"""
Programs that speak the pool's own protocol with a service in this process, over a real socket.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThread

from tests.loopback import PATIENCE, Encrypted
from tests.poolservice.stage import HandOverTests, reactor
from tlstunnel.local.quotas import Quotas
from tlstunnel.net.listen import Bound
from tlstunnel.net.port import ListeningPort
from tlstunnel.poolservice.native import NativePrograms


def parse(data: bytes) -> tuple[str, dict[str, str]]:
    """
    The verb and the fields of an answer.
    """
    verb, _, rest = data.decode().partition("\n")
    return verb, dict(line.partition("=")[::2] for line in rest.splitlines() if line)


class Asking:
    """
    A program, with blocking calls.
    """

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)

    def send(self, verb: str, *descriptors: int, **fields: object) -> None:
        """
        Ask something.
        """
        text = f"{verb}\n" + "".join(f"{key}={said}\n" for key, said in fields.items())
        socket.send_fds(self.sock, [text.encode()], list(descriptors))

    def answer(self) -> tuple[str, dict[str, str]]:
        """
        The next answer, without a socket.
        """
        verb, fields, sock = self.whole()
        assert sock is None
        return verb, fields

    def whole(self) -> tuple[str, dict[str, str], socket.socket | None]:
        """
        The next answer; nothing at the end.
        """
        data, descriptors, _, _ = socket.recv_fds(self.sock, 65536, 4)
        assert len(descriptors) < 2
        sock = None
        for each in descriptors:
            sock = socket.socket(fileno=each)
            sock.settimeout(PATIENCE)
        return *parse(data), sock

    def ask(self, verb: str, **fields: object) -> tuple[str, dict[str, str]]:
        """
        Ask, and be answered.
        """
        self.send(verb, **fields)
        return self.answer()

    def tls(self, sock: socket.socket, **fields: object) -> None:
        """
        Hand C{sock} over.
        """
        self.send("tls", sock.fileno(), **fields)
        sock.close()

    def taken(self) -> tuple[dict[str, str], socket.socket]:
        """
        The plaintext socket, and what is known of the connection.
        """
        verb, fields, sock = self.whole()
        assert verb == "ok" and sock is not None, (verb, fields)
        return fields, sock

    def refused(self) -> tuple[str, str]:
        """
        Why there is none.
        """
        verb, fields = self.answer()
        assert verb == "error", (verb, fields)
        return fields["reason"], fields["detail"]

    def howEnded(self) -> str:
        """
        What the end was.
        """
        verb, fields = self.answer()
        assert verb == "end", (verb, fields)
        return fields["reason"]

    def close(self) -> None:
        """
        Ask no more.
        """
        self.sock.close()


class NativeTests(HandOverTests):
    """
    Base class.
    """

    perUser = 0

    def setUp(self) -> None:
        """
        Let programs connect.
        """
        super().setUp()
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.path = f"{directory}/pool.sock"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        sock.bind(self.path)
        sock.listen(4096)
        self.quotas = Quotas(self.perUser)
        self.programs = NativePrograms(self.handOvers, self.quotas)
        self.port = ListeningPort(
            reactor, self.handOvers.deadlines, Bound(sock), self.programs.accepted
        )
        self.addCleanup(self.port.stopListening)
        self.addCleanup(self.programs.close)
        self.port.startListening()

    def program(self) -> Asking:
        """
        One that has connected.
        """
        program = Asking(self.path)
        self.addCleanup(program.close)
        return program

    def peer(self, sock: socket.socket, isClient: bool, showing: Any = None) -> Encrypted:
        """
        The other end of what is handed over.
        """
        context = self.context(isClient, showing)
        return Encrypted(sock, context, isClient, b"server.example.org" if isClient else b"")

    async def inThread(self, script: Callable[[], Any]) -> Any:
        """
        Run what blocks.
        """
        return await deferToThread(script)

    def handedOver(
        self,
        program: Asking,
        preamble: Callable[[socket.socket], object] = lambda sock: None,
        showing: Any = None,
        **fields: object,
    ) -> Encrypted:
        """
        Hand a connection over, and come to TLS at its other end.
        """
        ours, theirs = self.pair()
        program.tls(ours, **fields)
        network = self.peer(theirs, fields["role"] == "server", showing)
        preamble(theirs)
        network.handshake()
        return network
