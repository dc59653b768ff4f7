"""
C{tlstunnel convert} and the real stunnel: that it takes the configurations of L{tests.convert},
that all its options are known, and that what they become tunnels as it does, with it at the other
end.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509

from tests.convert.examples import DATA, ofStunnel
from tests.interop.harness import (
    InteropTestCase,
    Process,
    Stage,
    freePort,
    record,
    run,
    tlstunnel,
)
from tests.interop.servers.stunnel import Stunnel
from tests.interop.servers.web import PAGE, PlainWeb
from tests.interop.tunnel import ENVIRONMENT
from tlstunnel.convert.stunneloptions import BY_NAME

NAME = "www.test.example"
CLIENT = "testcli@tlspool.arpa2.lab"

#: What stunnel says of a line without an equals sign, to which it only comes if all is well before.
END = "the end of the file"

#: What Debian's stunnel has not: another system, an engine, and compression.
_ABSENT = re.compile(r"(?im)^\s*(taskbar|icon\w+|engine\w*|CAengine|compression)\s*=.*$")


class AcceptanceTests(InteropTestCase):
    """
    The configurations that the conversion is tried on are such.
    """

    files: ClassVar[dict[str, Path]]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        files = stage.authority.issue(NAME).copied(stage.base / "files")
        folder = stage.base / "files" / "hashed"
        folder.mkdir()
        (folder / "anchors.pem").write_bytes(files.anchors.read_bytes())
        run(["openssl", "rehash", str(folder)]).expect()
        secrets = stage.base / "files" / "psk"
        secrets.write_text(f"client1:{'5a' * 32}\n")
        secrets.chmod(0o600)
        both = stage.base / "files" / "both.pem"
        both.touch(mode=0o600)
        both.write_text(files.key.read_text() + files.chain.read_text())
        cls.files = {
            "cert": both,
            "key": both,
            "CAfile": files.anchors,
            "CApath": folder,
            "CRLpath": folder,
            "PSKsecrets": secrets,
            "include": stage.base / "included",
        }
        cls.files["include"].mkdir()
        for file in (DATA / "conf.d").iterdir():
            (cls.files["include"] / file.name).write_text(cls.here(file))

    @classmethod
    def here(cls, file: Path) -> str:
        """
        A configuration with files that are there, and hosts that can be resolved.
        """
        text = _ABSENT.sub(";", file.read_text("utf-8-sig"))
        for option, path in cls.files.items():
            text = re.sub(rf"(?im)^(\s*{option}\s*=).*$", rf"\1 {path}", text)
        # Lists of what was revoked would have to be good now.
        text = re.sub(r"(?im)^\s*CRLfile\s*=.*$", ";", text)
        return re.sub(r"(?im)^(\s*(accept|connect)\s*=\s*)[a-z][\w.-]*:", r"\1localhost:", text)

    def test_theRealOneTakesThem(self) -> None:
        """
        It comes to the end of each, past all its options and services.
        """
        for file in ofStunnel():
            copy = self.stage.directory(file.name)
            copy.write_text(f"{self.here(file)}\n{END}\n")
            run(["stunnel", str(copy)]).expectFailure(f"\"{END}\": No '=' found")

    def test_theTableHasAllItsOptions(self) -> None:
        """
        Those that it lists itself.
        """
        said = run(["stunnel", "-help"]).text
        options = set(re.findall(r"(?m)^(\w+) +=", said))
        self.assertGreater(len(options), 80)
        self.assertEqual({each for each in options if each.lower() not in BY_NAME}, set())


class PairTests(InteropTestCase):
    """
    A client and a server service, with certificates at both ends.
    """

    web: ClassVar[PlainWeb]
    configuration: ClassVar[str]
    ports: ClassVar[dict[str, int]]
    tables: ClassVar[dict[str, dict[str, Any]]]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.web = stage.start(PlainWeb(stage.directory("web")))
        server = stage.authority.issue(NAME).copied(stage.base / "server")
        client = stage.authority.issue(CLIENT).copied(stage.base / "client")
        cls.ports = {"in": freePort(), "out": freePort()}
        cls.configuration = f"""\
            verifyChain = yes
            CAfile = {server.anchors}
            [in]
            accept = 127.0.0.1:{cls.ports["in"]}
            connect = {cls.web.port}
            cert = {server.chain}
            key = {server.key}
            checkEmail = {CLIENT}
            TIMEOUTidle = 100
            [out]
            client = yes
            accept = 127.0.0.1:{cls.ports["out"]}
            connect = 127.0.0.1:{cls.ports["in"]}
            cert = {client.chain}
            key = {client.key}
            checkHost = {NAME}
            delay = yes
        """
        file = stage.base / "stunnel.conf"
        file.write_text(cls.configuration)
        written = tlstunnel("convert", str(file)).expect()
        pool = ("--pool", str(stage.base / "imported"))
        for command in re.findall("(?m)^# +tlstunnel (identity import .*)$", written):
            words = shlex.split(command)
            tlstunnel(*words[:2], *pool, *words[2:]).expect()
        tables = tomllib.loads(written)["tunnel"]
        cls.tables = {name: table | {"pool": pool[1]} for name, table in tables.items()}

    def converted(self, name: str) -> None:
        """
        Start the tunnel that has become of a service.
        """
        options = []
        for key, value in self.tables[name].items():
            for each in value if isinstance(value, list) else [value]:
                word = f"--{each}" if key == "mode" else f"--{key}"
                options += [word] if key == "mode" or each is True else [word, str(each)]
        process = Process(self.stage.directory(name))
        process.directory.mkdir()
        command = [sys.executable, "-m", "tlstunnel", *options]
        self.addCleanup(process.stop)
        process.spawn(command, [self.ports[name]], environment=ENVIRONMENT)

    def original(self, name: str) -> None:
        """
        Start stunnel with one service alone.
        """
        general, *services = re.split(r"(?m)^ *\[", self.configuration)
        service = next(each for each in services if each.startswith(f"{name}]"))
        stunnel = Stunnel(self.stage.directory(name), f"{general}[{service}", self.ports[name])
        self.addCleanup(stunnel.stop)
        stunnel.start()

    def fetch(self) -> None:
        """
        Fetch a page through both.
        """
        url = f"http://127.0.0.1:{self.ports['out']}/page.txt"
        run(["curl", "-sS", "--max-time", "20", url]).expect(PAGE)

    def test_bothConverted(self) -> None:
        """
        What has become of the one verifies what has become of the other.
        """
        self.converted("in")
        self.converted("out")
        self.fetch()

    def test_theServerConverted(self) -> None:
        """
        The client goes on with stunnel.
        """
        self.converted("in")
        self.original("out")
        self.fetch()
        record("none", "server", "stunnel", "its own service converted")

    def test_theClientConverted(self) -> None:
        """
        The server goes on with stunnel.
        """
        self.original("in")
        self.converted("out")
        self.fetch()
        record("none", "client", "stunnel", "its own service converted")


class NamesTests(InteropTestCase):
    """
    Services that clients are handed over to by the name that they ask for: each name is served as
    stunnel does, with its certificate and from its backend.
    """

    #: The names, and for each that of the certificate and the number of the backend.
    SERVED: ClassVar = {
        NAME: (NAME, 0),
        "shop.test.example": ("shop.test.example", 1),
        "a.users.test.example": ("*.users.test.example", 2),
    }

    port: ClassVar[int]
    configuration: ClassVar[str]
    anchors: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.port = freePort()
        webs = []
        for number in range(3):
            web = PlainWeb(stage.directory(f"web{number}"))
            stage.start(web)
            (web.directory / "web" / "page.txt").write_text(f"{number}\n")
            webs.append(web)
        files = {
            name: stage.authority.issue(name).copied(stage.base / f"certificate{number}")
            for number, (name, _) in enumerate(cls.SERVED.values())
        }
        cls.anchors = files[NAME].anchors
        accepts = f"accept = 127.0.0.1:{cls.port}"
        sections = {
            "web": (accepts, NAME),
            "shop": ("sni = web:shop.test.example", "shop.test.example"),
            "users": ("sni = web:*.users.test.example", "*.users.test.example"),
        }
        cls.configuration = "".join(
            f"[{service}]\n{comes}\nconnect = {web.port}\ncert = {files[name].chain}\n"
            f"key = {files[name].key}\n"
            for (service, (comes, name)), web in zip(sections.items(), webs, strict=True)
        )

    def check(self) -> None:
        """
        Ask for every name.
        """
        for name, (certificate, backend) in self.SERVED.items():
            place = f"{name}:{self.port}"
            shown = run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", name],
            ).text
            leaf = re.search("(?s)-----BEGIN.*?-----END CERTIFICATE-----", shown)
            assert leaf is not None, shown
            names = x509.load_pem_x509_certificate(leaf[0].encode()).extensions
            found = names.get_extension_for_class(x509.SubjectAlternativeName).value
            self.assertEqual(found.get_values_for_type(x509.DNSName), [certificate])
            run(
                [
                    *("curl", "-sS", "--max-time", "20", "--cacert", str(self.anchors)),
                    *("--resolve", f"{place}:127.0.0.1", f"https://{place}/page.txt"),
                ]
            ).expect(f"{backend}\n")

    def test_stunnel(self) -> None:
        """
        It serves them so.
        """
        stunnel = Stunnel(self.stage.directory("stunnel"), self.configuration, self.port)
        self.addCleanup(stunnel.stop)
        stunnel.start()
        self.check()

    def test_converted(self) -> None:
        """
        What it has become passes C{--check}, and serves them in the same way.
        """
        folder = self.stage.directory("converted")
        folder.mkdir()
        (folder / "stunnel.conf").write_text(self.configuration)
        written = tlstunnel("convert", str(folder / "stunnel.conf")).expect()
        pool = ("--pool", str(folder / "pool"))
        for command in re.findall("(?m)^# +tlstunnel (identity import .*)$", written):
            words = shlex.split(command)
            tlstunnel(*words[:2], *pool, *words[2:]).expect()
        file = folder / "tlstunnel.toml"
        file.write_text(f'[defaults]\npool = "{pool[1]}"\n{written}')
        file.chmod(0o600)
        tlstunnel("--config", str(file), "--check").expect()
        process = Process(folder / "run")
        process.directory.mkdir()
        self.addCleanup(process.stop)
        command = [sys.executable, "-m", "tlstunnel", "--config", str(file)]
        process.spawn(command, [self.port], environment=ENVIRONMENT)
        self.check()
