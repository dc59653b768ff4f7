"""
Every tunnel that we compare ourselves with: how it is configured and started.

All of them run in the foreground with one worker unless more are asked for, TLS 1.3, no session
resumption where that can be said, no log line per connection, and in client mode check the
server's certificate where they can.  What a contender cannot do, it is not asked to do.
"""

from __future__ import annotations

import resource
import sys

from benchmarks.contenders import CHECKOUT, Contender, Setup
from benchmarks.credentials import HOST
from benchmarks.tunnels import tunnelIn

# Those that stunnel knows as a server, and what it calls them; nntp and ldap it knows as a client.
_STUNNEL_PROTOCOLS = {"smtp": "smtp", "imap": "imap", "pop3": "pop3", "postgresql": "pgsql"}

#: For those that want to know beforehand; two descriptors for each connection.
_OPEN_CONNECTIONS = resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 100


def _portforward(setup: Setup) -> list[str]:
    credentials = setup.credentials
    files = [credentials.pem] if setup.mode == "server" else [credentials.ca]
    return [
        *(sys.executable, "-m", "benchmarks.naive", setup.mode),
        *(str(setup.listen), str(setup.backend), *map(str, files)),
    ]


def _stunnel(setup: Setup) -> list[str]:
    credentials = setup.credentials
    if setup.mode == "server":
        role = f"cert = {credentials.pem}\nsessionResume = no\noptions = NO_TICKET\n"
        if setup.demanding:
            role += f"CAfile = {credentials.ca}\nverifyChain = yes\n"
    else:
        role = f"client = yes\nCAfile = {credentials.ca}\nverifyChain = yes\ncheckHost = {HOST}\n"
    starttls = f"protocol = {_STUNNEL_PROTOCOLS[setup.dialect]}\n" if setup.dialect else ""
    configuration = (
        "foreground = quiet\npid =\nsyslog = no\ndebug = err\n"
        "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
        f"[bench]\naccept = 127.0.0.1:{setup.listen}\nconnect = 127.0.0.1:{setup.backend}\n"
        f"sslVersion = TLSv1.3\nciphersuites = TLS_AES_128_GCM_SHA256\n{role}{starttls}"
    )
    return ["stunnel", setup.write("stunnel.conf", configuration)]


def _nginxStream(setup: Setup, listen: str, role: str) -> list[str]:
    modules = "/usr/lib/nginx/modules/ngx_stream_module.so"
    configuration = (
        f"load_module {modules};\nuser root;\nworker_processes {setup.workers};\n"
        "daemon off;\nerror_log stderr crit;\n"
        f"pid {setup.directory}/nginx.pid;\n"
        "events { worker_connections 32768; }\n"
        "stream {\n  access_log off;\n  server {\n"
        f"    listen 127.0.0.1:{setup.listen} {listen} backlog=4096;\n{role}"
        f"    proxy_pass 127.0.0.1:{setup.backend};\n  }}\n}}\n"
    )
    return ["nginx", "-p", str(setup.directory), "-c", setup.write("nginx.conf", configuration)]


def _nginx(setup: Setup) -> list[str]:
    credentials = setup.credentials
    if setup.mode == "server":
        demanded = (
            f"    ssl_client_certificate {credentials.ca};\n    ssl_verify_client on;\n"
            if setup.demanding
            else ""
        )
        return _nginxStream(
            setup,
            "ssl",
            f"    ssl_certificate {credentials.chain};\n"
            f"    ssl_certificate_key {credentials.key};\n"
            "    ssl_protocols TLSv1.3;\n    ssl_session_cache off;\n"
            f"    ssl_session_tickets off;\n{demanded}",
        )
    return _nginxStream(
        setup,
        "",
        "    proxy_ssl on;\n    proxy_ssl_protocols TLSv1.3;\n"
        "    proxy_ssl_session_reuse off;\n    proxy_ssl_verify on;\n"
        f"    proxy_ssl_trusted_certificate {credentials.ca};\n"
        f"    proxy_ssl_server_name on;\n    proxy_ssl_name {HOST};\n",
    )


