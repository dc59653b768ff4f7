"""
The commands as they are typed: exit codes, output, and whatever happens to both.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, intermediate, make, named, root
from tests.ports import freePort
from tests.probe.servers import (
    NAME,
    Script,
    Server,
    belowIntermediate,
    context,
    leaf,
    secure,
    silent,
)
from tests.users import STRANGER
from tlstunnel.identity.pem import loadCertificates
from tlstunnel.probe.shown import describe

_PEM, _DER = Encoding.PEM, Encoding.DER
_NOW = datetime.now(UTC)
_HERE = Path(__file__).parents[2]
_COMMAND = [sys.executable, "-m", "tlstunnel"]


class CommandTestCase(SynchronousTestCase):
    """
    Runs the program.
    """

    def setUp(self) -> None:
        self.anchors = Path(self.mktemp()).absolute()
        self.anchors.write_bytes(root().certificate.public_bytes(_PEM))

    def serve(self, script: Script) -> str:
        """
        Start a server for this test, and give its address.
        """
        server = Server(script)
        self.addCleanup(server.stop)
        return f"127.0.0.1:{server.port}"

    def run_(self, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """
        Run the program with C{words}.
        """
        defaults: dict[str, object] = {
            "stdin": subprocess.DEVNULL,
            "env": os.environ | {"PYTHONPATH": str(_HERE)},
        }
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [*_COMMAND, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **(defaults | settings),
        )


class ProbeCommandTests(CommandTestCase):
    """
    C{tlstunnel probe}.
    """

    def test_theExitCodeIsTheVerdict(self) -> None:
        where = self.serve(secure(context(leaf())))
        trusting = ("--trust", str(self.anchors))
        for words, code, last in (
            ((where, "-R", NAME, *trusting), 0, f"good: {NAME} is there, with TLSv1.3"),
            ((where, "-R", "other.example.org", *trusting), 1, "not trusted: "),
            ((f"127.0.0.1:{freePort()}",), 4, "no connection: "),
        ):
            ended = self.run_("probe", *words)
            self.assertEqual(ended.returncode, code, ended.stderr)
            self.assertTrue(ended.stdout.splitlines()[-1].startswith(last), ended.stdout)
            self.assertEqual(ended.stderr, "")

    def test_theRulesOfAPoolSayWhoWeAre(self) -> None:
        """
        Also where the versions are tried, to which nobody is shown.
        """
        where = self.serve(secure(context(leaf())))
        pool = Path(self.mktemp()).absolute()
        (pool / "disclose").mkdir(parents=True)
        words = (where, "-R", NAME, "--trust", str(self.anchors), "--pool", str(pool), "--all")
        ended = self.run_("probe", *words, "-L", "auto")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        rule = pool / "disclose" / f"{NAME}.txt"
        rule.write_text("non sense")
        rule.chmod(0o644)
        ended = self.run_("probe", *words, "-L", "auto")
        self.assertIn(f"{NAME}.txt, line 1", ended.stdout + ended.stderr)
        self.assertNotEqual(ended.returncode, 0)

    def test_mistakesAreToldInOneLine(self) -> None:
        for words, expected in (
            ((), "HOST is missing"),
            (("a.example", "b.example"), "one word too many"),
            (("a.example:25", "--starttls", "smpt"), "did you mean smtp?"),
            (("a.example:", "--starttls", "smtp"), "give a number"),
            (("a.example", "--nosuch"), "there is no such option"),
            (("a.example", "--trust", "/nonexistent"), "there is no such file"),
            (("a.example", "-L", "nobody.example.org"), "nobody.example.org"),
            (("a.example", "-R", "john@example.org", "--trust", "system"), "is for domains alone"),
            (("a.example", "--timeout", "soon"), "is no number of seconds"),
            (("a.example", "--trust", "dane"), "dane-resolver"),
        ):
            ended = self.run_("probe", *words)
            self.assertEqual(ended.returncode, 2, words)
            self.assertIn(expected, ended.stderr, words)
            self.assertNotIn("Traceback", ended.stderr)
            self.assertEqual(ended.stdout, "", words)

    def test_itServesUsersWithoutAHome(self) -> None:
        if os.geteuid():
            raise SkipTest("NOT TESTED: only root can be somebody else")
        where = self.serve(secure(context(leaf())))
        # What is read of files of Python is read before, as others may not be let to do so.
        become = (
            "import os, sys; from tlstunnel.tls import openssl; openssl.configure();"
            "import tlstunnel.commands.probe, tlstunnel.probe.text, twisted.internet.reactor;"
            "from tlstunnel.program.lookups import abandonAtEnd;"
            f"os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER});"
            "from tlstunnel.__main__ import main; sys.exit(main(sys.argv[1:]))"
        )
        clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_HERE), "LANG": "C"}
        self.anchors.chmod(0o644)
        ended = subprocess.run(
            [sys.executable, "-c", become, "probe", where, "-R", NAME],
            env=clean, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        self.assertIn("of the system's store", ended.stdout)
        self.assertEqual(ended.stderr, "")

    def test_aReaderThatLeavesDoesNoHarm(self) -> None:
        where = self.serve(secure(context(leaf())))
        shell = f"{' '.join(_COMMAND)} probe {where} -R {NAME} --trust {self.anchors} | head -1"
        ended = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {shell}"],
            env=os.environ | {"PYTHONPATH": str(_HERE)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn(f"expecting {NAME}", ended.stdout)

    def test_JSONIsAllThatIsPrinted(self) -> None:
        where = self.serve(secure(context(leaf())))
        file = Path(self.mktemp())
        ended = self.run_("probe", "--json", where, "-R", NAME, "--trust", str(self.anchors),
                          "--pem", str(file))  # fmt: skip
        self.assertEqual(json.loads(ended.stdout)["exit"], 0)
        self.assertEqual(len(loadCertificates(file)), 1)
        ended = self.run_("probe", where, "--pem", "/nonexistent/file")
        self.assertEqual(ended.returncode, 2)
        self.assertIn("cannot be written", ended.stderr)

    def test_CtrlCEndsIt(self) -> None:
        isAsked = threading.Event()

        def script(sock: socket.socket) -> None:
            isAsked.set()
            silent(sock)

        where = self.serve(script)
        with subprocess.Popen(
            [*_COMMAND, "probe", where, "--starttls", "smtp"],
            env=os.environ | {"PYTHONPATH": str(_HERE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self.assertTrue(isAsked.wait(30))
            process.send_signal(signal.SIGINT)
            said, complaint = process.communicate(timeout=20)
        self.assertEqual((process.returncode, said), (130, ""), complaint)
        self.assertEqual(complaint, "tlstunnel: interrupted\n")

    def test_CtrlCEndsItAlsoBeforeItHasBegun(self) -> None:
        with subprocess.Popen(
            [*_COMMAND, "probe", "127.0.0.1:1"],
            env=os.environ | {"PYTHONPATH": str(_HERE), "PYTHONVERBOSE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "import 'tlstunnel.commands.probe'" in line or "tlstunnel.tls" in line:
                    break
            process.send_signal(signal.SIGINT)
            said, complaint = process.communicate(timeout=20)
        self.assertEqual((process.returncode, said), (130, ""), complaint)
        self.assertNotIn("Traceback", complaint)


class TrustFromTests(CommandTestCase):
    """
    C{tlstunnel identity trust SELECTOR --from HOST:PORT}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.pool = Path(self.mktemp()).absolute()
        self.issued = belowIntermediate()
        self.where = self.serve(secure(context(self.issued)))
        chain = [each.public_bytes(_DER) for each in self.issued.chain]
        self.prints = [each.sha256 for each in describe(chain, _NOW)]

    def trust(self, selector: str, *words: str) -> subprocess.CompletedProcess[str]:
        """
        Take it from the server.
        """
        return self.run_("identity", "trust", "--pool", str(self.pool), selector, "--from",
                         self.where, *words)  # fmt: skip

    def test_theFingerprintStandsForTheAnswer(self) -> None:
        ended = self.trust(NAME, "--fingerprint", self.prints[1])
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        stored = loadCertificates(self.pool / "trust" / f"{NAME}.pem")
        self.assertEqual(stored, self.issued.chain[1:])
        self.assertIn("CN=Intermediate", ended.stdout)
        probed = self.run_("probe", self.where, "-R", NAME, "--pool", str(self.pool))
        self.assertEqual(probed.returncode, 0, probed.stdout)

    def test_theFingerprintMayHaveAnyUsualForm(self) -> None:
        pairs = self.prints[0].upper()
        for form in (f"sha256:{pairs}",
                     "sha256 Fingerprint=" + ":".join(
                         pairs[at : at + 2] for at in range(0, 64, 2))):  # fmt: skip
            ended = self.trust(NAME, "--fingerprint", form)
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertIn("It is the server's own certificate", ended.stdout)

    def test_anAnswerIsNeverReadFromAPipe(self) -> None:
        ended = self.run_("identity", "trust", "--pool", str(self.pool), NAME, "--from",
                          self.where, stdin=None, input="yes\n")  # fmt: skip
        self.assertEqual(ended.returncode, 1)
        self.assertIn("is no terminal", ended.stderr)
        self.assertFalse((self.pool / "trust").exists())

    def test_somebodyAtATerminalIsAsked(self) -> None:
        for answer, code in (("no\n", 1), ("\n", 1), ("yes\n", 0)):
            ours, theirs = pty.openpty()
            with subprocess.Popen(
                [*_COMMAND, "identity", "trust", "--pool", str(self.pool), NAME, "--from",
                 self.where],
                env=os.environ | {"PYTHONPATH": str(_HERE)},
                stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True,
            ) as process:  # fmt: skip
                os.write(ours, answer.encode())
                said, _ = process.communicate(timeout=60)
            os.close(ours)
            os.close(theirs)
            self.assertEqual(process.returncode, code, said)
            self.assertIn("Type yes to believe it", said)
            self.assertEqual((self.pool / "trust").exists(), code == 0)

    def test_theQuestionCanBeInterrupted(self) -> None:
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)):
            ours, theirs = pty.openpty()
            with subprocess.Popen(
                [*_COMMAND, "identity", "trust", "--pool", str(self.pool), NAME, "--from",
                 self.where],
                env=os.environ | {"PYTHONPATH": str(_HERE)},
                stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as process:  # fmt: skip
                assert process.stdout is not None
                said = b""
                while b"Type yes to believe it" not in said:
                    said += os.read(process.stdout.fileno(), 4096)
                process.send_signal(number)
                try:
                    process.communicate(timeout=20)
                finally:
                    process.kill()
            os.close(ours)
            os.close(theirs)
            self.assertEqual(process.returncode, code)
            self.assertFalse((self.pool / "trust").exists())

    def test_whatStandsInTheFileStaysThere(self) -> None:
        (self.pool / "trust").mkdir(parents=True)
        file = self.pool / "trust" / f"{NAME}.pem"
        broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
        before = f"# by hand\n{self.anchors.read_text()}{broken}"
        file.write_text(before)
        for _ in range(2):
            ended = self.trust(NAME, "--fingerprint", self.prints[1])
            self.assertEqual(ended.returncode, 0, ended.stderr)
            added = intermediate().certificate.public_bytes(_PEM).decode()
            self.assertEqual(file.read_text(), f"{before}\n{added}")

    def test_aLinkIsNotReplaced(self) -> None:
        (self.pool / "trust").mkdir(parents=True)
        link = self.pool / "trust" / f"{NAME}.pem"
        link.symlink_to(self.anchors)
        ended = self.trust(NAME, "--fingerprint", self.prints[1])
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"is a link to {self.anchors}", ended.stderr)
        self.assertTrue(link.is_symlink())
        self.assertEqual(loadCertificates(self.anchors), (root().certificate,))

    def test_whatThePoolKnowsToBeRevokedIsNotStored(self) -> None:
        (self.pool / "trust").mkdir(parents=True)
        issuer = intermediate()
        now = datetime.now(UTC)
        revoked = (
            x509.RevokedCertificateBuilder()
            .serial_number(self.issued.certificate.serial_number)
            .revocation_date(now - timedelta(days=1))
            .build()
        )
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(now - timedelta(days=1))
            .next_update(now + timedelta(days=1))
            .add_revoked_certificate(revoked)
            .sign(issuer.key, hashes.SHA256())
        )
        (self.pool / "trust" / "x.crl").write_bytes(crl.public_bytes(_PEM))
        ended = self.trust(NAME, "--fingerprint", self.prints[1])
        self.assertEqual(ended.returncode, 1, ended.stdout)
        self.assertIn("was revoked", ended.stdout)
        self.assertFalse((self.pool / "trust" / f"{NAME}.pem").exists())

    def test_whatWouldNotDoIsNotStored(self) -> None:
        ended = self.trust("other.example.org", "--fingerprint", self.prints[1])
        self.assertEqual(ended.returncode, 1)
        self.assertIn("Nothing is stored", ended.stdout)
        self.assertFalse((self.pool / "trust").exists())

    def test_aSelectorHasToMatchTheServer(self) -> None:
        ended = self.trust(".example.com", "-R", NAME, "--fingerprint", self.prints[1])
        self.assertEqual(ended.returncode, 1)
        self.assertIn("does not match", ended.stderr)
        ended = self.trust(".example.org", "-R", NAME, "--fingerprint", self.prints[1])
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertTrue((self.pool / "trust" / ".example.org.pem").exists())

    def test_anchorsForEverybodyElse(self) -> None:
        ended = self.trust("anchors", "-R", NAME, "--fingerprint", self.prints[1])
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertTrue((self.pool / "trust" / "anchors.pem").exists())

    def test_aSelfSignedCertificateIsStoredItself(self) -> None:
        alone = make(Recipe(san=alternative(dns(NAME)), subject=named(NAME)))
        self.where = self.serve(secure(context(alone)))
        shown = describe([alone.certificate.public_bytes(_DER)], _NOW)[0]
        ended = self.trust(NAME, "--fingerprint", shown.sha256)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        stored = loadCertificates(self.pool / "trust" / f"{NAME}.pem")
        self.assertEqual(stored, (alone.certificate,))

    def test_aServerThatIsDownIsTold(self) -> None:
        self.where = f"127.0.0.1:{freePort()}"
        ended = self.trust(NAME)
        self.assertEqual(ended.returncode, 4)
        *_, hint, verdict = ended.stdout.splitlines()
        self.assertIn("check the host and the port", hint)
        self.assertIn("no connection: ", verdict)

    def test_mistakesAreTold(self) -> None:
        for words, expected in (
            ((NAME, "FILE", "--from", "a.example:1"), "give one"),
            ((NAME, "FILE", "--fingerprint", "00"), "give --from too"),
            ((NAME,), "FILE is missing"),
        ):
            ended = self.run_("identity", "trust", *words)
            self.assertEqual(ended.returncode, 2, words)
            self.assertIn(expected, ended.stderr, words)
        ended = self.trust(NAME, "--fingerprint", "00")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("is no SHA-256", ended.stderr)
