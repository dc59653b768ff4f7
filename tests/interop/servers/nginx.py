"""
nginx, as a web server that tells whether a session was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.interop.harness import Daemon


class NginxWeb(Daemon):
    """
    It answers every request with C{r} where the session was resumed, and C{.} where it was not.

    @ivar versions: the versions of TLS.
    @ivar verify: let only clients in that show a certificate of our authority.
    """

    packages = ("nginx-light",)
    title = "nginx"
    program = "nginx"
    services = ("https",)
    versions = "TLSv1.3"
    verify = False

    def configure(self) -> None:
        assert self.certificates is not None, "TLS is all it speaks"
        files = self.certificates
        verify = f"ssl_verify_client on; ssl_client_certificate {files.anchors};"
        self.write(
            "nginx.conf",
            f"""
            daemon off; user root; worker_processes 1; error_log stderr;
            pid {self.directory}/nginx.pid;
            events {{ worker_connections 256; }}
            http {{
                access_log off;
                client_body_temp_path {self.directory}/body;
                proxy_temp_path {self.directory}/proxy;
                fastcgi_temp_path {self.directory}/fastcgi;
                uwsgi_temp_path {self.directory}/uwsgi;
                scgi_temp_path {self.directory}/scgi;
                server {{
                    listen 127.0.0.1:{self.port} ssl;
                    ssl_certificate {files.chain};
                    ssl_certificate_key {files.key};
                    ssl_protocols {self.versions};
                    {verify if self.verify else ""}
                    location / {{ return 200 "<$ssl_session_reused $ssl_protocol>"; }}
                }}
            }}
            """,
        )

    def command(self) -> Sequence[str]:
        return [self.executable, "-p", str(self.directory), "-c", f"{self.directory}/nginx.conf"]


class NginxTLS12Web(NginxWeb):
    """
    The same with TLS 1.2, and for clients with a certificate.
    """

    versions = "TLSv1.2"
    verify = True
