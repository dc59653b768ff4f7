"""
Tests for L{tlstunnel.identity.forms}: what is said of files in another form, and whether the
command that is said to convert them does.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Recipe, intermediate, make
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.forms import isPKCS12
from tlstunnel.identity.pem import loadCertificates, loadKey, loadReadable

ISSUED = make(Recipe(), intermediate())
LEAF = ISSUED.certificate
PKCS12 = serialize_key_and_certificates(
    b"name", ISSUED.key, LEAF, list(ISSUED.chain[1:]), BestAvailableEncryption(b"secret")
)


class FormsTests(SynchronousTestCase):
    """
    Files that are not what they should be.
    """

    def file(self, content: bytes) -> Path:
        """
        A file, with a name that a shell takes for two.
        """
        path = Path(self.mktemp() + " x").absolute()
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def remedy(self, path: Path, isKey: bool = False) -> str:
        """
        What is said to do about a file.
        """
        for load in (loadKey,) if isKey else (loadCertificates, loadReadable):
            error = self.assertRaises(ConfigurationError, load, path)
            assert isinstance(error, ConfigurationError)
            self.assertEqual(error.subject, str(path))
            self.assertTrue(str(error).isprintable())
        return str(error.remedy)

    def converted(self, content: bytes, *options: str, isKey: bool = False) -> Path:
        """
        What becomes of a file, if one does as one is told.
        """
        path = self.file(content)
        found = re.fullmatch("run '(openssl .*)' and use NEW", self.remedy(path, isKey))
        assert found is not None
        new = path.with_name("new.pem")
        command = [str(new) if word == "NEW" else word for word in shlex.split(found[1])]
        if not shutil.which("openssl"):
            raise SkipTest("there is no openssl")
        subprocess.run([*command, *options], check=True, capture_output=True)
        new.chmod(0o600)
        return new

    def test_certificateInDER(self) -> None:
        """
        As Windows and many authorities hand it out.
        """
        new = self.converted(LEAF.public_bytes(Encoding.DER))
        self.assertEqual(loadCertificates(new), (LEAF,))

    def test_keyInDER(self) -> None:
        """
        In either of its forms.
        """
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            content = ISSUED.key.private_bytes(Encoding.DER, form, NoEncryption())
            path = self.converted(content, isKey=True)
            self.assertEqual(loadKey(path).public_key(), ISSUED.key.public_key())  # type: ignore[union-attr]  # it is in the file

    def test_certificatesInPKCS12(self) -> None:
        """
        Those of the file are its leaf and what is above it.
        """
        new = self.converted(PKCS12, "-passin", "pass:secret")
        self.assertEqual(set(loadCertificates(new)), set(ISSUED.chain))

    def test_keyInPKCS12(self) -> None:
        """
        The pool can take such files itself.
        """
        path = self.file(PKCS12)
        self.assertIn("tlstunnel identity import ID --cert '", self.remedy(path, isKey=True))

    def test_certificatesInPKCS7(self) -> None:
        """
        Which has certificates and no key.
        """
        new = self.converted(serialize_certificates(list(ISSUED.chain), Encoding.PEM))
        self.assertEqual(set(loadCertificates(new)), set(ISSUED.chain))

    def test_trustedCertificates(self) -> None:
        """
        As openssl(1) writes them with -trustout.
        """
        if not shutil.which("openssl"):
            raise SkipTest("there is no openssl")
        trusted = subprocess.run(
            ["openssl", "x509", "-trustout", "-addtrust", "serverAuth"],
            check=True,
            capture_output=True,
            input=LEAF.public_bytes(Encoding.PEM),
        ).stdout
        self.assertEqual(loadCertificates(self.converted(trusted)), (LEAF,))

    def test_whatHasTheOtherRole(self) -> None:
        """
        A key where a certificate should be, a certificate where a key should be, a request.
        """
        request = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
        for content, isKey, words in (
            (ISSUED.keyPEM(), False, "give the file of the certificate"),
            (ISSUED.chainPEM(), True, "give the file of the key"),
            (request, False, "use the certificate that the authority has made of it"),
            (b"hello", False, "-----BEGIN CERTIFICATE-----"),
            (b"hello", True, "-----BEGIN PRIVATE KEY-----"),
            (b"0\x80", False, "-----BEGIN CERTIFICATE-----"),
            (b"", False, "give a file with certificates"),
            (b"", True, "give a file with the private key"),
        ):
            path = self.file(content)
            self.assertIn(words, self.remedy(path, isKey), content)

    def test_aBrokenKey(self) -> None:
        """
        What is wrong with it, OpenSSL knows.
        """
        path = self.file(ISSUED.keyPEM().replace(b"\nM", b"\nA"))
        self.assertIn("openssl pkey -noout -in '", self.remedy(path, isKey=True))

    def test_PKCS12IsRecognised(self) -> None:
        """
        And nothing else is.
        """
        der = LEAF.public_bytes(Encoding.DER)
        key = ISSUED.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self.assertTrue(isPKCS12(PKCS12))
        for content in (der, key, ISSUED.chainPEM(), b"", b"0", b"0\xff\x02\x01\x03"):
            self.assertFalse(isPKCS12(content))