def _plain(setup: Setup) -> list[str]:
    return _nginxStream(setup, "", "")


def _hitch(setup: Setup) -> list[str]:
    lines = [
        f'frontend = "[127.0.0.1]:{setup.listen}"',
        f'backend = "[127.0.0.1]:{setup.backend}"',
        f'pem-file = "{setup.credentials.pem}"',
        f"workers = {setup.workers}",
        "backlog = 4096",
        "daemon = off",
        "log-level = 0",
        "tls-protos = TLSv1.3",
        'user = "root"',
        'ocsp-dir = ""',
    ]
    if setup.demanding:
        lines += ["client-verify = required", f'client-verify-ca = "{setup.credentials.ca}"']
    role = ["--client"] if setup.mode == "client" else []
    return ["hitch", *role, "--config=" + setup.write("hitch.conf", "\n".join(lines) + "\n")]


def _haproxy(setup: Setup) -> list[str]:
    credentials = setup.credentials
    if setup.mode == "server":
        demanded = f" ca-file {credentials.ca} verify required" if setup.demanding else ""
        bind, server = f"ssl crt {credentials.pem}{demanded}", ""
    else:
        bind, server = "", f"ssl verify required ca-file {credentials.ca} sni str({HOST})"
    options = "ssl-min-ver TLSv1.3 no-tls-tickets"
    configuration = (
        f"global\n  nbthread {setup.workers}\n"
        f"  maxconn {_OPEN_CONNECTIONS}\n  tune.ssl.cachesize 0\n"
        f"  ssl-default-bind-options {options}\n  ssl-default-server-options {options}\n"
        "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n"
        f"frontend bench\n  bind 127.0.0.1:{setup.listen} backlog 4096 {bind}\n"
        f"  maxconn {_OPEN_CONNECTIONS}\n  default_backend bench\n"
        f"backend bench\n  server one 127.0.0.1:{setup.backend} {server}"
        f"{' no-ssl-reuse' if server else ''}\n"
    )
    return ["haproxy", "-db", "-q", "-f", setup.write("haproxy.cfg", configuration)]


def _socat(setup: Setup) -> list[str]:
    credentials = setup.credentials
    listen = "fork,reuseaddr,nodelay,backlog=4096,bind=127.0.0.1"
    newest = "openssl-min-proto-version=TLS1.3"
    if setup.mode == "server":
        return [
            "socat",
            f"OPENSSL-LISTEN:{setup.listen},{listen},cert={credentials.pem},verify=0,{newest}",
            f"TCP:127.0.0.1:{setup.backend},nodelay",
        ]
    trust = f"cafile={credentials.ca},commonname={HOST}"
    return [
        "socat",
        f"TCP-LISTEN:{setup.listen},{listen}",
        f"OPENSSL:127.0.0.1:{setup.backend},nodelay,{trust},{newest}",
    ]


_TWISTED = (sys.executable, "-c", "import twisted; print(twisted.__version__)")

#: In the order in which they take their turns.
CONTENDERS: tuple[Contender, ...] = (
    tunnelIn(CHECKOUT, "tlstunnel"),
    Contender("stunnel", _stunnel, ("stunnel", "-version"), dialects=frozenset(_STUNNEL_PROTOCOLS)),
    Contender("nginx", _nginx, ("nginx", "-v")),
    Contender("hitch", _hitch, ("hitch", "--version")),
    Contender("haproxy", _haproxy, ("haproxy", "-v"), quick=False),
    Contender("socat", _socat, ("socat", "-V"), idleLimit=1_000, forks=True, quick=False),
    Contender("portforward", _portforward, _TWISTED),
    Contender("plain", _plain, ("nginx", "-v"), modes=("server",), tls=False),
)
