"""
Tests for L{tlstunnel.identity.keyreference}.
"""

from __future__ import annotations

import base64
import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity.keyreference import (
    LONGEST_URI,
    KeyReference,
    ReferenceKind,
    checkURI,
    readReference,
    withoutPIN,
    writeReference,
)

URI = "pkcs11:token=mail;object=mail.example.org?pin-source=file:/run/pin"

# Written by openssl-asn1parse.
FOREIGN = b"""-----BEGIN PKCS#11 PROVIDER URI-----
MD0aGVBLQ1MjMTEgUHJvdmlkZXIgVVJJIHYxLjAMIHBrY3MxMTp0b2tlbj1tYWls
O29iamVjdD1leGFtcGxl
-----END PKCS#11 PROVIDER URI-----
"""


def pem(der: bytes, label: str = "PKCS#11 PROVIDER URI") -> bytes:
    """
    Something in PEM form.
    """
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


TPM = pem(b"\x30\x03\x02\x01\x00", "TSS2 PRIVATE KEY")

_values = st.text(
    st.sampled_from("abcXYZ019-._~:[]@!$'()*+,=") | st.characters(codec="utf-8"),
    min_size=1,
    max_size=20,
).map(lambda text: "".join(f"%{byte:02x}" for byte in text.encode()))
_URIS = st.builds(
    lambda token, object_, query: f"pkcs11:token={token};object={object_}{query}",
    _values,
    _values,
    st.just("") | _values.map("?pin-value={}".format),
)


class FormTests(SynchronousTestCase):
    """
    What key files have in them.
    """

    def test_whatOthersHaveWrittenIsRead(self) -> None:
        """
        As the format has it.
        """
        found = readReference(FOREIGN)
        assert found is not None
        self.assertEqual(found.kind, ReferenceKind.PKCS11)
        self.assertEqual(found.uri, "pkcs11:token=mail;object=example")
        self.assertEqual(found.content, FOREIGN)

    @given(_URIS)
    def test_whatIsWrittenIsRead(self, uri: str) -> None:
        """
        Whatever that is.
        """
        written = writeReference(uri)
        self.assertEqual(readReference(written), KeyReference(ReferenceKind.PKCS11, written, uri))

    def test_theBareAddressIsGoodAsWell(self) -> None:
        """
        It becomes what OpenSSL takes.
        """
        self.assertEqual(readReference(f"{URI}\n".encode()), readReference(writeReference(URI)))

    def test_theKeyOfATPMIsKeptAsItIs(self) -> None:
        """
        Only the TPM understands what is in it.
        """
        found = readReference(b"made by openssl\n" + TPM.replace(b"\n", b"\r\n"))
        assert found is not None
        self.assertEqual((found.kind, found.uri), (ReferenceKind.TPM, ""))
        self.assertEqual(found.content, TPM)

    def test_otherFilesAreNoReferences(self) -> None:
        """
        Keys, certificates, nothing.
        """
        for content in (
            b"",
            b"\n",
            b"pkcs11",
            b"see pkcs11:token=a",
            pem(b"\x30\x00", "PRIVATE KEY"),
            pem(b"\x30\x00", "CERTIFICATE"),
        ):
            self.assertIsNone(readReference(content))

    def test_brokenOnesAreRefused(self) -> None:
        """
        Each with its reason.
        """
        version = b"\x1a\x19PKCS#11 Provider URI v1.0"
        uri = b"\x0c\x13pkcs11:token=a;id=b"

        def sequence(content: bytes) -> bytes:
            return pem(b"\x30" + bytes([len(content)]) + content)

        good = sequence(version + uri)
        self.assertIsNotNone(readReference(good))
        for content, words in (
            (good[:-5], "cut or broken"),
            (good[:60], "cut or broken"),
            (good + good, "more than one key"),
            (good + TPM, "more than one key"),
            (good + pem(b"\x30\x00", "EC PRIVATE KEY"), "more than one key"),
            (good.replace(b"END PKCS#11 PROVIDER URI", b"END TSS2 PRIVATE KEY"), "cut or broken"),
            (good.replace(b"\n-----END", b"A\n-----END"), "Base64"),
            (pem(b"\x04\x00"), "no SEQUENCE"),
            (pem(b""), "cut or broken"),
            (sequence(uri + version), "not that of an address"),
            (sequence(version), "not that of an address"),
            (sequence(version + uri + uri), "not that of an address"),
            (sequence(version.replace(b"1.0", b"2.0") + uri), "a version that we do not know"),
            (sequence(version + uri[:-1]), "cut or none"),
            (sequence(version + b"\x0c\x81\x13pkcs11:token=a;id=b"), "cut or none"),
            (sequence(version + b"\x0c\x0epkcs11:token=\xff"), "no ASCII"),
            (sequence(version + b"\x0c\x06file:a"), "does not begin with pkcs11:"),
            (pem(b"\x30\x00\x30\x00", "TSS2 PRIVATE KEY"), "no SEQUENCE"),
            (pem(b"\x30\x05\x02\x01\x00", "TSS2 PRIVATE KEY"), "cut or none"),
            (b"pkcs11:\xc3\xa4=a", "no ASCII"),
            (b"pkcs11:token=a\npkcs11:token=b", "no address"),
        ):
            error = self.assertRaises(ValueError, readReference, content)
            self.assertIn(words, str(error), content)

    @given(
        st.builds(lambda a, b, c: a + b + c, st.binary(max_size=9), st.just(FOREIGN), st.binary())
        | st.builds(
            lambda at, byte: FOREIGN[:at] + bytes([byte]) + FOREIGN[at + 1 :],
            st.integers(0, len(FOREIGN) - 1),
            st.integers(0, 255),
        )
        | st.binary().map(pem)
    )
    def test_nothingElseIsRaised(self, content: bytes) -> None:
        """
        Whatever is in a file; and what is taken once is taken again.
        """
        with contextlib.suppress(ValueError):
            found = readReference(content)
            if found is not None:
                self.assertEqual(readReference(found.content), found)


