"""
The fields that tell a web server who is there, and which of a client's own are of that kind.
"""

from __future__ import annotations

import base64
from itertools import product

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, intermediate, make, root
from tests.reveal.web import JOHN, Web, get, message
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity, KeyIdentity
from tlstunnel.reveal.httpfields import USUAL, FieldNames


def fieldsIn(request: bytes) -> list[tuple[bytes, bytes]]:
    """
    The fields of a request that the backend has heard.
    """
    head, _, _ = request.partition(b"\r\n\r\n")
    pairs = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return [(name, value) for name, _, value in pairs]


def asked(web: Web, *lines: bytes) -> dict[bytes, bytes]:
    """
    The fields of a request with these lines, each once.
    """
    found = fieldsIn(web.say(get(*lines)))
    fields = dict(found)
    assert len(fields) == len(found), found
    return fields


def encoded(issued: Issued) -> bytes:
    """
    A byte sequence of structured fields (RFC 8941).
    """
    return b":%b:" % base64.b64encode(issued.certificate.public_bytes(Encoding.DER))


class ToldTests(SynchronousTestCase):
    """
    What is told.
    """

    def shows(self, web: Web, **expected: str) -> None:
        """
        A request has these fields.
        """
        fields = asked(web)
        for name, value in expected.items():
            self.assertEqual(fields[name.replace("_", "-").encode()], value.encode())

    def test_theAddressesOfBothEnds(self) -> None:
        """
        In the form of RFC 7239, and as everybody has them.
        """
        self.shows(
            Web(),
            Forwarded='for="192.0.2.7:40007";by="192.0.2.1:443";proto=https;host="www.example.org"',
            X_Forwarded_For="192.0.2.7",
            X_Forwarded_Proto="https",
            X_Forwarded_Host="www.example.org",
            X_Forwarded_Port="443",
        )

    def test_anIPv6AddressHasBracketsAndQuotesAndNoZone(self) -> None:
        """
        RFC 7239, section 6.
        """
        self.shows(
            Web(peer=TCPAddress("fe80::1%eth0", 5), local=TCPAddress("2001:db8::2", 8443)),
            Forwarded='for="[fe80::1]:5";by="[2001:db8::2]:8443";proto=https;'
            'host="www.example.org"',
            X_Forwarded_For="fe80::1",
            X_Forwarded_Port="8443",
        )

    def test_whoComesByAUNIXSocketHasNoAddress(self) -> None:
        """
        Which is told as such.
        """
        web = Web(peer=UNIXAddress(""), local=UNIXAddress("/run/web"))
        fields = asked(web)
        self.assertEqual(fields[b"Forwarded"], b'for="unknown";proto=https;host="www.example.org"')
        self.assertNotIn(b"X-Forwarded-For", fields)
        self.assertNotIn(b"X-Forwarded-Port", fields)

    def test_anIdentityThatWasProved(self) -> None:
        """
        As an extension parameter.
        """
        for identity in (JOHN, Identity(None, "a.example.org"), Identity.parse("spiffe://a/b")):
            fields = asked(Web(identity=identity))
            self.assertIn(f';identity="{identity}";'.encode(), fields[b"Forwarded"])

    def test_quotesInAnIdentityEndNothing(self) -> None:
        """
        Whatever should ever be in one.
        """
        fields = asked(Web(identity=Identity('a"\\b', "x")))
        self.assertIn(b';identity="a\\"\\\\b@x";', fields[b"Forwarded"])

    def test_aCertificateAndItsChainWithoutTheRoot(self) -> None:
        """
        RFC 9440.
        """
        ca = root()
        middle = intermediate()
        leaf = make(Recipe(), middle)
        fields = asked(Web(identity=JOHN, chain=(leaf, middle, ca)))
        self.assertEqual(fields[b"Client-Cert"], encoded(leaf))
        self.assertEqual(fields[b"Client-Cert-Chain"], encoded(middle) + b", " + encoded(ca))

    def test_nothingOfACertificateThatNobodyHasVerified(self) -> None:
        """
        Nor of one of which only the key was: whoever has that may have written anything into it.
        """
        leaf = make(Recipe())
        for identity in (None, KeyIdentity.of(b"0" * 32)):
            fields = asked(Web(identity=identity, chain=(leaf,)))
            self.assertFalse([each for each in fields if each.startswith(b"Client")])

    def test_everyRequestOfAConnection(self) -> None:
        """
        Not only the first.
        """
        web = Web(identity=JOHN)
        heard = web.say(get() * 5 + message(b"GET /a HTTP/1.1", b"Host: a.example.org") * 2)
        self.assertEqual(heard.count(b'identity="john@example.org"'), 7)
        self.assertEqual(heard.count(b"X-Forwarded-Host: a.example.org"), 2)

    def test_noHostOfARequestThatNamesNone(self) -> None:
        """
        HTTP/1.0 may do so, and an empty one is none.
        """
        for lines in ([b"GET / HTTP/1.0"], [b"GET / HTTP/1.1", b"Host:"]):
            fields = dict(fieldsIn(Web().say(message(*lines))))
            self.assertNotIn(b"X-Forwarded-Host", fields)
            self.assertEqual(
                fields[b"Forwarded"], b'for="192.0.2.7:40007";by="192.0.2.1:443";proto=https'
            )


