"""
Tests for L{tlstunnel.identity.distinguished}: names in one line, as OpenSSL writes them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity.distinguished import _SHORT, inOneLine

KEY = ec.generate_private_key(ec.SECP256R1())

#: What stunnel has OpenSSL write names with.
OPTIONS = "oneline,-esc_msb,-space_eq"

_VALUES = st.text(
    st.characters(min_codepoint=1, max_codepoint=0x7E) | st.sampled_from('é,+"\\<>;#= \n\x7f'),
    min_size=1,
    max_size=12,
)


def nameOf(*parts: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    """
    A name of parts that may have several values.
    """
    return x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(oid, text) for oid, text in part])
            for part in parts
        ]
    )


def byOpenSSL(name: x509.Name, path: Path) -> str:
    """
    What OpenSSL writes.
    """
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(KEY, hashes.SHA256())
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "req", "-in", str(path), "-noout", "-subject", "-nameopt", OPTIONS]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    return said.decode().removeprefix("subject=").removesuffix("\n").strip("\n")


class NameTests(SynchronousTestCase):
    """
    L{inOneLine}.
    """

    def test_partsComeInTheirOrder(self) -> None:
        """
        With short names, numbers for others, and a plus between values of one part.
        """
        name = nameOf(
            [(NameOID.COUNTRY_NAME, "PL")],
            [(NameOID.ORGANIZATION_NAME, "Example, Ltd.")],
            [(NameOID.COMMON_NAME, "client"), (x509.ObjectIdentifier("1.2.3.4"), "x")],
        )
        written = inOneLine(name)
        self.assertTrue(written.startswith('C=PL, O="Example, Ltd.", '), written)
        self.assertIn("1.2.3.4=x", written)
        self.assertIn(" + ", written)

    def test_theNamesOfOpenSSL(self) -> None:
        """
        All that have one.
        """
        path = Path(self.mktemp())
        for oid in _SHORT:
            name = nameOf([(oid, "PL")])
            self.assertEqual(inOneLine(name), byOpenSSL(name, path))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(_VALUES, min_size=1, max_size=3))
    @example(['a", CN=b', " a ", "#a", "a\\", "\n", "é"])
    def test_whateverIsInThemOpenSSLWritesItSo(self, values: list[str]) -> None:
        """
        Quotation marks, backslashes and characters that cannot be printed.
        """
        name = nameOf(*([(NameOID.COMMON_NAME, each)] for each in values))
        written = inOneLine(name)
        self.assertEqual(written, byOpenSSL(name, Path(self.mktemp())))
        self.assertTrue(written.isprintable())
