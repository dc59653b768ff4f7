"""
Prosody: xmpp-client and xmpp-server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import Daemon, ServerCertificate

USER = "alice"
PASSWORD = "down the rabbit hole"

CONFIGURATION = """\
pidfile = "{directory}/pid"
data_path = "{directory}/data"
certificates = "{directory}"
plugin_paths = {{}}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
s2s_ports = {{ {s2s} }}
c2s_direct_tls_ports = {{}}
s2s_direct_tls_ports = {{}}
modules_enabled = {{ "roster", "saslauth", "dialback", "disco", "ping", {modules} }}
modules_disabled = {{ "posix", "offline" }}
storage = "internal"
authentication = "internal_plain"
s2s_secure_auth = false
log = {{ debug = "*console" }}
unbound = {{
  resolvconf = false;
  options = {{ ["local-zone:"] = ". static"; ["local-data:"] = "{peer}" }};
}}
{tls}
VirtualHost "{domain}"
"""

STARTTLS = """\
c2s_require_encryption = true
s2s_require_encryption = true
ssl = {{ certificate = "{chain}"; key = "{key}"; cafile = "{anchors}" }}"""

PLAINTEXT = """\
c2s_require_encryption = false
s2s_require_encryption = false
allow_unencrypted_plain_auth = true"""

#: The only thing that it can learn from its resolver, which asks nobody.
PEER = "_xmpp-server._tcp.{domain}. IN SRV 0 0 {port} localhost."


class Prosody(Daemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS, login in clear.

    One account, L{USER} with L{PASSWORD}.  Another server proves its domain by dialback.

    @ivar domain: what it serves.
    @ivar peer: the domain of another server, and the port on loopback where that is reached; to be
        set before the start.
    """

    packages = ("prosody",)
    title = "Prosody"
    program = "prosody"
    services: ClassVar[tuple[str, ...]] = ("c2s", "s2s")
    user = "prosody"

    def __init__(
        self,
        directory: Path,
        certificates: ServerCertificate | None = None,
        domain: str = "test.example",
    ) -> None:
        super().__init__(directory, certificates)
        self.domain = domain
        self.peer = ("nobody.test.example", 9)

    def configure(self) -> None:
        tls, modules = PLAINTEXT, ""
        if self.certificates is not None:
            tls = STARTTLS.format(
                chain=self.certificates.chain,
                key=self.certificates.key,
                anchors=self.certificates.anchors,
            )
            modules = '"tls"'
        peer, port = self.peer
        text = CONFIGURATION.format(
            directory=self.directory,
            domain=self.domain,
            modules=modules,
            peer=PEER.format(domain=peer, port=port),
            tls=tls,
            **self.ports,
        )
        self.write("prosody.cfg.lua", text)
        host = "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in self.domain)
        account = f'return {{ ["password"] = "{PASSWORD}"; }};\n'
        self.write(f"data/{host}/accounts/{USER}.dat", account)

    def command(self) -> Sequence[str]:
        return [self.executable, "-F", "--config", str(self.directory / "prosody.cfg.lua")]
