"""
Tests for L{tlstunnel.address}.
"""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import (
    LONGEST_NAME,
    SERVICES,
    SRVAddress,
    TCPAddress,
    UNIXAddress,
    addressOf,
    parseAddress,
    parseService,
)


class ParseAddressTests(SynchronousTestCase):
    """Reading an address."""

    def test_everyForm(self) -> None:
        """Each form is read, and its canonical text reads as the same."""
        for text, expected in (
            ("[::]:443", TCPAddress("::", 443)),
            ("[2001:DB8::1]:0443", TCPAddress("2001:db8::1", 443)),
            ("[fe80::1%eth0]:25", TCPAddress("fe80::1%eth0", 25)),
            ("127.0.0.1:25", TCPAddress("127.0.0.1", 25)),
            ("Mail.Example.ORG:587", TCPAddress("mail.example.org", 587)),
            ("Mail.example.org.:587", TCPAddress("mail.example.org.", 587)),
            ("b\u00fccher.example\u3002:443", TCPAddress("xn--bcher-kva.example.", 443)),
            ("b\u00fccher.example:443", TCPAddress("xn--bcher-kva.example", 443)),
            ("localhost:smtp", TCPAddress("localhost", 25)),
            ("[::1]:https", TCPAddress("::1", 443)),
            ("[::ffff:192.0.2.1]:25", TCPAddress("192.0.2.1", 25)),
            (":443", TCPAddress("", 443)),
            (":0", TCPAddress("", 0)),
            ("/run/app.sock", UNIXAddress("/run/app.sock")),
            ("/run/a:1", UNIXAddress("/run/a:1")),
            ("unix:/run/app.sock", UNIXAddress("/run/app.sock")),
            ("unix:app.sock", UNIXAddress("app.sock")),
        ):
            with self.subTest(text):
                self.assertEqual(parseAddress(text), expected)
                self.assertEqual(parseAddress(str(expected)), expected)

    def test_everythingElseIsRefused(self) -> None:
        """What is no address is refused, in one line that quotes it."""
        for text in (
            "",
            ":",
            "::",
            "::1",
            "2001:db8::1:443",
            "443",
            "example.org",
            "example.org:",
            "example.org:65536",
            "example.org:-1",
            "example.org:+1",
            "example.org: 1",
            "example.org:\u0661",
            "example.org:1" + "0" * 5000,
            "example.org:nosuchservice",
            "example.org:smtp\0",
            "[::1]",
            "[::1",
            "[::1]443",
            "[127.0.0.1]:443",
            "[example.org]:443",
            "[]:443",
            "192.0.2.256:25",
            "exa mple.org:25",
            "*:443",
            ".:443",
            "example.org..:443",
            "127.0.0.1.:443",
            "unix:",
            "unix:a\0b",
            "/" + "a" * 107,
        ):
            with self.subTest(text):
                error = self.assertRaises(ValueError, parseAddress, text)
                self.assertRegex(str(error), r"\A(['\"]).*\1 (is|has) ")
                self.assertTrue(str(error).isprintable())

    def test_defaultPort(self) -> None:
        """A host on its own gets the port that was given for that, and another port wins."""
        self.assertEqual(parseAddress("example.org", 25), TCPAddress("example.org", 25))
        self.assertEqual(parseAddress("[::1]", 25), TCPAddress("::1", 25))
        self.assertEqual(parseAddress("example.org:26", 25), TCPAddress("example.org", 26))
        self.assertRaises(ValueError, parseAddress, "", 25)
        self.assertRaises(ValueError, parseAddress, "::1", 25)
        self.assertRaises(ValueError, parseAddress, "example.org:", 25)

    def test_servicesWithoutTheSystemsList(self) -> None:
        """The services of our dialects are known on machines that list none."""

        def noList(name: str, protocol: str) -> int:
            raise OSError("service/proto not found")

        self.patch(socket, "getservbyname", noList)
        for service, port in SERVICES.items():
            with self.subTest(service):
                self.assertEqual(parseAddress(f"h:{service}"), TCPAddress("h", port))
        self.assertEqual(parseAddress("h:SMTP"), TCPAddress("h", 25))
        self.assertRaises(ValueError, parseAddress, "h:daytime")

    def test_theSystemsListWins(self) -> None:
        """Who moved a service in the system's list means it."""
        self.patch(socket, "getservbyname", lambda name, protocol: 2525)
        self.assertEqual(parseAddress("h:smtp"), TCPAddress("h", 2525))

    @given(st.text(max_size=40) | st.from_regex(r"\A\[?[0-9a-f:.%]*\]?:[0-9a-z]{0,6}\Z"))
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        """No text makes anything but a canonical address or a C{ValueError}."""
        try:
            address = parseAddress(text)
        except ValueError:
            return
        self.assertEqual(parseAddress(str(address)), address)


