"""
Prosody: xmpp-client and xmpp-server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import Daemon, ServerCertificate

#: What lets it believe a tunnel.
MODULE = Path(__file__).resolve().parents[3] / "docs/example/prosody/mod_tlstunnel.lua"

USER = "alice"
PASSWORD = "down the rabbit hole"

CONFIGURATION = """\
pidfile = "{directory}/pid"
data_path = "{directory}/data"
certificates = "{directory}"
plugin_paths = {{ "{directory}/modules" }}
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
  {names}
}}
{tls}
{hosts}
"""

STARTTLS = """\
c2s_require_encryption = true
s2s_require_encryption = true
ssl = {{ certificate = "{chain}"; key = "{key}"; cafile = "{anchors}" }}"""

PLAINTEXT = """\
c2s_require_encryption = false
s2s_require_encryption = false
allow_unencrypted_plain_auth = true"""

INSISTING = """\
c2s_require_encryption = true
s2s_require_encryption = true"""

#: The only thing that it can learn from its resolver, which asks nobody.
PEER = """\
options = {{
    ["local-zone:"] = ". static";
    ["local-data:"] = "_xmpp-server._tcp.{domain}. IN SRV 0 0 {port} localhost.";
  }};"""

#: Whom it asks instead.
DNS = """\
forward = "127.0.0.1@{port}";
  options = {{ ["do-not-query-localhost:"] = "no" }};"""


class Prosody(Daemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS, login in clear.

    One account at each domain, L{USER} with L{PASSWORD}.  Another server proves its domain by
    dialback.

    @ivar domains: what it serves.
    @ivar domain: the first of them.
    @ivar peer: the domain of another server, and the port on loopback where that is reached; to be
        set before the start.
    @ivar dns: the port on loopback of a DNS server that knows more of them.
    """

    packages = ("prosody",)
    title = "Prosody"
    program = "prosody"
    services: ClassVar[tuple[str, ...]] = ("c2s", "s2s")
    user = "prosody"
    modules = ""

    def __init__(
        self,
        directory: Path,
        certificates: ServerCertificate | None = None,
        domain: str = "test.example",
        *others: str,
    ) -> None:
        super().__init__(directory, certificates)
        self.domains = (domain, *others)
        self.domain = domain
        self.peer = ("nobody.test.example", 9)
        self.dns: int | None = None

    @property
    def settings(self) -> str:
        """
        What else there is to say in front of the host.
        """
        return PLAINTEXT

    def configure(self) -> None:
        tls, modules = self.settings, self.modules
        if self.certificates is not None:
            tls = STARTTLS.format(
                chain=self.certificates.chain,
                key=self.certificates.key,
                anchors=self.certificates.anchors,
            )
            modules = f'"tls", {modules}'
        peer, port = self.peer
        names = PEER.format(domain=peer, port=port)
        if self.dns is not None:
            names = DNS.format(port=self.dns)
        text = CONFIGURATION.format(
            directory=self.directory,
            hosts="\n".join(f'VirtualHost "{each}"' for each in self.domains),
            modules=modules,
            names=names,
            tls=tls,
            c2s=self.portsOf("c2s"),
            s2s=self.portsOf("s2s"),
        )
        self.write("prosody.cfg.lua", text)
        account = f'return {{ ["password"] = "{PASSWORD}"; }};\n'
        for each in self.domains:
            host = "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in each)
            self.write(f"data/{host}/accounts/{USER}.dat", account)

    def portsOf(self, service: str) -> str:
        """
        Where it listens for C{c2s}, or for C{s2s}.
        """
        return ", ".join(str(self.ports[each]) for each in self.services if service in each)

    def command(self) -> Sequence[str]:
        return [self.executable, "-F", "--config", str(self.directory / "prosody.cfg.lua")]


class BidirectionalProsody(Prosody):
    """
    Uses a connection in both directions where the other one does so, too.
    """

    modules = '"s2s_bidi"'


class TrustingProsody(Prosody):
    """
    Believes a tunnel on ports of their own as whom somebody logs in; on the others there is no TLS.

    @ivar inClear: whether clients may log in there with their passwords; to be set before the
        start.
    """

    inClear = True

    services = ("c2s", "s2s", "tunnel-c2s", "tunnel-s2s")
    modules = '"tlstunnel"'

    @property
    def settings(self) -> str:
        ports = [str(self.ports[each]) for each in self.services[2:]]
        settings = PLAINTEXT if self.inClear else INSISTING
        return f"{settings}\ntlstunnel_ports = {{ {', '.join(ports)} }}"

    def configure(self) -> None:
        self.write("modules/mod_tlstunnel.lua", MODULE.read_text())
        super().configure()
