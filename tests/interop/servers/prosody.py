"""
Prosody: xmpp-client and xmpp-server, and the DNS server from which it learns where others are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
unbound = {{ resolvconf = false; hoststxt = false; {resolver} }}
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

#: Of a domain that is not on this host Prosody learns nothing, and asks nobody in the world.
RESOLVER = 'forward = {{ "127.0.0.1@{port}" }}; options = {{ ["do-not-query-localhost:"] = "no" }};'


class Prosody(Daemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS, login in clear.

    One account, L{USER} with L{PASSWORD}.  Another server proves its domain by dialback.

    @ivar domain: what it serves.
    """

    packages = ("prosody",)
    title = "Prosody"
    program = "prosody"
    services = ("c2s", "s2s")
    user = "prosody"

    def __init__(
        self,
        directory: Path,
        certificates: ServerCertificate | None = None,
        domain: str = "test.example",
        resolver: int = 9,
    ) -> None:
        """
        @param resolver: the port on loopback of the DNS server that it asks.
        """
        super().__init__(directory, certificates)
        self.domain = domain
        self.resolver = resolver

    def configure(self) -> None:
        tls, modules = PLAINTEXT, ""
        if self.certificates is not None:
            tls = STARTTLS.format(
                chain=self.certificates.chain,
                key=self.certificates.key,
                anchors=self.certificates.anchors,
            )
            modules = '"tls"'
        text = CONFIGURATION.format(
            directory=self.directory,
            domain=self.domain,
            modules=modules,
            resolver=RESOLVER.format(port=self.resolver),
            tls=tls,
            **self.ports,
        )
        self.write("prosody.cfg.lua", text)
        host = "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in self.domain)
        account = f'return {{ ["password"] = "{PASSWORD}"; }};\n'
        self.write(f"data/{host}/accounts/{USER}.dat", account)

    def command(self) -> Sequence[str]:
        return [self.executable, "-F", "--config", str(self.directory / "prosody.cfg.lua")]
