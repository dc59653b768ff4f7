"""
What a file is that should hold certificates or a key in PEM form (RFC 7468), and does not; and the
command that makes of it what it should be.

Here nothing is read but what tells one form from another.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

#: How a certificate begins that has words of OpenSSL's own behind it (openssl-x509(1)).
TRUSTED = b"-----BEGIN TRUSTED CERTIFICATE-----"
_PKCS7 = b"-----BEGIN PKCS7-----"
_REQUEST = re.compile(rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----")
_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")

#: The tag of a SEQUENCE in DER and BER (X.690), with which all that is not PEM begins here.
_SEQUENCE = 0x30

#: The first element of a SEQUENCE, for what can be told by it: the version of a PFX (RFC 7292,
#: section 4), those of private keys (RFC 5208, RFC 5915), and in a certificate another SEQUENCE.
_PFX = b"\x02\x01\x03"
_DER_KEYS = (b"\x02\x01\x00", b"\x02\x01\x01")


def _inside(content: bytes) -> bytes:
    """
    How the contents of a SEQUENCE begin; nothing, if it is none.
    """
    if len(content) < 8 or content[0] != _SEQUENCE:
        return b""
    start = 2 + (content[1] & 0x7F if content[1] & 0x80 else 0)
    return content[start : start + 3]


def isPKCS12(content: bytes) -> bool:
    """
    Whether a file has the form of PKCS #12 (RFC 7292): certificates and a key, with a pass phrase.
    """
    return _inside(content) == _PFX


def withoutCertificates(path: Path, content: bytes) -> tuple[str, str]:
    """
    What is wrong with a file in which there are no certificates that we can read.

    @return: the problem, and what to do about it.
    """
    file = shlex.quote(str(path))
    if not content:
        return "is empty", "give a file with certificates in PEM form"
    if TRUSTED in content:
        return (
            "has certificates in a form of OpenSSL alone, TRUSTED CERTIFICATE",
            f"run 'openssl x509 -in {file} -out NEW' and use NEW",
        )
    if _PKCS7 in content:
        return (
            "has the form PKCS7",
            f"run 'openssl pkcs7 -in {file} -print_certs -out NEW' and use NEW",
        )
    if _REQUEST.search(content):
        return (
            "is the request for a certificate",
            "use the certificate that the authority has made of it",
        )
    if _KEY.search(content):
        return "holds a private key and no certificate", "give the file of the certificate"
    if isPKCS12(content):
        return (
            "has the form PKCS#12",
            f"run 'openssl pkcs12 -in {file} -nokeys -out NEW' and use NEW",
        )
    if _inside(content).startswith(bytes([_SEQUENCE])):
        return (
            "is no PEM, but probably a certificate in DER form",
            f"run 'openssl x509 -inform DER -in {file} -out NEW' and use NEW",
        )
    return (
        "holds no certificates in PEM form",
        "give a file with the line -----BEGIN CERTIFICATE----- in it",
    )


def withoutKey(path: Path, content: bytes) -> tuple[str, str]:
    """
    What is wrong with a file in which there is no private key that we can read.

    @return: the problem, and what to do about it.
    """
    file = shlex.quote(str(path))
    if not content:
        return "is empty", "give a file with the private key in PEM form"
    if _KEY.search(content):
        return (
            "holds a private key that is broken, or of a kind that cannot be used here",
            f"see what 'openssl pkey -noout -in {file}' says",
        )
    if _CERTIFICATE.search(content):
        return "holds certificates and no private key", "give the file of the key"
    if isPKCS12(content):
        return (
            "has the form PKCS#12",
            f"run 'tlstunnel identity import ID --cert {file}', which takes it as it is",
        )
    if _inside(content) in _DER_KEYS:
        return (
            "is no PEM, but probably a private key in DER form",
            f"run 'openssl pkey -inform DER -in {file} -out NEW' and use NEW",
        )
    return (
        "holds no private key in PEM form",
        "give a file with the line -----BEGIN PRIVATE KEY----- in it",
    )