class AddressTests(SynchronousTestCase):
    """
    Addresses of keys in tokens.
    """

    def test_whatIsNoAddressIsRefused(self) -> None:
        """
        Without a word about what may be a PIN.
        """
        for uri, words in (
            ("", "does not begin"),
            ("PKCS11:token=a", "does not begin"),
            ("pkcs11:", "names no token"),
            ("pkcs11:object=a?pin-value=1", "names no token"),
            ("pkcs11:token=a;type=private", "names no key"),
            ("pkcs11:token", "token is wrong"),
            ("pkcs11:token=a;;object=b", "an attribute is wrong"),
            ("pkcs11:token=a b", "token is wrong"),
            ("pkcs11:token=a%4", "token is wrong"),
            ("pkcs11:token=a\n", "token is wrong"),
            ("pkcs11:token=a#b", "token is wrong"),
            ("pkcs11:token=a;token=b", "token twice"),
            ("pkcs11:token=a;pin-value=1", "pin-value on the wrong side"),
            ("pkcs11:object=a?token=1", "token on the wrong side"),
            ("pkcs11:token=a?pin-value=geheim 4711", "pin-value is wrong"),
            ("pkcs11:token=a;id=b?pin-value=1&pin-source=file:a", "both"),
            ("pkcs11:token=;serial=;id=b", "names no token"),
            ("pkcs11:token=a;object=;id=", "names no key"),
            ("pkcs11:token=a;id=b;type=cert", "is of no private key"),
            ("pkcs11:token=a;id=b?module-path=/tmp/evil.so", "names a module"),
            ("pkcs11:token=a;id=b?module-name=evil&pin-value=4711", "names a module"),
            ("pkcs11:token=a;id=b?PIN-VALUE=4711", "PIN-VALUE in it, which we do not know"),
            ("pkcs11:token=a;id=b;Pin=4711", "Pin in it, which we do not know"),
            ("pkcs11:token=a;id=b?a=1&a=1", "a in it, which we do not know"),
            ("pkcs11:token=a;id=b?id=b", "id on the wrong side"),
            ("pkcs11:token=" + "a" * LONGEST_URI, "characters"),
        ):
            error = self.assertRaises(ValueError, checkURI, uri)
            self.assertIn(words, str(error), uri)
            self.assertNotIn("4711", str(error))

    def test_thePINIsNowhereButInTheContent(self) -> None:
        """
        Messages and representations go into logs.
        """
        uri = "pkcs11:token=a;object=b?pin-value=4711"
        found = readReference(uri.encode())
        assert found is not None
        self.assertEqual(found.pinValue, "4711")
        self.assertNotIn("4711", f"{found} {found!r} {withoutPIN(uri)}")
        self.assertEqual(str(found), "a key in a token, pkcs11:token=a;object=b")

    def test_theSourceOfThePINIsKnown(self) -> None:
        """
        Without its escapes.
        """
        for uri, source in (
            (URI.replace("/run/pin", "a%20b"), "file:a b"),
            (URI, "file:/run/pin"),
            ("pkcs11:token=a;id=b", None),
        ):
            found = readReference(uri.encode())
            assert found is not None
            self.assertEqual((found.pinSource, found.pinValue), (source, None))

    def test_theProviderIsGivenThePINItself(self) -> None:
        """
        And the private key of a pair.
        """
        for uri, bare in (
            (URI, "pkcs11:token=mail;object=mail.example.org;type=private"),
            ("pkcs11:token=a;type=private;id=b?pin-value=1", "pkcs11:token=a;type=private;id=b"),
            ("pkcs11:type=private;id=%01;serial=1", "pkcs11:type=private;id=%01;serial=1"),
        ):
            found = readReference(uri.encode())
            assert found is not None
            self.assertEqual(found.withPIN(None), writeReference(bare))
            written = f"{bare}?pin-value=%261%FF"
            self.assertEqual(found.withPIN(b"&1\xff"), writeReference(written))
        longest = readReference(f"pkcs11:token=a;id={'b' * LONGEST_URI}"[:LONGEST_URI].encode())
        assert longest is not None
        self.assertIn(b"URI", longest.withPIN(b"\xff" * 255))
        found = readReference(TPM)
        assert found is not None
        self.assertEqual(found.withPIN(b"1"), TPM)
