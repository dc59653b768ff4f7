"""
Those that send headers of the PROXY protocol on behalf of others, and those that read them and
tell what they were told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import Daemon, freePort

ROOT = Path("/opt/tlstunnel-interop/unstable")

_HAPROXY = """\
global
    maxconn 100
    log stdout format raw local0
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
"""

# What a sender says of whoever has connected, by its name.
_SENDING = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    "check": "send-proxy-v2 check inter 200ms",
}

_FORWARD = """\
listen {name}
    bind 127.0.0.1:{port}
    unique-id-format %[uuid()]
    server tunnel 127.0.0.1:{target} {words}
"""

_READ = """\
frontend told
    mode http
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "{told}"
"""

#: What a reader is asked for.
HAPROXY_TELLS = (
    "src=%[src]:%[src_port]|dst=%[dst]:%[dst_port]|authority=%[fc_pp_authority]|"
    "id=%[fc_pp_unique_id]|alpn=%[fc_pp_tlv(0x01)]|identity=%[fc_pp_tlv(0xED)]|"
    "tls=%[fc_pp_tlv(0x20),hex]|"
)

NGINX_TELLS = (
    "src=$proxy_protocol_addr:$proxy_protocol_port|"
    "dst=$proxy_protocol_server_addr:$proxy_protocol_server_port|"
    "authority=$proxy_protocol_tlv_authority|id=$proxy_protocol_tlv_unique_id|"
    "alpn=$proxy_protocol_tlv_alpn|identity=$proxy_protocol_tlv_0xED|"
    "version=$proxy_protocol_tlv_ssl_version|cn=$proxy_protocol_tlv_ssl_cn|"
    "cipher=$proxy_protocol_tlv_ssl_cipher|signature=$proxy_protocol_tlv_ssl_sig_alg|"
    "key=$proxy_protocol_tlv_ssl_key_alg|verified=$proxy_protocol_tlv_ssl_verify|"
)


class HAProxySender(Daemon):
    """
    HAProxy of Debian before a tunnel: without TLS of its own.

    @ivar target: the port of the tunnel, which may listen later.
    """

    packages = ("haproxy",)
    title = "HAProxy"
    program = "haproxy"
    services = tuple(_SENDING)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.target = freePort()

    def configure(self) -> None:
        parts = (
            _FORWARD.format(name=name, port=self.ports[name], target=self.target, words=words)
            for name, words in _SENDING.items()
        )
        self.write("haproxy.cfg", _HAPROXY + "".join(parts))

    def command(self) -> Sequence[str]:
        return [self.executable, "-db", "-f", str(self.directory / "haproxy.cfg")]


class HAProxyReader(Daemon):
    """
    HAProxy 3.2: answers every request with what it was told.
    """

    packages = ("haproxy",)
    title = "HAProxy 3.2"
    program = str(ROOT / "usr/sbin/haproxy")
    services = ("http",)

    def configure(self) -> None:
        told = _READ.format(port=self.port, told=HAPROXY_TELLS)
        self.write("haproxy.cfg", _HAPROXY + told)

    def command(self) -> Sequence[str]:
        return [self.executable, "-db", "-f", str(self.directory / "haproxy.cfg")]


class NginxReader(Daemon):
    """
    nginx 1.30, which knows what is in a header.
    """

    packages = ("nginx",)
    title = "nginx 1.30"
    program = str(ROOT / "usr/sbin/nginx")
    services = ("http",)

    def configure(self) -> None:
        folders = "".join(
            f"{each}_temp_path {self.directory}/{each};"
            for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.write(
            "nginx.conf",
            f"""
            daemon off; user root; worker_processes 1; error_log stderr;
            pid {self.directory}/nginx.pid;
            events {{ worker_connections 256; }}
            http {{
                access_log off; {folders}
                server {{
                    listen 127.0.0.1:{self.port} proxy_protocol;
                    location / {{ return 200 "{NGINX_TELLS}"; }}
                }}
            }}
            """,
        )

    def command(self) -> Sequence[str]:
        return [self.executable, "-p", str(self.directory), "-c", f"{self.directory}/nginx.conf"]


class NginxStream(Daemon):
    """
    nginx of Debian, for streams: as a sender before a tunnel, and as a reader.

    @ivar target: the port of the tunnel, which may listen later.
    """

    packages = ("libnginx-mod-stream",)
    title = "nginx stream"
    program = "nginx"
    services = ("sender", "reader")
    modules: ClassVar[str] = "/usr/lib/nginx/modules/ngx_stream_module.so"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.target = freePort()

    def configure(self) -> None:
        told = "src=$proxy_protocol_addr:$proxy_protocol_port|"
        self.write(
            "nginx.conf",
            f"""
            load_module {self.modules};
            daemon off; user root; worker_processes 1; error_log stderr;
            pid {self.directory}/nginx.pid;
            events {{ worker_connections 256; }}
            stream {{
                server {{
                    listen 127.0.0.1:{self.ports["sender"]};
                    proxy_pass 127.0.0.1:{self.target};
                    proxy_protocol on;
                }}
                server {{
                    listen 127.0.0.1:{self.ports["reader"]} proxy_protocol;
                    return "{told}";
                }}
            }}
            """,
        )

    def command(self) -> Sequence[str]:
        return [self.executable, "-p", str(self.directory), "-c", f"{self.directory}/nginx.conf"]


class ApacheReader(Daemon):
    """
    Apache with mod_remoteip, which writes into its log where a request comes from.
    """

    packages = ("apache2-bin",)
    title = "Apache"
    program = "apache2"
    services = ("http",)

    def configure(self) -> None:
        modules = "\n".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
            for name in ("mpm_event", "authz_core", "remoteip")
        )
        (self.directory / "web").mkdir()
        self.write("web/page.txt", "A page that was fetched.\n")
        self.write(
            "apache.conf",
            f"""
{modules}
ServerName www.test.example
ServerRoot {self.directory}
PidFile {self.directory}/pid
DefaultRuntimeDir {self.directory}
Listen 127.0.0.1:{self.port}
DocumentRoot {self.directory}/web
ErrorLog {self.directory}/errors
LogFormat "from %a:%{{remote}}p" told
CustomLog {self.directory}/log told
RemoteIPProxyProtocol On
<Directory {self.directory}/web>
    Require all granted
</Directory>
""",
        )
        self.logs.append(self.directory / "log")

    def command(self) -> Sequence[str]:
        return [self.executable, "-X", "-f", str(self.directory / "apache.conf")]
