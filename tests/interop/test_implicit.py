"""
TLS from the first byte, before and behind the tunnel, with web servers and web clients.
"""

from __future__ import annotations

import urllib.request
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    curl,
    gnutls,
    openssl,
    record,
    run,
    until,
    verified,
)
from tests.interop.servers.web import PAGE, GnuTLSWeb, OpenSSLWeb, OpenSSLWebForClients, PlainWeb

NAME = "www.test.example"
SERVER = "testsrv@tlspool.arpa2.lab"
CLIENT = "testcli@tlspool.arpa2.lab"
REQUEST = "GET /page.txt HTTP/1.0\r\n\r\n"


class ClientModeTests(InteropTestCase):
    """
    A web client that knows no TLS, and web servers that speak nothing else.
    """

    openssl: ClassVar[OpenSSLWeb]
    strict: ClassVar[OpenSSLWebForClients]
    gnutls: ClassVar[GnuTLSWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        domain, user = stage.authority.issue(NAME), stage.authority.issue(SERVER)
        stage.authority.issue(CLIENT)
        cls.openssl = stage.start(OpenSSLWeb(stage.directory("openssl"), domain))
        cls.strict = stage.start(OpenSSLWebForClients(stage.directory("strict"), user))
        cls.gnutls = stage.start(GnuTLSWeb(stage.directory("gnutls"), domain))

    def test_aPageIsFetchedFromOpenSSL(self) -> None:
        """
        Plain HTTP to the tunnel is HTTPS to the server.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.openssl.port}", NAME, None)
        with urllib.request.urlopen(f"http://127.0.0.1:{tunnel.port}/page.txt") as page:
            self.assertEqual(page.read().decode(), PAGE)
        record("none", "client", self.openssl, "page fetched")

    def test_aPageIsFetchedFromGnuTLS(self) -> None:
        """
        The same with another implementation of TLS.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.gnutls.port}", NAME, None)
        run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}/"]).expect("TLS1.3")
        record("none", "client", self.gnutls, "page fetched")

    def test_usersShowEachOtherCertificates(self) -> None:
        """
        The identities of the TLS Pool, C{user@domain}, at both ends.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.strict.port}", SERVER, None, "-L", CLIENT)
        url = f"http://127.0.0.1:{tunnel.port}/page.txt"
        run(["curl", "-sS", url]).expect(PAGE)
        record("none", "client", self.strict, "user@domain identities verified both ways")

    def test_aServerThatIsSomebodyElseIsNotBelieved(self) -> None:
        """
        Nothing but the end of the connection reaches the client, and the log says why.
        """
        tunnel = self.clientMode(f"127.0.0.1:{self.openssl.port}", "other.test.example", None)
        run(["curl", "-sS", f"http://127.0.0.1:{tunnel.port}/page.txt"]).expectFailure()
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")


class ServerModeTests(InteropTestCase):
    """
    A web server that knows no TLS, and web clients that insist on it.
    """

    web: ClassVar[PlainWeb]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1")
        stage.authority.issue(CLIENT)
        cls.web = stage.start(PlainWeb(stage.directory("web")))

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.stage.authority.anchors
        self.backend = f"127.0.0.1:{self.web.port}"

    def test_aPageIsFetchedByCurl(self) -> None:
        """
        curl verifies the name that the tunnel serves.
        """
        port = self.serverMode(self.backend, NAME, None).port
        curl("https", port, NAME, self.anchors, path="/page.txt").expect(PAGE)
        record("none", "server", "curl", "page fetched")

    def test_aPageIsFetchedByOpenSSL(self) -> None:
        """
        C{s_client} verifies chain and name.
        """
        port = self.serverMode(self.backend, NAME, None).port
        openssl(port, NAME, self.anchors, say=REQUEST).expect(
            "Verification: OK", f"Verified peername: {NAME}", PAGE
        )
        record("none", "server", "openssl", "page fetched")

    def test_aPageIsFetchedByGnuTLS(self) -> None:
        """
        The same with another implementation of TLS.
        """
        port = self.serverMode(self.backend, NAME, None).port
        gnutls(port, NAME, self.anchors, say=REQUEST).expect("certificate is trusted", PAGE)
        record("none", "server", "gnutls-cli", "page fetched")

    def test_aPageIsFetchedByPython(self) -> None:
        """
        Python's own client, by an address that the certificate has as well; addresses are not
        sent as SNI.
        """
        tunnel = self.serverMode(self.backend, NAME, None)
        url = f"https://127.0.0.1:{tunnel.port}/page.txt"
        with urllib.request.urlopen(url, context=verified(self.anchors)) as page:
            self.assertEqual(page.read().decode(), PAGE)
        record("none", "server", "urllib", "page fetched")

    def test_aNameThatIsNotServedIsRefused(self) -> None:
        """
        Asked for by SNI, it gets the alert C{unrecognized_name}, 112.
        """
        port = self.serverMode(self.backend, NAME, None).port
        openssl(port, "other.test.example", self.anchors, say=REQUEST).expectFailure(
            "unrecognized name"
        )

    def test_onlyTheClientThatIsAskedForComesIn(self) -> None:
        """
        With C{-R} a client needs a certificate that fits the selector.
        """
        port = self.serverMode(self.backend, NAME, None, "-R", "@tlspool.arpa2.lab").port
        files = self.stage.authority.pool / CLIENT
        shown = ("--cert", str(files / "fullchain.pem"), "--key", str(files / "privkey.pem"))
        curl("https", port, NAME, self.anchors, *shown, path="/page.txt").expect(PAGE)
        curl("https", port, NAME, self.anchors, path="/page.txt").expectFailure()
        files = self.stage.authority.pool / NAME
        others = ("--cert", str(files / "fullchain.pem"), "--key", str(files / "privkey.pem"))
        curl("https", port, NAME, self.anchors, *others, path="/page.txt").expectFailure()
        record("none", "server", "curl", "client certificate required")
