"""
A certificate authority of OpenSSL that revokes what it has issued: its lists, its responder of
OCSP, and a web server that staples what that has said.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.interop import isolated
from tests.interop.clients import run
from tests.interop.harness import Daemon, Process, ServerCertificate, find, freePort, requireRoot
from tests.interop.servers.web import PAGE

_CONFIGURATION = """\
[ca]
default_ca = ours
[ours]
dir = {directory}
database = $dir/index.txt
serial = $dir/serial
crlnumber = $dir/crlnumber
new_certs_dir = $dir/issued
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = any
unique_subject = no
crl_extensions = list
[any]
commonName = supplied
[list]
authorityKeyIdentifier = keyid
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = {names}
authorityInfoAccess = OCSP;URI:{url}
authorityKeyIdentifier = keyid
[responder]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = OCSPSigning
"""

_KEY = "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"


class OpenSSLAuthority:
    """
    C{openssl ca}.

    @ivar pool: a pool with what it has issued, and with itself as the only anchor.
    @ivar list: the file of its list there; absent until L{writeList}.
    @ivar port: where its responder of OCSP is.
    """

    def __init__(self, directory: Path) -> None:
        """
        @param directory: for its files.
        """
        self.directory = directory
        self.pool = directory / "pool"
        self.port = freePort()
        self.anchors = self.pool / "trust" / "anchors.pem"
        self.list = self.pool / "trust" / "private.crl"
        for each in ("issued", "pool/trust"):
            (directory / each).mkdir(parents=True)
        (directory / "index.txt").touch()
        for each in ("serial", "crlnumber"):
            (directory / each).write_text("1000\n")
        self._configure("email:move")
        self._openssl("req", "-x509", "-newkey", *_KEY, "-subj", "/CN=Interop", "-days", "30",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                      "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
        self.anchors.write_bytes((directory / "ca.pem").read_bytes())
        self._sign("responder", directory, "responder")

    def _openssl(self, *arguments: str) -> None:
        run(["sh", "-c", 'cd "$0" && exec openssl "$@"', str(self.directory), *arguments]).expect()

    def _configure(self, names: str) -> None:
        text = _CONFIGURATION.format(
            directory=self.directory, names=names, url=f"http://127.0.0.1:{self.port}/"
        )
        (self.directory / "ca.cnf").write_text(text)

    def _sign(self, name: str, directory: Path, kind: str) -> None:
        key, request = directory / "privkey.pem", directory / "request.pem"
        self._openssl("req", "-newkey", *_KEY, "-subj", f"/CN={name}", "-keyout", str(key),
                      "-out", str(request))  # fmt: skip
        key.chmod(0o600)
        self._openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-extensions", kind,
                      "-in", str(request), "-out", str(directory / "cert.pem"))  # fmt: skip

    def issue(self, name: str) -> ServerCertificate:
        """
        A certificate for a domain or a user, with the authority's behind it, kept in the pool.
        """
        directory = self.pool / name
        directory.mkdir()
        self._configure(f"{'email' if '@' in name else 'DNS'}:{name}")
        self._sign(name, directory, "leaf")
        chain = directory / "fullchain.pem"
        chain.write_bytes(
            (directory / "cert.pem").read_bytes() + (self.directory / "ca.pem").read_bytes()
        )
        return ServerCertificate(name, chain, directory / "privkey.pem", self.anchors)

    def revoke(self, name: str) -> None:
        """
        Take a certificate back.
        """
        self._openssl("ca", "-config", "ca.cnf", "-revoke", str(self.pool / name / "cert.pem"),
                      "-crl_reason", "keyCompromise")  # fmt: skip

    def writeList(self, *options: str) -> bytes:
        """
        Put a new list into the pool, as a whole.

        @return: the one before.
        """
        before = self.list.read_bytes() if self.list.exists() else b""
        new = self.directory / "new.crl"
        self._openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", str(new), *options)
        new.replace(self.list)
        return before

    def answer(self, name: str, days: int = 1) -> Path:
        """
        What its responder says of a certificate, in a file.
        """
        directory = self.pool / name
        path = directory / "answer.der"
        self._openssl("ocsp", "-issuer", "ca.pem", "-cert", str(directory / "cert.pem"),
                      "-no_nonce", "-reqout", "request.der")  # fmt: skip
        self._openssl(*self._responding(), "-ndays", str(days), "-reqin", "request.der",
                      "-respout", str(path))  # fmt: skip
        return path

    def _responding(self) -> Sequence[str]:
        return ("ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "cert.pem",
                "-rkey", "privkey.pem")  # fmt: skip

    def responder(self) -> Responder:
        """
        Its responder, to be started.
        """
        return Responder(self.directory, self.port, self._responding())


class Responder(Process):
    """
    C{openssl ocsp}, which listens on all addresses, so that it gets a network of its own.
    """

    def __init__(self, directory: Path, port: int, command: Sequence[str]) -> None:
        super().__init__(directory)
        self._port = port
        self._command = command

    def start(self) -> None:
        """
        @raise SkipTest: it is not installed, or we may not make a network.
        """
        requireRoot("a network of its own")
        openssl, unshare = find("openssl", "openssl"), find("unshare", "util-linux")
        find("ip", "iproute2")
        with socket.create_server(("127.0.0.1", self._port)) as listening:
            self.spawn(
                [
                    *(unshare, "-n", sys.executable, str(isolated.__file__)),
                    *(str(listening.fileno()), "8888", openssl, *self._command),
                    *("-port", "8888", "-ndays", "1", "-ignore_err"),
                ],
                [self._port],
                descriptors=[listening.fileno()],
            )


class StaplingWeb(Daemon):
    """
    nginx, with what it staples from a file.
    """

    packages = ("nginx-light",)
    title = "nginx"
    program = "nginx"
    services = ("https",)

    def __init__(
        self, directory: Path, certificates: ServerCertificate, answer: Path | None = None
    ) -> None:
        """
        @param answer: what it staples; nothing by default.
        """
        super().__init__(directory, certificates)
        self._answer = answer

    def configure(self) -> None:
        self.write("web/page.txt", PAGE)
        assert self.certificates is not None
        staple = ""
        if self._answer is not None:
            (self.directory / "answer.der").write_bytes(self._answer.read_bytes())
            staple = f"ssl_stapling on; ssl_stapling_file {self.directory}/answer.der;"
        self.write(
            "nginx.conf",
            f"""\
daemon off;
worker_processes 1;
pid {self.directory}/pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {self.directory}/t1;
    proxy_temp_path {self.directory}/t2;
    fastcgi_temp_path {self.directory}/t3;
    uwsgi_temp_path {self.directory}/t4;
    scgi_temp_path {self.directory}/t5;
    server {{
        listen 127.0.0.1:{self.port} ssl;
        ssl_certificate {self.certificates.chain};
        ssl_certificate_key {self.certificates.key};
        ssl_trusted_certificate {self.certificates.anchors};
        {staple}
        root {self.directory}/web;
    }}
}}
""",
        )

    def command(self) -> Sequence[str]:
        return [self.executable, "-e", "stderr", "-p", str(self.directory), "-c", "nginx.conf"]
