"""
Tunnels whose pool follows a directory, and clients that look at whom they meet.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from pathlib import Path

from cryptography import x509

from tests.interop.processes import Process
from tests.interop.replicas import NAME, Replica
from tests.interop.servers.syncprov import REPLICA
from tests.interop.tunnel import ENVIRONMENT
from tests.ports import freePort

PATIENCE = 20.0


class FollowingTunnel(Process):
    """
    C{tlstunnel --config FILE}: a server tunnel with several names, and C{[pool-pull]}.

    @ivar port: where it listens.
    """

    def __init__(
        self,
        directory: Path,
        replica: Replica,
        *names: str,
        process: str = "",
        tunnel: str = "",
        follows: bool = True,
    ) -> None:
        """
        @param process: lines of the table C{process}.
        @param tunnel: lines of the table of the tunnel.
        @param follows: whether it follows the directory itself.
        """
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.port = freePort()
        self.status = directory / "status.sock"
        self.file = directory / "tlstunnel.toml"
        self.text = f"""\
[process]
{process}

[status]
local = "{self.status}"

[defaults]
pool = "{replica.path}"

[tunnel.web]
mode = "server"
local = "127.0.0.1:{self.port}"
remote = "127.0.0.1:{freePort()}"
local-id = {json.dumps(names)}
{tunnel}
"""
        if follows:
            self.text += f"""
[pool-pull]
url = "{replica.url}"
local-id = "{REPLICA}"
remote-id = "{NAME}"
"""

    def start(self) -> None:
        """
        @raise AssertionError: it ended, or does not listen in time; carries its log.
        """
        self.file.write_text(self.text)
        self.spawn(
            [sys.executable, "-m", "tlstunnel", "--config", str(self.file)],
            [self.port],
            environment=ENVIRONMENT,
        )

    def shown(self, name: str, anchors: Path) -> x509.Certificate | None:
        """
        Which certificate a client sees that asks for C{name}; C{None} if it is refused as one that
        nobody has.

        @raise OSError: it is refused in another way.
        """
        try:
            with self.connected(name, anchors) as tls:
                der = tls.getpeercert(True)
                assert der is not None
                return x509.load_der_x509_certificate(der)
        except ssl.SSLError as error:
            if "UNRECOGNIZED_NAME" not in str(error):
                raise
            return None

    def connected(self, name: str, anchors: Path) -> ssl.SSLSocket:
        """
        A connection that is up.
        """
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        try:
            return self.context(anchors).wrap_socket(sock, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    @staticmethod
    def context(anchors: Path) -> ssl.SSLContext:
        """
        What clients speak TLS with.
        """
        context = ssl.create_default_context()
        context.load_verify_locations(anchors)
        return context

    def document(self) -> dict[str, object]:
        """
        What the status says.
        """
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.status))
            sock.sendall(b"GET /status.json HTTP/1.0\r\n\r\n")
            data = b""
            while piece := sock.recv(65536):
                data += piece
        found: dict[str, object] = json.loads(data.partition(b"\r\n\r\n")[2])
        return found
