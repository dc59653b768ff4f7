"""
ejabberd: xmpp-client and xmpp-server, in clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.harness import Daemon, ServerCertificate

#: What it shares with whom it believes, as C{k} of a JSON Web Key has it.
KEY = "dGhlIHdhbHJ1cyBhbmQgdGhlIGNhcnBlbnRlciB3ZXJlIHdhbGtpbmc"

CONFIGURATION = """\
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


class Ejabberd(Daemon):
    """
    Believes tokens that are signed with L{KEY}.  It has nobody's password.

    One of its ports takes the header of the PROXY protocol, and would verify certificates.
    """

    packages = ("ejabberd", "erlang-base")
    title = "ejabberd"
    program = "ejabberdctl"
    services = ("c2s", "proxied", "s2s")
    user = "ejabberd"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        assert certificates is None, "only what it can without"
        self.logs.append(directory / "log/ejabberd.log")

    def configure(self) -> None:
        text = CONFIGURATION.format(directory=self.directory, **self.ports)
        self.write("ejabberd.yml", text)
        self.write("jwt.key", f'{{"kty": "oct", "k": "{KEY}"}}\n', 0o600)
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
        # Its own program would start a service of names for the whole machine.
        spool = f'"{self.directory}/spool"'
        return ["erl", "-noinput", "-noshell", "-mnesia", "dir", spool, "-s", "ejabberd"]
