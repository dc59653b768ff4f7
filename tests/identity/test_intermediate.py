"""
Tests for L{tlstunnel.identity.intermediate}: what may be certified, and by whom; OpenSSL sees it
in the same way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from tests.issuers import chainFor, intermediateIn, rootOf, verdictOf
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import intermediate as module
from tlstunnel.identity.certificates import builderOf, certifying, commonName
from tlstunnel.identity.intermediate import Intermediate, makeIntermediate, subtreeOf
from tlstunnel.identity.issuer import Authority, authorityOf, writeCertificates, writeKey
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

#: X509_V_ERR_PERMITTED_VIOLATION and X509_V_ERR_EXCLUDED_VIOLATION.
VIOLATIONS = 47, 48

DAY = timedelta(days=1)


class IntermediateTestCase(SynchronousTestCase):
    """
    A test with a pool and a directory for an intermediate.
    """

    def setUp(self) -> None:
        self.base = Path(self.mktemp())
        self.base.mkdir()
        self.pool = Pool(self.base / "pool")
        self.now = datetime.now(UTC)


class ConstraintsTests(IntermediateTestCase):
    """
    Whom it may certify.
    """

    def test_OpenSSLAgreesAboutWhoIsPermitted(self) -> None:
        """
        By the root alone; what would be issued all the same, every peer refuses.
        """
        made = intermediateIn(self.base)
        root = rootOf(self.base)
        for name, isPermitted in {
            "example.org": True,
            "www.example.org": True,
            "a.b.example.org": True,
            "notexample.org": False,
            "example.com": False,
            "invalid.": False,
            "alice@example.org": True,
            "alice@www.example.org": False,
            "alice@example.com": False,
            "192.0.2.1": True,
            "192.0.3.1": False,
            "2001:db8::1": False,
            "spiffe://example.org/web": True,
            "spiffe://sub.example.org/web": False,
            "spiffe://example.com/web": False,
        }.items():
            self.assertEqual(made.permits(Identity.parse(name)), isPermitted, name)
            verdict = verdictOf(chainFor(made, name), root)
            self.assertIn(verdict, (0,) if isPermitted else VIOLATIONS, name)

    def test_whatIsNotMentionedIsNotPermitted(self) -> None:
        """
        Of whatever kind, though constraints that are silent about a kind would permit it.
        """
        others = {
            "example.org": "www.example.org",
            "alice@example.org": "alice@example.org",
            "2001:db8::/32": "2001:db8::1",
            "spiffe://example.org": "spiffe://example.org/web",
        }
        for permitted, name in others.items():
            base = self.base / str(len(permitted))
            base.mkdir()
            made = intermediateIn(base, permitted)
            root = rootOf(base)
            for each in (*others.values(), "bob@example.org", "192.0.2.1"):
                self.assertEqual(made.permits(Identity.parse(each)), each == name, each)
                verdict = verdictOf(chainFor(made, each), root)
                self.assertIn(verdict, (0,) if each == name else VIOLATIONS, (permitted, each))

    def test_whatCannotBePermittedIsSaid(self) -> None:
        """
        In a sentence.
        """
        for text, why in {
            "": "",
            "https://example.org": "is no trust domain",
            "spiffe://example.org/web": "is no trust domain, which is permitted as a whole",
            "192.0.2.0/33": "is no network",
            "192.0.2.1/24": "is no network",
            ".example.org": "",
            "a@b@example.org": "",
        }.items():
            error = self.assertRaises(ValueError, subtreeOf, text)
            self.assertIn(why, str(error))


class MakingTests(IntermediateTestCase):
    """
    By the authority of a pool.
    """

    def test_itIsReadAgain(self) -> None:
        """
        And its key is for nobody else to read.
        """
        made = intermediateIn(self.base)
        read = Intermediate.load(self.base / "issuer", self.now)
        self.assertEqual(read.chain, made.chain)
        self.assertEqual((self.base / "issuer" / "privkey.pem").stat().st_mode & 0o777, 0o600)

    def test_oneThatIsThereIsNotLost(self) -> None:
        """
        Unless it is to be replaced.
        """
        intermediateIn(self.base)
        again = self.pool, self.base / "issuer", [subtreeOf("example.com")]
        error = self.assertRaises(ConfigurationError, makeIntermediate, *again)
        self.assertIn("is there already", str(error))
        makeIntermediate(*again, replace=True)
        read = Intermediate.load(self.base / "issuer", self.now)
        self.assertTrue(read.permits(Identity.parse("www.example.com")))

    def test_anAuthorityOfAFormerVersionPermitsNoneBelowIt(self) -> None:
        """
        Peers would refuse all that it issues.
        """
        ca = self.pool.path / "ca"
        ca.mkdir(parents=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = commonName("former")
        builder = builderOf(name, name, key.public_key(), self.now, self.now + DAY)
        certificate = certifying(builder, below=0).sign(key, SHA256())
        writeKey(ca / "key.pem", key, replace=False)
        writeCertificates(ca / "cert.pem", [certificate])
        error = self.assertRaises(ConfigurationError, intermediateIn, self.base)
        self.assertIn("permits no authority below it (pathlen 0)", str(error))
        self.assertFalse((self.base / "issuer").exists())

    def test_itEndsNoLaterThanItsAuthority(self) -> None:
        """
        And what it issues ends no later than it does.
        """
        self.patch(module, "LIFETIME", 9999 * DAY)
        made = makeIntermediate(
            self.pool, self.base / "issuer", [subtreeOf("example.org")], 9999 * DAY
        )
        self.assertEqual(made.end, authorityOf(self.pool).certificate.not_valid_after_utc)
        leaf = made.issue(
            Identity.parse("example.org"), made.key.public_key(), self.now, 99999 * DAY
        )
        self.assertEqual(leaf[0].not_valid_after_utc, made.end)

    def test_certificatesAreDifferentAndBeginBeforeNow(self) -> None:
        """
        As clocks of peers may be behind; and live for as long as they shall.
        """
        made = intermediateIn(self.base)
        first, second = (chainFor(made, "example.org")[0] for _ in range(2))
        self.assertNotEqual(first.serial_number, second.serial_number)
        # Not before what stands above them.
        self.assertLess(first.not_valid_before_utc, self.now)
        self.assertLessEqual(first.not_valid_after_utc, self.now + timedelta(seconds=610))


class ChainTests(IntermediateTestCase):
    """
    An intermediate that stands below another one, with constraints of its own.
    """

    def below(
        self, above: x509.NameConstraints, own: x509.NameConstraints
    ) -> tuple[Intermediate, x509.Certificate]:
        """
        One, and its root.
        """
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
        made: list[x509.Certificate] = []
        for number, constraints in enumerate((None, above, own)):
            issuer = max(number - 1, 0)
            builder = builderOf(
                commonName(f"authority {number}"),
                commonName(f"authority {issuer}"),
                keys[number].public_key(),
                self.now - DAY,
                self.now + DAY,
            )
            builder = certifying(builder, below=2 - number)
            if constraints is not None:
                builder = builder.add_extension(constraints, critical=True)
            made.append(builder.sign(keys[issuer], SHA256()))
        root, *chain = made
        return Intermediate((chain[1], chain[0]), keys[2], self.now + DAY), root

    def test_whatIsAboveItNeedNotMentionWhatItPermits(self) -> None:
        """
        But may forbid it; OpenSSL says the same.
        """
        own = x509.NameConstraints([x509.DNSName("example.org"), x509.RFC822Name("a.org")], None)
        for above, name, isPermitted in (
            (x509.NameConstraints([x509.DNSName("org")], None), "www.example.org", True),
            (x509.NameConstraints([x509.DNSName("org")], None), "bob@a.org", True),
            (x509.NameConstraints(None, [x509.DNSName("example.com")]), "example.org", True),
            (x509.NameConstraints(None, [x509.DNSName("example.org")]), "example.org", False),
            (x509.NameConstraints([x509.DNSName("example.com")], None), "example.org", False),
            (x509.NameConstraints([x509.RFC822Name("b.org")], None), "bob@a.org", False),
            (x509.NameConstraints([x509.DNSName("org")], None), "www.example.com", False),
        ):
            made, root = self.below(above, own)
            self.assertIs(made.permits(Identity.parse(name)), isPermitted, (above, name))
            verdict = verdictOf(chainFor(made, name), root)
            self.assertIn(verdict, (0,) if isPermitted else VIOLATIONS, (above, name))

    def test_whereSubjectsAreConstrainedNobodyHasOne(self) -> None:
        """
        As ours stands in no directory.
        """
        inOne = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")]))
        everywhere = x509.NameConstraints([x509.DNSName("org")], None)
        for own in (
            x509.NameConstraints([x509.DNSName("example.org"), inOne], None),
            x509.NameConstraints(
                [x509.DNSName("example.org")], [x509.DirectoryName(commonName("example.org"))]
            ),
        ):
            made, root = self.below(everywhere, own)
            chain = chainFor(made, "example.org")
            self.assertEqual(list(chain[0].subject), [])
            self.assertEqual(verdictOf(chain, root), 0)


class RefusalTests(IntermediateTestCase):
    """
    What must not be used.
    """

    def write(
        self,
        *,
        constraints: x509.NameConstraints | None = None,
        isCritical: bool = True,
        isAuthority: bool = True,
        end: timedelta = DAY,
        begin: timedelta = -DAY,
        above: Authority | None = None,
    ) -> Path:
        """
        An intermediate that somebody has made in a way of his own.
        """
        directory = self.base / "issuer"
        directory.mkdir(exist_ok=True)
        above = above or Authority.make(self.now)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = builderOf(
            commonName("odd"),
            above.certificate.subject,
            key.public_key(),
            self.now + begin,
            self.now + end,
        )
        if isAuthority:
            builder = certifying(builder, below=0)
        if constraints is not None:
            builder = builder.add_extension(constraints, critical=isCritical)
        writeKey(directory / "privkey.pem", key, replace=True)
        certificate = builder.sign(above.key, SHA256())
        writeCertificates(directory / "fullchain.pem", [certificate])
        self.certificate = certificate
        return directory

    def refuses(self, problem: str) -> None:
        """
        The one that was written is not used.
        """
        load = self.base / "issuer", self.now
        error = self.assertRaises(ConfigurationError, Intermediate.load, *load)
        self.assertIn(problem, str(error))

    GOOD = x509.NameConstraints([x509.DNSName("example.org")], None)
    EXCLUDING = x509.NameConstraints(None, [x509.DNSName("example.com")])

    def test_whatIsWrongWithItIsSaid(self) -> None:
        """
        Each in words of its own.
        """
        for problem, row in {
            "has no name constraints": {},
            "not critical": {"constraints": self.GOOD, "isCritical": False},
            "permit everything but": {"constraints": self.EXCLUDING},
            "not that of an authority": {"constraints": self.GOOD, "isAuthority": False},
            "has expired on": {"constraints": self.GOOD, "end": timedelta(seconds=-1)},
            "is not valid before": {"constraints": self.GOOD, "begin": DAY / 2},
        }.items():
            self.write(**row)  # type: ignore[arg-type]
            self.refuses(problem)

    def test_aGoodOneIsUsed(self) -> None:
        """
        Also with the root behind it, which peers have, and are not sent.
        """
        above = Authority.make(self.now)
        directory = self.write(constraints=self.GOOD, above=above)
        chain = [self.certificate, above.certificate]
        for number in (1, 2):
            writeCertificates(directory / "fullchain.pem", chain[:number])
            read = Intermediate.load(directory, self.now)
            self.assertEqual(read.chain, (self.certificate,))

    def test_theChainIsOne(self) -> None:
        """
        And permits what stands in it.
        """
        above, other = Authority.make(self.now), Authority.make(self.now)
        directory = self.write(constraints=self.GOOD, above=above)
        file = directory / "fullchain.pem"
        writeCertificates(file, [self.certificate, other.certificate])
        self.refuses("is no chain")
        root = builderOf(
            above.certificate.subject,
            above.certificate.subject,
            above.key.public_key(),
            self.now - DAY,
            self.now + DAY,
        )
        narrow = certifying(root, below=0).sign(above.key, SHA256())
        writeCertificates(file, [self.certificate, narrow])
        self.refuses(
            "certificate 2, which permits 0 authorities below it (pathlen), and there are 1"
        )
        writeCertificates(file, [above.certificate])
        writeKey(directory / "privkey.pem", above.key, replace=True)
        self.refuses("is a root")

    def test_theKeyIsNotInAToken(self) -> None:
        """
        Nor is that of a pool's own authority: neither is used through a provider.
        """
        reference = b"pkcs11:token=a;object=b"
        (self.write(constraints=self.GOOD) / "privkey.pem").write_bytes(reference)
        self.refuses("refers to a key in a token, pkcs11:token=a;object=b")
        authorityOf(self.pool)
        (self.pool.path / "ca" / "key.pem").write_bytes(reference)
        error = self.assertRaises(ConfigurationError, authorityOf, self.pool)
        self.assertIn("refers to a key in a token", str(error))

    def test_theKeyFitsAndIsPrivate(self) -> None:
        """
        And of a kind that certificates are signed with here.
        """
        directory = self.write(constraints=self.GOOD)
        file = directory / "privkey.pem"
        file.chmod(0o644)
        self.refuses("can be read by others")
        file.chmod(0o600)
        writeKey(file, ec.generate_private_key(ec.SECP256R1()), replace=True)
        self.refuses("does not fit")
        writeKey(file, ed25519.Ed25519PrivateKey.generate(), replace=True)
        self.refuses("neither for ECDSA nor for RSA")
        file.unlink()
        self.refuses("put it there")
