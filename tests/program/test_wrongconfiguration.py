"""
Tests for L{tlstunnel.program.configuration}: all that can be wrong with a file.
"""

from __future__ import annotations

from tests.program.configurations import TUNNEL, ConfigurationTests
from tests.users import closed
from tlstunnel.identity.permission import toRead
from tlstunnel.program import includes
from tlstunnel.program.configuration import readConfiguration
from tlstunnel.program.problems import Problems

#: Each with what is said of it, and where: all that a file alone can have wrong.  The tunnel that
#: is right stands before it, in the first six lines.
WRONG = {
    # Keys.
    '[tunnel.x]\nmode = "client"\nlocla = [":1"]\nremote = ["a.example:1"]\nlocal = ":1"': (
        "9: tunnel.x.locla: there is no such key; did you mean local?"
    ),
    "[process]\nworkerss = 1": "8: process.workerss: there is no such key; did you mean workers?",
    "[process]\nx = 1": "8: process.x: there is no such key; see tlstunnel.toml(5)",
    "[process]\nquiet = true": (
        "8: process.quiet: does not belong here; move it to [defaults], or a tunnel"
    ),
    "[defaults]\nworkers = 1": "8: defaults.workers: does not belong here; move it to [process]",
    "[default]": "7: default: there is no such table; did you mean [defaults]?",
    "[defaults]\nversion = true": (
        "8: defaults.version: there is no such key; see tlstunnel.toml(5)"
    ),
    "[defaults]\nserver = true": '8: defaults.server: there is no such key; write mode = "server"',
    # Types.
    "[defaults]\nquiet = 1": "8: defaults.quiet: 1 is neither true nor false; give one of them",
    "[defaults]\npool = 1": "8: defaults.pool: 1 is not text; put it between quotation marks",
    "[defaults]\npool = {}": "8: defaults.pool: a table is not text; put it between",
    "[defaults]\npool = ['a', 'b']": "8: defaults.pool: has 2 values; give one",
    "[defaults]\nkeepalive = 'x'": (
        "8: defaults.keepalive: 'x' is not a number of seconds; give seconds alone, as 10"
    ),
    "[defaults]\nmax-connections = 1.5": (
        "8: defaults.max-connections: 1.5 is not a number of connections above 0; give a whole "
        "number"
    ),
    "[defaults]\nmode = 'sever'": (
        "8: defaults.mode: 'sever' is not known; give server, client or bridge"
    ),
    "[defaults]\ntrust = [\n'system',\n1,\n[]]": [
        "10: defaults.trust: 1 is not text; put it between quotation marks",
        "11: defaults.trust: an array is not text; put it between quotation marks",
    ],
    "[[defaults]]": "7: defaults: is not a table; write [defaults], and its keys in lines below",
    "[[process]]": "7: process: is not a table; write [process], and its keys in lines below",
    "[tunnel]\nx = 1": "8: tunnel.x: is not a table; write [tunnel.x], and its keys in lines below",
    "[tunnel]\nmode = 'server'": (
        "8: tunnel.mode: is in no tunnel; give the table above it a name: [tunnel.NAME]"
    ),
    "[defaults]\nstarttls = true": "8: defaults.starttls: true is not text; put it between",
    "[defaults]\nstarttls = 2026-11-29": "8: defaults.starttls: 2026-11-29 is not text; put it",
    "[defaults]\nidle-timeout = 07:32:00": "8: defaults.idle-timeout: 07:32:00 is not a number of",
    f"[defaults]\nmax-connections = 0x{'f' * 5000}": (
        f"8: defaults.max-connections: 0x{'f' * 78}... is above 999999999; give fewer connections"
    ),
    f"[defaults]\nminimum-tls = 0x{'f' * 5000}": (
        f"8: defaults.minimum-tls: 0x{'f' * 78}... is not known; give 1.2 or 1.3"
    ),
    # What was meant is not missing besides.
    "[tunnel.x]\nserver = true\nLocal = ':1'\nremot = '127.0.0.1:1'\nlocal_id = 'a.example'": [
        '8: tunnel.x.server: there is no such key; write mode = "server"',
        "9: tunnel.x.Local: there is no such key; did you mean local?",
        "10: tunnel.x.remot: there is no such key; did you mean remote?",
        "11: tunnel.x.local_id: there is no such key; did you mean local-id?",
    ],
    "[defaults]\nQUIET = true": "8: defaults.QUIET: there is no such key; did you mean quiet?",
    # What belongs together.
    "[tunnel.x]\nlocal = ':1'\nremote = ['127.0.0.1:1']\nlocal-id = 'a.example'": (
        '7: tunnel.x.mode: is missing; write mode = "server", mode = "client" or mode = "bridge"'
    ),
    "[tunnel.x]\nmode = 'server'": [
        "7: tunnel.x.local: is missing; say where to listen",
        "7: tunnel.x.remote: is missing; say where to forward to",
        "7: tunnel.x.local-id: is missing; give the name in our certificate",
    ],
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = '127.0.0.1:1'": (
        "7: tunnel.x.remote-id: is missing, and 127.0.0.1:1 does not name the server; "
        "add remote-id with the name in the server's certificate"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'a.example:1'\nany-name = true\n"
    "require-alpn = true\nsocket-mode = '0600'\nchat-strict = true": [
        '11: tunnel.x.any-name: means nothing with mode = "client"; leave it out',
        '12: tunnel.x.require-alpn: means nothing with mode = "client"; leave it out',
        "13: tunnel.x.socket-mode: is for UNIX sockets that we make, and local has none; leave it",
        "14: tunnel.x.chat-strict: is about a chat script, and there is none; give chat too",
    ],
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'srv:_a._tcp.b.example'\n"
    "balance = 'roundrobin'": (
        "11: tunnel.x.balance: 'roundrobin' is not known; give first, round-robin or "
        "least-connections"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'srv:_a._tcp.b.example'\n"
    "balance = 'round-robin'": (
        "11: tunnel.x.balance: round-robin: is not for srv:_a._tcp.b.example: its records say "
        "themselves whom to try first; leave it out, or give the hosts in remote"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'srv:192.0.2.1:25'": (
        "10: tunnel.x.remote: 'srv:192.0.2.1:25' names no service of a domain; write "
        "srv:_SERVICE._tcp.DOMAIN, such as srv:_submission._tcp.example.org"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'a.example:1'\nstarttls = 'smpt'": (
        "11: tunnel.x.starttls: there is no protocol 'smpt'; did you mean smtp?"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'a.example:1'\nstarttls = 'smtp'\n"
    "chat = 'smtp'": (
        "11: tunnel.x.starttls: both were given; say in one way how to upgrade to TLS"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'a.example:1'\nstarttls = 'smtp'\n"
    "dialect-option = ['x']": ("12: tunnel.x.dialect-option: x: smtp has no options; leave it out"),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'a.example:1'\nstarttls = 'ftp'\n"
    "dialect-option = ['active', 'address=::1']": (
        "12: tunnel.x.dialect-option: address=::1: not an address of IPv4, and PASV knows no "
        "others; give address=ADDRESS, as address=198.51.100.7"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = ':1'\nremote = 'a.example:1'\nchat = 'none'": (
        "11: tunnel.x.chat: FOLDER/none: cannot read the script: No such file or directory; "
        "give a file, or one of "
    ),
    # Names.
    TUNNEL.replace("pg", "a.b.c"): (
        '8: tunnel.a.b: there is no such table; write [tunnel."a.b.c"] for a tunnel of that name'
    ),
    "[tunnel.'x y']\nmode = 'client'": (
        '7: tunnel."x y": cannot be the name of a tunnel; give 1 to 64 letters, digits, hyphens, '
        "dots and underscores"
    ),
    # Addresses.
    "[tunnel.x]\nmode = 'client'\nlocal = ['127.0.0.1:5432']\nremote = 'a.example:1'": (
        "9: tunnel.x.local: 127.0.0.1:5432: belongs to tunnel.pg (tlstunnel.toml:4); give each an "
        "address of its own"
    ),
    "[tunnel.x]\nmode = 'client'\nlocal = [':1',\n':5432']\nremote = 'a.example:1'": (
        "10: tunnel.x.local: :5432: belongs to tunnel.pg with 127.0.0.1:5432 (tlstunnel.toml:4); "
        "give each an address of its own"
    ),
    "[status]\nlocal = 'localhost:5432'": (
        "8: status.local: localhost:5432: belongs to tunnel.pg with 127.0.0.1:5432 "
        "(tlstunnel.toml:4); give each an address of its own"
    ),
    "[status]\nlocal = '192.0.2.1:9290'": (
        "8: status.local: 192.0.2.1:9290: can be reached by other hosts; give a loopback address "
        "or a UNIX socket, or add public = true"
    ),
    "[status]\nlocal = 'systemd:x'": "8: status.local: 'systemd:x' has no known port or service",
}


class WrongTests(ConfigurationTests):
    """
    Mistakes.
    """

    def test_eachMistakeIsALineWithItsPlace(self) -> None:
        """
        What is wrong, and what to do.
        """
        for text, expected in WRONG.items():
            lines = expected if isinstance(expected, list) else [expected]
            said = self.problems(f"{TUNNEL}{text}\n")
            self.assertEqual(len(said), len(lines), said)
            for line, each in zip(said, lines, strict=True):
                wanted = f"tlstunnel.toml:{each}".replace("FOLDER/", "")
                self.assertEqual(line[: len(wanted)], wanted)
                self.assertTrue(line.isprintable())

    def test_allMistakesAreToldAtOnce(self) -> None:
        """
        In the order of the files and lines, each once.
        """
        self.write(f"[defaults]\npool = 1\n{TUNNEL}[tunnel.a]\nx = 1\n", "conf.d/b.toml")
        self.write("[tunnel.b\n", "conf.d/a.toml")
        lines = self.problems(
            "include = ['conf.d/*', 'nowhere/*']\n[process]\nworkers = 'x'\n[defaults]\nquiet = 1\n"
            + TUNNEL
        )
        self.assertEqual(
            [each[: each.index(": ", each.index(": ") + 2)] for each in lines[:-1]],
            [
                "tlstunnel.toml:1: include",
                "tlstunnel.toml:3: process.workers",
                "tlstunnel.toml:5: defaults.quiet",
                "conf.d/b.toml:2: defaults.pool",
                "conf.d/b.toml:4: tunnel.pg",
                "conf.d/b.toml:9: tunnel.a.mode",
                "conf.d/b.toml:9: tunnel.a.local",
                "conf.d/b.toml:9: tunnel.a.remote",
                "conf.d/b.toml:10: tunnel.a.x",
            ],
        )
        self.assertTrue(lines[-1].startswith("conf.d/a.toml:1: has no ] behind"))

    def test_aDirectoryIsNoFileToInclude(self) -> None:
        """
        The line says what to write instead.
        """
        self.write("", "conf.d/a.toml")
        self.assertEqual(
            self.problems(f"include = [\n'conf.d']\n{TUNNEL}"),
            ["tlstunnel.toml:2: include: conf.d is a directory; write conf.d/*.toml"],
        )

    def test_aFolderInOneThatMayNotBeSearched(self) -> None:
        """
        It may have any number of files.
        """
        folder = self.folder / "private"
        (folder / "conf.d").mkdir(parents=True)
        self.folder.chmod(0o755)
        self.write(f"include = ['private/conf.d/*.toml']\n{TUNNEL}")
        with closed(folder):
            (line,) = self.problems()
        self.assertIn("include: private cannot be searched: Permission denied", line)

    def test_aWrongModeHidesNoMistakeOfTheDialect(self) -> None:
        """
        What means nothing in any mode is told at once.
        """
        table = "[tunnel.x]\nmode = 'sever'\nlocal = ':1'\nremote = 'a.example:1'\n"
        for rest, problem in (
            ("starttls = 'smpt'", "starttls: there is no protocol 'smpt'; did you mean smtp?"),
            (
                "starttls = 'ftp'\ndialect-option = ['prot']",
                "dialect-option: prot: ftp has no such option",
            ),
        ):
            (mode, *others) = self.problems(f"{table}{rest}\n")
            self.assertIn(
                "tunnel.x.mode: 'sever' is not known; give server, client or bridge", mode
            )
            self.assertEqual(len(others), 1, others)
            self.assertIn(f"tunnel.x.{problem}", others[0])

    def test_aFolderThatMayNotBeSearched(self) -> None:
        """
        It is not empty.
        """
        folder = self.write("", "conf.d/a.toml").parent
        self.folder.chmod(0o755)
        self.write(f"include = ['conf.d/*.toml']\n{TUNNEL}")
        with closed(folder):
            (line,) = self.problems()
            self.assertEqual(
                line,
                "tlstunnel.toml:1: include: conf.d cannot be searched: Permission denied; "
                + toRead(folder).replace(f"{self.folder}/", ""),
            )

    def test_whatFollowsFromAMistakeIsNotToldBesides(self) -> None:
        """
        An address that cannot be read is not missing, and names nobody.
        """
        for table in (
            "[tunnel.x]\nmode = 'client'\n{}\n",
            "[defaults]\n{}\n[tunnel.x]\nmode='client'",
        ):
            lines = self.problems(table.format("local = ['x']\nremote = ['y']\nchat-files = 'a'"))
            self.assertEqual(len(lines), 3, lines)
        lines = self.problems("[tunnel.x]\nmode = 'x'\nlocal = ':1'\nremote = 'a.example:1'")
        self.assertEqual(len(lines), 1, lines)

    def test_aMistakeInDefaultsIsToldOnce(self) -> None:
        """
        However many tunnels have it from there.
        """
        said = "defaults.starttls: there is no protocol 'smpt'; did you mean smtp?"
        tunnel = "[tunnel.{0}]\nmode = 'client'\nlocal = ':{0}'\nremote = 'a.example:1'\n"
        self.assertEqual(
            self.problems(f"[defaults]\nstarttls = 'smpt'\n{tunnel.format(1)}{tunnel.format(2)}"),
            [f"tlstunnel.toml:2: {said}"],
        )

    def test_aFileWithoutTunnels(self) -> None:
        """
        Is not what anybody means.
        """
        self.assertEqual(
            self.problems(""), ["tlstunnel.toml: has no tunnel; add a table [tunnel.NAME]"]
        )

    def test_includedFilesHaveTunnelsAlone(self) -> None:
        """
        And defaults for them.
        """
        self.write("include = 'x'\n[process]\n[status]", "a.toml")
        belongs = "does not belong here; move it to the"
        self.assertEqual(
            self.problems(f"include = ['a.toml']\n{TUNNEL}"),
            [
                f"a.toml:1: include: {belongs} beginning of the main file",
                f"a.toml:2: process: {belongs} main file",
                f"a.toml:3: status: {belongs} main file",
            ],
        )

    def test_aThousandFilesAtMost(self) -> None:
        """
        Beyond that nothing is read.
        """
        self.patch(includes, "MAX_FILES", 3)
        for number in range(3):
            self.write("", f"conf.d/{number}.toml")
        (line,) = self.problems(f"include = ['conf.d/*']\n{TUNNEL}")
        self.assertIn("1: include: there are more than 3 files; join some", line)

    def test_overridingValuesAreReadToo(self) -> None:
        """
        One that is wrong is told, as are those in the file.
        """
        self.write(f"{TUNNEL}[process]\nworkers = 'x'")
        error = self.assertRaises(
            Problems, readConfiguration, self.path, {"workers": "y", "verbose": True}
        )
        self.assertEqual(len(error.problems), 2)
