"""
Tests for the command C{tlstunnel identity}, and for L{tlstunnel.identity.issuer}.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, make, named, root
from tests.commands.identities import CommandTestCase
from tests.identity.test_names import identities
from tlstunnel.commands.identity import IdentityOptions
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import issuer
from tlstunnel.identity.files import writeFile
from tlstunnel.identity.issuer import Authority, createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.verify import verifyIdentity
from tlstunnel.identity.withdrawal import markWithdrawn

DAY = timedelta(days=1)

_authority = Authority.make(datetime.now(UTC))


class CreateTests(CommandTestCase):
    """C{tlstunnel identity create}"""

    def test_usableAtOnce(self) -> None:
        """Two identities vouch for each other by the same authority, without another word."""
        for name in ("testsrv@tlspool.arpa2.lab", "testcli@tlspool.arpa2.lab"):
            self.assertIn(name, self.succeed("create", name))
        for name in ("testsrv@tlspool.arpa2.lab", "testcli@tlspool.arpa2.lab"):
            identity = Identity.parse(name)
            leaf = self.pool.credentials(identity).certificates[0]
            (anchor,) = self.pool.anchorsFor(identity).certificates
            leaf.verify_directly_issued_by(anchor)
            self.assertEqual(verifyIdentity(leaf, identity), identity)

    def test_everyForm(self) -> None:
        """Domains, users and addresses are created, in their canonical form."""
        for text, directory in (
            ("Example.ORG", "example.org"),
            ("John@B\u00fccher.example", "John@xn--bcher-kva.example"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("192.0.2.1", "192.0.2.1"),
            ("a" * 60 + "." + "b" * 60, "a" * 60 + "." + "b" * 60),
        ):
            with self.subTest(text):
                self.succeed("create", text)
                identity = Identity.parse(text)
                credentials = self.pool.credentials(identity)
                verifyIdentity(credentials.certificates[0], identity)
                self.assertTrue((self.path / directory).is_dir())

    def test_certificate(self) -> None:
        """Certificates are small, short-lived, for both roles, and for nothing else."""
        self.succeed("create", "example.org")
        credentials = self.pool.credentials(Identity.parse("example.org"))
        self.assertIsInstance(credentials.key, ec.EllipticCurvePrivateKey)
        (leaf,) = credentials.certificates
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        self.assertTrue(timedelta(days=360) < lifetime <= timedelta(days=366))
        self.assertTrue(leaf.not_valid_before_utc < datetime.now(UTC))
        get = leaf.extensions.get_extension_for_class
        self.assertFalse(get(x509.BasicConstraints).value.ca)
        self.assertEqual(
            set(get(x509.ExtendedKeyUsage).value),
            {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH},
        )
        self.assertTrue(get(x509.KeyUsage).value.digital_signature)
        self.assertFalse(get(x509.KeyUsage).value.key_cert_sign)
        self.assertEqual(
            list(get(x509.SubjectAlternativeName).value), [x509.DNSName("example.org")]
        )

    def test_authority(self) -> None:
        """The authority issues certificates of identities only, and all of them."""
        self.succeed("create", "a.example")
        before = (self.path / "ca" / "cert.pem").read_bytes()
        self.succeed("create", "b.example")
        self.assertEqual((self.path / "ca" / "cert.pem").read_bytes(), before)
        authority = x509.load_pem_x509_certificate(before)
        get = authority.extensions.get_extension_for_class
        self.assertEqual(get(x509.BasicConstraints).value, x509.BasicConstraints(True, 1))
        self.assertTrue(get(x509.KeyUsage).value.key_cert_sign)

    def test_permissionsWhateverTheUmask(self) -> None:
        """Keys are ours alone, and so are all directories that we make."""
        for umask in (0, 0o022, 0o077, 0o777):
            self.path = self.base / f"{umask:o}" / "pool"
            old = os.umask(umask)
            try:
                self.succeed("create", "example.org")
            finally:
                os.umask(old)
            everything = [self.path.parent, self.path, *self.path.rglob("*")]
            for path in everything:
                mode = stat.S_IMODE(path.stat().st_mode)
                expected = (
                    0o700 if path.is_dir() else 0o600 if path.name.endswith("key.pem") else 0o644
                )
                with self.subTest(f"{umask:o} {path}"):
                    self.assertEqual(mode, expected)
            self.assertEqual(len(everything), 8)

    def test_neverOverwrites(self) -> None:
        """What is there stays as it is, unless that is asked for."""
        self.succeed("create", "example.org")
        files = [self.path / "example.org" / name for name in ("privkey.pem", "fullchain.pem")]
        before = [file.read_bytes() for file in files]
        self.assertIn("--force", self.fail_("create", "example.org"))
        self.assertEqual([file.read_bytes() for file in files], before)
        files[1].unlink()
        self.fail_("create", "example.org")
        self.assertEqual(files[0].read_bytes(), before[0])
        self.succeed("create", "--force", "example.org")
        self.assertNotEqual(files[0].read_bytes(), before[0])
        self.pool.credentials(Identity.parse("example.org"))

    def test_refusalLeavesNoAuthority(self) -> None:
        """A pool whose identities others issued gets no anchor from a command that fails."""
        self.put("example.org", make(Recipe(), root()))
        self.fail_("create", "example.org")
        self.fail_("create", "ca")
        self.assertFalse((self.path / "ca").exists())

    def test_neverOverwritesWhatAppearsMeanwhile(self) -> None:
        """Between the look whether there is a key and its writing, another one may come."""
        self.path.mkdir()
        file = self.path / "key.pem"
        file.write_bytes(b"another")
        self.assertRaises(ConfigurationError, writeFile, file, b"ours", 0o600, False)
        self.assertEqual(file.read_bytes(), b"another")
        self.assertEqual(list(self.path.iterdir()), [file])

    def test_wholeFilesOnly(self) -> None:
        """A disk that is full leaves what was there, and nothing half."""
        self.succeed("create", "example.org")
        file = self.path / "example.org" / "privkey.pem"
        before = file.read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device", "privkey.pem")

        self.patch(os, "fsync", full)
        self.assertIn("No space left", self.fail_("create", "--force", "example.org"))
        self.assertEqual(file.read_bytes(), before)
        self.assertEqual(len(list(file.parent.iterdir())), 2)

    def test_badIdentities(self) -> None:
        """What is no identity, and what the pool needs itself, is refused in one line."""
        for text in ("", ".", "a b", "x@y@z", "@example.org", "../x", "trust", "ca", "x@192.0.2.1"):
            with self.subTest(text):
                self.fail_("create", text)
        self.assertFalse(self.path.exists())

    def test_whereNothingCanBeWritten(self) -> None:
        """A pool that cannot be made is an error in one line that names it."""
        self.base.joinpath("file").write_bytes(b"")
        self.path = self.base / "file" / "pool"
        self.assertIn(str(self.base / "file"), self.fail_("create", "example.org"))

    def test_brokenAuthority(self) -> None:
        """An authority that is incomplete, expired or open to others issues nothing."""
        self.succeed("create", "a.example")
        key, certificate = self.path / "ca" / "key.pem", self.path / "ca" / "cert.pem"
        proper = key.read_bytes(), certificate.read_bytes()
        past = datetime.now(UTC) - timedelta(days=5000)
        old = Authority.make(past)
        for keyContent, certificateContent, mode, because in (
            (proper[0], proper[1], 0o644, "can be read by others"),
            (proper[0], b"", 0o600, "cert.pem"),
            (b"", proper[1], 0o600, "key.pem"),
            (make(Recipe()).keyPEM(), proper[1], 0o600, "does not fit"),
            (make(Recipe(key="ed25519")).keyPEM(), proper[1], 0o600, "does not fit"),
            (
                Issued(old.certificate, old.key).keyPEM(),
                old.certificate.public_bytes(Encoding.PEM),
                0o600,
                "expired",
            ),
        ):
            key.write_bytes(keyContent)
            key.chmod(mode)
            certificate.write_bytes(certificateContent)
            with self.subTest(because):
                self.assertIn(because, self.fail_("create", "b.example"))
        key.unlink()
        self.assertIn("key.pem", self.fail_("create", "b.example"))

    @given(identities)
    @settings(max_examples=25, deadline=None)
    def test_everyIdentityCanBeIssued(self, identity: Identity) -> None:
        """Whatever is an identity gets a certificate that is verified as its own."""
        credentials = _authority.issue(identity, datetime.now(UTC))
        verifyIdentity(credentials.certificates[0], identity)

    def test_everyCharacterOfAUser(self) -> None:
        """All characters that a user may have can be in a certificate."""
        identity = Identity.parse("aZ0!#$%&'+-=?^_`{|}~.x@example.org")
        credentials = _authority.issue(identity, datetime.now(UTC))
        verifyIdentity(credentials.certificates[0], identity)

    def test_notLongerThanItsAuthority(self) -> None:
        """A certificate does not outlive the authority that issued it."""
        soon = datetime.now(UTC) - issuer.AUTHORITY_LIFETIME + timedelta(days=3)
        authority = Authority.make(soon)
        leaf = authority.issue(Identity.parse("a.b"), datetime.now(UTC)).certificates[0]
        self.assertEqual(leaf.not_valid_after_utc, authority.certificate.not_valid_after_utc)

    def test_asFunction(self) -> None:
        """Other parts of the program create identities too, and learn what was created."""
        identity = Identity.parse("x@example.org")
        made = createIdentity(self.pool, identity)
        self.assertEqual(self.pool.credentials(identity).certificates, made.certificates)
        self.assertRaises(ConfigurationError, createIdentity, self.pool, identity)


class ListTests(CommandTestCase):
    """C{tlstunnel identity list}"""

    def fill(self) -> None:
        """Put identities of all kinds into the pool."""
        authority = root("Some\x1bCA")
        for name, end in (
            ("fresh.example", timedelta(days=90, hours=1)),
            ("soon@example.org", timedelta(days=10, hours=1)),
            ("short.example", timedelta(days=6)),
            ("192.0.2.1", timedelta(hours=30, minutes=1)),
            ("old.example", timedelta(minutes=-1)),
        ):
            start = timedelta(hours=-1) if end > 80 * DAY or "short" in name else -80 * DAY
            self.put(name, make(Recipe(start=start, end=end), authority))
        self.put("new.example", make(Recipe(start=DAY, end=90 * DAY), authority))
        self.put("self.example", make(Recipe(subject=named("x"))))
        (self.put("broken.example", make(Recipe())) / "fullchain.pem").write_bytes(b"")

    def test_table(self) -> None:
        """Each identity has a line: who, kind, issuer, how long."""
        self.fill()
        lines = [line.split("  ") for line in self.succeed("list").splitlines()]
        table = [[cell.strip() for cell in line if cell.strip()] for line in lines]
        self.assertEqual(
            table,
            [
                ["IDENTITY", "KIND", "ISSUER", "EXPIRES IN"],
                ["192.0.2.1", "address", "Some?CA", "30 hours"],
                ["broken.example", "domain", "unreadable", "-"],
                ["fresh.example", "domain", "Some?CA", "90 days"],
                ["new.example", "domain", "Some?CA", "not valid yet"],
                ["old.example", "domain", "Some?CA", "expired"],
                ["self.example", "domain", "itself", "29 days"],
                ["short.example", "domain", "Some?CA", "5 days"],
                ["soon@example.org", "user", "Some?CA", "10 days"],
            ],
        )

    def test_whoIsWithdrawn(self) -> None:
        """It is listed, and checked, as what it is, until there is a certificate again."""
        self.succeed("create", "www.example.org")
        directory = self.path / "www.example.org"
        (directory / "fullchain.pem").unlink()
        markWithdrawn(directory)
        self.assertRegex(self.succeed("list"), r"www\.example\.org +domain +withdrawn +-\n")
        code, out, _ = self.call("check", "www.example.org")
        self.assertEqual(code, 1)
        self.assertIn("www.example.org is withdrawn", out)
        self.succeed("create", "--force", "www.example.org")
        self.assertNotIn("withdrawn", self.succeed("list"))
        self.assertFalse((directory / "withdrawn").exists())

    def test_colours(self) -> None:
        """On a terminal, what needs attention has a colour; nowhere else, and not if unwanted."""
        self.fill()
        out = self.succeed("list", terminal=True)
        for shown in ("\x1b[31mexpired\x1b[0m", "\x1b[33m10 days\x1b[0m", "\x1b[33m30 hours",
                      "  90 days\n", "\x1b[31m-",
                      "  5 days\n", "\x1b[31mnot valid yet"):  # fmt: skip
            self.assertIn(shown, out)
        self.assertNotIn("\x1b", self.succeed("list"))
        for variable, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
            self.patch(os, "environ", {variable: value})
            self.assertNotIn("\x1b", self.succeed("list", terminal=True))

    def test_nobody(self) -> None:
        """An empty pool says so; one that is not there is an error."""
        self.assertIn("no directory", self.fail_("list"))
        self.path.mkdir()
        self.assertEqual(self.succeed("list"), f"No identities in {self.path}\n")


class RenewTests(CommandTestCase):
    """C{tlstunnel identity renew}"""

    def aged(self, name: str, days: int) -> Path:
        """An identity of the pool's authority that ends in some days."""
        self.succeed("create", "--force", name)
        authority = issuer.authorityOf(self.pool)
        then = datetime.now(UTC) + days * DAY - issuer.LIFETIME
        file = self.path / name / "fullchain.pem"
        public = self.pool.credentials(Identity.parse(name)).certificates[0].public_key()
        leaf = authority.certify(Identity.parse(name), then, public)
        file.write_bytes(leaf.public_bytes(Encoding.PEM))
        return file

    def test_whatIsDue(self) -> None:
        """Those that end soon get another certificate, and keep their key; nobody else does."""
        due, fresh = self.aged("due@example.org", 20), self.aged("fresh.example", 40)
        keys = [each.with_name("privkey.pem").read_bytes() for each in (due, fresh)]
        before = fresh.read_bytes()
        out = self.succeed("renew")
        self.assertRegex(out, r"\Adue@example.org: renewed, good until \d{4}-\d\d-\d\d\n\Z")
        self.assertEqual(fresh.read_bytes(), before)
        self.assertEqual(
            [each.with_name("privkey.pem").read_bytes() for each in (due, fresh)], keys
        )
        for name in ("due@example.org", "fresh.example"):
            self.assertIn("all is well", self.succeed("check", name))
        self.assertEqual(self.succeed("renew"), "")

    def test_expired(self) -> None:
        """It is never too late."""
        self.aged("old.example", -1)
        self.assertIn("renewed", self.succeed("renew"))

    def test_named(self) -> None:
        """Only those named, and with --force at once."""
        self.aged("a.example", 20)
        self.aged("b.example", 20)
        self.assertEqual(self.succeed("renew", "B.example").count("renewed"), 1)
        self.assertEqual(self.succeed("renew", "b.example"), "")
        self.assertIn("b.example: renewed", self.succeed("renew", "--force", "b.example"))

    def test_thoseOfOthers(self) -> None:
        """What somebody else has issued is left alone, and cannot be renewed here."""
        self.aged("ours.example", 20)
        self.put("a.example", make(Recipe(end=DAY), root()))
        self.assertEqual(self.succeed("renew").count("renewed"), 1)
        self.assertIn("renew it where it comes from", self.fail_("renew", "a.example"))
        self.assertIn("is not there", self.fail_("renew", "b.example"))
        (self.pool.path / "a.example" / "fullchain.pem").rename(
            self.pool.path / "a.example" / "withdrawn"
        )
        self.assertIn("a.example is withdrawn", self.fail_("renew", "a.example"))
        self.assertIn("ID: ", self.fail_("renew", "@."))

    def test_withoutAnAuthority(self) -> None:
        """A pool that issues nothing has nothing to renew."""
        self.put("a.example", make(Recipe(end=DAY), root()))
        self.assertEqual(self.succeed("renew"), "")

    def test_anAuthorityThatEnds(self) -> None:
        """It cannot make anything last longer than itself."""
        then = datetime.now(UTC) - issuer.AUTHORITY_LIFETIME + 3 * DAY
        self.patch(issuer, "datetime", SimpleNamespace(now=lambda zone: then))
        self.aged("a.example", 20)
        self.patch(issuer, "datetime", datetime)
        self.assertIn("ends on", self.fail_("renew", "--force"))


