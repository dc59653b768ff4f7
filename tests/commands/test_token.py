"""
Tests for L{tlstunnel.commands.token} without any token; L{tests.interop.test_tokens} has one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest.mock import patch

from tests.commands.identities import CommandTestCase
from tlstunnel.commands import token
from tlstunnel.commands.token import pinOfToken
from tlstunnel.identity.keyreference import KeyReference, ReferenceKind, writeReference

URI = "pkcs11:token=t;object=o"


def reference(uri: str) -> KeyReference:
    """
    What a pool keeps of a key.
    """
    return KeyReference(ReferenceKind.PKCS11, writeReference(uri), uri)


class TokenTests(CommandTestCase):
    """
    C{tlstunnel identity create --token}
    """

    def test_theModuleHasToBeNamed(self) -> None:
        """
        By the option or by the pool; and the library for it has to be there.
        """
        words = self.fail_("create", "--token", URI, "www.example.org")
        self.assertIn(f"let {self.path}/pkcs11-module be a link to it", words)
        with patch.dict(sys.modules, {"pkcs11": None}):
            words = self.fail_(
                "create", "--token", URI, "--pkcs11-module", os.devnull, "www.example.org"
            )
        self.assertIn("--token: needs python-pkcs11", words)
        self.assertIn("install tlstunnel[pkcs11]", words)
        self.assertFalse((self.path / "www.example.org").exists())

    def test_optionsThatDoNotGoTogether(self) -> None:
        """
        Are told apart.
        """
        for words, error in (
            (("--psk", "--token", URI), "--token: is for a private key"),
            (("--rsa",), "--rsa: says something about --token"),
            (("--pkcs11-module", "/m.so"), "--pkcs11-module: says something about --token"),
            (("--token", "pkcs11:"), "--token: names no token"),
        ):
            self.assertIn(error, self.fail_("create", *words, "www.example.org"))

    def test_thePINIsWhereTheTunnelWillFindIt(self) -> None:
        """
        Or else is asked for: the credentials that systemd gives a tunnel are not ours.
        """
        file = Path(self.mktemp()).absolute()
        file.write_text("1234\n")
        file.chmod(0o600)
        self.assertEqual(pinOfToken(reference(f"{URI}?pin-source=file:{file}"), "t"), "1234")
        asked: list[str] = []

        def ask(what: str) -> str:
            asked.append(what)
            return "5"

        self.patch(token, "secretOf", ask)
        self.assertEqual(pinOfToken(reference(f"{URI}?pin-source=pin"), "t\n"), "5")
        self.assertEqual(asked, ['PIN of "t\\x0a"'])
        os.environ["CREDENTIALS_DIRECTORY"] = str(file.parent)
        self.assertEqual(pinOfToken(reference(f"{URI}?pin-source={file.name}"), "t"), "1234")
