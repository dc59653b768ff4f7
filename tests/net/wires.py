"""
Both ends of a wire on real sockets, for tests.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.legs import creator
from tlstunnel.tls.records import RECORD_BYTES

#: What a wire reads at most, in these tests.
SIZE = 4 * RECORD_BYTES


class WireTests(SynchronousTestCase):
    """
    Base class of tests with a socket and its peer.
    """

    def setUp(self) -> None:
        """
        Neither blocks.
        """
        self.near, self.far = self.pair()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        Two sockets, connected over TCP.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near = listener.accept()[0]
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.addCleanup(sock.close)
        return near, far

    def secured(self) -> tuple[SSL.Connection, SSL.Connection]:
        """
        Two ends of TLS: one to be read, and its peer.
        """
        self.near, self.far = self.pair()
        made = creator()
        near = SSL.Connection(made.context, self.near)
        near.set_app_data(made.session())
        far = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), self.far)
        near.set_accept_state()
        far.set_connect_state()
        for each in (far, near) * 3:
            try:
                each.do_handshake()
            except SSL.WantReadError:
                pass
        return near, far
