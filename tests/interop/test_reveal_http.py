"""
What web servers learn of whoever asks, and what nobody can make them believe: nginx, Apache with a
CGI program, and WebSocket, each with C{curl} and others as clients.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from typing import ClassVar

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.certificates import ServerCertificate
from tests.interop.harness import (
    Daemon,
    InteropTestCase,
    Outcome,
    Stage,
    TunnelProcess,
    curl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.toldweb import (
    LARGE_BYTES,
    ToldApache,
    ToldNginx,
    ToldPython,
    ToldWebSocket,
)
from tests.reveal.test_httprequests import BROKEN_CHUNKS, CHUNKED, HOST, POST, REFUSED
from tests.reveal.web import get, message

NAME = "www.test.example"
USER = "john@test.example"

#: From where clients come, so that they are told from the tunnel.
ELSEWHERE = "127.0.0.5"

_SPELLINGS = ("Client-Cert", "client-cert", "Client_Cert", "CLIENT_CERT", "client-Cert_Chain")
FORGED = [
    word
    for name in (*_SPELLINGS, "Forwarded", "X_Forwarded_For", "x-forwarded-for", "X-Forwarded_Host")
    for word in ("-H", f"{name}: forged")
]


def certificates(files: ServerCertificate) -> list[str]:
    """
    The certificates of an identity, as RFC 9440 has them.
    """
    shown = x509.load_pem_x509_certificates(files.chain.read_bytes())
    return [f":{base64.b64encode(each.public_bytes(Encoding.DER)).decode()}:" for each in shown]


class ToldTestCase(InteropTestCase):
    """
    A web server behind a tunnel that tells it who is there.
    """

    john: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.john = stage.authority.issue(USER)

    def web(self, backend: Daemon, *options: str) -> TunnelProcess:
        """
        A tunnel before it.
        """
        remote = f"127.0.0.1:{backend.port}"
        return self.serverMode(remote, NAME, None, "--reveal", "http", *options)

    def shown(self, files: ServerCertificate | None = None) -> list[str]:
        """
        What lets curl show a certificate.
        """
        files = files or self.john
        return ["--cert", str(files.chain), "--key", str(files.key), "--interface", ELSEWHERE]

    def ask(self, tunnel: TunnelProcess, *options: str, path: str = "/told") -> Outcome:
        """
        What curl gets.
        """
        return curl("https", tunnel.port, NAME, self.stage.authority.anchors, *options, path=path)

    def url(self, tunnel: TunnelProcess) -> str:
        """
        For more than one.
        """
        return f"https://{NAME}:{tunnel.port}/told"

    def exchange(
        self, tunnel: TunnelProcess, text: bytes, context: ssl.SSLContext | None = None
    ) -> bytes:
        """
        What somebody gets who says something that curl would not.
        """
        context = context or verified(self.stage.authority.anchors)
        with (
            socket.create_connection(("127.0.0.1", tunnel.port), 10) as sock,
            context.wrap_socket(sock, server_hostname=NAME) as tls,
        ):
            tls.settimeout(10)
            got = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                tls.sendall(text)
                while piece := tls.recv(65536):
                    got += piece
        return got


class NginxTests(ToldTestCase):
    """
    nginx.
    """

    nginx: ClassVar[ToldNginx]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.nginx = stage.start(ToldNginx(stage.directory("nginx")))

    def test_itLearnsWhoIsThere(self) -> None:
        """
        With either version of TLS, in every request of a connection.
        """
        tunnel = self.web(self.nginx, "-R", "@.")
        [certificate] = certificates(self.john)
        for version in ("1.2", "1.3"):
            more = [self.url(tunnel)] * 2
            said = self.ask(
                tunnel,
                *self.shown(),
                *(f"--tlsv{version}", "--tls-max", version, "-w", "connects=%{num_connects}\n"),
                *more,
            ).expect()
            self.assertEqual(said.count(f"cert={certificate}\nchain=\n"), 3)
            self.assertEqual(said.count(f'identity="{USER}"'), 3)
            self.assertEqual(said.count(f'forwarded=for="{ELSEWHERE}:'), 3)
            self.assertEqual(said.count(f'host="{NAME}:{tunnel.port}"'), 3)
            self.assertEqual(said.count(f"for={ELSEWHERE}\nproto=https\n"), 3)
            self.assertEqual(said.count(f"host={NAME}:{tunnel.port}\nport={tunnel.port}\n"), 3)
            self.assertEqual(said.count(f"address={ELSEWHERE}\nuser={USER}\n"), 3)
            self.assertEqual((said.count("connects=0"), said.count("connects=1")), (2, 1))
        until(lambda: certificate in self.nginx.log, "nginx logs the certificate")
        record("http", "server", self.nginx, "reveal http: Client-Cert, Forwarded, X-Forwarded-For")

    def test_itLearnsTheSameAtAUNIXSocket(self) -> None:
        """
        Which others cannot reach.
        """
        remote = str(self.nginx.directory / "socket")
        tunnel = self.serverMode(remote, NAME, None, "--reveal", "http", "-R", "@.")
        said = self.ask(tunnel, *self.shown()).expect()
        self.assertIn(f"address={ELSEWHERE}\nuser={USER}\n", said)

    def test_itLearnsTheChain(self) -> None:
        """
        Without the root.
        """
        root = trustme.CA()
        child = root.create_child_ca()
        directory = self.stage.directory("child")
        directory.mkdir()
        leaf = child.issue_cert(USER)
        chain = b"".join(part.bytes() for part in (*leaf.cert_chain_pems, root.cert_pem))
        (directory / "chain.pem").write_bytes(chain)
        (directory / "key.pem").write_bytes(leaf.private_key_pem.bytes())
        (directory / "root.pem").write_bytes(root.cert_pem.bytes())
        files = ServerCertificate(
            USER, *(directory / each for each in ("chain.pem", "key.pem", "root.pem"))
        )
        shown = certificates(files)
        self.assertEqual(len(shown), 3)
        tunnel = self.web(self.nginx, "-R", "@.", "--trust", str(files.anchors))
        said = self.ask(tunnel, *self.shown(files)).expect()
        self.assertIn(f"cert={shown[0]}\nchain={shown[1]}\n", said)

    def test_ofClientsWithoutACertificateItLearnsTheAddress(self) -> None:
        """
        And nothing that they say themselves.
        """
        tunnel = self.web(self.nginx)
        said = self.ask(tunnel, "--interface", ELSEWHERE, *FORGED).expect()
        self.assertIn(f'cert=\nchain=\nforwarded=for="{ELSEWHERE}:', said)
        self.assertIn(f"address={ELSEWHERE}\nuser=\n", said)
        self.assertNotIn("forged", said)
        self.assertNotIn("identity", said)

    def test_nothingCanBeForged(self) -> None:
        """
        In whatever spelling; nginx would believe underscores.
        """
        direct = run(["curl", "-sS", *FORGED[4:8], f"http://127.0.0.1:{self.nginx.port}/"])
        direct.expect("cert=forged")
        tunnel = self.web(self.nginx, "-R", "@.")
        said = self.ask(tunnel, *self.shown(), *FORGED).expect()
        [certificate] = certificates(self.john)
        self.assertIn(f"cert={certificate}\nchain=\n", said)
        self.assertNotIn("forged", said)

    def test_HTTP2IsNotAgreedOn(self) -> None:
        """
        A client that can do both comes with HTTP/1.1.
        """
        tunnel = self.web(self.nginx)
        said = self.ask(tunnel, "--http2", "-w", "version=%{http_version}").expect()
        self.assertIn("version=1.1", said)
        said = self.ask(tunnel, "--http1.0").expect()
        self.assertIn("for=127.0.0.1\n", said)

    def test_fieldsCanHaveOtherNames(self) -> None:
        """
        Or be left out.
        """
        options = ("--http-header", "X-Forwarded-For=Client-Cert", "--http-header", "Client-Cert=")
        said = self.ask(self.web(self.nginx, *options)).expect()
        self.assertIn("cert=127.0.0.1\n", said)
        self.assertIn("\nfor=\n", said)

    def test_largeBodiesPassBothWays(self) -> None:
        """
        With a length, with 100-continue, and in chunks.
        """
        tunnel = self.web(self.nginx)
        directory = self.stage.directory("bodies")
        directory.mkdir()
        got = directory / "got"
        self.ask(tunnel, "-o", str(got), path="/large").expect()
        self.assertEqual(got.stat().st_size, LARGE_BYTES)
        for options in (["-H", "Expect:"], ["-H", "Expect: 100-continue"], CHUNKS):
            said = self.ask(
                tunnel, "-T", str(got), *options, "-w", "sent=%{size_upload}\n", path="/told"
            ).expect()
            self.assertIn("proto=https", said)

    def test_requestsThatAreNotClearDoNotReachIt(self) -> None:
        """
        The corpora of request smuggling.
        """
        tunnel = self.web(self.nginx)
        before = len(self.nginx.log)
        smuggled = get(b"Client-Cert: forged").replace(b"GET /", b"GET /smuggled")
        for name, (status, text) in REFUSED.items():
            got = self.exchange(tunnel, text + smuggled)
            self.assertTrue(got.startswith(b"HTTP/1.1 %d " % status), (name, got))
        for name, body in BROKEN_CHUNKS.items():
            got = self.exchange(tunnel, message(POST, HOST, CHUNKED, body=body) + smuggled)
            self.assertNotIn(b"forged", got, name)
        self.ask(tunnel, path="/last").expect()
        until(lambda: "asked GET /last" in self.nginx.log, "the last request is in the log")
        self.assertNotIn("smuggled", self.nginx.log[before:])
        self.assertNotIn("forged", self.nginx.log[before:])
        record("http", "server", self.nginx, "reveal http: no request smuggling")

    def test_withTheUpgradeOfRFC2817(self) -> None:
        """
        The http dialect, on both sides.
        """
        option = ("--dialect-option", "allow-upgrade-desync", "--reveal", "http", "-R", "@.")
        server = self.serverMode(f"127.0.0.1:{self.nginx.port}", NAME, "http", *option)
        client = self.clientMode(f"127.0.0.1:{server.port}", NAME, "http", "-L", USER)
        url = f"http://127.0.0.1:{client.port}/"
        said = run(["curl", "-sS", *FORGED, url, url]).expect()
        [certificate] = certificates(self.john)
        self.assertEqual(said.count(f"cert={certificate}\n"), 2)
        self.assertNotIn("forged", said)


CHUNKS = ["-H", "Transfer-Encoding: chunked"]


class ApacheTests(ToldTestCase):
    """
    Apache with a CGI program.
    """

    apache: ClassVar[ToldApache]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.apache = stage.start(ToldApache(stage.directory("apache")))

    def test_itsProgramsLearnWhoIsThere(self) -> None:
        """
        By what we say alone.
        """
        tunnel = self.web(self.apache, "-R", "@.")
        said = self.ask(tunnel, *self.shown(), *FORGED).expect()
        [certificate] = certificates(self.john)
        self.assertIn(f"\nHTTP_CLIENT_CERT={certificate}\n", said)
        self.assertIn(f"\nREMOTE_ADDR={ELSEWHERE}\n", said)
        self.assertIn(f'identity="{USER}"', said)
        self.assertIn("\nHTTP_X_FORWARDED_PROTO=https\n", said)
        self.assertNotIn("forged", said)
        record("http", "server", self.apache, "reveal http: mod_remoteip, CGI")

    def test_uploadsArriveWhole(self) -> None:
        """
        On one connection, which remains.
        """
        tunnel = self.web(self.apache)
        directory = self.stage.directory("uploads")
        directory.mkdir()
        file = directory / "file"
        file.write_bytes(bytes(range(256)) * 8000)
        for options in (["-H", "Expect:"], ["-H", "Expect: 100-continue"], CHUNKS):
            said = self.ask(
                tunnel,
                *("-X", "POST", "-T", str(file), *options, "-w", "connects=%{num_connects}\n"),
                *(self.url(tunnel), "-T", str(file)),
            ).expect()
            self.assertEqual(said.count("BODY=2048000\n"), 2, options)
            self.assertEqual((said.count("connects=0"), said.count("connects=1")), (1, 1))

    def test_requestsThatAreNotClearDoNotReachIt(self) -> None:
        """
        The same corpora.
        """
        tunnel = self.web(self.apache)
        smuggled = get(b"Client-Cert: forged").replace(b"GET /", b"GET /told?smuggled")
        for text in (
            *(text for _, text in REFUSED.values()),
            *(message(POST, HOST, CHUNKED, body=body) for body in BROKEN_CHUNKS.values()),
        ):
            got = self.exchange(tunnel, text + smuggled)
            self.assertNotIn(b"forged", got, text[:100])
        self.ask(tunnel, path="/told?last").expect()
        until(lambda: "asked GET /told?last" in self.apache.log, "the last request is in the log")
        self.assertNotIn("smuggled", self.apache.log)
        self.assertNotIn("forged", self.apache.log)


class PythonTests(ToldTestCase):
    """
    Python's http.server, which does not look for the body of a GET.
    """

    python: ClassVar[ToldPython]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.python = stage.start(ToldPython(stage.directory("python")))

    def test_itTakesNoBodyForARequest(self) -> None:
        """
        It would, as it shows where nobody stands before it.
        """
        forged = message(b"GET /smuggled HTTP/1.1", HOST, b"Client-Cert: forged")
        length, chunk = b"Content-Length: %d" % len(forged), b"%x\r\n%b\r\n0\r\n\r\n"
        texts = [
            message(method + b" / HTTP/1.1", HOST, *lines, body=body)
            for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS")
            for lines, body in (
                ([length], forged),
                ([length, b"Expect: 100-continue"], forged),
                ([CHUNKED], chunk % (len(forged), forged)),
            )
        ]
        with socket.create_connection(("127.0.0.1", self.python.port), 10) as sock:
            sock.sendall(texts[0])
            until(lambda: "with ['forged']" in self.python.log, "it takes the body for a request")
        before = len(self.python.log)
        tunnel = self.web(self.python, "-R", "@.")
        context = verified(self.stage.authority.anchors)
        context.load_cert_chain(self.john.chain, self.john.key)
        for text in texts:
            got = self.exchange(tunnel, text, context)
            self.assertTrue(got.startswith(b"HTTP/1.1 "), got)
        self.ask(tunnel, *self.shown(), path="/last")
        until(lambda: "asked GET /last" in self.python.log, "the last request is in the log")
        self.assertNotIn("smuggled", self.python.log[before:])
        self.assertNotIn("forged", self.python.log[before:])
        record("http", "server", self.python, "reveal http: a body that it does not look for")


class WebSocketTests(ToldTestCase):
    """
    WebSocket, with Python's websockets on both sides.
    """

    server: ClassVar[ToldWebSocket]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.server = stage.start(ToldWebSocket(stage.directory("websocket")))

    def test_itLearnsWhoIsThereAndIsThenLeftAlone(self) -> None:
        """
        What looks like a request passes then.
        """
        from websockets.sync.client import connect

        tunnel = self.web(self.server, "-R", "@.")
        context = verified(self.stage.authority.anchors)
        context.load_cert_chain(self.john.chain, self.john.key)
        sock = socket.create_connection(("127.0.0.1", tunnel.port), 10)
        with connect(
            f"wss://{NAME}:{tunnel.port}/",
            sock=sock,
            ssl=context,
            max_size=None,
            additional_headers={"Client_Cert": "forged", "X-Forwarded-For": "forged"},
        ) as client:
            client.send("who?")
            said = client.recv(10)
            assert isinstance(said, str)
            [certificate] = certificates(self.john)
            self.assertIn(f"Client-Cert={certificate}\n", said)
            self.assertNotIn("forged", said)
            for text in ("GET / HTTP/1.1\r\nClient-Cert: x\r\n\r\n", "x" * 3_000_000, "y"):
                client.send(text)
                self.assertEqual(client.recv(20), text)
        record("http", "server", self.server, "reveal http: WebSocket")
