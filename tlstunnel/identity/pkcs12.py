"""
Credentials in one file with a pass phrase, as browsers, Windows and Java exchange them: PKCS #12
(RFC 7292).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PKCS12KeyAndCertificates,
    load_pkcs12,
)

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import quietly, readFile


def loadPKCS12(identity: Identity, path: Path, passPhrase: Callable[[], bytes]) -> Credentials:
    """
    Read the certificate, the key, and the certificates above it.

    @param passPhrase: asked for the pass phrase of the file, unless it is empty.
    @raise ConfigurationError: it cannot be read, or something is not in it.
    """
    found = _open(path, passPhrase)
    if found.key is None or found.cert is None:
        raise ConfigurationError(
            str(path),
            f"holds no {'certificate' if found.key else 'private key'}",
            "export it again, with the private key",
        )
    others = [each.certificate for each in found.additional_certs]
    chain = tuple(_chain(found.cert.certificate, others))
    return Credentials(identity, chain, found.key, str(path))


def _open(path: Path, passPhrase: Callable[[], bytes]) -> PKCS12KeyAndCertificates:
    content = readFile(path)
    with quietly():
        # There are two ways to write that the pass phrase is empty.
        for ask in (lambda: None, bytes, passPhrase):
            try:
                return load_pkcs12(content, ask())
            except (ValueError, UnsupportedAlgorithm):
                continue
    raise ConfigurationError(
        str(path),
        "its pass phrase is another one, or it is broken or in an old form",
        f"run 'openssl pkcs12 -legacy -in {shlex.quote(str(path))} -nodes -out NEW' and give NEW",
    )


def _chain(
    leaf: x509.Certificate, others: Iterable[x509.Certificate]
) -> Iterator[x509.Certificate]:
    """
    The certificate of the key and those above it, in the order of TLS; the file has them in any.
    """
    issuers = {each.subject: each for each in others}
    last: x509.Certificate | None = leaf
    while last is not None:
        yield last
        last = issuers.pop(last.issuer, None)
