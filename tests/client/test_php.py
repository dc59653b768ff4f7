"""
Tests for the example in PHP with a peer that is slow.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time

from twisted.trial.unittest import SkipTest

from tests.client.scripted import OK, PATIENCE, TOP, ClientTests, Control
from tlstunnel.client import VARIABLE


class PHPTests(ClientTests):
    """
    C{docs/example/pool/https.php}.
    """

    def test_aPageThatComesSlowlyIsNotTakenForAllOfIt(self) -> None:
        """
        PHP gives up reading after a while, and says nothing of it.
        """
        php = shutil.which("php")
        if php is None:
            raise SkipTest("NOT TESTED: there is no PHP (Debian package php-cli)")

        def script(control: Control) -> None:
            with control.accepts(OK) as plain:
                plain.sendall(b"HTTP/1.0 200 OK\r\n\r\nhalf of it")
                time.sleep(2)
                with contextlib.suppress(BrokenPipeError):
                    plain.sendall(b", and the rest")
                    control.says("end\nreason=closed\n")

        self.pool(script)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            example = str(TOP / "docs" / "example" / "pool" / "https.php")
            done = subprocess.run(
                [php, "-d", "default_socket_timeout=1", example, "127.0.0.1", port, "/"],
                capture_output=True,
                timeout=PATIENCE,
                check=False,
                env={**os.environ, VARIABLE: self.path},
            )
        if b"socket_create" in done.stderr + done.stdout:
            raise SkipTest("NOT TESTED: PHP has no sockets (Debian package php-common)")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertNotIn(b"half of it", done.stdout)
        self.assertIn(b"the rest of it does not come", done.stderr)
