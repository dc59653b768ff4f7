"""
Tests for L{tlstunnel.convert.certificates}: who we are, and what has to be done before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from os import mkfifo
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import DATA, HOST
from tlstunnel.convert.certificatenames import Named, identity, namesIn
from tlstunnel.convert.certificates import Credentials, trustIn
from tlstunnel.identity.pool import RESERVED


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class CredentialsTests(SynchronousTestCase):
    """
    The certificates that a tunnel shows.
    """

    def find(
        self, file: str, key: str = "", hints: tuple[str, ...] = (), isClient: bool = False
    ) -> tuple[str, str, list[str]]:
        """Who we are, in which pool, and what to run before."""
        credentials = Credentials(DATA, HOST)
        known = credentials.find(file, key, hints, isClient)
        return known.name, known.pool, credentials.commands

    def test_theNameIsThatOfTheCertificate(self) -> None:
        """The first of its domains."""
        self.assertEqual(
            self.find("mail.pem", "mail key.pem"),
            (
                "mail.example.org",
                "",
                ["tlstunnel identity import mail.example.org --cert mail.pem --key 'mail key.pem'"],
            ),
        )

    def test_aClientIsAUser(self) -> None:
        """If its certificate says so."""
        self.assertEqual(self.find("alice.pem", isClient=True)[0], "alice@example.org")

    def test_aFileThatCannotBeRead(self) -> None:
        """Its name, or that of its folder, may be that of the host."""
        for file, wanted in {
            "/x/www.example.org.pem": "www.example.org",
            "/x/www.example.org/cert.pem": "www.example.org",
            "/etc/stunnel/stunnel.pem": HOST,
            "/etc/conf.d/server.key.pem": HOST,
        }.items():
            self.assertEqual(self.find(file)[0], wanted)

    def test_namesThatAPoolNeeds(self) -> None:
        """They are those of nobody."""
        for name in RESERVED:
            self.assertEqual(identity(name), "")

    def test_aHintIsBetterThanTheNameOfTheHost(self) -> None:
        """As where it listens at a name."""
        self.assertEqual(self.find("/x/y.pem", hints=("imap.example.org",))[0], "imap.example.org")

    def test_aPatternStandsForTheNameThatItCovers(self) -> None:
        """If there is one; else for any."""
        self.assertEqual(self.find("wild.pem", hints=("a.example.org",))[0], "a.example.org")
        self.assertEqual(self.find("wild.pem", hints=("a.b.example.org",))[0], "host.example.org")

    def test_aCommonNameDoesNotCount(self) -> None:
        """Another certificate is needed."""
        self.assertEqual(
            self.find("cn.pem"),
            ("cn.example.org", "", ["tlstunnel identity create cn.example.org"]),
        )

    def test_aPoolIsAPool(self) -> None:
        """Where certbot keeps them, nothing has to be done."""
        live = "/etc/letsencrypt/live/www.example.org"
        self.assertEqual(
            self.find(f"{live}/fullchain.pem", f"{live}/privkey.pem"),
            ("www.example.org", "/etc/letsencrypt/live", []),
        )

    def test_aFolderOfAnotherNameIsNoPool(self) -> None:
        """Though the files are called like those of a pool."""
        folder = Path(self.mktemp()).absolute() / "www.example.com"
        folder.mkdir(parents=True)
        (folder / "fullchain.pem").write_bytes((DATA / "mail.pem").read_bytes())
        name, pool, _ = self.find(f"{folder}/fullchain.pem", f"{folder}/privkey.pem")
        self.assertEqual((name, pool), ("mail.example.org", ""))
        self.assertEqual(self.find("/x/keys/fullchain.pem", "/x/keys/privkey.pem")[1], "")

    def test_twoCertificatesForOneName(self) -> None:
        """There is a place for one in a pool."""
        other = Path(self.mktemp()).absolute()
        other.write_bytes((DATA / "mail.pem").read_bytes())
        credentials = Credentials(DATA, HOST)
        credentials.find("mail.pem", "", (), False)
        (note,) = credentials.find(str(other), "", (), False).notes
        self.assertIn("that of mail.pem is shown here", note)
        self.assertEqual(len(credentials.commands), 1)

    def test_twoFilesThatCannotBeRead(self) -> None:
        """Each gets a name of its own, and a command: nobody shows the certificate of the other."""
        credentials = Credentials(DATA, HOST)
        found = [credentials.find(f"/x/{file}.pem", "", (), False).name for file in "abac"]
        self.assertEqual(found, [HOST, f"2.{HOST}", HOST, f"3.{HOST}"])
        self.assertEqual(len(credentials.commands), 3)


class FileTests(SynchronousTestCase):
    """
    What certificates in a file say.
    """

    def test_namesAndAuthorities(self) -> None:
        """Each certificate for itself."""
        self.assertEqual(
            namesIn(DATA / "clients.pem"),
            [
                Named(users=("alice@example.org",), common="alice"),
                Named(common="Example CA", isAuthority=True),
            ],
        )

    def test_patterns(self) -> None:
        """They are no names."""
        (named,) = namesIn(DATA / "wild.pem")
        self.assertEqual((named.domains, named.patterns), ((), (".example.org",)))
        self.assertTrue(named.covers("a.example.org"))
        self.assertFalse(named.covers("example.org"))

    def test_whatIsNotThere(self) -> None:
        """It has no certificates, and neither has a folder."""
        self.assertEqual(namesIn(Path("/nonexistent")), [])
        self.assertEqual(namesIn(DATA), [])

    def test_aPipe(self) -> None:
        """Nobody may ever write to it, so that it is not waited for."""
        path = Path(self.mktemp())
        mkfifo(path)
        self.assertEqual(namesIn(path), [])

    def test_whoeverMaySignIsAnAuthority(self) -> None:
        """Also without basic constraints: OpenSSL believes what it has issued."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named("client"))
            .issuer_name(_named("Example CA"))
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
        )
        for isSigning in True, False:
            usage = x509.KeyUsage(True, False, False, False, False, isSigning, False, False, False)
            certificate = builder.add_extension(usage, True).sign(key, SHA256())
            path = Path(self.mktemp())
            path.write_bytes(certificate.public_bytes(Encoding.PEM))
            (named,) = namesIn(path)
            self.assertIs(named.isAuthority, isSigning)

    @given(st.binary(max_size=200))
    def test_whateverIsInAFile(self, content: bytes) -> None:
        """It has some, or none."""
        path = Path(self.mktemp())
        path.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + content)
        self.assertEqual(namesIn(path), [])

    def test_storesOfTheSystem(self) -> None:
        """They have a word of their own."""
        self.assertEqual(trustIn("/etc/ssl/certs/"), "system")
        self.assertEqual(trustIn("/etc/ssl/ca.pem"), "/etc/ssl/ca.pem")
