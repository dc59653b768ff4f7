"""
C{pool pull} beside C{pool serve}: what the operator writes into the directory is what clients see.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time

from cryptography import x509

from tests.interop.harness import until
from tests.interop.poolprocess import PoolProcess
from tests.interop.replicas import PullTestCase, Replica, entry, removed, replaced
from tlstunnel.client import PoolError, asServer

WWW = "www.example.test"
PATIENCE = 20.0


class ServiceTests(PullTestCase):
    """
    A replica whose pool is served to programs.
    """

    def setUp(self) -> None:
        super().setUp()
        self.slapd.start()
        self.follower: Replica = self.replica()
        self.follower.request(WWW)
        self.follower.start()
        until(lambda: self.follower.says("up to date"), "it is up to date")
        self.service = PoolProcess(self.stage.directory("service"), self.follower.path)
        self.stage.started.append(self.service)
        self.service.start()
        self.addCleanup(self.service.stop)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)

    def shown(self) -> x509.Certificate | None:
        """
        Which certificate a client sees; C{None} if the program is refused.
        """
        refused: list[PoolError] = []

        def serve() -> None:
            sock, _ = self.listener.accept()
            sock.settimeout(PATIENCE)
            try:
                asServer(sock, WWW, client="ignore", path=str(self.service.socket)).close()
            except PoolError as error:
                refused.append(error)

        context = ssl.create_default_context()
        context.load_verify_locations(self.files.anchors)
        server = threading.Thread(target=serve)
        server.start()
        try:
            with (
                socket.create_connection(self.listener.getsockname(), PATIENCE) as sock,
                context.wrap_socket(sock, server_hostname=WWW) as tls,
            ):
                der = tls.getpeercert(True)
                assert der is not None
                return x509.load_der_x509_certificate(der)
        except OSError:
            server.join()
            if not refused:
                raise
            return None
        finally:
            server.join()

    def test_fromTheWriteToTheHandshake(self) -> None:
        """
        The next handshake has the new certificate, and none the one that is withdrawn.
        """
        self.assertIsNone(self.shown())
        for age in range(4):
            certificate = self.follower.certificate(WWW, after=5 * age)
            change = (replaced if age else entry)(WWW, [certificate])
            began = time.monotonic()
            self.slapd.change(change)
            until(lambda: self.shown() == certificate, "it is shown")  # noqa: B023
            print(f"from the write to the handshake: {1000 * (time.monotonic() - began):.0f} ms")
        began = time.monotonic()
        self.slapd.change(removed(WWW))
        until(lambda: self.shown() is None, "nobody is shown any more")
        print(f"from the withdrawal to the refusal: {1000 * (time.monotonic() - began):.0f} ms")