class TrustTests(CommandTestCase):
    """C{tlstunnel identity trust}"""

    def file(self, *names: str) -> str:
        """A file with authorities."""
        file = self.base / "authorities.pem"
        content = [root(name).certificate.public_bytes(Encoding.PEM) for name in names]
        file.write_bytes(b"".join(content))
        return str(file)

    def trusted(self, remote: str) -> tuple[x509.Certificate, ...]:
        """The anchors for somebody."""
        return self.pool.anchorsFor(Identity.parse(remote)).certificates

    def test_newSelector(self) -> None:
        """The anchors are those for whom the selector matches, in a pool made for that."""
        self.succeed("trust", "@Example.ORG", self.file("One"))
        self.assertEqual(self.trusted("x@example.org"), (root("One").certificate,))
        self.assertTrue((self.path / "trust" / "@example.org.pem").exists())

    def test_added(self) -> None:
        """More anchors are added to those that are there, each once."""
        self.succeed("trust", "@.", self.file("One"))
        self.assertIn("1 added, 2 in all", self.succeed("trust", "@.", self.file("One", "Two")))
        self.assertEqual(
            self.trusted("x@example.org"), (root("One").certificate, root("Two").certificate)
        )

    def test_workloads(self) -> None:
        """All of a trust domain, and never a part of it."""
        self.succeed("trust", "spiffe://example.org", self.file("One"))
        self.assertEqual(self.trusted("spiffe://example.org/a"), (root("One").certificate,))
        self.assertTrue((self.path / "trust" / "spiffe:example.org.pem").exists())
        said = self.fail_("trust", "spiffe://example.org/ns/", self.file("One"))
        self.assertIn("give spiffe://example.org", said)

    def test_everybodyElse(self) -> None:
        """Anchors for whatever no selector matches have a name too."""
        self.succeed("trust", "anchors", self.file("One"))
        self.assertEqual(self.trusted("x@example.org"), (root("One").certificate,))

    def test_oneIsBroken(self) -> None:
        """One that cannot be read is passed over, with a line."""
        broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        file = Path(self.file("One"))
        file.write_text(broken + file.read_text())
        out = self.succeed("trust", "@.", str(file))
        self.assertRegex(out, r"authorities.pem: certificate 1 is passed over.*\n.* 1 added")

    def test_nonsense(self) -> None:
        """What is no selector, and what is no file of certificates, changes nothing."""
        self.fail_("trust", "*.org", self.file("One"))
        self.fail_("trust", ".org", str(self.base / "none"))
        Path(self.file()).write_bytes(b"x")
        self.fail_("trust", ".org", str(self.base / "authorities.pem"))
        self.assertFalse(self.path.exists())


class UsageTests(SynchronousTestCase):
    """How commands are written."""

    def test_optionsAnywhere(self) -> None:
        """Options may stand before and behind the arguments, and be short."""
        for words in (
            "import --pool P --force x.y --cert=C --key K",
            "import x.y --cert C --key K --force -p P",
            "import -p P -f --cert C x.y --key K",
            "import --cert C --pool=P --key K --force -- x.y",
        ):
            with self.subTest(words):
                options = IdentityOptions()
                options.parseOptions(words.split())
                expected = {
                    "pool": "P",
                    "force": 1,
                    "cert": "C",
                    "key": "K",
                    "psk": None,
                    "id": "x.y",
                }
                self.assertEqual(dict(options.subOptions), expected)

    def test_usageErrors(self) -> None:
        """Without a command, with another one, or with other arguments, it is a usage error."""
        for words in ([], ["destroy"], ["create"], ["create", "a", "b"], ["list", "a"],
                      ["trust", "a"], ["check", "a", "--force"]):  # fmt: skip
            with self.subTest(" ".join(words)):
                self.assertRaises(usage.UsageError, IdentityOptions().parseOptions, words)
