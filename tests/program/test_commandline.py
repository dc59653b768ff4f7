"""
Tests for L{tlstunnel.program.commandline} and L{tlstunnel.program.configure}: the command line, and
what is said about mistakes in it.
"""

from __future__ import annotations

import dataclasses
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.net.access import SocketAccess
from tlstunnel.program.commandline import TunnelOptions, listProtocols
from tlstunnel.program.option import Scope
from tlstunnel.program.options import LOG_OPTIONS, OPTIONS
from tlstunnel.program.tableoptions import accepting
from tlstunnel.tunnel.description import Mode, Tunnel

SERVER = "-s -l [::]:443 -L testsrv@tlspool.arpa2.lab -r [2001:db8::1234]:80".split()
CLIENT = (
    "-c -l [::1]:8080 -L testcli@tlspool.arpa2.lab -r [2001:db8::1234]:443 "
    "-R testsrv@tlspool.arpa2.lab"
).split()

#: Words, and what the one line about them must contain.
MISTAKES = [
    (
        "",
        "--server, --client, --bridge: one of them is needed; give --server to accept TLS",
    ),
    (
        "-s -c -l :1 -r :2",
        "--server, --client: exclude each other, as a tunnel has one mode; leave",
    ),
    ("-s -c -l :1 -r a.example:1 -L a", "--server, --client: exclude each other"),
    ("-s -l :1 -r a.example:1 -L a -L a", "--local-id a: is given twice; give it once"),
    ("-s -l :1 -r a.example:1 -L a.b -L A.B", "--local-id A.B: is given twice; give it once"),
    (
        "-s -l :1 -r a.example:1 -L a -R b -R b -R b",
        "--remote-id b: is given 3 times; give it once",
    ),
    ("-c -l :1 -r a.example:1 --trust /x --trust /x", "--trust /x: is given 2 times; give it once"),
    ("-c -r a.example:1", "--local: is missing"),
    ("--config x -c -l :1", "--client, --local: cannot stand beside --config, which may have"),
    ("--config x -- a b", "--: cannot stand beside --config, which"),
    ("--config x --workers many", "--workers: 'many' is not a number of processes"),
    ("-c -l :1", "--remote: is missing"),
    ("-s -l :1 -r a.example:1", "--local-id: is missing"),
    ("-c -l :1 -r 192.0.2.1:1", "--remote-id: is missing"),
    ("-c -l :1 -r /run/sock", "--remote-id: is missing"),
    ("-c -l :1 -r a.example:1 -r b.example:1", "several names"),
    ("-c -l nonsense -r a.example:1", "--local: 'nonsense' has no port; write nonsense:PORT"),
    ("-c -l ./sock -r a.example:1", "'./sock' is no host; write the whole path of a UNIX socket"),
    ("-c -l :1 -r a.example::5901", "'a.example::5901' has two colons; write a.example:5901"),
    ("-c -l :1 -r fe80::1", "'fe80::1' has several colons; put an IPv6 address into brackets"),
    ("-c -l 30001 -r a.example:1", "write 127.0.0.1:30001 for this host alone, or :30001 to"),
    ("-c -l *:25 -r a.example:1", "write :25 for all addresses"),
    ("-c -l http://127.0.0.1:80 -r a.example:1", "is a URL; write 127.0.0.1:80"),
    (
        "-c -l :1 -r https://a.example/x",
        "--remote: 'https://a.example/x' is a URL; write a.example:443",
    ),
    ("-c -l :1 -r amqps://u:p@a.example", "is a URL; write a.example:PORT"),
    ("-c -l :1 -r [::1 -R a.example", "--remote: '[::1' has no closing bracket; write [HOST]:PORT"),
    ("-c -l ::1:25 -r a.example:1", "put an IPv6 address into brackets"),
    ("-c -l :1 -r a.example:noservice", "--remote: 'a.example:noservice'"),
    ("-c -l :1 -r a.example:0", "names no place"),
    ("-c -l :1 -r :25", "names no place"),
    ("-c -l :1 -r a.example:1 -L two@at@signs", "--local-id: 'two@at@signs'"),
    ("-s -l :1 -r a.example:1 -L a.example -R @@", "--remote-id"),
    ("-s -l :1 -r a.example:1 -L a.example -R *.b.example", "write .b.example for all of them"),
    ("-s -l :1 -r a.example:1 -L a.example -R *@c.example", "write @c.example for all of them"),
    ("-s -l :1 -r a.example:1 -L a.example --remote-id *", "write . for all of them"),
    ("-c -l :1 -r a.example:1 --starttls smpt", "did you mean smtp?"),
    ("-c -l :1 -r a.example:1 --starttls xyzzy", "see 'tlstunnel --list-protocols'"),
    (
        "-c -l :1 -r a.example:1 --starttls smtp --dialect-option x",
        "smtp has no options; leave it out",
    ),
    (
        "-c -l :1 -r a.example:1 --starttls ftp --dialect-option x",
        "ftp has no such option; it has: address=ADDRESS, ports=LOW-HIGH, active, allow-truncated",
    ),
    (
        "-s -l :1 -r a.example:2 -L a.example --starttls ftp --dialect-option ports=2010-2000",
        "--dialect-option ports=2010-2000: the first port is above the last; give ports=LOW-HIGH",
    ),
    (
        "-c -l :1 -r a.example:1 --starttls ftp --dialect-option address=ftp.example.org",
        "address=ftp.example.org: not an address of IPv4, and PASV knows no others; give address",
    ),
    (
        "-c -l :1 -r a.example:1 --dialect-option x",
        "TLS from the first byte has no options; give --starttls too",
    ),
    ("-c -l :1 -r a.example:1 --minimum-tls 1.1", "'1.1' is not known; give 1.2 or 1.3"),
    (
        "-c -l :1 -r a.example:1 --close-timeout 5s",
        "--close-timeout: '5s' is not a number of seconds above 0; give seconds alone, as 10",
    ),
    ("-c -l :1 -r a.example:1 --close-timeout -5", "'-5' is not a number"),
    ("-c -l :1 -r a.example:1 --handshake-timeout 0", "is not a number"),
    ("-c -l :1 -r a.example:1 --handshake-timeout nan", "is not a number"),
    ("-c -l :1 -r a.example:1 --nonsense", "nonsense"),
    ("-c -l :1 -r a.example:1 word", "'word' is no option"),
    ("-c -l :1 -r a.example:1 --trust=", "--trust: is empty"),
    ("-c -l :1 -r a.example:1 --pool=", "--pool: is empty"),
    ("-c -l :1 -r a.example:1 --pool /a --pool /b", "--pool: has 2 values; give one"),
    (
        "-c -l :1 -r a.example:1 -R a --remote-id b",
        "--remote-id: has 2 values, and with --client there is one server to expect; give the one",
    ),
    ("-s -l :1 -L a.example -r b:1 -R .example -R a..b", "--remote-id: 'a..b' is not a domain"),
    ("-c -l :1 -r a.example:1 --socket-mode 0660", "--socket-mode: is for UNIX sockets"),
    ("-c -l systemd:x -r a.example:1 --socket-group x", "its unit has SocketMode="),
    ("-c -l :1 -r a.example:1 --trust dane", "--trust dane: needs a resolver that validates"),
    ("-c -l :1 -r a.example:1 --dane-resolver 127.0.0.1", "is there for nothing; give --trust"),
    ("-c -l :1 -r a.example:1 --trust dane --dane-resolver 9.9.9.9", "is not a loopback address"),
    (
        "-c -l :1 -r a.example:1 -R u@a.example --trust dane --dane-resolver 127.0.0.1",
        "--remote-id u@a.example: is no domain, and with --trust dane it has to be the name",
    ),
    (
        "-c -l :1 -r 192.0.2.1:1 -R 192.0.2.1 --trust dane --dane-resolver 127.0.0.1",
        "--remote-id 192.0.2.1: is no domain, and with --trust dane",
    ),
    ("-s -l :1 -L a.example -r b:1 --trust dane", "--trust dane: is about servers, and clients"),
    (
        "-s -l :1 -L a.example -r b:1 --dane-resolver 127.0.0.1",
        "--dane-resolver: means nothing with --server",
    ),
    ("-c -l :1 -r a.example:1 --any-name", "--any-name: means nothing with --client"),
    ("-c -l :1 -r a.example:1 --starttls smtp --chat smtp", "--starttls, --chat: both were given"),
    ("-c -l :1 -r a.example:1 --chat-strict", "--chat-strict: is about a chat script, and there"),
    ("-c -l :1 -r a.example:1 --chat-files --starttls smtp", "there is none; give --chat too"),
    (
        "-c -l :1 -r a.example:1 --workers 0",
        "'0' is not a number of processes above 0; give a whole number, or auto for one a core",
    ),
    ("-c -l :1 -r a.example:1 --max-connections 1.5", "'1.5' is not a number of connections"),
]


