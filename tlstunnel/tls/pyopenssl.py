"""
Certificates as pyOpenSSL has them: what Twisted's own TLS transports give to protocols.
"""

from __future__ import annotations

from cryptography.x509 import Certificate
from OpenSSL.crypto import X509


def asX509(certificate: Certificate) -> X509:
    """
    The same certificate.
    """
    return X509.from_cryptography(certificate)
