"""
Web servers: one that knows no TLS, and two that speak nothing else.

All of them show L{PAGE} as C{/page.txt}; GnuTLS' shows a page of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.interop.harness import Daemon

PAGE = "A page that was fetched.\n"


class PlainWeb(Daemon):
    """
    Python's own, without TLS.
    """

    packages = ("python3",)
    title = "http.server"
    program = sys.executable
    services = ("http",)

    def configure(self) -> None:
        self.write("web/page.txt", PAGE)

    def command(self) -> Sequence[str]:
        root = str(self.directory / "web")
        bind = ["--bind", "127.0.0.1", str(self.port)]
        return [self.executable, "-u", "-m", "http.server", "--directory", root, *bind]


class OpenSSLWeb(Daemon):
    """
    C{openssl s_server -WWW}.

    @cvar verify: ask for a certificate of the client, and let only those of our authority in.
    """

    packages = ("openssl",)
    title = "openssl s_server"
    program = "openssl"
    services = ("https",)
    verify = False

    def configure(self) -> None:
        self.write("page.txt", PAGE)

    def command(self) -> Sequence[str]:
        assert self.certificates is not None, "TLS is all it speaks"
        files = self.certificates
        command = [
            *(self.executable, "s_server", "-accept", f"127.0.0.1:{self.port}", "-WWW"),
            *("-cert", str(files.chain), "-cert_chain", str(files.chain), "-key", str(files.key)),
        ]
        if self.verify:
            command += ["-Verify", "3", "-verify_return_error", "-CAfile", str(files.anchors)]
        return command


class OpenSSLWebForClients(OpenSSLWeb):
    """
    The same for clients with a certificate.
    """

    verify = True


class GnuTLSWeb(Daemon):
    """
    C{gnutls-serv --http}.
    """

    packages = ("gnutls-bin",)
    title = "gnutls-serv"
    program = "gnutls-serv"
    services = ("https",)

    def command(self) -> Sequence[str]:
        assert self.certificates is not None, "TLS is all it speaks"
        files = self.certificates
        return [
            *(self.executable, "--http", "--port", str(self.port), "--disable-client-cert"),
            *("--x509certfile", str(files.chain), "--x509keyfile", str(files.key)),
        ]