class NamesTests(SynchronousTestCase):
    """
    C{--http-header}.
    """

    def test_aFieldCanHaveAnotherName(self) -> None:
        """
        Then it does not have its usual one.
        """
        fields = asked(Web({"x-forwarded-FOR": "X-Client"}))
        self.assertEqual(fields[b"X-Client"], b"192.0.2.7")
        self.assertNotIn(b"X-Forwarded-For", fields)

    def test_aFieldCanBeLeftOut(self) -> None:
        """
        All of them, too.
        """
        self.assertNotIn(b"Forwarded", asked(Web({"Forwarded": ""})))
        self.assertEqual(set(asked(Web(dict.fromkeys(USUAL, "")))), {b"Host"})

    def refuses(self, others: dict[str, str], *words: str) -> None:
        """
        That cannot be.
        """
        error = self.assertRaises(ConfigurationError, FieldNames.of, others)
        for word in words:
            self.assertIn(word, str(error))

    def test_onlyKnownFieldsCanBeRenamed(self) -> None:
        """
        The error lists them.
        """
        self.refuses({"X-Real-IP": "X"}, "--http-header X-Real-IP=X", *USUAL)

    def test_noFieldCanHaveANameThatDelimitsMessages(self) -> None:
        """
        In whatever spelling.
        """
        for name in ("Host", "content-length", "Transfer_Encoding", "Connection"):
            self.refuses({"Forwarded": name}, name)

    def test_noTwoFieldsCanHaveTheSameName(self) -> None:
        """
        Also not where only some take it for the same.
        """
        self.refuses({"Forwarded": "X-A", "Client-Cert": "x_a"}, "x_a")
        self.refuses({"Forwarded": "Client_Cert"}, "Client")
        FieldNames.of({"Forwarded": "Client-Cert", "Client-Cert": "Forwarded"})


class ForgeryTests(SynchronousTestCase):
    """
    What a client says of the kind is not passed on, in whatever spelling.
    """

    _RENAMED = {"Client-Cert": "SSL-Certificate"}

    def spellings(self, name: str) -> list[bytes]:
        """
        How it may be written so that some take it for the same.
        """
        forms = {name, name.lower(), name.upper(), name.swapcase()}
        folds = {form.replace("-", by) for form, by in product(forms, "-_.!'~")}
        mixed = name.replace("-", "_", 1)
        return [each.encode() for each in sorted(folds | {mixed})]

    def test_noFieldOfTheKindPasses(self) -> None:
        """
        Neither by the usual names, nor by others that we or other proxies use.
        """
        names = (
            *USUAL,
            "SSL-Certificate",
            "X-Real-IP",
            "X-Forwarded-Server",
            "X-Forwarded",
            "Client-Cert-Verified",
            "X-Forwarded-Client-Cert",
        )
        for usual in names:
            for name in self.spellings(usual):
                web = Web(self._RENAMED, identity=JOHN)
                heard = web.say(
                    get(name + b": forged", b"X-Other: 1", name + b":forged", name + b":")
                )
                self.assertNotIn(b"forged", heard, name)
                self.assertIn(b"X-Other: 1", heard)
                self.assertNotIn(b"SSL", heard)

    def test_fieldsWhoseNamesOnlyBeginAlikePass(self) -> None:
        """
        Nothing else is touched.
        """
        lines = [b"X-Forward: a", b"Forwarded-Mail: b", b"Client: c", b"Cookie: d=\xe9; e", b"x: "]
        heard = Web().say(get(*lines))
        for line in lines:
            self.assertIn(b"\r\n" + line + b"\r\n", heard)

    def test_noTrailerOfTheKindPasses(self) -> None:
        """
        Nor one that may not be one (RFC 9110, section 6.5.1).
        """
        for name in (*USUAL, "Host", "Content-Length", "Transfer-Encoding", "Connection", "TE"):
            for spelled in self.spellings(name):
                web = Web(identity=JOHN)
                body = b"1\r\nx\r\n0\r\nX-Sum: 1\r\n%b: forged\r\n\r\n" % spelled
                if name in ("Content-Length", "Transfer-Encoding"):
                    body = body.replace(b"forged", b"77" if name[0] == "C" else b"chunked")
                heard = web.say(get(b"Transfer-Encoding: chunked") + body)
                self.assertTrue(heard.endswith(b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"), heard)

    def test_noFieldIsTakenAwayByConnection(self) -> None:
        """
        A backend that is a proxy would not hand on what is named there.
        """
        heard = Web().say(
            get(b"Connection: keep-alive, X-Forwarded-For", b"connection: client-cert, TE, close")
        )
        connections = [value for name, value in fieldsIn(heard) if name.lower() == b"connection"]
        self.assertEqual(connections, [b"keep-alive, te, close"])

    def test_aFieldThatSomeTakeForFramingIsRefused(self) -> None:
        """
        The request is not delimited by it, and somebody might think so.
        """
        for name in (b"Content_Length", b"transfer_encoding", b"Transfer.Encoding"):
            web = Web()
            self.assertEqual(web.say(get(name + b": 5")), b"")
            self.assertIn(b" 400 ", web.atClient())
