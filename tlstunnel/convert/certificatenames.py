"""
Whom the certificates are for that another tunnel was configured with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadReadable, quietly
from tlstunnel.identity.pool import RESERVED


def identity(text: str) -> str:
    """
    The one form of an identity; empty if C{text} is none that a pool can have.
    """
    try:
        name = str(Identity.parse(text))
    except ValueError:
        return ""
    return "" if name in RESERVED else name


@dataclass(frozen=True)
class Named:
    """
    What a certificate says of whom it is for.

    @ivar domains: the dNSNames that are no patterns.
    @ivar users: the rfc822Names.
    @ivar addresses: the iPAddresses.
    @ivar patterns: what the dNSNames that are have behind their asterisk, such as C{.example.org}.
    @ivar common: the common name, which proves nothing.
    @ivar isAuthority: whether others may be issued by it.
    """

    domains: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    common: str = ""
    isAuthority: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        """
        All of them.
        """
        return (*self.domains, *self.users, *self.addresses)

    def covers(self, name: str) -> bool:
        """
        Whether it is for C{name}.
        """
        label, dot, rest = name.partition(".")
        return name in self.all or (bool(label) and dot + rest in self.patterns)


def _named(certificate: x509.Certificate) -> Named:
    common = _common(certificate)
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        domains = names.get_values_for_type(x509.DNSName)
        return Named(
            _identities(domains),
            _identities(names.get_values_for_type(x509.RFC822Name)),
            _identities(map(str, names.get_values_for_type(x509.IPAddress))),
            tuple(each[1:].lower() for each in domains if each.startswith("*.")),
            common,
            _isAuthority(certificate),
        )
    except x509.ExtensionNotFound:
        return Named(common=common, isAuthority=_isAuthority(certificate))
    except Exception:  # noqa: BLE001 - there are many ways to be a broken certificate
        return Named(common=common, isAuthority=True)


def _common(certificate: x509.Certificate) -> str:
    try:
        attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    return next((str(each.value) for each in attributes), "")


def _identities(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(filter(None, map(identity, names)))


def _isAuthority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        # Before version 3 there was nothing to tell them apart.
        return certificate.subject == certificate.issuer or _isSigning(certificate)
    except Exception:  # noqa: BLE001 - as above
        return True


def _isSigning(certificate: x509.Certificate) -> bool:
    """
    Whether the key may sign certificates, which is enough for OpenSSL.
    """
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return False


def namesIn(path: Path) -> list[Named]:
    """
    Whom the certificates in a file are for; none if it cannot be read.
    """
    try:
        # What is no file, such as a pipe, may never come to its end.
        if not path.is_file():
            return []
        with quietly():
            return [_named(each) for each in loadReadable(path)[0]]
    except (ConfigurationError, OSError, ValueError):
        return []
