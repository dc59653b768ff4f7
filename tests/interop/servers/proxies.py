"""
Proxies on the way out: Squid, which is asked with CONNECT, and Dante, which speaks SOCKS 5; and an
nginx with TLS that stands behind them.

Both know names that nobody else knows, so that only they can have resolved them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop.harness import Daemon, ServerCertificate
from tests.interop.servers.web import PAGE

#: Who may use the proxies that want a login.
USER = "tlstunnel-test"
PASSWORD = "a:secret to all"

#: What the proxies alone resolve, to 127.0.0.1.
HOST = "behind.test.example"

SQUID = """\
http_port 127.0.0.1:{port}
pid_filename {directory}/pid
access_log stdio:{directory}/access.log
cache_log {directory}/cache.log
cache deny all
hosts_file {directory}/hosts
dns_nameservers 127.0.0.1
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname proxy.test.example
auth_param basic program /usr/lib/squid/basic_ncsa_auth {directory}/users
auth_param basic children 1
acl known proxy_auth REQUIRED
acl served port {served}
http_access deny CONNECT !served
http_access allow known
http_access deny all
"""

DANTE = """\
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""

SERVED = """\
socks pass {{
  from: 127.0.0.0/8 to: 0.0.0.0/0 port = {port}
  command: connect
}}
"""

NGINX = """\
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
  access_log {directory}/access.log;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    root {directory}/web;
  }}
}}
"""


def hashed(method: str) -> str:
    """
    The password as files of passwords have it.
    """
    command = ["openssl", "passwd", method, PASSWORD]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Proxy(Daemon):
    """
    What they have in common.

    @cvar scheme: that of its URL.
    @ivar served: the ports to which it connects, and to no others.
    """

    scheme: str

    def __init__(self, directory: Path, served: Iterable[int]) -> None:
        super().__init__(directory)
        self.served = sorted(served)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


class Squid(Proxy):
    """
    With basic_ncsa_auth.
    """

    packages = ("squid",)
    title = "Squid"
    program = "squid"
    services = ("proxy",)
    needsRoot = True
    scheme = "http"

    def configure(self) -> None:
        served = " ".join(map(str, self.served))
        self.write(
            "squid.conf",
            SQUID.format(port=self.port, directory=self.directory, served=served),
        )
        self.write("hosts", f"127.0.0.1 {HOST}\n")
        self.write("users", f"{USER}:{hashed('-apr1')}\n")
        shutil.chown(self.directory, "proxy")
        self.logs += [self.directory / "cache.log", self.directory / "access.log"]

    def command(self) -> Sequence[str]:
        return [self.executable, "-N", "-f", str(self.directory / "squid.conf")]


class Dante(Proxy):
    """
    Which asks for no login, and knows the names that we know.
    """

    packages = ("dante-server",)
    title = "Dante"
    program = "danted"
    services = ("proxy",)
    needsRoot = True
    scheme = "socks5"
    method = "none"

    def configure(self) -> None:
        text = DANTE.format(port=self.port, method=self.method)
        self.write("danted.conf", text + "".join(SERVED.format(port=each) for each in self.served))

    def command(self) -> Sequence[str]:
        return [self.executable, "-f", str(self.directory / "danted.conf")]


class DanteWithLogin(Dante):
    """
    Which asks for a user and the password, and knows a name that nobody else knows: it has files of
    its own in the places of the system's.
    """

    method = "username"

    def configure(self) -> None:
        super().configure()
        works = ["unshare", "--mount", "true"]
        if shutil.which("unshare") is None or subprocess.run(works, check=False).returncode:
            raise SkipTest("NOT TESTED: no mount namespace can be made, which Dante's login needs")
        hosts, passwd, shadow = (
            Path(f"/etc/{name}").read_text() for name in ("hosts", "passwd", "shadow")
        )
        self.write("hosts", f"127.0.0.1 {HOST}\n{hosts}")
        self.write("passwd", f"{passwd}{USER}:x:65533:65534::/nonexistent:/usr/sbin/nologin\n")
        self.write("shadow", f"{shadow}{USER}:{hashed('-6')}:19000:0:99999:7:::\n", 0o600)

    def command(self) -> Sequence[str]:
        names = ("hosts", "passwd", "shadow")
        mounts = [f"mount --bind {self.directory}/{name} /etc/{name}" for name in names]
        script = " && ".join((*mounts, 'exec "$0" "$@"'))
        return ["unshare", "--mount", "sh", "-c", script, *super().command()]


class Nginx(Daemon):
    """
    TLS from the first byte; shows L{PAGE} as C{/page.txt}.
    """

    packages = ("nginx-light",)
    title = "nginx"
    program = "nginx"
    services = ("https",)

    def __init__(self, directory: Path, certificates: ServerCertificate) -> None:
        super().__init__(directory, certificates)
        self.logs.append(directory / "error.log")

    def configure(self) -> None:
        assert self.certificates is not None
        self.write("web/page.txt", PAGE)
        text = NGINX.format(
            directory=self.directory,
            port=self.port,
            chain=self.certificates.chain,
            key=self.certificates.key,
        )
        self.write("nginx.conf", text)

    def command(self) -> Sequence[str]:
        where = str(self.directory)
        return [self.executable, "-p", where, "-c", f"{where}/nginx.conf", "-e", f"{where}/error"]
