"""
Tests for L{tlstunnel.identity.tokenaddress}.
"""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity.keyreference import checkURI
from tlstunnel.identity.tokenaddress import TokenAddress

_words = st.text(min_size=1, max_size=20)
_texts = st.none() | _words
_addresses = st.builds(
    TokenAddress,
    token=_words,
    serial=_texts,
    manufacturer=_texts,
    model=_texts,
    label=_words,
    identifier=st.none() | st.binary(min_size=1, max_size=20),
    pinSource=_texts,
)


class TokenAddressTests(SynchronousTestCase):
    """
    What users and pools say of a key in a token.
    """

    @given(_addresses)
    def test_whatIsWrittenIsReadAgain(self, address: TokenAddress) -> None:
        """
        And is an address for everybody else, too.
        """
        checkURI(str(address))
        self.assertEqual(TokenAddress.parse(str(address)), address)

    @given(
        st.text(max_size=40),
        st.sampled_from(["", "pkcs11:", "pkcs11:token=t;object=a;", "pkcs11:token=t;id=%"]),
    )
    def test_anythingElseIsAnErrorInWords(self, text: str, before: str) -> None:
        """
        Whatever it is.
        """
        try:
            found = TokenAddress.parse(before + text)
        except ValueError as error:
            self.assertTrue(str(error))
        else:
            self.assertEqual(TokenAddress.parse(str(found)), found)

    def test_escapesAreUndone(self) -> None:
        """
        They are of bytes, which are UTF-8 but for those of a number.
        """
        found = TokenAddress.parse("pkcs11:token=My%20token;object=%c3%bc;id=%ff%00")
        self.assertEqual(found, TokenAddress(token="My token", label="ü", identifier=b"\xff\0"))
        self.assertEqual(str(found), "pkcs11:token=My%20token;object=%C3%BC;id=%FF%00;type=private")

    @given(st.from_regex(r"[0-9A-Za-z!]{8,}", fullmatch=True))
    def test_noPINIsTakenNorShown(self, pin: str) -> None:
        """
        It would be seen by everybody who sees our arguments.
        """
        uri = f"pkcs11:token=t;object=a?pin-value={quote(pin)}"
        error = self.assertRaises(ValueError, TokenAddress.parse, uri)
        self.assertIn("pin-source=file:/FILE", str(error))
        self.assertNotIn(pin, str(error))

    def test_whatItCannotMeanIsRefused(self) -> None:
        """
        Rather than passed over.
        """
        for uri, word in (
            ("pkcs11:token=t;object=a;type=public", "private key"),
            ("pkcs11:token=t;object=a;slot-id=1", "slot-id"),
            ("pkcs11:token=t;object=a?module-path=/lib/a.so", "module-path"),
            ("pkcs11:token=t;object=%ff", "UTF-8"),
            ("pkcs11:token=t;object=a;object=b", "twice"),
            ("object=a", "pkcs11:"),
        ):
            self.assertIn(word, str(self.assertRaises(ValueError, TokenAddress.parse, uri)))
