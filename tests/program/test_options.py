"""
Tests for L{tlstunnel.program.options} and L{tlstunnel.program.values}: the table of settings, and
how their values are read, from a command line and from a file.
"""

from __future__ import annotations

import os
from dataclasses import fields
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.option import Scope, read
from tlstunnel.program.options import OPTIONS, TUNNEL_OPTIONS
from tlstunnel.program.values import PROCESSES_PER_CORE
from tlstunnel.tunnel.limits import Limits

BY_NAME = {option.name: option for option in OPTIONS}

#: A key, its value as text and as a file has it, and what both are read as.
SAME = [
    ("connect-timeout", "2.5", 2.5, 2.5),
    ("connect-timeout", "3", 3, 3.0),
    ("max-connections", "9", 9, 9),
    ("max-connections", "1e3", 1000.0, 1000),
    ("minimum-tls", "1.3", 1.3, "1.3"),
    ("resumption", "off", "off", "off"),
    ("workers", "2", 2, 2),
    ("pool", "/p", "/p", "/p"),
    ("socket-mode", "0660", "660", 0o660),
    ("alpn", "h2,http/1.1", "h2,http/1.1", (b"h2", b"http/1.1")),
    ("max-rate-per-address", "0.5", 0.5, 0.5),
    ("allow", "::ffff:10.0.0.0/104", ["10.0.0.0/8"], (ip_network("10.0.0.0/8"),)),
    ("dane-resolver", "127.0.0.1", "127.0.0.1:53", TCPAddress("127.0.0.1", 53)),
    ("dane-resolver", "127.0.0.53:5353", "127.0.0.53:5353", TCPAddress("127.0.0.53", 5353)),
    ("dane-resolver", "::1", "[::1]", TCPAddress("::1", 53)),
    ("dane-resolver", "[::1]:5353", "[::1]:5353", TCPAddress("::1", 5353)),
]

#: A key, and a value that it cannot have.
WRONG = [
    ("connect-timeout", True),
    ("connect-timeout", 0),
    ("connect-timeout", -1),
    ("connect-timeout", "5s"),
    ("connect-timeout", "inf"),
    ("connect-timeout", 1e9),
    ("connect-timeout", [1, 2]),
    ("connect-timeout", []),
    ("keepalive", 32768),
    ("workers", PROCESSES_PER_CORE * (os.cpu_count() or 1) + 1),
    ("max-connections", 1.5),
    ("max-connections", "1e400"),
    ("minimum-tls", 1.1),
    ("resumption", "yes"),
    ("workers", "many"),
    ("pool", 1),
    ("pool", ["/a", "/b"]),
    ("any-name", "yes"),
    ("any-name", 1),
    ("local", 443),
    ("remote", ["a.example:1", ":1"]),
    ("remote", "a.example:0"),
    ("alpn", 2),
    ("alpn", ""),
    ("alpn", ",,"),
    ("alpn", "x" * 256),
    ("alpn", "\ud800"),
    ("alpn", ",".join(["x" * 255] * 256)),
    ("pool", "a\0b"),
    ("socket-mode", 660),
    ("socket-mode", "0680"),
    ("socket-mode", "1777"),
    ("socket-mode", "u+w"),
    ("dialect-option", [""]),
    ("ipv4-prefix", 33),
    ("ipv4-prefix", 0),
    ("ipv6-prefix", 129),
    ("ipv6-prefix", 0),
    ("max-rate-per-address", -0.5),
    ("allow", 10),
    ("deny", ["192.0.2.0/24", "192.0.2.1/24"]),
    # Only what comes from this host is believed.
    *(("dane-resolver", each) for each in ("9.9.9.9", "192.168.0.1:53", "128.0.0.1", "::", "::2")),
    *(
        ("dane-resolver", each)
        for each in ("2001:db8::1", "[fe80::1]:53", "0.0.0.0", "127.0.0.1:0")
    ),
    *(("dane-resolver", each) for each in ("localhost", "dns.example.org:53", "/s", ":53", 53, "")),
]


class TableTests(SynchronousTestCase):
    """
    L{OPTIONS}.
    """

    def test_namesAreUnique(self) -> None:
        """
        The long ones and the short ones.
        """
        short = [option.short for option in OPTIONS if option.short]
        self.assertEqual(len(BY_NAME), len(OPTIONS))
        self.assertEqual(len(set(short)), len(short))

    def test_everyLimitHasASetting(self) -> None:
        """
        One, with the same default.
        """
        limits = {option.limit: option.default for option in OPTIONS if option.limit}
        self.assertEqual(limits, {each.name: each.default for each in fields(Limits)})

    def test_defaultsAreValues(self) -> None:
        """
        What is shown as a default can be given.
        """
        shown = [option for option in OPTIONS if option.shownDefault]
        self.assertGreater(len(shown), 12)
        for option in shown:
            self.assertEqual(option.read(option.shownDefault), option.default, option.name)

    def test_whatAppliesToNothingIsNoSetting(self) -> None:
        """
        A file cannot ask for the help.
        """
        scopes = {option.scope for option in TUNNEL_OPTIONS}
        self.assertEqual(scopes, {Scope.TUNNEL, Scope.PROCESS})


class ReadTests(SynchronousTestCase):
    """
    L{read}.
    """

    def test_textAndTypedValuesAreTheSame(self) -> None:
        """
        One parser reads a command line and a file.
        """
        for key, text, typed, value in SAME:
            for given in (text, typed):
                found = read({key: given}, OPTIONS)[key]
                self.assertEqual(found, value, (key, given))
                self.assertIs(type(found), type(value), (key, given))

    def test_oneOfSeveralIsAList(self) -> None:
        """
        Whether it was given alone, or in a list.
        """
        for given in (":1", [":1"]):
            self.assertEqual(read({"local": given}, OPTIONS)["local"], (TCPAddress("", 1),))

    def test_whatIsNotGivenHasItsDefault(self) -> None:
        """
        Every setting has a value.
        """
        values = read({}, OPTIONS)
        self.assertEqual(values, {option.name: option.default for option in OPTIONS})
        self.assertEqual(values["local"], ())

    def test_whatMakesNoSenseIsNamed(self) -> None:
        """
        By its key, whoever gave it.
        """
        for key, given in WRONG:
            error = self.assertRaises(ConfigurationError, read, {key: given}, OPTIONS)
            assert isinstance(error, ConfigurationError)
            self.assertEqual(error.key, key, given)
            self.assertTrue(error.remedy, given)

    def test_aSecondValueIsRefused(self) -> None:
        """
        Of everything that is not repeatable: none of them would silently win.
        """
        single = [option for option in TUNNEL_OPTIONS if option.argument]
        single = [option for option in single if not option.isRepeatable]
        self.assertGreater(len(single), 15)
        for option in single:
            value = option.shownDefault or "auto"
            error = self.assertRaises(
                ConfigurationError, read, {option.name: [value, value]}, OPTIONS
            )
            self.assertEqual(str(error), f"--{option.name}: has 2 values; give one")

    def test_zeroIsForLimitsThatCanBeOff(self) -> None:
        """
        And for no others.
        """
        mayBeOff = {"idle", "keepAlive", "lifetime", "perAddress", "ratePerAddress", "unverified"}
        for option in OPTIONS:
            if option.limit in mayBeOff:
                self.assertEqual(option.read("0"), 0)
            elif option.limit:
                self.assertRaises(ConfigurationError, option.read, "0")

    def test_oneProcessACore(self) -> None:
        """
        As many as we may use.
        """
        self.assertGreaterEqual(BY_NAME["workers"].read("auto"), 1)
