"""
ftp: behind address translation, and in active mode, with real clients and servers.
"""

from __future__ import annotations

import contextlib
import ftplib
import io
import select
import socket
import threading
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    freePort,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.ftp import CONTENTS, FILE, PASSWORD, USER, ProFTPD, Vsftpd
from tests.interop.test_ftp import LOGIN, NAME, lftp, retrieved

ACTIVE = ("--dialect-option", "active")

#: The address that the network knows, which this host does not serve itself.
OUTSIDE = "127.0.0.2"


class Translation:
    """
    Stands for a router: what comes to a port of L{OUTSIDE} goes on to the same one of 127.0.0.1.
    """

    def __init__(self, *ports: int) -> None:
        self._sockets = [socket.create_server((OUTSIDE, port)) for port in ports]
        for sock in self._sockets:
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def close(self) -> None:
        """
        Forward nothing more.
        """
        for sock in self._sockets:
            # Else a thread would wait in accept for ever.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = sock.accept()
                port = sock.getsockname()[1]
                threading.Thread(target=self._forward, args=(near, port), daemon=True).start()

    def _forward(self, near: socket.socket, port: int) -> None:
        with (
            contextlib.suppress(OSError),
            near,
            socket.create_connection(("127.0.0.1", port)) as far,
        ):
            others = {near: far, far: near}
            left = [near, far]
            while left:
                for sock in select.select(left, (), ())[0]:
                    data = sock.recv(65536)
                    others[sock].sendall(data)
                    if not data:
                        left.remove(sock)
                        others[sock].shutdown(socket.SHUT_WR)


def believing(client: ftplib.FTP) -> ftplib.FTP:
    """
    Let C{client} connect to whatever address it is told, as clients of the past do.
    """
    client.trust_server_pasv_ipv4_address = True  # type: ignore[attr-defined]
    return client


def hasPort(client: ftplib.FTP) -> bool:
    """
    Whether there is one for its data.
    """
    try:
        client.makepasv()
    except ftplib.error_temp:
        return False
    return True


