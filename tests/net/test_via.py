"""
Tests for L{tlstunnel.net.via}: how a proxy is given, and the file with the login.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.via import LARGEST_LOGIN, Login, Via, parseVia, readLogin

HTTP = Via("http", TCPAddress("proxy.example", 3128))
SOCKS = Via("socks5", TCPAddress("127.0.0.1", 9050))


class ParseTests(SynchronousTestCase):
    """
    L{parseVia}.
    """

    def test_proxiesThatAreUnderstood(self) -> None:
        """
        Both kinds, names and addresses, with and without a user.
        """
        for text, via in (
            ("http://proxy.example:3128", HTTP),
            ("HTTP://Proxy.Example:3128/", HTTP),
            ("socks5://127.0.0.1:9050", SOCKS),
            ("socks5://[::1]:1080", Via("socks5", TCPAddress("::1", 1080))),
            ("socks5://me@127.0.0.1:9050", Via("socks5", SOCKS.address, "me")),
            ("http://m%40e@proxy.example:3128", Via("http", HTTP.address, "m@e")),
        ):
            self.assertEqual(parseVia(text), via)

    def test_whatItIsCalledReadsBack(self) -> None:
        """
        Whatever the user is called.
        """
        for user in ("", "me", "a@b", "a/b c", "ü%"):
            for address in (TCPAddress("a.example", 1), TCPAddress("::1", 65535)):
                via = Via("socks5", address, user)
                self.assertEqual(parseVia(str(via)), via)

    def test_whatIsNone(self) -> None:
        """
        Is refused with words that help.
        """
        for text, words in (
            ("proxy.example:3128", "is no URL of a proxy; write http://HOST:PORT"),
            ("http://proxy.example", "has no port; write proxy.example:PORT"),
            ("http://", "'http://' names no place to connect to"),
            ("http://proxy.example:3128/path", "is no URL of a proxy"),
            ("http://proxy.example:0", "names no place to connect to"),
            ("http://:3128", "names no place to connect to"),
            ("http:///run/proxy", "is no URL of a proxy"),
            ("http://unix:/run/proxy", "is no URL of a proxy"),
            ("http://::1:3128", "put an IPv6 address into brackets"),
            ("https://proxy.example:3128", "TLS to the proxy itself is not spoken; write http://"),
            ("socks5h://proxy.example:1080", "write socks5://, by which the proxy always"),
            ("socks4a://proxy.example:1080", "that is SOCKS 4, which is not spoken"),
            ("socks://proxy.example:1080", "write socks5://"),
            ("ftp://proxy.example:1080", "write http://HOST:PORT or socks5://HOST:PORT"),
            ("http://@proxy.example:3128", "has no user before the @"),
            ("http://a%3Ab@proxy.example:3128", "has a user that cannot log in"),
            ("http://a%0d%0ab@proxy.example:3128", "has a user that cannot log in"),
            ("http://%ff@proxy.example:3128", "has a user that cannot log in"),
        ):
            error = self.assertRaises(ValueError, parseVia, text)
            self.assertIn(words, str(error), text)

    def test_aPasswordIsRefusedAndNotRepeated(self) -> None:
        """
        Every user of this host could read it; whoever reads the log should not.
        """
        for text in (
            "http://me:secret@proxy.example:3128",
            "socks5://me:secret@127.0.0.1:1080",
            "http://me:se/cret@proxy.example:3128",
            "http://me:se@cret@proxy.example:3128",
            "https://:secret@proxy.example",
            "nonsense://me:secret@",
            "me:secret@proxy.example:3128",
            "me:secret@proxy.example:3128://",
        ):
            error = self.assertRaises(ValueError, parseVia, text)
            self.assertIn("`via-auth-file`", str(error))
            self.assertNotIn("cret", str(error))

    @given(st.text())
    def test_noTextBreaksIt(self, text: str) -> None:
        """
        It is a proxy, or wrong.
        """
        for scheme in ("http://", "socks5://"):
            try:
                via = parseVia(scheme + text)
            except ValueError:
                continue
            self.assertEqual(parseVia(str(via)), via)


class LoginTests(SynchronousTestCase):
    """
    L{readLogin}.
    """

    def file(self, content: bytes, mode: int = 0o600) -> Path:
        """
        A file with C{content}.
        """
        path = Path(self.mktemp())
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def test_oneLine(self) -> None:
        """
        With an end or without; the password may have anything that can be printed.
        """
        for content, login in (
            (b"me:secret", Login(b"me", b"secret")),
            (b"me:secret\n", Login(b"me", b"secret")),
            (b"me:secret\r\n", Login(b"me", b"secret")),
            (b"me:a:b c\xc3\xbc\n", Login(b"me", b"a:b c\xc3\xbc")),
        ):
            self.assertEqual(readLogin(self.file(content), SOCKS), login)
        self.assertEqual(readLogin(self.file(b"me:\n"), HTTP), Login(b"me", b""))

    def test_anythingElseIsRefused(self) -> None:
        """
        By the name of the file, and without a word of what is in it.
        """
        for content in (
            *(b"", b"\n", b"secret\n", b":secret\n", b"me:secret\n\n", b"me:secret\nyou:secret\n"),
            *(b"me:sec\0ret", b"me:sec\rret", b"me:secret\x7f", b"\nme:secret"),
            b"me:secret" + b"t" * LARGEST_LOGIN,
            b"me:secret" + b"t" * (1 << 20),
        ):
            path = self.file(content)
            error = self.assertRaises(ConfigurationError, readLogin, path, HTTP)
            self.assertEqual(error.subject, str(path))
            self.assertNotIn("secret", str(error))

    def test_othersMayNotReadIt(self) -> None:
        """
        As with private keys.
        """
        for mode in (0o644, 0o604, 0o660):
            path = self.file(b"me:secret", mode)
            error = self.assertRaises(ConfigurationError, readLogin, path, HTTP)
            self.assertIn(f"can be read by others (mode 0{mode:o})", str(error))

    def test_aDeviceIsNoFile(self) -> None:
        """
        Nobody is told to take its permissions away.
        """
        error = self.assertRaises(ConfigurationError, readLogin, Path("/dev/zero"), HTTP)
        self.assertEqual(str(error), "/dev/zero: is a device; give a file")

    def test_itHasToBeThere(self) -> None:
        """
        A proxy that wants no login needs no file.
        """
        error = self.assertRaises(ConfigurationError, readLogin, Path("/nonexistent"), HTTP)
        self.assertIn("/nonexistent: cannot be read: No such file or directory", str(error))

    def test_SOCKSHasLimits(self) -> None:
        """
        A byte each for the lengths, and no empty password (RFC 1929).
        """
        long = b"x" * 255
        login = readLogin(self.file(long + b":" + long), SOCKS)
        self.assertEqual(login, Login(long, long))
        for content in (long + b"x:y", b"x:" + long + b"y", b"me:"):
            self.assertRaises(ConfigurationError, readLogin, self.file(content), SOCKS)
            readLogin(self.file(content), HTTP)

    def test_theUserIsTheOneInTheURL(self) -> None:
        """
        Where there is one.
        """
        path = self.file(b"me:secret")
        me = Via("http", HTTP.address, "me")
        self.assertEqual(readLogin(path, me), Login(b"me", b"secret"))
        you = Via("http", HTTP.address, "you")
        error = self.assertRaises(ConfigurationError, readLogin, path, you)
        self.assertIn("is about another user than --via http://you@proxy.example:3128", str(error))

    def test_thePasswordIsNotShown(self) -> None:
        """
        Whoever logs a login.
        """
        self.assertNotIn("secret", repr(Login(b"me", b"secret")))
