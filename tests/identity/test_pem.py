"""
Tests for L{tlstunnel.identity.pem}: files that are whole, cut, and odd.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, intermediate, make, numberedZero, root
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import pem, soundness
from tlstunnel.identity.pem import loadCertificates, loadKey, loadReadable, readFile
from tlstunnel.identity.soundness import Soundness

ISSUED = make(Recipe(), intermediate())
BROKEN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


class PEMTestCase(SynchronousTestCase):
    """A test with a file."""

    def file(self, content: bytes) -> Path:
        """A file."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return path

    def problem(self, load: Callable[[Path], object], content: bytes) -> str:
        """The one line about a file that cannot be read."""
        path = self.file(content)
        error = self.assertRaises(ConfigurationError, load, path)
        assert isinstance(error, ConfigurationError)
        self.assertTrue(str(error).startswith(f"{path}: "))
        self.assertTrue(error.remedy, error)
        self.assertTrue(str(error).isprintable())
        return str(error)


class PipeTests(SynchronousTestCase):
    """Nobody may ever write to one, so that it is not waited for."""

    def test_oneWithAName(self) -> None:
        """It is refused at once."""
        path = Path(self.mktemp())
        os.mkfifo(path)
        error = self.assertRaises(ConfigurationError, readFile, path)
        self.assertEqual(str(error), f"{path}: is a pipe; give a file instead")

    def test_oneOfAShell(self) -> None:
        """It can be read once, and is no empty file then."""
        out, into = os.pipe()
        self.addCleanup(os.close, out)
        os.write(into, b"a.example.org\n")
        os.close(into)
        path = Path(f"/dev/fd/{out}")
        self.assertEqual(readFile(path), b"a.example.org\n")
        error = self.assertRaises(ConfigurationError, readFile, path)
        self.assertIn("nothing is in it any more", str(error))


class LoadCertificatesTests(PEMTestCase):
    """Files of which every certificate is needed."""

    def test_everyCut(self) -> None:
        """Wherever a file is cut, it is refused, unless that is between two certificates."""
        content = ISSUED.chainPEM()
        first = content.index(b"-----END CERTIFICATE-----") + len(b"-----END CERTIFICATE-----")
        for load in (loadCertificates, loadReadable):
            for size in range(first + 2, len(content) - 1):
                self.problem(load, content[:size])
            for size in (first, first + 1, len(content) - 1, len(content)):
                load(self.file(content[:size]))

    def test_cutAndGoneOn(self) -> None:
        """Nor may one be cut in the middle."""
        content = ISSUED.chainPEM()
        said = self.problem(loadCertificates, content[:200] + content)
        self.assertIn("3 certificates begin there, and 2 are complete", said)

    def test_whatElseIsThere(self) -> None:
        """Words, keys, other line ends, and the older name of a certificate do no harm."""
        content = b"# - the root\n" + ISSUED.keyPEM() + ISSUED.chainPEM()
        for each in (
            content,
            content.replace(b"\n", b"\r\n"),
            content.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
            content + b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        ):
            self.assertEqual(loadCertificates(self.file(each)), ISSUED.chain)

    def test_trustedCertificates(self) -> None:
        """What only OpenSSL can read is not passed over."""
        content = ISSUED.chainPEM()
        trusted = content.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")
        self.problem(loadCertificates, content + trusted)

    def test_oneIsBroken(self) -> None:
        """A chain with a hole is none."""
        self.problem(loadCertificates, ISSUED.chainPEM() + BROKEN)


