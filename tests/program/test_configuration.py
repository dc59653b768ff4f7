"""
Tests for L{tlstunnel.program.configuration}: what a file makes, and all that can be wrong with one.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
from tests.program.configurations import NAMES, TUNNEL, VALUES, ConfigurationTests, written
from tests.users import closed
from tlstunnel.address import TCPAddress, UNIXAddress, parseListening
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import toRead
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import bindAll
from tlstunnel.program import clashes as clashing
from tlstunnel.program import includes
from tlstunnel.program.clashes import clashes, wantedBy
from tlstunnel.program.configfile import quoted
from tlstunnel.program.configuration import Status, readConfiguration
from tlstunnel.program.keys import INCLUDE, PROCESS_KEYS, STATUS_KEYS, TUNNEL_KEYS
from tlstunnel.program.problems import Place, Problem, Problems
from tlstunnel.tunnel.description import Mode

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


#: Keys and values that are right somewhere.
_KEYS = [each.name for each in (INCLUDE, *PROCESS_KEYS, *STATUS_KEYS, *TUNNEL_KEYS)]
_ANY = VALUES | st.sampled_from(
    [
        "server",
        "client",
        "127.0.0.1:1",
        ":1",
        "unix:s",
        "a.example",
        "u@a.example",
        "smtp",
        "/",
        "1",
    ]
)
_TABLES = st.dictionaries(st.sampled_from(_KEYS) | NAMES, _ANY | st.lists(_ANY, max_size=2))


class AnyTests(ConfigurationTests):
    """
    Whatever a file has.
    """

    @given(
        st.dictionaries(
            st.sampled_from(("include", "process", "status", "defaults", "tunnel")) | NAMES,
            _TABLES | st.dictionaries(NAMES, _TABLES) | VALUES,
        )
    )
    def test_itIsReadOrHasProblems(self, content: dict[str, object]) -> None:
        """
        Nothing else is raised, and each problem is a line, with what to do.
        """
        self.write(
            "".join(f"{quoted(key)} = {written(each, '')}\n" for key, each in content.items())
        )
        try:
            readConfiguration(self.path)
        except Problems as error:
            lines = str(error).splitlines()
            self.assertEqual(len(lines), len(error.problems))
            for line in lines:
                self.assertRegex(line, rf"\A{re.escape(str(self.path))}(:[1-9][0-9]*)?: .*; .")
                self.assertTrue(line.isprintable())


class ReadTests(ConfigurationTests):
    """
    What is right.
    """

    def test_defaultsOfTheProcess(self) -> None:
        """
        All keys have a value.
        """
        found = self.read(TUNNEL)
        self.assertEqual(
            found.process,
            {
                "workers": 1,
                "log-json": False,
                "verbose": False,
                "key-provider": None,
                "pkcs11-module": None,
                "drain-timeout": 3600.0,
                "reload-on-change": True,
            },
        )
        self.assertEqual(found.status, Status())
        self.assertEqual(found.files, (self.path,))
        self.assertEqual(found.path, self.path)

    def test_theProcess(self) -> None:
        """
        What is given counts, and before it what is given elsewhere.
        """
        self.write(f"{TUNNEL}[process]\nworkers = 2\nlog-json = true\ndrain-timeout = 0\n")
        found = readConfiguration(self.path, {"workers": 1})
        self.assertEqual(found.process["workers"], 1)
        self.assertEqual(found.process["drain-timeout"], 0)
        self.assertIs(found.process["log-json"], True)

    def test_theStatus(self) -> None:
        """
        On this host, or where it is asked for by name.
        """
        found = self.read(f"{TUNNEL}[status]\nlocal = ['localhost:1', 'unix:s', '[::1]:1']")
        socket = UNIXAddress(f"{self.folder}/s")
        self.assertEqual(
            found.status.local, (TCPAddress("localhost", 1), socket, TCPAddress("::1", 1))
        )
        found = self.read(f"{TUNNEL}[status]\nlocal = ':1'\npublic = true")
        self.assertEqual(found.status, Status((TCPAddress("", 1),), True))

    def test_theTunnels(self) -> None:
        """
        With their names, in the order of the files.
        """
        self.write(TUNNEL.replace("pg", "'a.b'").replace("5432", "5433"), "z.toml")
        self.write(TUNNEL.replace("pg", "0").replace("5432", "5434"), "a.toml")
        found = self.read(f"include = ['z.toml', '[a-z].toml']\n{TUNNEL}")
        self.assertEqual([each.name for each in found.tunnels], ["pg", "a.b", "0"])
        self.assertIs(found.tunnels[0].mode, Mode.CLIENT)
        self.assertEqual(found.tunnels[0].dialect.name, "postgresql")
        self.assertEqual(found.tunnels[0].pool, defaultPool())
        names = ("tlstunnel.toml", "z.toml", "a.toml", "")
        self.assertEqual(found.files, tuple(self.folder / each for each in names))

    def test_hiddenFilesAndTheMainOneAreNotIncluded(self) -> None:
        """
        Whatever matches them.
        """
        self.write("x", ".#x.toml")
        self.write("", "b.toml")
        self.assertEqual(len(self.read(f"include = '*.toml'\n{TUNNEL}").tunnels), 1)

    def test_theFolderIsNoPattern(self) -> None:
        """
        Whatever is in its name.
        """
        self.folder = self.folder / "[a]*"
        self.folder.mkdir()
        self.path = self.folder / "tlstunnel.toml"
        self.write(TUNNEL, "conf.d/a.toml")
        self.assertEqual(len(self.read("include = 'conf.d/*.toml'").tunnels), 1)

    def test_theValuesOfATunnelComeBeforeDefaults(self) -> None:
        """
        Those of its file before those of all.
        """
        self.write(
            "[defaults]\nquiet = true\nkeepalive = 2\n"
            + TUNNEL.replace("pg", "x").replace("127.0.0.1", "127.0.0.2")
            + "keepalive = 3",
            "x.toml",
        )
        found = self.read(
            f"include = 'x.toml'\n[defaults]\nkeepalive = 1\nmax-connections = 7\n{TUNNEL}"
        )
        pg, x = found.tunnels
        self.assertEqual((pg.quiet, pg.limits.keepAlive, pg.limits.connections), (False, 1, 7))
        self.assertEqual((x.quiet, x.limits.keepAlive, x.limits.connections), (True, 3, 7))

    def test_anAgentByDefaultIsForThoseWithCertificates(self) -> None:
        """
        Not for who shows none, or leaves them to rules, or to others.
        """
        tunnels = "".join(
            f"[tunnel.t{number}]\nmode = '{mode}'\nlocal = ':{number}'\n"
            f"remote = 'a.example:1'\n{more}\n"
            for number, (mode, more) in enumerate(
                (
                    ("server", "local-id = 'a.example'"),
                    ("client", "local-id = 'a.example'"),
                    ("client", ""),
                    ("client", "local-id = 'auto'"),
                    ("client", "local-id = 'a@a.example'\ntrust = 'psk'"),
                    (
                        "server",
                        "local-id = 'a.example'\nstarttls = 'postgresql'\nnegotiate-only = true",
                    ),
                ),
                1,
            )
        )
        found = self.read(f"[defaults]\nagent = 'agent.sock'\n{tunnels}")
        agents = [each.agent for each in found.tunnels]
        self.assertEqual(agents, [self.path.parent / "agent.sock"] * 2 + [None] * 4)

    def test_defaultsHoldWhereTheyMeanSomething(self) -> None:
        """
        For one mode, UNIX sockets, scripts, or the options of a dialect.
        """
        found = self.read(
            """
            [defaults]
            mode = "client"
            remote = "a.example:1"
            require-alpn = true
            socket-mode = "0600"
            chat-strict = true
            starttls = "http"
            dialect-option = ["allow-upgrade-desync", "ports=50000-50009"]
            local-id = "b.example"
            [tunnel.server]
            mode = "server"
            local = "unix:s"
            [tunnel.client]
            local = "127.0.0.1:1"
            [tunnel.chat]
            local = "127.0.0.1:2"
            chat = "smtp"
            [tunnel.ftp]
            local = "127.0.0.1:3"
            starttls = "ftp"
            """
        )
        server, client, chat, ftp = found.tunnels
        self.assertEqual([each.requireALPN for each in found.tunnels], [True, False, False, False])
        self.assertEqual((server.access.mode, client.access.mode), (0o600, None))
        self.assertEqual(chat.dialect.name, "chat")
        self.assertEqual(
            [each.options for each in found.tunnels],
            [
                {"allow-upgrade-desync"},
                set(),
                set(),
                {"ports=50000-50009"},
            ],
        )
        self.assertEqual(ftp.localID, server.localID)

    def test_pathsAreFromTheFolderOfTheirFile(self) -> None:
        """
        But not what only looks like one.
        """
        self.write(
            '[tunnel.x]\nmode = "client"\nlocal = ["unix:l", "/l"]\nremote = ["unix:r"]\n'
            'remote-id = "a.example"\npool = "p"\ntrust = ["system", "t", "/t"]\nchat = "c"',
            "conf.d/x.toml",
        )
        self.write("220 STARTTLS 220", "conf.d/c")
        found = self.read("include = 'conf.d/x.toml'\n[defaults]\nchat = 'smtp'")
        (tunnel,) = found.tunnels
        folder = f"{self.folder}/conf.d"
        self.assertEqual(tunnel.local, (UNIXAddress(f"{folder}/l"), UNIXAddress("/l")))
        self.assertEqual(tunnel.remote, (UNIXAddress(f"{folder}/r"),))
        self.assertEqual(tunnel.pool, Pool(Path(folder, "p")))
        self.assertEqual(tunnel.trust, ("system", f"{folder}/t", "/t"))
        self.assertEqual(tunnel.dialect.name, "chat")

    def test_tunnelsCanBeCompared(self) -> None:
        """
        The same text makes the same tunnels, with scripts too; those are others if the script is.
        """
        text = TUNNEL.replace("starttls", "pool = 'p'\nchat").replace("postgresql", "c")
        self.write("220 STARTTLS 220", "c")
        before = self.read(text)
        self.assertEqual(self.read(text), before)
        self.assertEqual(hash(before.tunnels[0].dialect), hash(self.read(text).tunnels[0].dialect))
        self.write("250 STARTTLS 220", "c")
        self.assertNotEqual(self.read(text).tunnels, before.tunnels)

    def test_errorsThatComeLaterHaveTheirPlace(self) -> None:
        """
        That of the key, or of its table.
        """
        found = self.read(TUNNEL)
        error = ConfigurationError("`local` 127.0.0.1:1", "Address already in use", "stop it")
        self.assertEqual(
            found.problemOf("tunnel.pg", error, index=0),
            Problem(
                self.path, 4, "tunnel.pg.local", "127.0.0.1:1: Address already in use", "stop it"
            ),
        )
        error = ConfigurationError("/a/b", "is not there, says `pool`", "make it")
        self.assertEqual(
            found.problemOf("tunnel.pg", error, "local-id"),
            Problem(self.path, 2, "tunnel.pg.local-id", "/a/b: is not there, says pool", "make it"),
        )
        self.assertEqual(found.placeOf("status", "local"), Place(self.path))
        problem = found.problemOf("tunnel.pg", ConfigurationError("`remote`", "is odd", ""))
        self.assertEqual(str(problem), f"{self.path}:5: tunnel.pg.remote: is odd")


#: Hosts of addresses of this machine.
HOSTS = ("", "[::]", "0.0.0.0", "127.0.0.1", "127.0.0.2", "[::1]", "localhost")


class ClashTests(SynchronousTestCase):
    """
    L{clashes}.
    """

    def clash(self, *tables: tuple[str, ...]) -> bool:
        """
        Whether addresses in C{tables} are in each other's way.
        """
        wanted = [
            each
            for number, table in enumerate(tables)
            for each in wantedBy(str(number), [parseListening(text) for text in table])
        ]
        return bool(list(clashes(wanted)))

    def test_notEachIsComparedWithEach(self) -> None:
        """
        Thousands of addresses at one port are soon looked through, and the one found that clashes.
        """
        compared = []

        def overlap(one: clashing.Wanted, other: clashing.Wanted) -> bool:
            compared.append(one)
            return before(one, other)

        before = clashing._overlap
        self.patch(clashing, "_overlap", overlap)
        hosts = [f"127.0.{number // 250}.{number % 250}:1" for number in range(2000)]
        self.assertFalse(self.clash((*hosts, "[::1]:1")))
        self.assertTrue(self.clash(tuple(hosts), ("127.0.3.7:1",)))
        self.assertTrue(self.clash(tuple(hosts), (":1",)))
        self.assertLess(len(compared), 100)

    def canListen(self, host: str) -> bool:
        """
        Whether this machine has an address.
        """
        try:
            bound = bindAll(Claim([parseListening(f"{host}:0")]))
        except ConfigurationError:
            return False
        for each in bound:
            each.close()
        return True

    def test_whatTheSystemDoes(self) -> None:
        """
        Those clash that cannot be bound beside each other, in one tunnel or in two.  What a name
        means is not asked for: nothing is said unless it is certain.
        """
        for hosts in product(filter(self.canListen, HOSTS), repeat=2):
            port = freePort()
            one, other = ([f"{host}:{port}"] for host in hosts)
            for tables in ((one, other), ([*one, *other],)):
                bound = []
                isTaken = False
                for table in tables:
                    try:
                        bound += bindAll(Claim([parseListening(text) for text in table]))
                    except ConfigurationError as error:
                        self.assertIn("in use", error.problem)
                        isTaken = True
                for each in bound:
                    each.close()
                said = self.clash(*map(tuple, tables))
                self.assertTrue(said == isTaken or (isTaken and "localhost" in hosts), tables)

    def test_otherPortsDoNot(self) -> None:
        """
        Nor those that the system chooses.
        """
        self.assertFalse(self.clash(("127.0.0.1:1",), ("127.0.0.1:2",)))
        self.assertFalse(self.clash((":0", ":0"), (":0",)))

    def test_pathsThatMeanTheSame(self) -> None:
        """
        However they are written.
        """
        self.assertTrue(self.clash(("/a/b",), ("/a/../a/b",)))
        self.assertFalse(self.clash(("/a/b",), ("/a/c",)))

    def test_socketsOfSystemd(self) -> None:
        """
        Nobody gets one twice; without a name, all are meant.
        """
        self.assertTrue(self.clash(("systemd:a",), ("systemd:a",)))
        self.assertTrue(self.clash(("systemd:a",), ("systemd",)))
        self.assertFalse(self.clash(("systemd:a",), ("systemd:b",)))

    def test_theFirstIsNamed(self) -> None:
        """
        Each of the others is told, once.
        """
        address = TCPAddress("127.0.0.1", 1)
        wanted = [each for name in "abc" for each in wantedBy(name, [address])]
        self.assertEqual(
            [(each.table, first.table) for each, first in clashes(wanted)], [("b", "a"), ("c", "a")]
        )
