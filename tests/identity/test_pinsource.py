"""
Tests for L{tlstunnel.identity.pinsource}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.keyreference import readReference
from tlstunnel.identity.pinsource import LONGEST_PIN, pinOf


class PINTests(SynchronousTestCase):
    """
    The PIN of a token.
    """

    def setUp(self) -> None:
        """
        A directory, as systemd would give us.
        """
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.environment = {"CREDENTIALS_DIRECTORY": str(self.folder)}

    def write(self, content: bytes, mode: int = 0o400) -> Path:
        """
        A file with a PIN.
        """
        path = self.folder / "pin"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def pin(self, query: str, environment: dict[str, str] | None = None) -> bytes | None:
        """
        That of an address.
        """
        found = readReference(f"pkcs11:token=a;id=b{query}".encode())
        assert found is not None
        known = self.environment if environment is None else environment
        return pinOf(found, "privkey.pem", known)

    def test_itIsWhereTheAddressSays(self) -> None:
        """
        In itself, in a file, among the credentials of systemd; or nowhere.
        """
        path = self.write(b"12 34\r\n")
        self.assertIsNone(self.pin(""))
        self.assertEqual(self.pin("?pin-value=12%2034%26"), b"12 34&")
        for query in (
            f"?pin-source=file:{path}",
            f"?pin-source=file://{path}",
            f"?pin-source={path}",
            "?pin-source=file:pin",
            "?pin-source=pin",
        ):
            self.assertEqual(self.pin(query), b"12 34", query)

    def test_whatIsNoFileOfOursIsRefused(self) -> None:
        """
        Programs are not run, and hosts not asked.
        """
        self.write(b"1234\n")
        for source, words in (
            ("|/bin/echo%201234", "no file"),
            ("http://example.org/pin", "no file"),
            ("file://example.org/pin", "no file"),
            ("file:", "no file"),
            ("", "no file"),
            ("file:../pin", "neither an absolute path nor a name"),
            ("file:..", "neither an absolute path nor a name"),
            ("file:/a%00b", "no file"),
            ("file:/a%0Ab", "no file"),
            ("file:a%0Ab", "no file"),
            ("file:/a%E2%80%A8b", "no file"),
            ("file:absent", "cannot be read"),
        ):
            error = self.assertRaises(ConfigurationError, self.pin, f"?pin-source={source}")
            self.assertIn(words, str(error), source)

    def test_withoutSystemdANameIsNone(self) -> None:
        """
        The message says what to do.
        """
        error = self.assertRaises(ConfigurationError, self.pin, "?pin-source=file:pin", {})
        self.assertIn("LoadCredential=pin:", str(error))
        error = self.assertRaises(ConfigurationError, self.pin, "?pin-source=file:../pin", {})
        self.assertNotIn("LoadCredential", str(error))

    def test_othersCannotReadIt(self) -> None:
        """
        As it is with keys.
        """
        self.write(b"1234\n", 0o644)
        error = self.assertRaises(ConfigurationError, self.pin, "?pin-source=file:pin")
        self.assertIn("can be read by others", str(error))

    def test_whatIsNoPINIsNotTried(self) -> None:
        """
        A token would count it.
        """
        for content in b"", b"\n", b"1\n2\n", b"1\0", b"1" * (LONGEST_PIN + 1):
            self.write(content)
            self.assertRaises(ConfigurationError, self.pin, "?pin-source=file:pin")
