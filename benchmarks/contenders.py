"""
Every tunnel we measure: how it is configured and started, and which version it is.

All of them run in the foreground with one worker, TLS 1.3, no session resumption where that can
be said, no log line per connection, and in client mode check the server's certificate where they
can.  What a contender cannot do, it is not asked to do.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.credentials import HOST, Credentials
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

Mode = Literal["server", "client"]
MODES: tuple[Mode, ...] = ("server", "client")

#: Names that L{tunnelOfNames} has beside the one that is asked for.
NAMES = 1_000

#: The tree that these benchmarks belong to.
CHECKOUT = Path(__file__).resolve().parents[1]

#: What is negotiated before TLS in some measurement.
DIALECTS = ("smtp", "lmtp", "imap", "pop3", "nntp", "sieve", "ftp", "postgresql", "mysql")

# Those that stunnel knows as a server, and what it calls them; nntp and ldap it knows as a client.
_STUNNEL_PROTOCOLS = {"smtp": "smtp", "imap": "imap", "pop3": "pop3", "postgresql": "pgsql"}

#: For those that want to know beforehand; two descriptors for each connection.
_OPEN_CONNECTIONS = resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 100


@dataclass(frozen=True)
class Setup:
    """
    What one tunnel has to do: accept at C{listen}, connect to C{backend}, ports on loopback.

    @ivar directory: where its configuration may be written.
    @ivar dialect: what leads up to TLS, one of L{DIALECTS}; empty where TLS begins at once.
    """

    mode: Mode
    listen: int
    backend: int
    credentials: Credentials
    directory: Path
    dialect: str = ""

    @property
    def poolSocket(self) -> str:
        """@return: where a pool service is to listen."""
        return str(self.directory / "pool.sock")

    def write(self, name: str, content: str) -> str:
        """@return: the path of a new file of configuration."""
        path = self.directory / name
        path.write_text(content)
        return str(path)


@dataclass(frozen=True)
class Contender:
    """
    @ivar command: makes the command line of the tunnel in the foreground.
    @ivar version: a command whose output names the version by the first number in it.
    @ivar modes: what it can do; a plain relay does nothing for TLS and is run once.
    @ivar dialects: what it can negotiate in server mode, of L{DIALECTS}; smtp in both.
    @ivar idleLimit: at most so many idle connections; more would only show the machine's limits.
    @ivar forks: a process for each connection: it is given fewer of them.
    @ivar quick: whether it takes part in the quick form.
    @ivar isPool: whether it is a pool service: connections to the backend are handed over to it.
    """

    name: str
    command: Callable[[Setup], list[str]]
    version: tuple[str, ...]
    modes: tuple[Mode, ...] = MODES
    tls: bool = True
    dialects: frozenset[str] = frozenset()
    idleLimit: int = 10_000
    forks: bool = False
    quick: bool = True
    isPool: bool = False

    def canSpeak(self, dialect: str) -> bool:
        """@return: whether it knows C{dialect}; where it is empty, whether it knows any."""
        return dialect in self.dialects if dialect else bool(self.dialects)

    def installedVersion(self) -> str | None:
        """@return: the version, or C{None} where the program is missing."""
        try:
            done = subprocess.run(
                self.version,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError:
            return None
        found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout)
        return found.group() if found and not done.returncode else None


def python(tree: Path) -> tuple[str, ...]:
    """
    @return: a command line that starts this interpreter with the code in C{tree}, whatever is
        installed in it and whatever directory it is started in.
    """
    return ("env", f"PYTHONPATH={tree}", sys.executable, "-P")


def tunnelIn(tree: Path, name: str, *options: str) -> Contender:
    """
    @param options: further ones.
    @return: tlstunnel as it is in C{tree}, under C{name}; only its command line is relied on.
    """
    program = (*python(tree), "-m", "tlstunnel")

    def command(setup: Setup) -> list[str]:
        addresses = ["-l", f"127.0.0.1:{setup.listen}", "-r", f"127.0.0.1:{setup.backend}"]
        identity = ["-s", "-L", HOST] if setup.mode == "server" else ["-c", "-R", HOST]
        starttls = ["--starttls", setup.dialect] if setup.dialect else []
        pool = ["--pool", str(setup.credentials.pool)]
        return [*program, *identity, *addresses, *pool, *starttls, *options]

    return Contender(name, command, (*program, "--version"), dialects=frozenset(DIALECTS))


def poolIn(tree: Path, name: str) -> Contender:
    """@return: the pool service as it is in C{tree}, under C{name}: in client mode alone."""
    program = (*python(tree), "-m", "tlstunnel")

    def command(setup: Setup) -> list[str]:
        where = ["--socket", setup.poolSocket, "--pool", str(setup.credentials.pool)]
        return [*program, "pool", "serve", *where, "--max-per-user", "0"]

    return Contender(name, command, (*program, "--version"), ("client",), isPool=True)


def tunnelOfFile(name: str, showsStatus: bool) -> Contender:
    """@return: the checkout with a file, under C{name}, with its status or without."""

    def command(setup: Setup) -> list[str]:
        lines = [
            f'mode = "{setup.mode}"',
            f'local = "127.0.0.1:{setup.listen}"',
            f'remote = "127.0.0.1:{setup.backend}"',
            f'{"local-id" if setup.mode == "server" else "remote-id"} = "{HOST}"',
            f'pool = "{setup.credentials.pool}"',
        ]
        if setup.dialect:
            lines.append(f'starttls = "{setup.dialect}"')
        if showsStatus:
            lines += ["[status]", f'local = "{setup.directory}/status"']
        file = setup.write("tunnels.toml", "\n".join(["[tunnel.bench]", *lines, ""]))
        Path(file).chmod(0o600)
        return [*python(CHECKOUT), "-m", "tlstunnel", "--config", file]

    version = (*python(CHECKOUT), "-m", "tlstunnel", "--version")
    return Contender(name, command, version, dialects=frozenset(DIALECTS))


def tunnelOfNames(name: str, several: bool) -> Contender:
    """
    @return: the checkout with a file, under C{name}, that serves L{HOST} alone, or behind many
        other names, each with a certificate and a backend of its own.
    """

    def command(setup: Setup) -> list[str]:
        pool, first = setup.credentials.pool, HOST
        lines = []
        if several:
            pool = Path(shutil.copytree(pool, setup.directory / "pool"))
            others = [f"name-{number}.{HOST}" for number in range(NAMES)]
            for other in others:
                createIdentity(Pool(pool), Identity.parse(other))
            first = others[0]
            backend = f'remote = "127.0.0.1:{setup.backend}"'
            for each in (*others[1:], HOST):
                lines += [f'[tunnel.bench.name."{each}"]', backend]
        tunnel = [
            '[tunnel.bench]\nmode = "server"',
            f'local = "127.0.0.1:{setup.listen}"\nremote = "127.0.0.1:{setup.backend}"',
            f'local-id = "{first}"\npool = "{pool}"',
            *([f'starttls = "{setup.dialect}"'] if setup.dialect else []),
        ]
        file = setup.write("tunnels.toml", "\n".join([*tunnel, *lines, ""]))
        Path(file).chmod(0o600)
        return [*python(CHECKOUT), "-m", "tlstunnel", "--config", file]

    version = (*python(CHECKOUT), "-m", "tlstunnel", "--version")
    return Contender(name, command, version, ("server",), dialects=frozenset(DIALECTS))


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
        f"load_module {modules};\nuser root;\nworker_processes 1;\n"
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
        return _nginxStream(
            setup,
            "ssl",
            f"    ssl_certificate {credentials.chain};\n"
            f"    ssl_certificate_key {credentials.key};\n"
            "    ssl_protocols TLSv1.3;\n    ssl_session_cache off;\n"
            "    ssl_session_tickets off;\n",
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
        "workers = 1",
        "backlog = 4096",
        "daemon = off",
        "log-level = 0",
        "tls-protos = TLSv1.3",
        'user = "root"',
        'ocsp-dir = ""',
    ]
    role = ["--client"] if setup.mode == "client" else []
    return ["hitch", *role, "--config=" + setup.write("hitch.conf", "\n".join(lines) + "\n")]


def _haproxy(setup: Setup) -> list[str]:
    credentials = setup.credentials
    if setup.mode == "server":
        bind, server = f"ssl crt {credentials.pem}", ""
    else:
        bind, server = "", f"ssl verify required ca-file {credentials.ca} sni str({HOST})"
    options = "ssl-min-ver TLSv1.3 no-tls-tickets"
    configuration = (
        f"global\n  nbthread 1\n  maxconn {_OPEN_CONNECTIONS}\n  tune.ssl.cachesize 0\n"
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