class PropertyTests(SynchronousTestCase):
    """What an address knows of itself."""

    def test_isLiteral(self) -> None:
        """An address is told from a name."""
        for text, expected in (
            ("127.0.0.1:1", True),
            ("[2001:db8::1]:1", True),
            ("[fe80::1%eth0]:1", True),
            ("/run/x", True),
            ("localhost:1", False),
            (":1", False),
        ):
            with self.subTest(text):
                self.assertEqual(parseAddress(text).isLiteral, expected)

    def test_isLocal(self) -> None:
        """Loopback and UNIX sockets stay on this machine; all interfaces do not."""
        for text, expected in (
            ("127.0.0.1:1", True),
            ("127.9.9.9:1", True),
            ("[::1]:1", True),
            ("[::ffff:127.0.0.1]:1", True),
            ("localhost:1", True),
            ("a.localhost:1", True),
            ("localhost.:1", True),
            ("/run/x", True),
            ("[::ffff:192.0.2.1]:1", False),
            ("0.0.0.0:1", False),
            ("[::]:1", False),
            (":1", False),
            ("192.0.2.1:1", False),
            ("localhost.example.org:1", False),
        ):
            with self.subTest(text):
                self.assertEqual(parseAddress(text).isLocal, expected)


class ParseServiceTests(SynchronousTestCase):
    """Reading the service of a domain."""

    def test_everyForm(self) -> None:
        """It has two labels and a domain, and its canonical text reads as the same."""
        for text, service, domain, port in (
            ("srv:_submission._tcp.example.org", "_submission._tcp", "example.org", 587),
            ("srv:_Submission._TCP.Example.ORG.", "_submission._tcp", "example.org", 587),
            (
                "srv:_xmpp-client._tcp.b\u00fccher.example",
                "_xmpp-client._tcp",
                "xn--bcher-kva.example",
                5222,
            ),
            ("srv:_own._tcp.example", "_own._tcp", "example", 0),
        ):
            with self.subTest(text):
                address = parseService(text)
                self.assertEqual(address, SRVAddress(service, domain))
                self.assertEqual(address.owner, f"{service}.{domain}")
                self.assertEqual(address.port, port)
                self.assertEqual(parseService(str(address)), address)

    def test_everythingElseIsRefused(self) -> None:
        """In one line that quotes it, and says what to write."""
        for text, words in (
            ("srv:", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:example.org", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:192.0.2.1:25", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:[::1]:25", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:_a._tcp.", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:_a._tcp", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:_a-._tcp.example.org", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:_\u212a._tcp.example.org", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:_a._tcp._b.example.org", "write srv:_SERVICE._tcp.DOMAIN"),
            ("srv:_a._udp.example.org", "write _tcp"),
            ("srv:_a._tcp.example.org:25", "has a port"),
            ("srv:_a._tcp.192.0.2.1", "is an address; give a domain"),
            ("srv:_a._tcp.192.0.2.999", "neither a domain nor an address"),
            ("srv:_a._tcp.exa mple.org", "is not a domain"),
            (f"srv:_{'a' * 16}._tcp.example.org", "more than 15 characters"),
            (f"srv:_aaaaaaaaaa._tcp.{'a.' * 124}b", "longer than a name can be"),
        ):
            with self.subTest(text):
                error = str(self.assertRaises(ValueError, parseService, text))
                self.assertIn(words, error)
                self.assertNotIn("\n", error)

    @given(st.text() | st.from_regex(r"srv:_[a-z-]{0,20}\._(tcp|udp)\.[a-z0-9._-]{0,260}"))
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        """What is read has a name that can be asked for, and reads as the same again."""
        try:
            address = parseService(text)
        except ValueError:
            return
        self.assertLessEqual(len(address.owner), LONGEST_NAME)
        self.assertTrue(address.owner.isascii())
        self.assertEqual(parseService(str(address)), address)


class AddressOfTests(SynchronousTestCase):
    """What the system tells of a socket."""

    def test_everyFamily(self) -> None:
        """A host and a port, or a path; IPv4 also where a socket of IPv6 has it."""
        for sockaddr, expected, text in (
            (("192.0.2.1", 25), TCPAddress("192.0.2.1", 25), "192.0.2.1:25"),
            (("2001:db8::1", 25, 0, 0), TCPAddress("2001:db8::1", 25), "[2001:db8::1]:25"),
            (("::ffff:192.0.2.1", 25, 0, 0), TCPAddress("192.0.2.1", 25), "192.0.2.1:25"),
            (("::ffff:0:1", 25, 0, 0), TCPAddress("::ffff:0:1", 25), "[::ffff:0:1]:25"),
            (("fe80::1%eth0", 25, 0, 2), TCPAddress("fe80::1%eth0", 25), "[fe80::1%eth0]:25"),
            ("/run/app.sock", UNIXAddress("/run/app.sock"), "/run/app.sock"),
            ("app.sock", UNIXAddress("app.sock"), "unix:app.sock"),
            ("", UNIXAddress(""), "unix"),
            (b"\0app", UNIXAddress("@app"), "unix:@app"),
        ):
            with self.subTest(text):
                self.assertEqual(addressOf(sockaddr), expected)
                self.assertEqual(str(expected), text)

    def test_aPathOfAPeerIsSafeToPrint(self) -> None:
        """Whoever connects chooses it, and the log has it (rule 12)."""
        for path in ("a\nb", b"\0\xff\x1b[2J", "caf\u00e9\u202e"):
            with self.subTest(path):
                text = str(addressOf(path))
                self.assertTrue(text.isprintable() and text.startswith("unix:"), text)

    def test_mappedIPv4OfARealSocket(self) -> None:
        """A listener of IPv6 that serves IPv4 too is met by peers of IPv4."""
        with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
            port = listener.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)) as near:
                accepted, peer = listener.accept()
                with accepted:
                    self.assertEqual(addressOf(peer), addressOf(near.getsockname()))
                    self.assertEqual(addressOf(accepted.getsockname()).host, "127.0.0.1")
