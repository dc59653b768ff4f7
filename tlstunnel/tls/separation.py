"""
What cannot be in one process with a key that a provider keeps.

Once such a key has signed, OpenSSL may have everything of the same algorithm done by its provider,
in the whole process: also the signatures of keys that are in files, and the verification of those
of peers.  Which provider is asked depends on what was asked before, so that nobody can promise
anything.  Where a token takes no keys of others, or is pulled out, peers could not be verified; and
a key from a file would be put into the token.  That of a TPM is asked for all signatures from the
start, and fails with keys that the TPM has not made.

So a process does the one or the other, as long as it lives: what it did first counts, and what does
not go with it is refused.  Every context passes by here before it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.x509.oid import PublicKeyAlgorithmOID

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.keyreference import ReferenceKind
from tlstunnel.tls import openssl

# What signs and verifies in the same way for OpenSSL.
_SAME = {PublicKeyAlgorithmOID.RSASSA_PSS: PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5}

# What a TPM knows nothing of, so that its provider leaves it alone.
_EDWARDS = frozenset({PublicKeyAlgorithmOID.ED25519, PublicKeyAlgorithmOID.ED448})

_ELSEWHERE = "let a process of its own serve it"


class Separation:
    """
    What one process does.

    @ivar token: the file that refers to a key, if a provider has one for us; the last of several.
    """

    def __init__(self) -> None:
        self.token = ""
        self._verifying = ""
        self._isTrying = False
        # The files of keys, by algorithm: that of those that are in a file, and of the others.
        self._own: dict[object, str] = {}
        self._referred: dict[object, str] = {}

    def verifies(self, subject: str) -> None:
        """
        Peers are verified.

        @param subject: what asks for it, for messages.
        @raise ConfigurationError: that does not go with what was done before.
        """
        if self._isTrying:
            return
        if _tpm():
            raise ConfigurationError(
                subject,
                "needs signatures of others to be verified, which cannot be done in a process with "
                f"the provider of a TPM ({_tpm()}): that would be asked for it",
                _ELSEWHERE,
            )
        if self.token:
            raise ConfigurationError(
                subject,
                "needs signatures of others to be verified, which cannot be done in a process that "
                f"uses a key in a token ({self.token}): its provider might take part in it",
                _ELSEWHERE,
            )
        self._verifying = self._verifying or subject

    def signs(self, credentials: Credentials) -> None:
        """
        Signatures are made with a key of ours.

        @raise ConfigurationError: that does not go with what was done before.
        """
        self.check(credentials)
        algorithm, source = _traits(credentials)
        if not self._isTrying:
            known = self._referred if credentials.isReferred else self._own
            known.setdefault(algorithm, source)
        if credentials.isReferred:
            self.token = source

    def check(self, credentials: Credentials) -> None:
        """
        See whether signatures can be made with a key of ours; nothing has been done yet.

        @raise ConfigurationError: that does not go with what was done before.
        """
        if self._isTrying:
            return
        algorithm, source = _traits(credentials)
        if not credentials.isReferred:
            if _tpm() and algorithm not in _EDWARDS:
                raise ConfigurationError(
                    source,
                    "has a key that is not in the TPM, and the provider of that "
                    f"({_tpm()}) signs with all keys of a process",
                    f"{_ELSEWHERE}, or use a key for Ed25519",
                )
            other = self._referred.get(algorithm)
            if other is not None:
                raise ConfigurationError(
                    source,
                    f"has a key of the same algorithm as that in a token ({other}), whose provider "
                    "might use it instead of us",
                    f"{_ELSEWHERE}, or use a key of another algorithm",
                )
            return
        if self._verifying:
            raise ConfigurationError(
                source,
                "refers to a key in a token, which cannot be used in a process that verifies "
                f"others ({self._verifying}): the provider of the token might take part in it",
                f"{_ELSEWHERE}, for clients that nobody verifies",
            )
        other = self._own.get(algorithm)
        if other is not None:
            raise ConfigurationError(
                source,
                f"refers to a key in a token, of the same algorithm as that in {other}, which the "
                "provider of the token might use instead of us",
                f"{_ELSEWHERE}, or use a key of another algorithm",
            )

    @contextmanager
    def trying(self) -> Iterator[None]:
        """
        Find something out about credentials, which are then not used by this process.
        """
        before, self._isTrying = self._isTrying, True
        try:
            yield
        finally:
            self._isTrying = before


def _traits(credentials: Credentials) -> tuple[object, str]:
    """
    The algorithm of a key, and its file.
    """
    algorithm = credentials.certificates[0].public_key_algorithm_oid
    source = credentials.keySource or credentials.source or str(credentials.identity)
    return _SAME.get(algorithm, algorithm), source


def _tpm() -> str:
    """
    The provider of a TPM in this process, if there is one: it takes over all signatures, whatever
    was done before.
    """
    provider = openssl.keyProvider()
    if provider is None or provider.kind is not ReferenceKind.TPM:
        return ""
    return str(provider.module)


#: What this process does.
process = Separation()
