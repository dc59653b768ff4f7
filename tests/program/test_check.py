"""
Tests for L{tlstunnel.program.check} and C{tlstunnel --config FILE --check}: everything that is
wrong, at once, and without anything being started.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import skipUnless

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.certificates import Recipe, alternative, dns, make, root
from tests.program.configurations import TUNNEL, ConfigurationTests
from tests.program.processes import AS_STRANGER, TOP, WAIT_SECONDS
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program import check as module
from tlstunnel.program.check import check
from tlstunnel.program.configuration import readConfiguration

#: A server tunnel that is right.
SERVER = """
[tunnel.web]
mode = "server"
local = ["127.0.0.1:8443"]
local-id = "www.example.org"
remote = ["127.0.0.1:8080"]
pool = "pool"
"""


class CheckTests(ConfigurationTests):
    """
    L{check}.
    """

    def setUp(self) -> None:
        """
        A pool with the identity of the server.
        """
        super().setUp()
        self.pool = self.folder / "pool"
        self.now = datetime.now(UTC)
        createIdentity(Pool(self.pool), Identity.parse("www.example.org"))

    def found(self, text: str) -> list[str]:
        """
        What is found in C{text}, without the folder.
        """
        found = check(self.read(text), self.now)
        return [str(each).replace(f"{self.folder}/", "") for each in found]

    def test_aWarningHasTheKeyThatItIsAbout(self) -> None:
        """
        What is to be stapled is about our certificate, whoever is at the other end.
        """
        staples, resumes = self.found(
            f'{SERVER}ocsp-stapling = true\nresumption = "on"\n'
            '[tunnel.web.name."www.example.org"]\n'
        )
        self.assertIn("tunnel.web.local-id: warning: pool/www.example.org/fullchain.pem", staples)
        self.assertIn("tunnel.web.resumption: warning: ", resumes)

    def test_theCertificateOfAWildcard(self) -> None:
        """
        It need not be for the domain that its directory has the name of.
        """
        issued = make(Recipe(san=alternative(dns("*.example.net"))), root())
        place = self.pool / "example.net"
        place.mkdir()
        (place / "fullchain.pem").write_bytes(issued.chainPEM())
        (place / "privkey.pem").touch(mode=0o600)
        (place / "privkey.pem").write_bytes(issued.keyPEM())
        (self.pool / "trust").mkdir()
        (self.pool / "trust" / "anchors.pem").write_bytes(root().chainPEM())
        found = self.found(f'{SERVER}[tunnel.web.name."*.example.net"]\n')
        self.assertNotIn("not for", "".join(found))

    def test_nothing(self) -> None:
        """
        Where nothing is wrong, nothing is said.
        """
        self.assertEqual(self.found(TUNNEL + SERVER), [])

    def test_noNameIsLookedUpAndNothingIsBound(self) -> None:
        """
        However the names in the file are resolved, and whatever is at the addresses.
        """

        def refuse(*args: object, **settings: object) -> None:
            raise AssertionError(args)

        for name in ("getaddrinfo", "gethostbyname", "getfqdn"):
            self.patch(socket, name, refuse)
        text = TUNNEL.replace("127.0.0.1", "localhost") + SERVER
        for name in ("bind", "connect"):
            self.patch(socket.socket, name, refuse)
        self.assertEqual(self.found(text), [])

    def test_identitiesThatAreNotThere(self) -> None:
        """
        In the line of the identity, or of the pool.
        """
        lines = self.found(
            SERVER.replace("www.", "smtp.")
            + "[tunnel.b]\nmode = 'client'\nlocal = '127.0.0.1:1'\nremote = 'a.example:1'\n"
            "pool = 'nowhere'\nlocal-id = 'b.example'"
        )
        self.assertEqual(len(lines), 2)
        self.assertEqual(
            lines[0],
            "tlstunnel.toml:5: tunnel.web.local-id: pool/smtp.example.org: is not there: the "
            "pool has no identity smtp.example.org; run 'tlstunnel identity create --pool pool "
            "smtp.example.org'",
        )
        self.assertEqual(
            lines[1],
            "tlstunnel.toml:12: tunnel.b.pool: there is no directory nowhere; run 'tlstunnel "
            "identity create --pool nowhere ID' to make it",
        )

    def test_keysThatDoNotFit(self) -> None:
        """
        And those that others can read.
        """
        createIdentity(Pool(self.pool), Identity.parse("b.example"))
        key = self.pool / "www.example.org" / "privkey.pem"
        shutil.copy(self.pool / "b.example" / "privkey.pem", key)
        (line,) = self.found(SERVER)
        self.assertIn(
            "5: tunnel.web.local-id: pool/www.example.org/privkey.pem: does not fit", line
        )
        key.chmod(0o644)
        (line,) = self.found(SERVER)
        self.assertIn("privkey.pem", line)

    def put(self, recipe: Recipe, name: str = "www.example.org") -> None:
        """
        Make a certificate of C{recipe} that of the server.
        """
        issued = make(recipe, root())
        directory = self.pool / name
        (directory / "fullchain.pem").write_bytes(issued.certificate.public_bytes(Encoding.PEM))
        (directory / "privkey.pem").write_bytes(
            issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )

    def test_certificatesOfSomebodyElse(self) -> None:
        """
        Nobody would take us for the identity.
        """
        self.put(Recipe(san=alternative(dns("b.example"))))
        (line,) = self.found(SERVER)
        self.assertIn("5: tunnel.web.local-id: pool/www.example.org/fullchain.pem: ", line)
        self.assertIn('is for "b.example", and not for www.example.org; be who it is for', line)

    def test_keysThatOpenSSLRefuses(self) -> None:
        """
        As a handshake shows.
        """
        self.put(Recipe(san=alternative(dns("www.example.org")), key="rsa1024"))
        (line,) = self.found(SERVER)
        self.assertIn("5: tunnel.web.local-id: pool/www.example.org/fullchain.pem: OpenSSL", line)

    def test_directoriesOfCertbotWithANumber(self) -> None:
        """
        Their certificates are for the name before it.
        """
        createIdentity(Pool(self.pool), Identity.parse("www.example.org-0001"))
        self.put(Recipe(san=alternative(dns("www.example.org"))), "www.example.org-0001")
        lines = self.found(SERVER.replace("www.example.org", "www.example.org-0001"))
        self.assertEqual([each for each in lines if "warning" not in each], [])
        self.put(Recipe(san=alternative(dns("b.example"))), "www.example.org-0001")
        (line,) = self.found(SERVER.replace("www.example.org", "www.example.org-0001"))
        self.assertIn('is for "b.example", and not for www.example.org; be who', line)

    def test_certificatesOutOfTime(self) -> None:
        """
        An error; soon, it is a warning.
        """
        self.now += timedelta(days=350)
        (line,) = self.found(SERVER)
        self.assertRegex(
            line, r"5: tunnel.web.local-id: warning: .* expires in 1. days, .*; renew it"
        )
        self.now += timedelta(days=50)
        (line,) = self.found(SERVER)
        self.assertRegex(line, r"5: tunnel.web.local-id: .* expired on .*; renew it")
        self.assertNotIn("warning", line)

    def test_certificatesThatNobodyHereBelieves(self) -> None:
        """
        Somebody else may: a warning.
        """
        self.put(Recipe(san=alternative(dns("www.example.org"))))
        (line,) = self.found(SERVER)
        self.assertIn("5: tunnel.web.local-id: warning: pool/www.example.org/fullchain.pem: ", line)

    def test_trust(self) -> None:
        """
        Each that cannot be read, in its line.
        """
        (self.folder / "empty").mkdir()
        lines = self.found(f"{TUNNEL}trust = ['system',\n'none',\n'empty']\n")
        self.assertEqual(len(lines), 2)
        self.assertIn("8: tunnel.pg.trust: none: there is no such file; see whether", lines[0])
        self.assertIn("9: tunnel.pg.trust: empty: has no certificates", lines[1])

    def test_DANE(self) -> None:
        """
        It names no file, and nothing is looked up.
        """
        text = f"{TUNNEL}dane-resolver = '127.0.0.1'\ntrust = ['dane',\n'none']\n"
        (line,) = self.found(text)
        self.assertIn("9: tunnel.pg.trust: none: there is no such file", line)
        self.assertEqual(self.found(text.replace(",\n'none'", "")), [])

    def test_nobodyToBelieve(self) -> None:
        """
        Neither in the pool, nor in what is given.
        """
        (self.folder / "empty").mkdir()
        lines = self.found(
            SERVER + "remote-id = ['a@b.example']\ntrust = ['system']\n"
            "[tunnel.c]\nmode = 'client'\nlocal = '127.0.0.1:1'\nremote = 'a.example:1'\n"
            "pool = 'empty'\nremote-id = 'a@b.example'"
        )
        self.assertEqual(len(lines), 2)
        self.assertIn("9: tunnel.web.trust: system: has no authority for a@b.", lines[0])
        self.assertIn(
            "15: tunnel.c.remote-id: empty/trust: has no certificate of an authority to trust",
            lines[1],
        )

    def test_filesThatAreWrittenTo(self) -> None:
        """
        They are not made here, but have to be for us alone, and keys are worth a warning.
        """
        self.assertEqual(self.found(f'{SERVER}trace = "t"\n'), [])
        self.assertFalse((self.folder / "t").exists())
        (self.folder / "t").symlink_to("x")
        (problem,) = self.found(f'{SERVER}trace = "t"\n')
        self.assertIn("tunnel.web.trace", problem)
        self.assertIn("is a symbolic link; give the file itself", problem)
        (warning,) = self.found(f'{SERVER}key-log = "k"\n')
        self.assertIn("tunnel.web.key-log: warning: the keys of all connections are", warning)
        self.assertFalse((self.folder / "k").exists())

    def test_severalMistakesInOneTunnel(self) -> None:
        """
        None of them hides another.
        """
        lines = self.found(
            SERVER.replace("www.", "smtp.").replace('["127.0.0.1:8443"]', '["unix:s"]')
            + "starttls = 'http'\ntrust = 'none'\nsocket-owner = 'no body'\n"
            "socket-group = 'no group'\n"
        )
        self.assertEqual(
            [each.split(":")[1:3] for each in lines],
            [
                ["5", " tunnel.web.local-id"],
                ["8", " tunnel.web.starttls"],
                ["9", " tunnel.web.trust"],
                ["10", " tunnel.web.socket-owner"],
                ["11", " tunnel.web.socket-group"],
            ],
        )

    def test_warnings(self) -> None:
        """
        What is probably a mistake, and what is a risk.
        """
        risk, mistake = self.found(
            TUNNEL.replace("postgresql", "imap").replace("127.0.0.1", "0.0.0.0")
        )
        self.assertEqual(
            mistake,
            "tlstunnel.toml:5: tunnel.pg.remote: warning: servers at port 5432 usually speak "
            "postgresql; use starttls postgresql",
        )
        self.assertTrue(
            risk.startswith(
                "tlstunnel.toml:4: tunnel.pg.local: warning: other hosts can connect to "
                "0.0.0.0:5432: "
            )
        )

    def test_bothWaysToTLSInOneFile(self) -> None:
        """
        A warning at the one with STARTTLS, whoever listens at the moment, if they are the same
        server (rule 18), and others than this host can reach them.
        """
        text = SERVER.replace("127.0.0.1:8443", ":465")
        second = SERVER.replace("web", "mail").replace("127.0.0.1:8443", ":587")
        second += 'starttls = "smtp"\n'
        (line,) = self.found(text + second)
        self.assertTrue(
            line.startswith(
                "tlstunnel.toml:11: tunnel.mail.local: warning: web serves port 465 as "
                "www.example.org too: "
            ),
            line,
        )
        self.assertIn("Opossum", line)
        local = text.replace(":465", "127.0.0.1:465")
        self.assertEqual(self.found(local + second), [])
        local = second.replace(":587", "127.0.0.1:587")
        self.assertEqual(self.found(text + local), [])

    def test_portsThatAreServedNow(self) -> None:
        """
        Those of the file are no news; those of others are.
        """
        text = SERVER.replace("127.0.0.1:8443", ":587") + 'starttls = "smtp"\n'
        self.patch(module, "listeningPorts", lambda: {465, 587})
        (line,) = self.found(text)
        self.assertIn("tunnel.web.local: warning: port 465 of this host is listened at too", line)

    def test_twoServersInOneFile(self) -> None:
        """
        They have a certificate each.
        """
        createIdentity(Pool(self.pool), Identity.parse("mail.example.org"))
        text = SERVER.replace("127.0.0.1:8443", ":465")
        second = SERVER.replace("web", "mail").replace("127.0.0.1:8443", ":587")
        second = second.replace("www.", "mail.") + 'starttls = "smtp"\n'
        self.patch(module, "listeningPorts", lambda: {465, 587})
        self.assertEqual(self.found(text + second), [])


class CommandTests(ConfigurationTests):
    """
    C{tlstunnel --config FILE --check}.
    """

    def runProgram(self, *words: str) -> tuple[int, list[str]]:
        """
        The exit code, and what is printed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tlstunnel", "--config", str(self.path), *words],
            env={"PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout.replace(f"{self.folder}/", "").splitlines()

    def test_allIsWell(self) -> None:
        """
        One line, with the number of tunnels, and exit code 0.
        """
        self.write(TUNNEL)
        self.assertEqual(self.runProgram("--check"), (0, ["tlstunnel.toml: all is well: 1 tunnel"]))
        self.write(TUNNEL.replace("127.0.0.1", "0.0.0.0"))
        code, lines = self.runProgram("--check")
        self.assertEqual(code, 0)
        self.assertIn("warning: other hosts can connect", lines[0])
        self.assertEqual(lines[1], "tlstunnel.toml: all is well but for 1 warning: 1 tunnel")

    def test_mistakes(self) -> None:
        """
        Those in the words of the file, and those in what it names, in order; exit code 1.
        """
        second = TUNNEL.replace("pg]", "two]").replace("5432", "5433", 1)
        third = TUNNEL.replace("pg]", "three]").replace("5432", "5434", 1)
        self.write(f"{TUNNEL}pool = 'x'\n{second}x = 1\n{third}trust = 'y'\n")
        code, lines = self.runProgram("--check")
        self.assertEqual(code, 1)
        self.assertIn("tlstunnel.toml:7: tunnel.pg.pool: there is no directory x", lines[0])
        self.assertIn("tlstunnel.toml:14: tunnel.two.x: there is no such key", lines[1])
        self.assertIn("tlstunnel.toml:21: tunnel.three.trust: y: ", lines[2])
        self.assertEqual(len(lines), 3)

    def test_whatCannotBePrinted(self) -> None:
        """
        A full disk is told in a line; characters that the terminal does not have are escaped.
        """
        self.write(TUNNEL + '"\u043a" = 1\n')
        words = [sys.executable, "-m", "tlstunnel", "--config", str(self.path)]
        environment = {"PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}
        for option in ("--check", "--show", "--help"):
            with Path("/dev/full").open("w") as full:
                done = subprocess.run(
                    [*words, option],
                    env=environment,
                    stdout=full,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=WAIT_SECONDS,
                    check=False,
                )
            self.assertEqual(done.returncode, 1)
            if option != "--show":
                self.assertEqual(
                    done.stderr, "tlstunnel: standard output: No space left on device\n"
                )
        done = subprocess.run(
            [*words, "--check"],
            env=environment | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertIn('tunnel.pg."\\u043a": there is no such key', done.stdout, done.stderr)

    def test_aFileThatCannotBeRead(self) -> None:
        """
        One line, and exit code 1.
        """
        code, lines = self.runProgram("--check")
        self.assertEqual((code, len(lines)), (1, 1))
        self.assertIn("tlstunnel.toml: cannot be read", lines[0])

    def test_aWrongLimitHidesNoIdentity(self) -> None:
        """
        What a tunnel needs is looked at in spite of it; not so if that is what is wrong.
        """
        wrong = '[defaults]\nidle-timeout = "1s"\n'
        self.write(f"{wrong}{TUNNEL}trust = 'x'\n")
        code, lines = self.runProgram("--check")
        self.assertEqual((code, len(lines)), (1, 2), lines)
        self.assertIn("tlstunnel.toml:9: tunnel.pg.trust: x: there is no such file", lines[1])
        self.write(f"{wrong}pool = 1\n{TUNNEL}")
        code, lines = self.runProgram("--check")
        self.assertEqual((code, len(lines)), (1, 2), lines)

    def test_whatManyHaveFromDefaults(self) -> None:
        """
        It is wrong once.
        """
        second = TUNNEL.replace("pg]", "two]").replace("5432", "5433", 1)
        self.write(f"[defaults]\npool = 'x'\n{TUNNEL}{second}")
        code, lines = self.runProgram("--check")
        self.assertEqual((code, len(lines)), (1, 1), lines)

    @skipUnless(os.geteuid() == 0, "needs root")
    def test_strangersCanCheck(self) -> None:
        """
        Users without a name and a home, whose resolver is dead.
        """
        self.folder.chmod(0o755)
        self.write(TUNNEL)
        dead = (
            "import socket\ndef dead(*a, **k): raise OSError('dead')\nsocket.getaddrinfo = dead\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", dead + AS_STRANGER, "--config", str(self.path), "--check"],
            env={"PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertEqual(done.stdout, f"{self.path}: all is well: 1 tunnel\n", done.stderr)
        self.assertEqual(done.returncode, 0)


class ExampleTests(ConfigurationTests):
    """
    docs/example/tlstunnel.toml.
    """

    def test_allIsWell(self) -> None:
        """
        With the identities that it names, nothing is wrong with it, and nothing worth a warning.
        """
        self.write((TOP / "docs" / "example" / "tlstunnel.toml").read_text())
        configuration = readConfiguration(self.path)
        for name in {each.localID for each in configuration.tunnels if each.localID is not None}:
            createIdentity(Pool(self.folder / "pool"), name)
        self.assertEqual([str(each) for each in check(configuration, datetime.now(UTC))], [])
        self.assertEqual(
            {each.dialect.name for each in configuration.tunnels},
            {"smtp", "imap", "sieve", "none", "postgresql"},
        )


#: A bridge that is right.
BRIDGE = """
[tunnel.front]
mode = "bridge"
local = ["127.0.0.1:8465"]
local-id = "www.example.org"
remote = ["mail.example.net:587"]
starttls-out = "smtp"
pool = "pool"
"""


class BridgeTests(ConfigurationTests):
    """
    Each side of a bridge is looked at, and called by its own keys.
    """

    def setUp(self) -> None:
        """
        A pool with the identity for clients.
        """
        super().setUp()
        self.now = datetime.now(UTC)
        self.pool = Pool(self.folder / "pool")
        createIdentity(self.pool, Identity.parse("www.example.org"))

    def found(self, more: str = "") -> list[str]:
        """
        What is found in the bridge with some lines more, without the folder.
        """
        found = check(self.read(BRIDGE + more), self.now)
        return [str(each).replace(f"{self.folder}/", "") for each in found]

    def assertFinds(self, more: str, *starts: str) -> None:
        """
        These and nothing else, by how they begin.
        """
        found = self.found(more)
        self.assertEqual(
            [each[: len(start)] for each, start in zip(found, starts, strict=False)], [*starts]
        )
        self.assertEqual(len(found), len(starts), found)

    def test_oneThatIsRight(self) -> None:
        """
        There is nothing to say.
        """
        self.assertFinds("")

    def test_anchorsThatAreMissing(self) -> None:
        """
        Of clients, and of the server.
        """
        self.assertFinds("client-trust = 'none.pem'\n", "tlstunnel.toml:9: tunnel.front.client-")
        self.assertFinds("trust = 'none.pem'\n", "tlstunnel.toml:9: tunnel.front.trust: ")

    def test_identitiesThatAreMissing(self) -> None:
        """
        Who we are to clients, and who we are to the server.
        """
        self.assertFinds(
            "remote-as = 'gone@example.org'\n", "tlstunnel.toml:9: tunnel.front.remote-as: "
        )
        shutil.rmtree(self.folder / "pool" / "www.example.org")
        self.assertFinds("", "tlstunnel.toml:5: tunnel.front.local-id: ")

    def test_aListOfClientsThatIsMissing(self) -> None:
        """
        By its own key.
        """
        self.assertFinds(
            "client-id-file = 'gone'\n", "tlstunnel.toml:9: tunnel.front.client-id-file: "
        )

    def test_whoeverComesIsTakenForUs(self) -> None:
        """
        That is a warning, unless it is said who may come.
        """
        createIdentity(self.pool, Identity.parse("us@example.org"))
        (warning,) = self.found("remote-as = 'us@example.org'\n")
        self.assertIn("the server takes each for us@example.org", warning)
        self.assertFinds("remote-as = 'us@example.org'\nclient-id = '@example.org'\n")

    def test_portsOfOtherWaysToTLS(self) -> None:
        """
        Each side has an option of its own.
        """
        (found,) = self.found("remote-id = 'mail.example.net'\n[tunnel.front.name]\n") or [""]
        self.assertEqual(found, "")
        text = BRIDGE.replace("8465", "587").replace("net:587", "net:993")
        found_ = [str(each) for each in check(self.read(text), self.now)]
        self.assertIn("starttls-in smtp is missing", found_[0])
        self.assertIn("starttls-out", found_[1])