class LoadReadableTests(PEMTestCase):
    """Files of anchors, each of which counts for itself."""

    def test_oneIsBroken(self) -> None:
        """It is passed over, and there is a sentence about it."""
        path = self.file(BROKEN + ISSUED.chainPEM())
        found, (sentence,) = loadReadable(path)
        self.assertEqual(found, ISSUED.chain)
        self.assertTrue(sentence.startswith(f"{path}: certificate 1 is passed over: it is broken"))
        self.assertTrue(sentence.isprintable())

    def test_allAreBroken(self) -> None:
        """Anchors that believe nobody are an error."""
        for content in (b"", BROKEN):
            self.problem(loadReadable, content)

    def test_aRootWithoutANumber(self) -> None:
        """A root with the serial number 0 is read, and nobody hears of it."""
        odd = numberedZero(root("Odd"))
        path = self.file(odd.certificate.public_bytes(Encoding.PEM) + ISSUED.chainPEM())
        self.flushWarnings()
        found, skipped = loadReadable(path)
        self.assertEqual((found[0], len(found), skipped), (odd.certificate, 3, ()))
        self.assertEqual(self.flushWarnings(), [])

    def test_whatLibrariesWillRefuse(self) -> None:
        """A root that one day will not be read is read without a warning, and later passed over."""
        odd = root("Odd").certificate
        real = x509.load_pem_x509_certificate

        def later(block: bytes) -> x509.Certificate:
            certificate = real(block)
            if certificate == odd:
                raise ValueError("the serial number\nis not positive")
            return certificate

        def now(block: bytes) -> x509.Certificate:
            warnings.warn("the serial number is not positive", DeprecationWarning, stacklevel=1)
            return real(block)

        path = self.file(odd.public_bytes(Encoding.PEM) + ISSUED.chainPEM())
        pem._loadAgain.cache_clear()
        self.patch(x509, "load_pem_x509_certificate", now)
        self.assertEqual(loadReadable(path), ((odd, *ISSUED.chain), ()))
        self.assertEqual(self.flushWarnings(), [])
        pem._loadAgain.cache_clear()
        self.addCleanup(pem._loadAgain.cache_clear)
        self.patch(x509, "load_pem_x509_certificate", later)
        found, (sentence,) = loadReadable(path)
        self.assertEqual(found, ISSUED.chain)
        self.assertIn("not positive", sentence)


def pemOf(key: rsa.RSAPrivateKey) -> bytes:
    """
    What is in the file of a key.
    """
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class LoadKeyTests(PEMTestCase):
    """
    L{pem.loadKey}: whether the numbers of an RSA key belong together takes long to find out.
    """

    def setUp(self) -> None:
        """
        Note of which keys that is asked, and know nothing of others.
        """
        self.asked: list[bool] = []

        def loaded(content: bytes, password: None, **given: bool) -> PrivateKeyTypes:
            self.asked.append(not given["unsafe_skip_rsa_key_validation"])
            return load_pem_private_key(content, password, **given)

        self.patch(pem, "load_pem_private_key", loaded)
        self.known = Soundness()
        self.patch(soundness, "known", self.known)
        self.path = Path(self.mktemp())
        self.path.touch(mode=0o600)

    def test_itIsAskedOnceOfEachKey(self) -> None:
        """
        However often its file is read; what stands there later is another one.
        """
        first, second = (rsa.generate_private_key(65537, 1024) for _ in range(2))
        for key in (first, first, second, second, first):
            self.path.write_bytes(pemOf(key))
            found = loadKey(self.path)
            assert isinstance(found, rsa.RSAPrivateKey)
            self.assertEqual(found.private_numbers(), key.private_numbers())
        self.assertEqual(self.asked, [True, False, True, False, False])

    def test_aKeyThatIsNotSoundIsRefusedEachTime(self) -> None:
        """
        Whose numbers do not belong together; also after it was read before.
        """
        one = rsa.generate_private_key(65537, 1024).private_numbers()
        broken = rsa.RSAPrivateNumbers(
            one.p, one.q, one.d - 2, one.dmp1, one.dmq1, one.iqmp, one.public_numbers
        )
        key = broken.private_key(unsafe_skip_rsa_key_validation=True)
        self.path.write_bytes(pemOf(key))
        for _ in range(3):
            self.assertRaises(ConfigurationError, loadKey, self.path)
        self.assertEqual(self.asked, [True] * 3)
        self.known.add(self.path.read_bytes(), isSound=False)
        self.assertRaises(ConfigurationError, loadKey, self.path)
        self.assertEqual(self.asked, [True] * 3)

    def test_soManyAreRemembered(self) -> None:
        """
        And no more.
        """
        self.patch(soundness, "MOST_KNOWN", 1)
        first, second = (pemOf(rsa.generate_private_key(65537, 1024)) for _ in range(2))
        for each in (first, second, first):
            self.path.write_bytes(each)
            loadKey(self.path)
        self.assertEqual(self.asked, [True] * 3)
        self.assertEqual(len(self.known._found), 1)
