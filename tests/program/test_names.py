"""
Tests for the tables of names in a configuration file: what they mean, what is wrong with them, and
that they are shown, told to workers, checked and watched.
"""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import Recipe, alternative, dns, make, root
from tests.program.configurations import VALUES, ConfigurationTests, written
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.program.check import check
from tlstunnel.program.configfile import quoted
from tlstunnel.program.configuration import readConfiguration
from tlstunnel.program.problems import Problems
from tlstunnel.program.risks import ofDialect
from tlstunnel.program.show import show
from tlstunnel.program.sources import FileSource, tunnelOf
from tlstunnel.program.watch import filesOf
from tlstunnel.tunnel.servedname import ServedName

SERVER = """
[tunnel.web]
mode = "server"
local = ["127.0.0.1:8443"]
local-id = ["www.example.org", "b.example.org"]
remote = ["127.0.0.1:8080"]
pool = "pool"
"""

_DAY = timedelta(days=1)


class NamesTests(ConfigurationTests):
    """
    Tables C{tunnel.NAME.name."..."}.
    """

    def names(self, text: str) -> tuple[ServedName, ...]:
        """
        The names of one tunnel.
        """
        (tunnel,) = self.read(SERVER + text).tunnels
        return tunnel.names

    def wrong(self, text: str) -> list[str]:
        """
        What is wrong, without the file.
        """
        self.write(text)
        error = self.assertRaises(Problems, readConfiguration, self.path)
        assert isinstance(error, Problems)
        return [str(each).removeprefix(f"{self.path}:") for each in error.problems]

    def test_severalIdentities(self) -> None:
        """
        The first is the default.
        """
        (tunnel,) = self.read(SERVER).tunnels
        self.assertEqual(str(tunnel.localID), "www.example.org")
        self.assertEqual(list(map(str, tunnel.localIDs)), ["www.example.org", "b.example.org"])
        self.assertFalse(tunnel.requireSNI)
        (tunnel,) = self.read(f"{SERVER}require-sni = true").tunnels
        self.assertTrue(tunnel.requireSNI)

    def test_anIdentityThatComesTwiceIsRefused(self) -> None:
        """
        However it is written: another one may have been meant.
        """
        (problem,) = self.wrong(SERVER.replace('"b.ex', '"WWW.example.org.", "b.ex'))
        self.assertIn(
            "tunnel.web.local-id: WWW.example.org.: is given twice; give it once", problem
        )

    def test_whatANameMayHave(self) -> None:
        """
        Its own backend and policy; paths are from the folder of the file.
        """
        self.assertEqual(
            self.names(
                '[tunnel.web.name."A.example.org"]\nremote = ["127.0.0.1:1", "unix:sock"]\n'
                'remote-id = ["@x.example", "y.example"]\nalpn = "h2,x"\nminimum-tls = 1.3\n'
                'deny-id = "z.y.example"\n'
                '[tunnel.web.name."*.example.org"]\nremote-id = []\n'
                "[tunnel.web.name.c]\nremote-id = '@.'\n"
            ),
            (
                ServedName(
                    "a.example.org",
                    (TCPAddress("127.0.0.1", 1), UNIXAddress(f"{self.folder}/sock")),
                    AccessList((Selector.parse("@x.example"), Selector.parse("y.example"))),
                    denyID=(Selector.parse("z.y.example"),),
                    alpn=(b"h2", b"x"),
                    minimum="1.3",
                ),
                ServedName("*.example.org", anybody=True),
                ServedName("c", remoteID=Selector.parse("@.")),
            ),
        )

    def test_aProtocolMayHaveATable(self) -> None:
        """
        Those that have are what is selected from, in their order.
        """
        name = '[tunnel.web.name."a.example.org"'
        self.assertEqual(
            self.names(f'{name}.alpn."http/1.1"]\n{name}.alpn.h2]\nremote = "127.0.0.1:2"\n'),
            (
                ServedName(
                    "a.example.org",
                    alpn=(b"http/1.1", b"h2"),
                    remotes=((b"http/1.1", ()), (b"h2", (TCPAddress("127.0.0.1", 2),))),
                ),
            ),
        )

    def test_whatIsWrong(self) -> None:
        """
        Stands in its line, with what to do.
        """
        name = '[tunnel.web.name."a.example.org"]'
        for text, lines in {
            f"{name}\nquiet = true": ["quiet: does not belong here; move it to [defaults], or a"],
            f"{name}\nremot = ':1'": ["remot: there is no such key; did you mean remote?"],
            f"{name}\nremote = 'x'": ["remote: 'x' has no port"],
            f"{name}\nremote-id = '*.x'": ["remote-id: '*.x' is not a selector"],
            f"{name}\ndeny-id = 'x'": ['9: tunnel.web.name."a.example.org".deny-id: has no effect'],
            f"{name}\nminimum-tls = 1.1": ["minimum-tls: "],
            "[tunnel.web.name.www.example.org]\nremote = '127.0.0.1:1'": [
                'is a part of a name only; write [tunnel.web.name."www.example.org"]'
            ],
            f'{name}\n[tunnel.web.name."A.example.org."]\n': ["tlstunnel.toml:8 already"],
            '[tunnel.web.name."w*.example.org"]': ["an asterisk stands for the whole first label"],
            '[tunnel.web.name."192.0.2.1"]': ["is an address; give a domain"],
            "[tunnel.web.name]\nx = 1": ["tunnel.web.name.x: is not a table"],
            f"starttls = 'mysql'\n{name}\nremote = '127.0.0.1:1'": [
                '10: tunnel.web.name."a.example.org".remote: cannot be chosen with mysql'
            ],
            "[defaults.name]": ["names are those of one tunnel"],
            "name = 1": ["tunnel.web.name: is not a table"],
            f"{name}\nalpn.h2 = 1": ['alpn.h2: is not a table; write [tunnel.web.name."a.example'],
            f'{name}\nalpn."a,b" = {{}}': ["alpn: a,b: is no id"],
            f"{name}\nalpn.h2.alpn = 'x'": ["h2.alpn: "],
        }.items():
            found = self.wrong(SERVER + text)
            self.assertEqual(len(found), len(lines), found)
            for line, expected in zip(found, lines, strict=True):
                self.assertIn(expected, line)

    def test_namesAreForServers(self) -> None:
        """
        As are several identities.
        """
        client = SERVER.replace("server", "client").replace("remote =", "remote-id='x'\nremote =")
        self.assertIn("local-id: has 2 values, and with", self.wrong(client)[0])
        client = client.replace('["www.example.org", "b.example.org"]', '"www.example.org"')
        said = self.wrong(f'{client}[tunnel.web.name."a.example.org"]')
        self.assertIn('web.name: means nothing with mode = "client"', said[0])
        self.assertIn("require-sni: means nothing", self.wrong(f"{client}require-sni = true")[0])

    def test_aBackendThatIsDialledBeforeTLSCannotBeChosen(self) -> None:
        """
        That is known before any certificate is read.
        """
        text = f"{SERVER}starttls = 'mysql'\n[tunnel.web.name.x]\nremote = '127.0.0.1:1'"
        self.assertIn("cannot be chosen with mysql", self.wrong(text)[0])

    def test_tunnelsThatDifferInANameDiffer(self) -> None:
        """
        A reload takes that up.
        """
        texts = ("", "[tunnel.web.name.x]", "[tunnel.web.name.x]\nminimum-tls = 1.3")
        tunnels = [self.read(SERVER + each).tunnels[0] for each in texts]
        for one, other in itertools.combinations(tunnels, 2):
            self.assertNotEqual(one, other)
        self.assertEqual(self.read(SERVER + texts[2]), self.read(SERVER + texts[2]))

    def test_allBackendsAreKnown(self) -> None:
        """
        Each once: they have to resolve, and are looked at for what is risky.
        """
        (tunnel,) = self.read(
            f"{SERVER}[tunnel.web.name.x]\nremote = ['127.0.0.1:1', '127.0.0.1:8080']\n"
            "[tunnel.web.name.x.alpn.h2]\nremote = '127.0.0.1:2'"
        ).tunnels
        self.assertEqual([each.port for each in tunnel.remotes], [8080, 1, 2])  # type: ignore[union-attr]

    @given(
        st.dictionaries(st.sampled_from(("a.b", "*.b", "x", "*", "É.b", "")), VALUES, max_size=3)
    )
    def test_whateverIsThereIsAProblemAtMost(self, tables: dict[str, Any]) -> None:
        """
        And nothing else is raised.
        """
        self.write(
            SERVER.replace("[tunnel.web]\n", f"[tunnel.web]\nname = {written(tables, '')}\n")
        )
        try:
            readConfiguration(self.path)
        except Problems as error:
            for each in error.problems:
                self.assertTrue(str(each).isprintable())


