"""
ejabberd: xmpp-client and xmpp-server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import Daemon, ServerCertificate
from tests.interop.servers.prosody import PASSWORD, USER

#: What it shares with whom it believes, as C{k} of a JSON Web Key has it.
KEY = "dGhlIHdhbHJ1cyBhbmQgdGhlIGNhcnBlbnRlciB3ZXJlIHdhbGtpbmc"

BELIEVING = """\
hosts: [ "test.example" ]
listen:
  - {{ ip: 127.0.0.1, port: {c2s}, module: ejabberd_c2s }}
  - {{ ip: 127.0.0.1, port: {proxied}, module: ejabberd_c2s, use_proxy_protocol: true,
       tls_verify: true }}
  - {{ ip: 127.0.0.1, port: {s2s}, module: ejabberd_s2s_in }}
auth_method: [ internal, jwt ]
jwt_key: {directory}/jwt.key
modules: {{ mod_disco: {{}}, mod_ping: {{}} }}
"""

FEDERATED = """\
hosts: {hosts}
listen:
  - {{ ip: 127.0.0.1, port: {c2s}, module: ejabberd_c2s{starttls} }}
  - {{ ip: 127.0.0.1, port: {s2s}, module: ejabberd_s2s_in }}
auth_method: [ internal ]
outgoing_s2s_families: [ ipv4 ]
{tls}
modules: {{ mod_disco: {{}}, mod_ping: {{}}, mod_roster: {{}}, mod_s2s_dialback: {{}} }}
"""

STARTTLS = """\
certfiles: [ "{chain}", "{key}" ]
ca_file: "{anchors}"
s2s_use_starttls: required"""

PLAINTEXT = """\
s2s_use_starttls: false"""

#: Whom Erlang asks for names.
NAMES = """\
{{lookup, [dns]}}.
{{hosts_file, ""}}.
{{resolv_conf, ""}}.
{{nameserver, {{127, 0, 0, 1}}, {port}}}.
"""

#: Creates accounts, and says when that is done.
ACCOUNTS = """\
lists:foreach(fun(Host) -> ok = ejabberd_auth:try_register(<<"{user}">>, Host, <<"{password}">>)
    end, [{domains}])"""


class ErlangDaemon(Daemon):
    """
    What it takes to run it without its own program, which would start a service of names for the
    whole machine.
    """

    packages = ("ejabberd", "erlang-base")
    title = "ejabberd"
    program = "ejabberdctl"
    services: ClassVar[tuple[str, ...]] = ("c2s", "s2s")
    user = "ejabberd"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.logs.append(directory / "log/ejabberd.log")

    def configure(self) -> None:
        for name in "log", "spool":
            (self.directory / name).mkdir()

    def environment(self) -> Mapping[str, str]:
        return {
            "EJABBERD_CONFIG_PATH": str(self.directory / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.directory / "log/ejabberd.log"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_LIBS": "/usr/lib/x86_64-linux-gnu",
            "HOME": str(self.directory),
        }

    def command(self) -> Sequence[str]:
        spool = f'"{self.directory}/spool"'
        return ["erl", "-noinput", "-noshell", "-mnesia", "dir", spool, "-s", "ejabberd"]


class Ejabberd(ErlangDaemon):
    """
    Believes tokens that are signed with L{KEY}.  It has nobody's password.

    One of its ports takes the header of the PROXY protocol, and would verify certificates.
    """

    services = ("c2s", "proxied", "s2s")

    def configure(self) -> None:
        text = BELIEVING.format(directory=self.directory, **self.ports)
        self.write("ejabberd.yml", text)
        self.write("jwt.key", f'{{"kty": "oct", "k": "{KEY}"}}\n', 0o600)
        super().configure()


class FederatedEjabberd(ErlangDaemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS, login in clear.

    One account at each domain, L{USER} with L{PASSWORD}.  Another server proves its domain by
    dialback.

    @ivar domains: what it serves.
    @ivar domain: the first of them.
    @ivar dns: the port on loopback of a DNS server that knows other domains; to be set before the
        start.
    """

    startTime = 40.0

    def __init__(
        self, directory: Path, certificates: ServerCertificate | None, domain: str, *others: str
    ) -> None:
        super().__init__(directory, certificates)
        self.domains = (domain, *others)
        self.domain = domain
        self.dns: int | None = None

    def configure(self) -> None:
        starttls, tls = "", PLAINTEXT
        if self.certificates is not None:
            starttls = ", starttls: true, starttls_required: true"
            tls = STARTTLS.format(
                chain=self.certificates.chain,
                key=self.certificates.key,
                anchors=self.certificates.anchors,
            )
        hosts = json.dumps(self.domains)
        text = FEDERATED.format(hosts=hosts, starttls=starttls, tls=tls, **self.ports)
        self.write("ejabberd.yml", text)
        self.write("inetrc", NAMES.format(port=self.dns))
        super().configure()

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "ERL_INETRC": str(self.directory / "inetrc")}

    def command(self) -> Sequence[str]:
        domains = ", ".join(f'<<"{each}">>' for each in self.domains)
        accounts = ACCOUNTS.format(user=USER, password=PASSWORD, domains=domains)
        return [*super().command(), "-eval", f"{accounts}."]
