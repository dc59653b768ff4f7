"""
Tests for credentials whose key is somewhere else: how they are read, kept and renewed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.keyfiles import URI, refer
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.expiry import warningsOf
from tlstunnel.identity.issuer import keep, renew, renewable
from tlstunnel.identity.keyreference import readReference, writeReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

HOST = Identity.parse("mail.example.org")
TPM = b"-----BEGIN TSS2 PRIVATE KEY-----\nMAA=\n-----END TSS2 PRIVATE KEY-----\n"


class ReferredTests(SynchronousTestCase):
    """
    An identity whose key is in a token.
    """

    def setUp(self) -> None:
        """
        A pool that has it.
        """
        self.pool = Pool(Path(self.mktemp()).resolve())
        self.file = refer(self.pool, HOST)

    def test_theReferenceIsInThePlaceOfTheKey(self) -> None:
        """
        With its file, for messages.
        """
        found = self.pool.credentials(HOST)
        self.assertTrue(found.isReferred)
        self.assertEqual(found.key, readReference(writeReference(URI)))
        self.assertEqual(found.keySource, str(self.file))
        self.assertEqual(warningsOf(found, datetime.now(UTC)), [])

    def test_onlyWhatIsSecretIsPrivate(self) -> None:
        """
        An address is not, unless it has the PIN in it; what a TPM opens is.
        """
        for content, isSecret in (
            (writeReference(URI), False),
            (URI.encode(), False),
            (b"pkcs11:token=a;object=b", False),
            (b"pkcs11:token=a;object=b?pin-value=1234", True),
            (writeReference("pkcs11:token=a;object=b?pin-value=1234"), True),
            (TPM, True),
        ):
            self.file.write_bytes(content)
            self.file.chmod(0o644)
            if isSecret:
                error = self.assertRaises(ConfigurationError, self.pool.credentials, HOST)
                self.assertIn("can be read by others", str(error))
                self.file.chmod(0o600)
            self.assertTrue(self.pool.credentials(HOST).isReferred)

    def test_aBrokenOneIsNone(self) -> None:
        """
        The message names the file, and has nothing of what is in it.
        """
        for content in (
            b"pkcs11:token=a;object=b?pin-value=12 34",
            writeReference(URI)[:-8],
            writeReference(URI) + writeReference(URI),
        ):
            self.file.write_bytes(content)
            self.file.chmod(0o600)
            error = self.assertRaises(ConfigurationError, self.pool.credentials, HOST)
            self.assertEqual(error.subject, str(self.file))
            self.assertNotIn("12 34", str(error))

    def test_renewalNeedsNoToken(self) -> None:
        """
        The public key is that of the certificate; the reference stays as it is.
        """
        before = self.pool.credentials(HOST)
        content = self.file.read_bytes()
        self.assertEqual(list(renewable(self.pool)), [before])
        renew(self.pool, before, datetime.now(UTC) + timedelta(days=1))
        after = self.pool.credentials(HOST)
        self.assertNotEqual(before.certificates, after.certificates)
        self.assertEqual(before.certificates[0].public_key(), after.certificates[0].public_key())
        self.assertEqual(self.file.read_bytes(), content)

    def test_itCanBePutIntoAPool(self) -> None:
        """
        As 'identity import' does: the reference is copied, in the form that OpenSSL takes.
        """
        self.file.write_bytes(URI.encode())
        other = Pool(Path(self.mktemp()).resolve())
        directory = keep(other, self.pool.credentials(HOST))
        self.assertEqual((directory / "privkey.pem").read_bytes(), writeReference(URI))
        self.assertEqual(other.credentials(HOST), self.pool.credentials(HOST))
