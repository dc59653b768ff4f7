"""
Who may come in, as other programs see it: keys that are pinned, SPIFFE IDs in certificates that
openssl has made, and lists that change while clients come.
"""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path
from typing import ClassVar

from tests.interop.certificates import ServerCertificate
from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    Stage,
    TunnelProcess,
    openssl,
    record,
    run,
    tlstunnel,
    until,
)
from tests.interop.servers.web import PAGE, OpenSSLWeb, PlainWeb

NAME = "www.test.example"
API, OTHER = "spiffe://test.example/ns/prod/api", "spiffe://test.example/ns/dev/api"

_REQUEST = "GET /page.txt HTTP/1.0\r\n\r\n"

_CONFIGURATION = """
[req]
distinguished_name = dn
[dn]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
{constraints}
[svid]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = {names}
"""


def pinOf(certificate: Path) -> str:
    """
    The pin of a certificate's key, as curl(1) and we say how to get it.
    """
    pipe = (
        f"openssl x509 -in {shlex.quote(str(certificate))} -pubkey -noout | "
        "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
    )
    return f"sha256//{run(['sh', '-c', pipe]).expect().strip()}"


def make(directory: Path, names: str, constraints: str = "") -> ServerCertificate:
    """
    A certificate that openssl issues, with an authority of its own.

    @param names: its alternative names.
    @param constraints: a line about those of the authority.
    """
    directory.mkdir(parents=True)
    file = {each: directory / each for each in ("ca.pem", "ca.key", "leaf.csr", "leaf.pem", "key")}
    configuration = directory / "openssl.cnf"
    configuration.write_text(_CONFIGURATION.format(names=names, constraints=constraints))
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split()
    common = ["-config", str(configuration)]
    run(
        [
            *("openssl", "req", "-x509", *common, *key, "-extensions", "authority", "-days", "9"),
            *("-subj", "/CN=Authority", "-keyout", str(file["ca.key"])),
            *("-out", str(file["ca.pem"])),
        ]
    ).expect()
    run(
        [
            *("openssl", "req", "-new", *common, *key, "-subj", "/O=SPIRE"),
            *("-keyout", str(file["key"]), "-out", str(file["leaf.csr"])),
        ]
    ).expect()
    run(
        [
            *("openssl", "x509", "-req", "-in", str(file["leaf.csr"]), "-days", "9"),
            *("-CA", str(file["ca.pem"]), "-CAkey", str(file["ca.key"]), "-CAcreateserial"),
            *("-extfile", str(configuration), "-extensions", "svid", "-out", str(file["leaf.pem"])),
        ]
    ).expect()
    return ServerCertificate(NAME, file["leaf.pem"], file["key"], file["ca.pem"])


class WhoTestCase(InteropTestCase):
    """
    A web server behind tunnels.
    """

    plain: ClassVar[PlainWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.plain = stage.start(PlainWeb(stage.directory("plain")))

    def server(self, *options: str) -> TunnelProcess:
        """
        A tunnel before the plaintext server.
        """
        return self.serverMode(f"127.0.0.1:{self.plain.port}", NAME, None, *options)

    def ask(self, tunnel: TunnelProcess, files: ServerCertificate, *words: str) -> Outcome:
        """
        What C{s_client} gets that shows a certificate.
        """
        shown = ("-cert", str(files.chain), "-key", str(files.key), *words)
        return openssl(tunnel.port, NAME, self.stage.authority.anchors, *shown, say=_REQUEST)

    def client(self, remote: OpenSSLWeb, *options: str) -> TunnelProcess:
        """
        A tunnel to a server with TLS.
        """
        return self.tunnel("-c", "-r", f"127.0.0.1:{remote.port}", *options)

    def fetch(self, tunnel: TunnelProcess) -> Outcome:
        """
        What curl gets through it.
        """
        return run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}/page.txt"])


