"""
Web servers that tell what they were told of whoever asks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.interop.harness import Daemon

NGINX = """\
daemon off;
pid {directory}/pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
  log_format told 'asked $request from $remote_addr with $http_client_cert of $http_forwarded.';
  access_log {directory}/access told;
  underscores_in_headers on;
  large_client_header_buffers 4 16k;
  client_max_body_size 0;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  map $http_forwarded $tls_identity {{ '~;identity="([^"]+)"' $1; }}
  set_real_ip_from 127.0.0.1;
  set_real_ip_from unix:;
  real_ip_header X-Forwarded-For;
  server {{
    listen 127.0.0.1:{http};
    listen unix:{directory}/socket;
    location = /large {{ root {directory}; }}
    location / {{
      return 200 "cert=$http_client_cert
chain=$http_client_cert_chain
forwarded=$http_forwarded
for=$http_x_forwarded_for
proto=$http_x_forwarded_proto
host=$http_x_forwarded_host
port=$http_x_forwarded_port
address=$remote_addr
user=$tls_identity
";
    }}
  }}
}}
"""

APACHE = """\
ServerRoot {directory}
ServerName localhost
PidFile {directory}/pid
ErrorLog /dev/stderr
CustomLog {directory}/access "asked %r from %a with %{{Client-Cert}}i."
Listen 127.0.0.1:{http}
LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule cgi_module {modules}/mod_cgi.so
LoadModule remoteip_module {modules}/mod_remoteip.so
RemoteIPHeader X-Forwarded-For
RemoteIPInternalProxy 127.0.0.1
LimitRequestFieldSize 16380
User www-data
Group www-data
ScriptAlias /told {directory}/told
<Directory {directory}>
  Require all granted
</Directory>
"""

# Its environment, and how long the body was.
CGI = """\
#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
env
echo "BODY=$(wc -c)"
"""

WEBSOCKET = """\
import sys
from websockets.sync.server import serve

def echo(connection):
    for message in connection:
        fields = connection.request.headers.raw_items()
        said = "".join(f"{name}={value}\\n" for name, value in fields)
        connection.send(said if message == "who?" else message)

with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None) as server:
    server.serve_forever()
"""

# As C{python -m http.server --protocol HTTP/1.1} does, it keeps connections, and looks for no body.
PYTHON = """\
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *rest):
        print("asked", self.requestline, "with", self.headers.get_all("Client-Cert"), flush=True)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

#: The bytes of a file that nginx has.
LARGE_BYTES = 20_000_000


class ToldNginx(Daemon):
    """
    nginx, which takes underscores for hyphens.
    """

    packages = ("nginx-light", "nginx")
    title = "nginx"
    program = "/usr/sbin/nginx"
    services = ("http",)

    def configure(self) -> None:
        self.write("nginx.conf", NGINX.format(directory=self.directory, **self.ports))
        self.write("large", "0123456789" * (LARGE_BYTES // 10))
        self.write("access", "")
        self.logs.append(self.directory / "access")

    def command(self) -> Sequence[str]:
        return [self.executable, "-c", str(self.directory / "nginx.conf"), "-e", "stderr"]


class ToldApache(Daemon):
    """
    Apache with a CGI program, and mod_remoteip.
    """

    packages = ("apache2-bin",)
    title = "Apache"
    program = "/usr/sbin/apache2"
    services = ("http",)
    needsRoot = True

    def configure(self) -> None:
        modules = "/usr/lib/apache2/modules"
        text = APACHE.format(directory=self.directory, modules=modules, **self.ports)
        self.write("apache.conf", text)
        self.write("told", CGI, 0o755)
        self.write("access", "", 0o666)
        self.logs.append(self.directory / "access")

    def command(self) -> Sequence[str]:
        return [self.executable, "-f", str(self.directory / "apache.conf"), "-DFOREGROUND"]


class ToldPython(Daemon):
    """
    The server of Python's standard library.
    """

    packages = ("python3",)
    title = "http.server"
    program = sys.executable
    services = ("http",)

    def configure(self) -> None:
        self.write("server.py", PYTHON)

    def command(self) -> Sequence[str]:
        return [self.executable, "-u", str(self.directory / "server.py"), str(self.port)]


class ToldWebSocket(Daemon):
    """
    The server of Python's websockets: an echo, which tells to C{who?} what it was told.
    """

    packages = ("websockets",)
    title = "websockets"
    program = sys.executable
    services = ("http",)

    def configure(self) -> None:
        self.write("server.py", WEBSOCKET)

    def command(self) -> Sequence[str]:
        return [self.executable, "-u", str(self.directory / "server.py"), str(self.port)]