_REMOTES = st.sampled_from(([], ["127.0.0.1:1"], "[::1]:2", ["unix:s", "localhost:3"]))
_TABLES = st.fixed_dictionaries(
    {},
    optional={
        "remote": _REMOTES,
        "remote-id": st.sampled_from(([], ["@."], "x.example", ["a", "@b.example"])),
        "minimum-tls": st.sampled_from((1.2, "1.3")),
    },
)
_PROTOCOLS = st.dictionaries(
    st.sampled_from(("h2", "http/1.1", 'a"b', "é")),
    st.fixed_dictionaries({}, optional={"remote": _REMOTES}),
    max_size=3,
)
_NAMES = st.dictionaries(
    st.sampled_from(("a.example", "*.example", "B.example.", "xn--bcher-kva.example", "x")),
    st.tuples(_TABLES, st.just("h2,x") | st.none() | _PROTOCOLS),
    max_size=4,
)


class PropertyTests(ConfigurationTests):
    """
    Whatever the names are.
    """

    def put(self, names: dict[str, Any]) -> None:
        """
        Write them to the file.
        """
        lines = [SERVER]
        for name, (table, protocols) in names.items():
            header = f"tunnel.web.name.{quoted(name)}"
            lines.append(f"[{header}]")
            lines += [f"{key} = {written(value, '')}" for key, value in table.items()]
            if isinstance(protocols, str):
                lines.append(f"alpn = {quoted(protocols)}")
                continue
            for protocol, own in (protocols or {}).items():
                lines.append(f"[{header}.alpn.{quoted(protocol)}]")
                lines += [f"{key} = {written(value, '')}" for key, value in own.items()]
        self.write("\n".join(lines))

    @given(_NAMES)
    def test_whatIsShownReadsBack(self, names: dict[str, Any]) -> None:
        """
        And is shown again.
        """
        self.put(names)
        found = readConfiguration(self.path)
        self.assertEqual(len(found.tunnels[0].names), len(names))
        shown = show(found)
        self.write(shown)
        again = readConfiguration(self.path)
        self.assertEqual(again, found)
        self.write(show(again))
        self.assertEqual(readConfiguration(self.path), found)

    @given(_NAMES)
    def test_workersAreToldAllOfIt(self, names: dict[str, Any]) -> None:
        """
        They serve the same.
        """
        self.put(names)
        found = readConfiguration(self.path)
        source = FileSource(lambda: found)
        for tunnel in found.tunnels:
            told = json.loads(json.dumps(source.told(found, tunnel)))
            self.assertEqual(tunnelOf(told), tunnel)


