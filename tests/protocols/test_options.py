"""
Options of dialects: L{tlstunnel.protocols.options}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.protocols.ftp import ftp
from tlstunnel.protocols.ftpdata import ADDRESS, PORTS
from tlstunnel.protocols.options import checkOptions, nameOf, written
from tlstunnel.protocols.registry import builtIn, find

RIGHT = (
    ("active",),
    ("active", "active"),
    ("address=198.51.100.7",),
    ("address=127.0.0.1", "ports=1024-65535", "active", "allow-truncated-uploads"),
    ("ports=50000-50000",),
)

_A = "give address=ADDRESS, as address=198.51.100.7"
_P = "give ports=LOW-HIGH, as ports=50000-50999"
_NOTHING = "ports=: ports needs a value"
_RANGE = "not two numbers with a hyphen between them"

WRONG: tuple[tuple[tuple[str, ...], str], ...] = (
    (("activ",), "activ: ftp has no such option; did you mean active?"),
    (("port=1024-2000",), "port=1024-2000: ftp has no such option; did you mean ports?"),
    (
        ("xyzzy",),
        "xyzzy: ftp has no such option; it has: address=ADDRESS, ports=LOW-HIGH, active, allow-",
    ),
    (("=",), "=: ftp has no such option; it has: address=ADDRESS"),
    (("active=yes",), "active=yes: active takes no value; give active alone"),
    (("active=",), "active=: active takes no value; give active alone"),
    (("address",), f"address: address needs a value; {_A}"),
    (("address=",), f"address=: address needs a value; {_A}"),
    (("address=ftp.example.org",), "not an address of IPv4, and PASV knows no others; give a"),
    (("address=2001:db8::1",), f"not an address of IPv4, and PASV knows no others; {_A}"),
    (("address=192.0.2.1:21",), "not an address of IPv4"),
    (("address=192.0.2",), "not an address of IPv4"),
    (("address=192.0.2.1\n",), "not an address of IPv4"),
    (("address=0.0.0.0",), f"nobody can connect to that address; {_A}"),
    (("address=224.0.0.1",), "nobody can connect to that address"),
    (("address=255.255.255.255",), "nobody can connect to that address"),
    (("ports",), f"ports: ports needs a value; {_P}"),
    (("ports=",), f"{_NOTHING}; {_P}"),
    (("ports=50000",), f"ports=50000: {_RANGE}; {_P}"),
    (("ports=50000-",), _RANGE),
    (("ports=-50000",), _RANGE),
    (("ports=50000:50010",), _RANGE),
    (("ports=50000-50010-50020",), _RANGE),
    (("ports=a-b",), _RANGE),
    (("ports=+50000-50010",), _RANGE),
    (("ports=\u0665\u0665\u0665\u0665-50010",), _RANGE),
    (("ports=1" + "0" * 5000 + "-2",), _RANGE),
    (("ports=50010-50000",), f"the first port is above the last; {_P}"),
    (("ports=1023-50000",), f"ports are from 1024 to 65535; {_P}"),
    (("ports=0-0",), "ports are from 1024 to 65535"),
    (("ports=50000-65536",), "ports are from 1024 to 65535"),
    (
        ("address=192.0.2.1", "address=192.0.2.2"),
        "address=192.0.2.2: address=192.0.2.1 was given too; leave one of them out",
    ),
)


class CheckOptionsTests(SynchronousTestCase):
    """
    What is given is held against what the dialect says.
    """

    def test_whatIsRightIsTaken(self) -> None:
        """
        Each once.
        """
        for words in RIGHT:
            self.assertEqual(checkOptions(words, ftp, "server"), frozenset(words))

    def test_whatIsWrongIsToldWithTheRemedy(self) -> None:
        """
        The option, its value, and what would be right.
        """
        for words, expected in WRONG:
            error = self.assertRaises(ConfigurationError, checkOptions, words, ftp, "server")
            self.assertEqual(error.subject, f"`dialect-option` {words[-1]}")
            self.assertIn(expected, str(error))

    def test_aDialectWithoutOptionsHasNone(self) -> None:
        """
        And TLS from the first byte is nobody's name.
        """
        for name, whose in (("smtp", "smtp"), ("none", "TLS from the first byte")):
            error = self.assertRaises(
                ConfigurationError, checkOptions, ["x=1"], find(name), "client"
            )
            self.assertIn(f"x=1: {whose} has no options; ", str(error))

    def test_whatMeansNothingInAModeIsRefusedThere(self) -> None:
        """
        Somebody could believe that it protects him.
        """
        for dialect in builtIn():
            for name, mode in dialect.onlyIn.items():
                other = {"client": "server", "server": "client"}[mode]
                self.assertEqual(checkOptions([name], dialect, mode), {name})
                error = self.assertRaises(ConfigurationError, checkOptions, [name], dialect, other)
                self.assertIn(f"{name}: means nothing with --{other}; leave it out", str(error))
        self.assertIn("require-resumption", ftp.onlyIn)

    def test_whatTakesAValueIsAnOption(self) -> None:
        """
        Of every dialect: it is explained, and its example is right.
        """
        for dialect in builtIn():
            for value in dialect.values:
                self.assertIn(value.name, dialect.options)
                self.assertTrue(checkOptions([f"{value.name}={value.example}"], dialect, "server"))
                self.assertIn(f"{value.name}={value.form}", [word for word, _ in written(dialect)])

    @given(st.text(max_size=30))
    def test_noWordRaisesAnythingElse(self, word: str) -> None:
        """
        Whatever is given is taken or refused.
        """
        for each in (word, f"address={word}", f"ports={word}"):
            try:
                checkOptions([each], ftp, "client")
            except ConfigurationError:
                pass


class OptionValueTests(SynchronousTestCase):
    """
    What a role gets of it.
    """

    def test_theValueIsWhatWasMeant(self) -> None:
        """
        And none where none was given.
        """
        words = frozenset(("active", "ports=50000-50002", "address=192.0.2.1"))
        self.assertEqual(PORTS.given(words), range(50000, 50003))
        self.assertEqual(ADDRESS.given(words), "192.0.2.1")
        self.assertIsNone(PORTS.given(frozenset(("active",))))

    @given(st.integers(1024, 65535), st.integers(1024, 65535))
    def test_everyRangeIsUnderstood(self, one: int, other: int) -> None:
        """
        Both ends belong to it.
        """
        low, high = sorted((one, other))
        ports = PORTS.given([f"ports={low}-{high}"])
        assert ports is not None
        self.assertEqual((ports[0], ports[-1], len(ports)), (low, high, high - low + 1))

    def test_theNameStandsBeforeTheEqualsSign(self) -> None:
        """
        Up to the first equals sign.
        """
        self.assertEqual([nameOf(word) for word in ("a", "a=", "a=b=c", 5)], ["a", "a", "a", "5"])
