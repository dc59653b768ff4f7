"""
Tests for C{tlstunnel identity import}.
"""

from __future__ import annotations

import getpass
import io
import stat
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from twisted.python import usage

from tests.certificates import Issued, Recipe, alternative, dns, intermediate, mail, make, root
from tests.commands.identities import CommandTestCase, Terminal
from tlstunnel.commands.identity import IdentityOptions
from tlstunnel.identity.names import Identity


class ImportTests(CommandTestCase):
    """C{tlstunnel identity import}"""

    def files(self, issued: Issued) -> tuple[str, ...]:
        """Write the files to import, which others may read, and return the options for them."""
        certificate, key = self.base / "cert.pem", self.base / "key.pem"
        certificate.write_bytes(issued.chainPEM())
        key.write_bytes(issued.keyPEM())
        key.chmod(0o644)
        return "--cert", str(certificate), "--key", str(key)

    def test_takesOver(self) -> None:
        """Chain and key are copied, and become private."""
        issued = make(Recipe(san=alternative(dns("example.org")), key="rsa2048"), intermediate())
        self.succeed("import", "Example.org", *self.files(issued))
        credentials = self.pool.credentials(Identity.parse("example.org"))
        self.assertEqual(credentials.certificates, issued.chain)
        mode = (self.path / "example.org" / "privkey.pem").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.assertFalse((self.path / "ca").exists())

    def test_aWildcard(self) -> None:
        """It is kept as the domain behind the asterisk, where the names of a tunnel look for it."""
        issued = make(Recipe(san=alternative(dns("*.example.org"))), root())
        files = self.files(issued)
        self.assertIn("*.example.org: in", self.succeed("import", "*.Example.org", *files))
        credentials = self.pool.credentials(Identity.parse("example.org"))
        self.assertEqual(credentials.certificates, issued.chain)
        self.assertIn("is not for *.example.net", self.fail_("import", "*.example.net", *files))
        self.assertIn("not for example.net", self.fail_("import", "example.net", *files))
        self.assertIn("not a domain", self.fail_("import", "*.*.org", *files))
        (self.path / "trust").mkdir()
        (self.path / "trust" / "anchors.pem").write_bytes(root().chainPEM())
        _, said, _ = self.call("check", "example.org")
        self.assertNotIn("not for", said)

    def test_neverOverwrites(self) -> None:
        """What is there stays as it is, unless that is asked for."""
        self.succeed("create", "example.org")
        before = (self.path / "example.org" / "privkey.pem").read_bytes()
        files = self.files(make(Recipe(san=alternative(dns("example.org"))), root()))
        self.assertIn("--force", self.fail_("import", "example.org", *files))
        self.assertEqual((self.path / "example.org" / "privkey.pem").read_bytes(), before)
        self.succeed("import", "--force", "example.org", *files)
        self.assertNotEqual((self.path / "example.org" / "privkey.pem").read_bytes(), before)

    def test_whatDoesNotBelongIsRefused(self) -> None:
        """A certificate of somebody else, or without its key, is not taken over."""
        good = make(Recipe(san=alternative(mail("x@example.org"))), root())
        other = make(Recipe(), root())
        self.assertIn("not for y@", self.fail_("import", "y@example.org", *self.files(good)))
        mixed = Issued(good.certificate, other.key, good.chain)
        self.assertIn("does not fit", self.fail_("import", "x@example.org", *self.files(mixed)))
        files = self.files(good)
        Path(files[1]).unlink()
        self.assertIn("No such file", self.fail_("import", "x@example.org", *files))
        self.assertFalse(self.path.exists())

    def test_whatOpenSSLRefuses(self) -> None:
        """A key that no handshake would succeed with is refused in one line, at once."""
        for key in ("rsa1024", "secp256k1"):
            issued = make(Recipe(san=alternative(dns("a.b")), key=key), root())
            self.assertIn("OpenSSL does not take", self.fail_("import", "a.b", *self.files(issued)))
        self.assertFalse(self.path.exists())

    def test_cutFiles(self) -> None:
        """A bundle that somebody is just writing is not taken."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        files = self.files(issued)
        Path(files[1]).write_bytes(issued.chainPEM()[:-30])
        self.assertIn("is cut", self.fail_("import", "example.org", *files))

    def test_oneFile(self) -> None:
        """A PEM file may have the key and the certificates in it, as stunnel wants it."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        file = self.base / "both.pem"
        file.write_bytes(issued.keyPEM() + issued.chainPEM())
        self.succeed("import", "example.org", "--cert", str(file))
        found = self.pool.credentials(Identity.parse("example.org"))
        self.assertEqual(found.certificates, issued.chain)
        file.write_bytes(issued.chainPEM())
        error = self.fail_("import", "--force", "example.org", "--cert", str(file))
        self.assertIn("give the file of the key", error)

    def pkcs12(self, issued: Issued, password: bytes | None) -> str:
        """A file in the form PKCS#12, in which the certificates above are in the wrong order."""
        authorities = [root().certificate, *issued.chain[1:], root("Other").certificate]
        protection = BestAvailableEncryption(password) if password else NoEncryption()
        file = self.base / "file.p12"
        file.write_bytes(
            serialize_key_and_certificates(
                b"name", issued.key, issued.certificate, authorities, protection
            )
        )
        return str(file)

    def test_PKCS12(self) -> None:
        """The key and the chain come out of it, in order; the pass phrase is asked for."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        for password in (b"secret", b"\xc3\xa9", None):
            self.patch(sys, "stdin", io.StringIO((password or b"").decode() + "\n"))
            self.succeed(
                "import", "--force", "example.org", "--cert", self.pkcs12(issued, password)
            )
            found = self.pool.credentials(Identity.parse("example.org"))
            self.assertEqual(found.certificates, (*issued.chain, root().certificate))
            self.assertEqual(found.key.public_key(), issued.key.public_key())  # type: ignore[union-attr]  # it is in the file

    def test_PKCS12OnATerminal(self) -> None:
        """There the pass phrase is not shown."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        file = self.pkcs12(issued, b"secret")
        self.patch(sys, "stdin", Terminal())
        asked: list[str] = []

        def ask(prompt: str) -> str:
            asked.append(prompt)
            return "secret"

        self.patch(getpass, "getpass", ask)
        self.succeed("import", "example.org", "--cert", file)
        self.assertEqual(asked, [f"Pass phrase of {file}: "])

    def test_PKCS12WhoseQuestionIsNotAnswered(self) -> None:
        """The end of input is no pass phrase."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        file = self.pkcs12(issued, b"secret")
        self.patch(sys, "stdin", Terminal())

        def leave(prompt: str) -> str:
            raise EOFError

        self.patch(getpass, "getpass", leave)
        error = self.fail_("import", "example.org", "--cert", file)
        self.assertIn("its pass phrase is another one", error)

    def test_PKCS12AndAnotherKey(self) -> None:
        """Which of the two is meant cannot be told."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        file = self.pkcs12(issued, None)
        error = self.fail_("import", "example.org", "--cert", file, "--key", "other.pem")
        self.assertIn("--key: is for PEM", error)

    def test_PKCS12ThatCannotBeOpened(self) -> None:
        """A wrong pass phrase, and an old form, are named together: nobody can tell which it is."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        file = self.pkcs12(issued, b"secret")
        self.patch(sys, "stdin", io.StringIO("wrong\n"))
        error = self.fail_("import", "example.org", "--cert", file)
        self.assertIn("its pass phrase is another one", error)
        self.assertIn(f"openssl pkcs12 -legacy -in {file} -nodes -out NEW", error)
        self.assertFalse(self.path.exists())

    def test_PKCS12WithoutAKey(self) -> None:
        """It is somebody's list of certificates."""
        file = self.base / "file.p12"
        file.write_bytes(
            serialize_key_and_certificates(
                b"name", None, None, [root().certificate], BestAvailableEncryption(b"secret")
            )
        )
        self.patch(sys, "stdin", io.StringIO("secret\n"))
        error = self.fail_("import", "example.org", "--cert", str(file))
        self.assertIn("export it again, with the private key", error)

    def test_aFileIsNeeded(self) -> None:
        """Without one it is not known what is meant."""
        for words in (["x"], ["x", "--key", "y"]):
            error = self.assertRaises(
                usage.UsageError, IdentityOptions().parseOptions, ["import", *words]
            )
            self.assertIn(
                "--cert is missing; write 'tlstunnel identity import [options]", str(error)
            )