@accepting(LOG_OPTIONS)
class _Logging(TunnelOptions):
    """
    Those of a program in the foreground.
    """


class OptionsTests(SynchronousTestCase):
    """
    From words to a tunnel.
    """

    def tunnel(self, words: list[str]) -> Tunnel:
        """
        The tunnel that C{words} describe.
        """
        options = TunnelOptions()
        options.parseOptions(words)
        tunnel = options["tunnel"]
        assert isinstance(tunnel, Tunnel)
        return tunnel

    def test_theServerLineOfTheDesignIsUnderstood(self) -> None:
        """
        Character for character.
        """
        tunnel = self.tunnel(SERVER)
        self.assertIs(tunnel.mode, Mode.SERVER)
        self.assertEqual(tunnel.local, (TCPAddress("::", 443),))
        self.assertEqual(tunnel.remote, (TCPAddress("2001:db8::1234", 80),))
        self.assertEqual(tunnel.localID, Identity("testsrv", "tlspool.arpa2.lab"))
        self.assertIsNone(tunnel.remoteID)

    def test_theClientLineOfTheDesignIsUnderstood(self) -> None:
        """
        Character for character.
        """
        tunnel = self.tunnel(CLIENT)
        self.assertIs(tunnel.mode, Mode.CLIENT)
        self.assertEqual(tunnel.remoteID, Identity("testsrv", "tlspool.arpa2.lab"))
        self.assertEqual(tunnel.localID, Identity("testcli", "tlspool.arpa2.lab"))

    def test_theSTARTTLSLineOfTheDesignIsUnderstood(self) -> None:
        """
        The server's name is the host's; it needs no -R.
        """
        words = "-c -l 127.0.0.1:2525 -r mail.example.org:587 --starttls smtp".split()
        self.assertEqual(self.tunnel(words).dialect.name, "smtp")

    def test_addressesAreRepeatable(self) -> None:
        """
        Several -l and several -r, UNIX sockets among them.
        """
        words = [*SERVER, "-l", "/run/front", "-r", "unix:back"]
        tunnel = self.tunnel(words)
        self.assertEqual(tunnel.local[1], UNIXAddress("/run/front"))
        self.assertEqual(tunnel.remote[1], UNIXAddress("back"))

    def test_UNIXSocketsAreForWhomItIsSaid(self) -> None:
        """
        Also where there are other addresses beside them.
        """
        words = "-l /run/x --socket-mode 0660 --socket-owner a --socket-group 7".split()
        self.assertEqual(self.tunnel([*CLIENT, *words]).access, SocketAccess(0o660, "a", "7"))

    def test_aServersRemoteIDIsASelector(self) -> None:
        """
        -R with -s may stand for many.
        """
        self.assertEqual(
            self.tunnel([*SERVER, "-R", "@.example.org"]).remoteID, Selector("", ".example.org")
        )

    def test_severalRemoteIDsOfAServerAreAList(self) -> None:
        """
        Whom any of them matches may come.
        """
        expected = self.tunnel([*SERVER, "-R", "@.example.org", "-R", "host.example"]).remoteID
        self.assertEqual(
            expected,
            AccessList((Selector("", ".example.org"), Selector(None, "host.example"))),
        )
        self.assertEqual(str(expected), "@.example.org or host.example")

    def test_severalTrustsAreTogether(self) -> None:
        """
        Each as it is given.
        """
        tunnel = self.tunnel([*CLIENT, "--trust", "/a", "--trust", "system"])
        self.assertEqual(tunnel.trust, ("/a", "system"))

    def test_quietIsOfTheTunnel(self) -> None:
        """
        It is loud without.
        """
        self.assertTrue(self.tunnel([*SERVER, "--quiet"]).quiet)
        self.assertFalse(self.tunnel(SERVER).quiet)

    def test_whatIsGivenOnceIsRefusedTwice(self) -> None:
        """
        Every option that has one value, by its name.
        """
        for option in OPTIONS:
            if option.argument and not option.isRepeatable and option.scope is not Scope.LOG:
                words = [*SERVER, f"--{option.name}", "1", f"--{option.name}", "1"]
                if option.name == "local-id":
                    words = words[:-2]
                error = self.assertRaises(usage.UsageError, self.tunnel, words)
                self.assertIn(f"--{option.name}: has 2 values; give one", str(error))

    def test_longNamesAreUnderstood(self) -> None:
        """
        Every short option has one.
        """
        words = (
            "--client --local [::1]:8080 --remote a.example:1 --local-id us --remote-id them "
            "--pool /p --trust system --alpn a,b"
        ).split()
        tunnel = self.tunnel(words)
        self.assertEqual(tunnel.alpn, (b"a", b"b"))
        self.assertEqual(tunnel.trust, ("system",))
        self.assertEqual(tunnel.pool.path, Path("/p"))

    def test_everyLimitHasAnOption(self) -> None:
        """
        And each option sets its own.
        """
        words = [
            word
            for number, name in enumerate(
                "connect-timeout connect-total greeting-timeout negotiation-timeout "
                "handshake-timeout close-timeout close-total idle-timeout max-lifetime keepalive "
                "max-connections max-unverified max-per-address max-rate-per-address "
                "ipv4-prefix ipv6-prefix".split(),
                1,
            )
            for word in (f"--{name}", str(number))
        ]
        self.assertEqual(
            list(dataclasses.astuple(self.tunnel([*SERVER, *words]).limits)), list(range(1, 17))
        )

    def test_aFlagMayBeRepeated(self) -> None:
        """
        It says the same again.
        """
        self.assertTrue(self.tunnel([*SERVER, "--any-name", "--any-name"]).anyName)

    def test_ALPNIdsMayBeAnyBytes(self) -> None:
        """
        They are no text (RFC 7301, section 3.1).
        """
        self.assertEqual(self.tunnel([*SERVER, "--alpn", "\udcff"]).alpn, (b"\xff",))

    def test_theWordsOfChatAreNotForUs(self) -> None:
        """
        Even if they look like options.
        """
        options = TunnelOptions()
        options.parseOptions([*SERVER, "--", "-t", "5", "", "-R"])
        self.assertEqual(options["tunnel"].dialect.name, "chat")
        self.assertEqual(options.words, [*SERVER, "--", "-t", "5", "", "-R"])

    def test_theHelpHasEveryOption(self) -> None:
        """
        Once, under both its names, with its default.
        """
        text = TunnelOptions().getUsage()
        for option in OPTIONS:
            short = f"-{option.short}," if option.short else "   "
            found = re.findall(rf"(?m)^  {short} --{option.name}( .*\n(?: {{20}} .*\n)*|\n)", text)
            isShown = option.scope not in {Scope.LOG, Scope.VIEW}
            self.assertEqual(len(found), isShown, option.name)
            if found and option.shownDefault:
                shown = f"(default: {option.shownDefault})"
                self.assertIn(shown, " ".join(found[0].split()), option.name)

    def test_theHelpFitsATerminal(self) -> None:
        """
        No line is too long.
        """
        self.assertLessEqual(max(map(len, TunnelOptions().getUsage().splitlines())), 100)

    def test_protocolsAreListedWithTheirOptions(self) -> None:
        """
        One line each, both roles.
        """
        listed = listProtocols()
        for name in ("none", "smtp", "lmtp"):
            self.assertRegex(listed, rf"(?m)^{name} +client server ")

    def test_protocolsAreListedWithWhatIsSaid(self) -> None:
        """
        Wherever the word for that stands.
        """
        for words in (["-v", "--list-protocols"], ["--list-protocols", "-v"]):
            written = io.StringIO()
            options = _Logging()
            with redirect_stdout(written):
                self.assertRaises(SystemExit, options.parseOptions, words)
            self.assertIn("C: STARTTLS\n", written.getvalue())


def _mistake(words: str, message: str) -> None:
    def test(self: OptionsTests) -> None:
        """
        A mistake in the command line is named in one line.
        """
        error = self.assertRaises(usage.UsageError, self.tunnel, words.split())
        self.assertIn(message, str(error))
        self.assertNotIn("\n", str(error))
        if not str(error).endswith("there is no such option"):
            self.assertRegex(str(error), r"; \S")

    # trial -j hands tests to its workers by name, so that names must be identifiers.
    name = "".join(map(str.capitalize, re.split(r"\W+", words))) or "Nothing"
    assert not hasattr(OptionsTests, f"test_mistakeIn{name}"), name
    setattr(OptionsTests, f"test_mistakeIn{name}", test)


for _words, _message in MISTAKES:
    _mistake(_words, _message)