class ClientModeTests(InteropTestCase):
    """
    Clients without TLS, and a server that demands it, with the session of the control connection.
    """

    server: ClassVar[ProFTPD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(ProFTPD(stage.directory("proftpd"), stage.authority.issue(NAME)))

    def setUp(self) -> None:
        super().setUp()
        self.remote = f"127.0.0.1:{self.server.port}"

    def test_activeMode(self) -> None:
        """
        By three clients, of which curl has two ways to ask for it.
        """
        tunnel = self.clientMode(self.remote, NAME, "ftp", *ACTIVE)
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login(USER, PASSWORD)
            client.set_pasv(False)
            self.assertIn(FILE, client.nlst())
            self.assertEqual(retrieved(client, FILE), CONTENTS)
            client.storbinary("STOR ftplib.txt", io.BytesIO(CONTENTS))
            self.assertRaises(ftplib.error_perm, retrieved, client, "no-such-file")
            self.assertRaises(ftplib.error_perm, client.sendport, "127.0.0.2", 2000)
            self.assertRaises(ftplib.error_perm, client.sendport, "127.0.0.1", 25)
            client.set_pasv(True)
            self.assertEqual(retrieved(client, "ftplib.txt"), CONTENTS)
        url = f"ftp://127.0.0.1:{tunnel.port}/"
        for how in ((), ("--disable-eprt",)):
            active = ["curl", "-sS", "--user", LOGIN, "--ftp-port", "127.0.0.1", *how]
            run([*active, url]).expect(FILE)
            run([*active, url + FILE]).expect(CONTENTS.decode())
            run([*active, "-T", "-", url + "curl.txt"], "sent").expect()
            self.assertEqual((self.server.home / "curl.txt").read_text(), "sent")
        login = f"--user {USER} --password '{PASSWORD}'"
        settings = ["ftp:ssl-allow false", "ftp:passive-mode false"]
        run(lftp(tunnel.port, settings, f"cls; cat {FILE}", login)).expect(FILE, CONTENTS.decode())
        record("ftp", "client", self.server, "active mode by ftplib, curl and lftp")

    def test_addressTranslation(self) -> None:
        """
        The app connects for data to the address and the port that it is told, one after the other;
        and while somebody else has the port, it is told so.
        """
        port = freePort()
        option = "--dialect-option"
        given = (option, f"address={OUTSIDE}", option, f"ports={port}-{port}")
        tunnel = self.clientMode(self.remote, NAME, "ftp", *given)
        translation = Translation(tunnel.port, port)
        self.addCleanup(translation.close)
        with ftplib.FTP(timeout=20) as client:
            believing(client).connect(OUTSIDE, tunnel.port)
            client.login(USER, PASSWORD)
            for _ in range(3):
                self.assertEqual(client.makepasv(), (OUTSIDE, port))
                self.assertIn(FILE, client.nlst())
                self.assertEqual(retrieved(client, FILE), CONTENTS)
            with socket.create_server(("127.0.0.1", port)):
                self.assertRaises(ftplib.error_temp, client.makepasv)
            until(lambda: "give a wider range" in tunnel.log, "what to do")
            until(lambda: hasPort(client), "a port")
            client.storbinary("STOR outside.txt", io.BytesIO(CONTENTS))
        self.assertEqual((self.server.home / "outside.txt").read_bytes(), CONTENTS)
        record("ftp", "client", self.server, "files listed and transferred with address and ports")


class VsftpdTests(InteropTestCase):
    """
    A server that connects to nobody, and is strict about sessions and ends.
    """

    server: ClassVar[Vsftpd]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.server = stage.start(Vsftpd(stage.directory("vsftpd"), stage.authority.issue(NAME)))

    def test_activeMode(self) -> None:
        """
        With C{port_enable=NO} the app has it all the same.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.server.port}", NAME, "ftp", *ACTIVE)
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", tunnel.port)
            client.login()
            client.set_pasv(False)
            self.assertIn(FILE, client.nlst())
            for _ in range(2):
                self.assertEqual(retrieved(client, FILE), CONTENTS)
            client.storbinary("STOR in/active.txt", io.BytesIO(CONTENTS))
        self.assertEqual((self.server.home / "in" / "active.txt").read_bytes(), CONTENTS)
        record("ftp", "client", self.server, "active mode by ftplib")


class ServerModeTests(InteropTestCase):
    """
    A server without TLS, and clients that insist on it.
    """

    server: ClassVar[ProFTPD]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1", OUTSIDE)
        cls.server = stage.start(ProFTPD(stage.directory("proftpd")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.backend = f"127.0.0.1:{self.server.port}"

    def test_activeMode(self) -> None:
        """
        The client, who is connected to, is the client in TLS as well.  No curl is here: 7.88 hangs,
        whatever the server.
        """
        port = self.serverMode(self.backend, NAME, "ftp", *ACTIVE).port
        with ftplib.FTP_TLS(timeout=20, context=verified(self.anchors)) as client:
            client.connect("127.0.0.1", port)
            client.login(USER, PASSWORD)
            client.prot_p()
            client.set_pasv(False)
            self.assertIn(FILE, client.nlst())
            self.assertEqual(retrieved(client, FILE), CONTENTS)
            client.storbinary("STOR ftplib.txt", io.BytesIO(CONTENTS))
            self.assertRaises(ftplib.error_perm, client.sendport, "127.0.0.2", 2000)
        self.assertEqual((self.server.home / "ftplib.txt").read_bytes(), CONTENTS)
        settings = [
            f"ssl:ca-file {self.anchors}",
            "ssl:verify-certificate true",
            "ftp:ssl-force true",
            "ftp:ssl-protect-data true",
            "ftp:ssl-protect-list true",
            "ftp:passive-mode false",
        ]
        login = f"--user {USER} --password '{PASSWORD}'"
        run(lftp(port, settings, f"cls; cat {FILE}", login)).expect(FILE, CONTENTS.decode())
        record("ftp", "server", "ftplib", "active mode")
        record("ftp", "server", "lftp", "active mode")

    def test_addressTranslation(self) -> None:
        """
        The client finds the tunnel where the network knows it, for data too; two tunnels share the
        range, and give their turns.
        """
        port = freePort()
        option = "--dialect-option"
        given = (option, f"address={OUTSIDE}", option, f"ports={port}-{port}")
        tunnels = [self.serverMode(self.backend, NAME, "ftp", *given) for _ in range(2)]
        translation = Translation(port, *(tunnel.port for tunnel in tunnels))
        self.addCleanup(translation.close)
        clients = []
        for tunnel in tunnels:
            client = ftplib.FTP_TLS(timeout=20, context=verified(self.anchors))
            self.addCleanup(client.close)
            believing(client).connect(OUTSIDE, tunnel.port)
            client.login(USER, PASSWORD)
            client.prot_p()
            clients.append(client)
        one, other = clients
        for _ in range(2):
            for client in clients:
                self.assertEqual(retrieved(client, FILE), CONTENTS)
        self.assertEqual(one.makepasv(), (OUTSIDE, port))
        self.assertRaises(ftplib.error_temp, other.makepasv)
        one.quit()
        until(lambda: hasPort(other), "a port")
        self.assertIn(FILE, other.nlst())
        url = f"ftp://{OUTSIDE}:{tunnels[0].port}/{FILE}"
        fetch = ["curl", "-sS", "--ssl-reqd", "--cacert", str(self.anchors), "--user", LOGIN]
        run([*fetch, "--disable-epsv", "--no-ftp-skip-pasv-ip", url]).expect(CONTENTS.decode())
        record("ftp", "server", "curl", "a file fetched with address and ports")
        record("ftp", "server", "ftplib", "files fetched with address and ports")
