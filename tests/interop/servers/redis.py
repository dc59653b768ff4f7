"""
Redis: a server of lines on TCP, with TLS from the first byte or without.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.interop.harness import Daemon


class Redis(Daemon):
    """
    With certificates: TLS only.  Without: no TLS.
    """

    packages = ("redis-server",)
    title = "Redis"
    program = "redis-server"
    services = ("redis",)

    def command(self) -> Sequence[str]:
        settings = {"bind": "127.0.0.1", "save": "", "dir": str(self.directory)}
        if self.certificates is None:
            settings["port"] = str(self.port)
        else:
            settings |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-cert-file": str(self.certificates.chain),
                "tls-key-file": str(self.certificates.key),
                "tls-ca-cert-file": str(self.certificates.chain),
                "tls-auth-clients": "no",
            }
        words = [word for key, value in settings.items() for word in (f"--{key}", value)]
        return [self.executable, *words]
