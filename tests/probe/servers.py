"""
Servers that are set up wrongly, on real loopback sockets, each in threads of its own: what they say
in clear is a script, and their TLS is what pyOpenSSL can be talked into.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.certificates import Issued, Recipe, alternative, dns, intermediate, make, named, root
from tlstunnel.commands.probe import ProbeOptions, shown
from tlstunnel.probe.inquiry import Inquiry
from tlstunnel.probe.report import Report

reactor: Any = _reactor

#: Who the servers are.
NAME = "mail.example.org"

#: Seconds after which a blocking call of a script fails.
PATIENCE = 10.0

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

#: What a server does with a connection.
Script = Callable[[socket.socket], None]


def leaf(issuer: Issued | None = None, **changes: Any) -> Issued:
    """A certificate for L{NAME}, in order but for C{changes}."""
    settings: dict[str, Any] = {"san": alternative(dns(NAME)), "subject": named(NAME)}
    return make(Recipe(**(settings | changes)), issuer or root())


def context(
    issued: Issued, chain: tuple[Any, ...] | None = None, method: int = SSL.TLS_SERVER_METHOD
) -> SSL.Context:
    """What a server with that certificate speaks TLS with, however weak it is."""
    found = SSL.Context(method)
    found.set_cipher_list(b"ALL:@SECLEVEL=0")
    found.use_certificate(issued.certificate)
    found.use_privatekey(issued.key)
    for each in issued.chain[1:] if chain is None else chain:
        found.add_extra_chain_cert(each)
    return found


def handshake(sock: socket.socket, with_: SSL.Context) -> SSL.Connection:
    """Speak TLS on C{sock} from here on."""
    connection = SSL.Connection(with_, sock)
    connection.set_accept_state()
    connection.do_handshake()
    return connection


def secure(with_: SSL.Context, said: bytes = b"") -> Script:
    """TLS from the first byte, and what is said inside it."""

    def script(sock: socket.socket) -> None:
        connection = handshake(sock, with_)
        if said:
            connection.send(said)
        while connection.recv(4096):
            pass

    return script


def readLine(sock: socket.socket) -> bytes:
    """A line, as it is said in clear."""
    line = b""
    while not line.endswith(b"\n"):
        said = sock.recv(1)
        if not said:
            raise ConnectionError("an end within a line")
        line += said
    return line


def smtp(
    then: Script | None = None,
    *,
    lists: bool = True,
    answer: bytes = b"220 2.0.0 Ready to start TLS\r\n",
    pause: float = 0,
) -> Script:
    """
    SMTP up to the switch.

    @param lists: whether STARTTLS is among the extensions.
    @param answer: that to STARTTLS.
    @param pause: seconds between two bytes of the greeting.
    """

    def script(sock: socket.socket) -> None:
        for byte in b"220 mail.example.org ESMTP\r\n":
            sock.sendall(bytes([byte]))
            time.sleep(pause)
        readLine(sock)
        listed = b"250-PIPELINING\r\n250 STARTTLS\r\n" if lists else b"250 PIPELINING\r\n"
        sock.sendall(b"250-mail.example.org\r\n" + listed)
        readLine(sock)
        sock.sendall(answer)
        if then is not None:
            then(sock)
        else:
            sock.recv(4096)

    return script


def says(words: bytes) -> Script:
    """A server that says something, and answers nothing."""

    def script(sock: socket.socket) -> None:
        sock.sendall(words)
        while sock.recv(4096):
            pass

    return script


def web(sock: socket.socket) -> None:
    """HTTP without TLS."""
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def silent(sock: socket.socket) -> None:
    """Takes everything, and says nothing."""
    while sock.recv(4096):
        pass


def halfOpen(sock: socket.socket) -> None:
    """Has ended its direction from the beginning."""
    sock.shutdown(socket.SHUT_WR)
    silent(sock)


def resetting(sock: socket.socket) -> None:
    """Resets the connection, once it is there for both sides."""
    time.sleep(0.1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


class Server:
    """
    Does the same with every connection.
    """

    def __init__(self, script: Script, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family)
        self.port: int = self._listening.getsockname()[1]
        self._script = script
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                # Blocking, as OpenSSL takes the socket as it is.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
                self._open.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, SSL.Error):
            self._script(sock)
        with suppress(OSError):
            sock.close()

    def stop(self) -> None:
        """
        Close everything.
        """
        for each in (self._listening, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(PATIENCE)


class ProbeTestCase(TestCase):
    """
    Base of tests that probe a server.
    """

    timeout = 60

    def serve(self, script: Script, host: str = "127.0.0.1", port: int = 0) -> int:
        """
        Start a server for this test.

        @return: its port.
        """
        server = Server(script, host, port)
        self.addCleanup(server.stop)
        return server.port

    def anchors(self) -> str:
        """
        A file with the usual root.
        """
        path = Path(self.mktemp())
        path.write_bytes(root().certificate.public_bytes(Encoding.PEM))
        return str(path)

    async def probe(self, *words: str) -> tuple[Report, list[str]]:
        """
        Probe as the command line does.

        @return: what was found, and the lines that are printed.
        """
        options = ProbeOptions()
        if "--trust" not in words:
            words = (*words, "--trust", self.anchors())
        if "--timeout" not in words:
            words = (*words, "--timeout", "0.7")
        options.parseOptions(list(words))
        report = await Inquiry(options.question(), reactor).run()
        text = shown(report, options)
        # What lingers has still to be forgotten by the reactor.
        pause: Deferred[None] = Deferred()
        reactor.callLater(0, pause.callback, None)
        await pause
        return report, text.splitlines()


def belowIntermediate() -> Issued:
    """A certificate that needs an intermediate one."""
    return leaf(intermediate())
