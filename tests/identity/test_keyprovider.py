"""
Tests for L{tlstunnel.identity.keyprovider}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.keyfiles import PROVIDER_ENTRY, fakeModule
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.keyprovider import KeyProvider, providerIn
from tlstunnel.identity.keyreference import ReferenceKind

PKCS11_ENTRY = b"C_GetFunctionList"


class FileTests(SynchronousTestCase):
    """
    What can be loaded.
    """

    def setUp(self) -> None:
        """
        A provider and a module.
        """
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(mode=0o755)
        self.provider = fakeModule(self.folder / "pkcs11.so", PROVIDER_ENTRY)
        self.module = fakeModule(self.folder / "token.so", PKCS11_ENTRY)

    def refused(self, provider: KeyProvider) -> str:
        """
        Why it cannot be loaded.
        """
        return str(self.assertRaises(ConfigurationError, provider.check))

    def test_whatIsOursAloneIsGood(self) -> None:
        """
        Also by a link, which is not followed once more.
        """
        both = KeyProvider(self.provider, self.module)
        self.assertEqual(both.check(), both)
        link = self.folder / "a link"
        link.symlink_to(self.provider)
        self.assertEqual(KeyProvider(link).check(), KeyProvider(self.provider))

    def test_whatOthersCanChangeIsRefused(self) -> None:
        """
        They would be in our process.
        """
        for mode in 0o775, 0o757:
            self.provider.chmod(mode)
            self.assertIn("can be changed by others", self.refused(KeyProvider(self.provider)))
        self.provider.chmod(0o755)
        self.module.chmod(0o777)
        found = self.refused(KeyProvider(self.provider, self.module))
        self.assertIn("pkcs11-module", found)
        self.assertIn("can be changed by others", found)

    def test_whatOthersCanReplaceIsRefused(self) -> None:
        """
        Unless their directory lets nobody replace what is another's.
        """
        for mode in 0o777, 0o775:
            self.folder.chmod(mode)
            self.assertIn("another one in its place", self.refused(KeyProvider(self.provider)))
        self.folder.chmod(0o1777)
        KeyProvider(self.provider).check()

    def test_otherFilesAreRefused(self) -> None:
        """
        Each with its reason.
        """
        odd = fakeModule(self.folder / "a$b.so", PROVIDER_ENTRY)
        hidden = self.folder / "link.so"
        hidden.symlink_to(fakeModule(self.folder / "a\nmodule = b.so", PROVIDER_ENTRY))
        foreign = self.folder / "foreign.so"
        foreign.write_bytes(b"\x7fELF\x01\x02" + bytes(12) + b"\x99\x99" + PROVIDER_ENTRY)
        for path, words in (
            (self.module, "is no provider of OpenSSL"),
            (foreign, "is no provider of OpenSSL"),
            (odd, "a character in its path"),
            (hidden, "a character in its path"),
            (self.folder, "cannot be read"),
            (self.folder / "absent.so", "cannot be read"),
            (Path("pkcs11.so"), "is no absolute path"),
        ):
            self.assertIn(words, self.refused(KeyProvider(path)), path)
        if not sys.platform.startswith("linux"):
            return
        found = self.refused(KeyProvider(self.provider, self.provider))
        self.assertIn("is no PKCS#11 module", found)

    def test_thatOfATPMHasNoModule(self) -> None:
        """
        It is told by its name.
        """
        tpm = KeyProvider(fakeModule(self.folder / "tpm2.so", PROVIDER_ENTRY), self.module)
        self.assertEqual(tpm.kind, ReferenceKind.TPM)
        self.assertIn("is for tokens", self.refused(tpm))

    def test_linksInAPoolNameThem(self) -> None:
        """
        Relative ones from there; anything else than a link is none.
        """
        pool = self.folder / "pool"
        pool.mkdir()
        self.assertIsNone(providerIn(pool))
        (pool / "pkcs11-module").symlink_to("../token.so")
        self.assertRaises(ConfigurationError, providerIn, pool)
        (pool / "key-provider").symlink_to(self.provider)
        found = providerIn(pool)
        assert found is not None
        self.assertEqual(found.module, self.provider)
        self.assertEqual(found.pkcs11, pool / "../token.so")
        found.check()
        (pool / "key-provider").unlink()
        (pool / "key-provider").write_bytes(self.provider.read_bytes())
        self.assertRaises(ConfigurationError, providerIn, pool)
