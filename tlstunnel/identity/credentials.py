"""
What one of our identities shows, and proves itself with: certificates, and the key that fits them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.keyreference import KeyReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import fits, loadCertificates, loadKey


@dataclass(frozen=True)
class Credentials:
    """
    What one of our identities shows, and proves itself with.

    @ivar certificates: the certificate of the identity first, then those that lead to an anchor.
    @ivar key: the private key that fits the first of them, or where it is.
    @ivar source: where the certificates come from, for messages.
    @ivar keySource: where the key comes from, or a reference to it.
    """

    identity: Identity
    certificates: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes | KeyReference
    source: str = field(default="", compare=False)
    keySource: str = field(default="", compare=False)

    @property
    def isReferred(self) -> bool:
        """
        Whether we do not have the key ourselves.
        """
        return isinstance(self.key, KeyReference)


def loadCredentials(
    identity: Identity, certificateFile: Path, keyFile: Path, private: bool = True
) -> Credentials:
    """
    Read certificates and the key that fits the first of them.

    @param private: whether to insist on a key that others cannot read.
    @raise ConfigurationError: something about them is wrong.
    """
    certificates = loadCertificates(certificateFile)
    key = loadKey(keyFile, private)
    try:
        fitting = fits(key, certificates[0])
        list(certificates[0].extensions)
    except Exception as error:  # noqa: BLE001 - there are many ways to be a broken certificate
        raise ConfigurationError(
            str(certificateFile),
            f"is unreadable: {error}",
            "get it again from whoever has issued it",
        ) from None
    if not fitting:
        raise ConfigurationError(
            str(keyFile),
            f"does not fit the first certificate in {certificateFile}",
            "put a pair there that belongs together, as 'tlstunnel identity import --force' does",
        )
    return Credentials(identity, certificates, key, str(certificateFile), str(keyFile))
