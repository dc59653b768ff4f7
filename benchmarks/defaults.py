"""
Defaults beside defaults: every contender as its package configures it, with what an administrator
writes in five lines.

So nothing is made equal here: whether sessions are resumed, which version of TLS and which suite
are agreed upon, what is logged and how much else is done, is as each has it.  The load offers and
accepts TLS 1.2 and 1.3, and lets sessions be resumed.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from benchmarks import measures
from benchmarks.contenders import CHECKOUT, Contender, Setup
from benchmarks.credentials import HOST
from benchmarks.load import Client, Speaking, ping
from benchmarks.measures import CONCURRENT, Figures
from benchmarks.running import Running
from benchmarks.tunnels import tunnelIn


class CurrentClient(Client):
    """
    A client as they are today, that was never here before.

    @ivar resumed: of each connection, whether it has gone on with an earlier session.
    """

    returns = False

    def __init__(self, port: int, context: ssl.SSLContext | None):
        super().__init__(port, context)
        if context is not None:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.resumed: list[bool] = []
        self._session: ssl.SSLSession | None = None

    def connect(self) -> socket.socket:
        connection = self._raw()
        try:
            if self.context is None:
                self.resumed.append(bool(ping(connection)))
                return connection
            session = self._session if self.returns else None
            secured = self.context.wrap_socket(connection, server_hostname=HOST, session=session)
            connection = secured
            ping(secured)
        except BaseException:
            connection.close()
            raise
        # What the server gives to come back with is there once it has answered.
        self._session = secured.session
        self.resumed.append(bool(secured.session_reused))
        return secured

    def check(self) -> None:
        """Whatever was agreed upon is right."""
        self.connect().close()


class ReturningClient(CurrentClient):
    """
    A client that goes on with its last session, where the server lets it.
    """

    returns = True


_BACKEND = ("--tickets", "--older")
NEW = Speaking(client=CurrentClient, backend=_BACKEND)
RETURNING = Speaking(client=ReturningClient, backend=_BACKEND)


def connections(running: Running, count: int) -> Iterator[Figures]:
    """CPU per connection, and how many of them resume a session."""
    client = running.client
    assert isinstance(client, CurrentClient)
    client.churn(CONCURRENT, CONCURRENT)
    client.resumed.clear()
    cost = measures.connections(running, count)
    resumed = sum(client.resumed) / len(client.resumed) * 100
    which = "@returning" if client.returns and running.mode == "server" else ""
    yield {f"default{which}": cost, f"resumed{which}": resumed}


def _stunnel(setup: Setup) -> list[str]:
    credentials = setup.credentials
    if setup.mode == "server":
        role = f"cert = {credentials.pem}\n"
    else:
        role = f"client = yes\nCAfile = {credentials.ca}\nverifyChain = yes\ncheckHost = {HOST}\n"
    # It logs, but into a file: with syslog where there is none it would write to the console.
    configuration = (
        f"foreground = yes\npid = {setup.directory}/stunnel.pid\n"
        f"syslog = no\noutput = {setup.directory}/log\n[bench]\n"
        f"accept = 127.0.0.1:{setup.listen}\nconnect = 127.0.0.1:{setup.backend}\n{role}"
    )
    return ["stunnel", setup.write("stunnel.conf", configuration)]


def _nginx(setup: Setup) -> list[str]:
    credentials = setup.credentials
    if setup.mode == "server":
        listen = " ssl"
        role = f"ssl_certificate {credentials.chain};\n  ssl_certificate_key {credentials.key};\n"
    else:
        listen = ""
        role = (
            "proxy_ssl on;\n  proxy_ssl_verify on;\n"
            f"  proxy_ssl_trusted_certificate {credentials.ca};\n  proxy_ssl_name {HOST};\n"
        )
    # Above the stream: Debian's /etc/nginx/nginx.conf without its web server.
    configuration = (
        "user www-data;\nworker_processes auto;\n"
        f"pid {setup.directory}/nginx.pid;\nerror_log {setup.directory}/error.log;\n"
        "include /etc/nginx/modules-enabled/*.conf;\nevents { worker_connections 768; }\n"
        f"stream {{ server {{\n  listen 127.0.0.1:{setup.listen}{listen};\n  {role}"
        f"  proxy_pass 127.0.0.1:{setup.backend};\n}} }}\n"
    )
    path = setup.write("nginx.conf", configuration)
    return ["nginx", "-c", path, "-g", "daemon off;"]


def _hitch(setup: Setup) -> list[str]:
    role = ["--client"] if setup.mode == "client" else []
    # The package has no configuration of its own but the words with which its unit starts it.
    words = ["--user", "_hitch", "--group", "_hitch", "--quiet"]
    configuration = (
        f'frontend = "[127.0.0.1]:{setup.listen}"\nbackend = "[127.0.0.1]:{setup.backend}"\n'
        f'pem-file = "{setup.credentials.pem}"\nocsp-dir = ""\n'
    )
    return ["hitch", *words, *role, "--config=" + setup.write("hitch.conf", configuration)]


def _haproxy(setup: Setup) -> list[str]:
    credentials = setup.credentials
    if setup.mode == "server":
        bind, server = f" ssl crt {credentials.pem}", ""
    else:
        bind, server = "", f" ssl ca-file {credentials.ca} verify required sni str({HOST})"
    # Above the frontend: what counts here of Debian's /etc/haproxy/haproxy.cfg, but for syslog.
    suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    configuration = (
        "global\n  log stdout format raw local0\n  user haproxy\n"
        f"  group haproxy\n  ssl-default-bind-ciphersuites {suites}\n"
        "  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n"
        "defaults\n  log global\n  option dontlognull\n"
        "  timeout connect 5000\n  timeout client 50000\n  timeout server 50000\n"
        f"frontend bench\n  mode tcp\n  option tcplog\n  bind 127.0.0.1:{setup.listen}{bind}\n"
        "  default_backend bench\n"
        f"backend bench\n  mode tcp\n  server one 127.0.0.1:{setup.backend}{server}\n"
    )
    return ["haproxy", "-db", "-f", setup.write("haproxy.cfg", configuration)]


#: In the order in which they take their turns.
DEFAULTS: tuple[Contender, ...] = (
    tunnelIn(CHECKOUT, "tlstunnel"),
    Contender("stunnel", _stunnel, ("stunnel", "-version")),
    Contender("nginx", _nginx, ("nginx", "-v")),
    Contender("hitch", _hitch, ("hitch", "--version")),
    Contender("haproxy", _haproxy, ("haproxy", "-v"), quick=False),
)