class CheckTests(ConfigurationTests):
    """
    What C{--check} and the log say of names, and which files matter.
    """

    def setUp(self) -> None:
        """
        A pool with two identities.
        """
        super().setUp()
        self.pool = Pool(self.folder / "pool")
        for name in ("www.example.org", "b.example.org"):
            createIdentity(self.pool, Identity.parse(name))

    def found(self, text: str) -> list[str]:
        """
        What is found, without the folder.
        """
        found = check(self.read(SERVER + text), datetime.now(UTC))
        return [str(each).replace(f"{self.folder}/", "") for each in found]

    def test_allIsWell(self) -> None:
        """
        A name with a directory, and one that is covered.
        """
        createIdentity(self.pool, Identity.parse("c.example.org"))
        names = '[tunnel.web.name."c.example.org"]\n[tunnel.web.name."b.example.org"]'
        self.assertEqual(self.found(names), [])

    def test_anIdentityThatIsNotThere(self) -> None:
        """
        Each of several is looked at.
        """
        (self.folder / "pool" / "b.example.org").rename(self.folder / "pool" / "gone")
        (line,) = self.found("")
        self.assertIn("tlstunnel.toml:5: tunnel.web.local-id: pool/b.example.org: is not th", line)

    def test_aNameWithoutACertificate(self) -> None:
        """
        In the line of its table.
        """
        (line,) = self.found('[tunnel.web.name."x.example.org"]')
        self.assertIn(
            'tlstunnel.toml:8: tunnel.web.name."x.example.org": pool/x.example.org/', line
        )
        self.assertIn("identity create", line)

    def test_anExpiredCertificateOfAName(self) -> None:
        """
        Likewise.
        """
        name = "old.example.org"
        createIdentity(self.pool, Identity.parse(name))
        issued = make(Recipe(san=alternative(dns(name)), start=-2 * _DAY, end=-_DAY), root())
        (self.pool.path / name / "fullchain.pem").write_bytes(issued.chainPEM())
        (self.pool.path / name / "privkey.pem").write_bytes(issued.keyPEM())
        (line,) = self.found(f'[tunnel.web.name."{name}"]')
        self.assertIn(f'tunnel.web.name."{name}": ', line)
        self.assertIn("expired", line)

    def test_nobodyToBelieveAboutClients(self) -> None:
        """
        Of a name alone.
        """
        (self.folder / "pool" / "ca" / "cert.pem").unlink()
        (self.folder / "pool" / "trust").mkdir(exist_ok=True)
        lines = self.found("[tunnel.web.name.\"b.example.org\"]\nremote-id = '@x.example'")
        self.assertIn('tunnel.web.name."b.example.org".remote-id: ', lines[0])

    def test_aBackendWithTwoDoors(self) -> None:
        """
        A name that demands a certificate is of little use if another does not.
        """
        demands = "[tunnel.web.name.\"b.example.org\"]\nremote-id = '@x.example'\n"
        (tunnel,) = self.read(SERVER + demands).tunnels
        (said,) = ofDialect(tunnel)
        self.assertIn("b.example.org demands a certificate, and who asks for other names", said)
        self.assertIn("127.0.0.1:8080", said)
        (tunnel,) = self.read(f"{SERVER}{demands}remote = '127.0.0.1:1'").tunnels
        self.assertEqual(list(ofDialect(tunnel)), [])

    def test_theFilesOfAllNamesMatter(self) -> None:
        """
        Also those that are not there yet: they would count.
        """
        names = '[tunnel.web.name."x.example.org"]\n[tunnel.web.name."*.y.example.org"]'
        files = set(filesOf(self.read(SERVER + names)))
        for name in ("www.example.org", "b.example.org", "x.example.org", "y.example.org"):
            for file in ("fullchain.pem", "privkey.pem"):
                self.assertIn(self.folder / "pool" / name / file, files)
