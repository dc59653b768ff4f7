"""
Tests for L{tlstunnel.program.configuration}: what a file makes.
"""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.program.configurations import NAMES, TUNNEL, VALUES, ConfigurationTests, written
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.program.configfile import quoted
from tlstunnel.program.configuration import Status, readConfiguration
from tlstunnel.program.keys import INCLUDE, PROCESS_KEYS, STATUS_KEYS, TUNNEL_KEYS
from tlstunnel.program.problems import Place, Problem, Problems
from tlstunnel.tunnel.description import Mode

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
