"""
Tests for L{tlstunnel.tls.references}, without any provider: what is said of keys that it does not
have, and that a token is not asked too often.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from errno import EMFILE
from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from tests.keyfiles import PROVIDER_ENTRY, fakeModule
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.keyprovider import KeyProvider
from tlstunnel.identity.keyreference import KeyReference, readReference, writeReference
from tlstunnel.tls import openssl, references
from tlstunnel.tls.attempts import Attempts
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.references import loadReferred

SOURCE = "POOL/ID/privkey.pem"
UNSUPPORTED = crypto.Error([("DECODER routines", "", "unsupported")])
TPM = b"-----BEGIN TSS2 PRIVATE KEY-----\nMAA=\n-----END TSS2 PRIVATE KEY-----\n"


def reference(content: bytes) -> KeyReference:
    """
    What a file has in it.
    """
    found = readReference(content)
    assert found is not None
    return found


class LoadingTests(SynchronousTestCase):
    """
    OpenSSL, as it would be with a provider.
    """

    def setUp(self) -> None:
        """
        A process that has loaded one.
        """
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.module = fakeModule(self.folder / "pkcs11.so", PROVIDER_ENTRY)
        self.patch(references, "attempts", Attempts())
        self.patch(openssl, "_isOurs", True)
        self.patch(openssl, "_provider", KeyProvider(self.module))
        self.patch(openssl, "isLoaded", lambda module: True)
        self.patch(crypto, "load_privatekey", self.loaded)
        self.asked = False
        self.given: list[bytes] = []

    def loaded(self, form: int, content: bytes, question: Callable[[int], bytes]) -> crypto.PKey:
        """
        In the place of OpenSSL's.
        """
        self.given.append(content)
        if self.asked:
            self.assertEqual(question(0), b"")
        raise UNSUPPORTED

    def refused(self, content: bytes = b"pkcs11:token=a;object=b?pin-value=4711") -> str:
        """
        Why there is no key.
        """
        error = self.assertRaises(ConfigurationError, loadReferred, reference(content), SOURCE)
        self.assertNotIn("4711", str(error))
        return str(error)

    def test_thePINIsInWhatOpenSSLGets(self) -> None:
        """
        Who asks for it in another way hears nothing.
        """
        self.asked = True
        self.refused()
        uri = "pkcs11:token=a;object=b;type=private?pin-value=4711"
        self.assertEqual(self.given, [writeReference(uri)])

    def test_aRefusedPINIsNotTriedAgain(self) -> None:
        """
        Not for another key of the same token either, however that is written; another one is, and
        at another token.
        """
        self.asked = True
        self.assertIn("the token refuses the PIN", self.refused())
        for _ in range(2):
            self.assertIn("is not tried again", self.refused())
        self.assertEqual(len(self.given), 1)
        for other in b"pkcs11:token=a;object=c", b"pkcs11:type=private;id=%01;token=%61":
            self.assertIn("is not tried again", self.refused(other + b"?pin-value=4711"))
        self.assertEqual(len(self.given), 1)
        self.refused(b"pkcs11:token=a;object=b?pin-value=0815")
        self.refused(b"pkcs11:token=c;object=b?pin-value=4711")
        self.assertEqual(len(self.given), 3)

    def test_aTokenThatIsAwayIsLookedForAgain(self) -> None:
        """
        As no PIN was refused.
        """
        for module, words in (
            (None, "'p11tool --list-tokens'"),
            (Path("/a/token.so"), "'p11tool --provider /a/token.so --list-tokens'"),
            (Path("/a/p11-kit-client.so"), "P11_KIT_SERVER_ADDRESS"),
        ):
            self.patch(openssl, "_provider", KeyProvider(self.module, module))
            found = self.refused()
            self.assertIn("there is no such token", found)
            self.assertIn(words, found)
        self.assertEqual(len(self.given), 3)

    def test_whatIsWrongIsSaid(self) -> None:
        """
        As far as it can be found out.
        """
        self.asked = True
        for _ in range(2):
            # Nothing was tried.
            found = self.refused(b"pkcs11:token=a;object=b")
            self.assertIn("asks for a PIN, and says none", found)
        self.patch(openssl, "_provider", KeyProvider(self.module, Path("/a/token.so")))
        self.patch(openssl, "isLoaded", lambda module: module == self.module)
        self.assertIn("pkcs11-module /a/token.so: was not taken", self.refused())
        self.patch(openssl, "isLoaded", lambda module: False)
        self.assertIn(f"key-provider {self.module}: was not taken", self.refused())
        for provider in None, KeyProvider(Path("/a/tpm2.so")):
            self.patch(openssl, "_provider", provider)
            self.assertIn("has loaded no provider for such keys", self.refused())
        self.patch(openssl, "isLoaded", lambda module: True)
        self.assertIn("the TPM does not open", self.refused(TPM))
        self.patch(openssl, "_provider", None)
        self.patch(openssl, "_isOurs", False)
        self.asked = False
        self.assertIn("which OpenSSL does not know", self.refused())

    def test_whatCouldNotBeRememberedIsNotTried(self) -> None:
        """
        As where there are no descriptors left.
        """

        def fail(*args: object) -> int:
            raise OSError(EMFILE, "Too many open files")

        self.patch(os, "memfd_create", fail)
        self.patch(tempfile, "TemporaryFile", fail)
        self.assertIn("Too many open files", self.refused())
        self.assertEqual(self.given, [])


class DeathTests(SynchronousTestCase):
    """
    A token that goes away.
    """

    def test_itHasWordsOfItsOwn(self) -> None:
        """
        Whatever the provider calls it.
        """
        for queue in (
            [(openssl.PROVIDER_NAME, "", "Some problem"), ("SSL routines", "", "EVP lib")],
            [("", "", ""), ("SSL routines", "", "provider signature failure")],
        ):
            failure = handshakeFailure(SSL.Error(queue), None)
            self.assertIn("our key in a token or TPM did not sign", failure.detail)
            self.assertEqual(failure.cause, "token")
