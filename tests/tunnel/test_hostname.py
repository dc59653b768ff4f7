"""
Tests for L{tlstunnel.tunnel.hostname}: what this host calls itself.
"""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.tunnel import hostname


class LookUpTests(SynchronousTestCase):
    """
    L{hostname.lookUp}.
    """

    def test_theHostHasAName(self) -> None:
        """
        Its full one.
        """
        self.patch(socket, "getfqdn", lambda: "host.example.net")
        self.assertEqual(hostname.lookUp(), "host.example.net")

    def test_aHostWithoutAFullNameHasAnAddress(self) -> None:
        """
        Nobody outside knows us as localhost.
        """
        self.patch(socket, "gethostbyname", lambda name: "192.0.2.7")
        for name in ("host", "localhost.localdomain", "h\xf6st.example", "web_1.proj_default"):
            self.patch(socket, "getfqdn", lambda name=name: name)
            self.assertEqual(hostname.lookUp(), "192.0.2.7")

    def test_aHostThatDoesNotKnowItselfHasLoopback(self) -> None:
        """
        Better than nothing.
        """

        def fail(name: str) -> str:
            raise OSError

        self.patch(socket, "getfqdn", lambda: "host")
        self.patch(socket, "gethostbyname", fail)
        self.assertEqual(hostname.lookUp(), "127.0.0.1")


class WrittenTests(SynchronousTestCase):
    """
    L{hostname.written}.
    """

    def test_namesAndAddressesHaveAForm(self) -> None:
        """
        RFC 5321, sections 4.1.2 and 4.1.3.
        """
        for name, form in (
            ("mail", b"mail"),
            ("Host-1.Example.NET", b"Host-1.Example.NET"),
            ("1.example", b"1.example"),
            ("a" * 63 + ".example", b"a" * 63 + b".example"),
            ("192.0.2.7", b"[192.0.2.7]"),
            ("2001:db8::7", b"[IPv6:2001:db8::7]"),
        ):
            self.assertEqual(hostname.written(name), form)

    def test_othersHaveNone(self) -> None:
        """
        Whatever resolvers think of them.
        """
        for name in (
            *("proj_web_1.proj_default", "_a.example", "-a.example", "a-.example", "a..example"),
            *("a.example.", ".example", "", "h\xf6st.example", "a b.example", "a\r\nb.example"),
            *("a" * 64 + ".example", "[192.0.2.7]", "192.0.2.7\n"),
        ):
            self.assertEqual(hostname.written(name), b"", name)


class InGreetingTests(SynchronousTestCase):
    """
    L{hostname.inGreeting}.
    """

    def test_anAddressIsALiteral(self) -> None:
        """
        RFC 5321, section 4.1.3.
        """
        for name, greeting in (
            ("host.example.net", b"host.example.net"),
            ("192.0.2.7", b"[192.0.2.7]"),
            ("2001:db8::7", b"[IPv6:2001:db8::7]"),
            ("host", b"[127.0.0.1]"),
            ("localhost.localdomain", b"[127.0.0.1]"),
            ("proj_web_1.proj_default", b"[127.0.0.1]"),
        ):
            self.assertEqual(hostname.inGreeting(name), greeting)

    def test_theKernelNeedNotBeWaitedFor(self) -> None:
        """
        Where nobody has looked the name up, its name is taken.
        """

        def fail() -> str:
            raise AssertionError("nothing may be looked up")

        self.patch(socket, "getfqdn", fail)
        for name, greeting in (("host.example.net", b"host.example.net"), ("host", b"[127.0.0.1]")):
            self.patch(socket, "gethostname", lambda name=name: name)
            self.assertEqual(hostname.inGreeting(""), greeting)