class PinsTests(WhoTestCase):
    """
    C{--pin}, beside curl's own C{--pinnedpubkey}.
    """

    files: ClassVar[ServerCertificate]
    others: ClassVar[ServerCertificate]
    web: ClassVar[OpenSSLWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.files = make(stage.directory("server"), "DNS:box.local")
        cls.others = make(stage.directory("other"), "DNS:box.local")
        cls.web = stage.start(OpenSSLWeb(stage.directory("web"), cls.files))

    def test_curlTakesTheSamePin(self) -> None:
        """
        Of the same server, and refuses the same other.
        """
        good, bad = pinOf(self.files.chain), pinOf(self.others.chain)
        url = f"https://127.0.0.1:{self.web.port}/page.txt"
        words = ["curl", "-sS", "-k", "--pinnedpubkey"]
        run([*words, good, url]).expect(PAGE)
        tunnel = self.client(self.web, "--trust", "pins", "--pin", good)
        self.fetch(tunnel).expect(PAGE)
        until(lambda: f"identity {good}" in tunnel.log, "the line of the connection")
        run([*words, bad, url]).expectFailure("does not match pinned public key")
        tunnel = self.client(self.web, "--trust", "pins", "--pin", bad)
        self.fetch(tunnel).expectFailure()
        until(lambda: f"{good}, which is not pinned" in tunnel.log, "the refusal")
        record("none", "client", "curl", "the same pin of a key")

    def test_beside(self) -> None:
        """
        The chain and the name have to be right as well.
        """
        options = ("--trust", str(self.files.anchors), "-R", "box.local")
        good, bad = pinOf(self.files.chain), pinOf(self.others.chain)
        self.fetch(self.client(self.web, *options, "--pin", good, "--pin", bad)).expect(PAGE)
        self.fetch(self.client(self.web, *options, "--pin", bad)).expectFailure()
        tunnel = self.client(self.web, "-R", "box.local", "--pin", good)
        self.fetch(tunnel).expectFailure()
        until(lambda: "is not among the anchors" in tunnel.log, "the refusal")

    def test_ofClients(self) -> None:
        """
        Who has the key is let in, and is told by an alert otherwise.
        """
        tunnel = self.server("--trust", "pins", "--pin", pinOf(self.files.chain))
        for version in "-tls1_2", "-tls1_3":
            self.ask(tunnel, self.files, version).expect(PAGE)
            self.ask(tunnel, self.others, version).expectFailure("alert bad certificate")
        record("none", "server", "openssl", "clients by pinned keys")

    def test_ofAnIdentityOfOurs(self) -> None:
        """
        Its check says the same.
        """
        said = tlstunnel("identity", "check", "--pool", str(self.stage.authority.pool), NAME)
        chain = self.stage.authority.pool / NAME / "fullchain.pem"
        said.expect(f"its key is {pinOf(chain)}")


class WorkloadsTests(WhoTestCase):
    """
    Certificates with SPIFFE IDs.
    """

    api: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        cls.api = make(stage.directory("api"), f"URI:{API}")

    def test_clients(self) -> None:
        """
        By their trust domain, by a path above them, or by the ID.
        """
        trust = ("--trust", str(self.api.anchors))
        for selector in "spiffe://test.example", "spiffe://test.example/ns/prod/", API:
            self.ask(self.server("-R", selector, *trust), self.api).expect(PAGE)
        for selector in OTHER, "spiffe://test.example/ns/dev/", ".", "@.":
            done = self.ask(self.server("-R", selector, *trust), self.api)
            done.expectFailure("alert bad certificate")
        record("none", "server", "openssl", "clients with SPIFFE IDs")

    def test_servers(self) -> None:
        """
        By the ID.
        """
        web = self.stage.start(OpenSSLWeb(self.stage.directory("web"), self.api))
        trust = ("--trust", str(self.api.anchors))
        self.fetch(self.client(web, "-R", API, *trust)).expect(PAGE)
        self.fetch(self.client(web, "-R", OTHER, *trust)).expectFailure()
        record("none", "client", "openssl", "a server with a SPIFFE ID")

    def test_constraints(self) -> None:
        """
        An authority can only vouch for the trust domain that it is for.
        """
        for line, isGood in (
            ("permitted;URI:test.example", True),
            ("permitted;URI:.test.example", False),
            ("permitted;URI:other.example", False),
            ("excluded;URI:test.example", False),
            ("excluded;URI:spiffe://test.example", False),
        ):
            directory = self.stage.directory("constrained")
            files = make(directory, f"URI:{API}", f"nameConstraints = critical, {line}")
            tunnel = self.server("-R", "spiffe://test.example", "--trust", str(files.anchors))
            done = self.ask(tunnel, files)
            if isGood:
                done.expect(PAGE)
            else:
                done.expectFailure("alert bad certificate")


class ListsTests(WhoTestCase):
    """
    Lists in files.
    """

    def test_whoIsDeniedIsRefusedFromTheNextReloadOn(self) -> None:
        """
        Although another name of the certificate may come; a broken line changes nothing.
        """
        files = make(self.stage.directory("two"), "DNS:host.test.example,email:x@test.example")
        allow, deny = (self.stage.base / each for each in ("allow", "deny"))
        allow.write_text("# our hosts\n.test.example\n")
        deny.write_text("")
        options = ("--remote-id-file", str(allow), "--deny-id-file", str(deny))
        tunnel = self.server(*options, "--trust", str(files.anchors))
        self.ask(tunnel, files).expect(PAGE)
        deny.write_text("# gone since spring\nx@test.example\n")
        self.reload(tunnel, "reloaded identities and trust")
        self.ask(tunnel, files).expectFailure("alert bad certificate")
        self.assertSays(f"which x@test.example in {deny}, line 2 denies", tunnel)
        deny.write_text("*\n")
        self.reload(tunnel, f"the old state stays: {deny}, line 1")
        self.ask(tunnel, files).expectFailure("alert bad certificate")

    def reload(self, tunnel: TunnelProcess, said: str) -> None:
        """
        Let a tunnel take up its files.
        """
        os.kill(tunnel.pid, signal.SIGHUP)
        until(lambda: said in tunnel.log, said)
