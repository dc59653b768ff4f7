"""
Plaintext servers behind one address: two for the web, and mail servers that say who they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon
from tests.interop.servers.postfix import Postfix

NGINX = """\
daemon off;
pid {directory}/pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{http};
    location / {{ return 200 "nginx for $host, $server_protocol\\n"; }}
  }}
  server {{
    listen 127.0.0.1:{h2c} http2;
    location / {{ return 200 "nginx for $host, $server_protocol\\n"; }}
  }}
}}
"""

APACHE = """\
ServerRoot {directory}
ServerName localhost
PidFile {directory}/pid
ErrorLog /dev/stderr
Listen 127.0.0.1:{http}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
User www-data
Group www-data
DocumentRoot {directory}/web
<Directory {directory}/web>
  Require all granted
</Directory>
"""


class Nginx(Daemon):
    """
    HTTP/1.1, and at another port HTTP/2 in clear.
    """

    packages = ("nginx-light", "nginx")
    title = "nginx"
    program = "/usr/sbin/nginx"
    services = ("http", "h2c")

    def configure(self) -> None:
        self.write("nginx.conf", NGINX.format(directory=self.directory, **self.ports))

    def command(self) -> Sequence[str]:
        return [self.executable, "-c", str(self.directory / "nginx.conf"), "-e", "stderr"]


class Apache(Daemon):
    """
    HTTP/1.1, with a file C{page.txt}.
    """

    packages = ("apache2-bin",)
    title = "Apache"
    program = "/usr/sbin/apache2"
    services = ("http",)
    needsRoot = True

    def configure(self) -> None:
        self.write("web/page.txt", "a page of Apache\n")
        modules = "/usr/lib/apache2/modules"
        text = APACHE.format(directory=self.directory, modules=modules, **self.ports)
        self.write("apache.conf", text)

    def command(self) -> Sequence[str]:
        return [self.executable, "-f", str(self.directory / "apache.conf"), "-DFOREGROUND"]


class NamedPostfix(Postfix):
    """
    Says who it is in its answer to EHLO.
    """

    def __init__(self, directory: Path, hostname: str) -> None:
        super().__init__(directory)
        self.settings = f"myhostname = {hostname}\n"
