"""
Keys that a provider of OpenSSL keeps for us, in a token or a TPM.

OpenSSL has one word for everything that may be wrong with them, so that what can be found out by
other means is.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from OpenSSL import SSL, crypto

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.keyprovider import KeyProvider
from tlstunnel.identity.keyreference import KeyReference, ReferenceKind, withoutPIN
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.pinsource import pinOf
from tlstunnel.tls import openssl
from tlstunnel.tls.attempts import RefusedBefore, attempts

# The module that asks another process.
_CLIENT = "p11-kit-client"

_DEBUG = (
    "PKCS11_PROVIDER_DEBUG=file:/PATH in the environment lets it write more into that file, the "
    "PIN too"
)


class _Question:
    """
    What OpenSSL asks on behalf of the provider, where that has no PIN, or none that is any good.

    It is never answered: of what it is told OpenSSL makes several attempts, and tokens lock
    themselves after three.  A PIN that stands in the address is tried once.

    @ivar isAsked: whether it was asked.
    """

    def __init__(self) -> None:
        self.isAsked = False

    def __call__(self, isForWriting: object) -> bytes:
        """
        Say nothing.
        """
        self.isAsked = True
        return b""


def loadReferred(reference: KeyReference, source: str) -> crypto.PKey:
    """
    The key that a provider has for us.

    @param source: the file of the reference, for messages.
    @raise ConfigurationError: there is none.
    """
    provider = openssl.keyProvider()
    if openssl.isConfigured():
        _check(provider, reference, source)
    value = pinOf(reference, source)
    question = _Question()
    content = reference.withPIN(value)
    # What one key's PIN was refused for is not tried for another one in the same token.
    tried = provider, sorted(reference.token), value
    digest = sha256(repr(tried).encode()).digest()

    def load() -> crypto.PKey:
        with quietly():  # which discourages passing what only OpenSSL can understand
            return crypto.load_privatekey(crypto.FILETYPE_PEM, content, question)

    try:
        return attempts.once(digest, load, lambda: question.isAsked and value is not None)
    except RefusedBefore:
        raise ConfigurationError(
            source,
            "was refused by its token with this PIN before, which is not tried again",
            "correct the PIN, or the address, or start anew",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            source,
            "refers to a key in a token, whose PIN is not tried where it could not be remembered "
            f"if it was refused: {error.strerror or error}",
            "raise the limit of open files (LimitNOFILE in a unit), or make room in /tmp",
        ) from None
    except (SSL.Error, crypto.Error, ValueError) as error:
        raise _refusal(reference, provider, question.isAsked, value, source, error) from None


def _check(provider: KeyProvider | None, reference: KeyReference, source: str) -> None:
    """
    @raise ConfigurationError: no provider can have the key.
    """
    if provider is None or provider.kind is not reference.kind:
        raise ConfigurationError(
            source,
            f"refers to a key in a {_place(reference)}, and this process has loaded no provider "
            "for such keys",
            "name one as `key-provider`, or by the link key-provider in the pool, and restart; for "
            "the one connection of inetd, or of `local` stdio, none is loaded",
        )
    if not openssl.isLoaded(provider.module):
        if provider.kind is ReferenceKind.TPM:
            raise ConfigurationError(
                f"`key-provider` {provider.module}",
                "was not taken by OpenSSL, as it found no TPM, or misses a library",
                "see whether we may use /dev/tpmrm0, or say in TPM2OPENSSL_TCTI where the TPM is; "
                f"and see what 'ldd {provider.module}' says",
            )
        raise ConfigurationError(
            f"`key-provider` {provider.module}",
            "was not taken by OpenSSL",
            f"see what 'ldd {provider.module}' says; {_DEBUG}",
        )


def _refusal(
    reference: KeyReference,
    provider: KeyProvider | None,
    isAsked: bool,
    pin: bytes | None,
    source: str,
    error: Exception,
) -> ConfigurationError:
    """
    Why there is no key, as far as it can be told.
    """
    if reference.kind is ReferenceKind.TPM:
        problem = "refers to a key that the TPM does not open, or there is no TPM for us"
        remedy = "see whether we may use /dev/tpmrm0, and whether this TPM has made the key"
    elif provider is not None and provider.pkcs11 and not openssl.isLoaded(provider.pkcs11):
        return ConfigurationError(
            f"`pkcs11-module` {provider.pkcs11}",
            "was not taken by the provider",
            f"see what 'ldd {provider.pkcs11}' says; {_DEBUG}",
        )
    elif isAsked and pin is None:
        problem = "refers to a key in a token that asks for a PIN, and says none"
        remedy = "write ?pin-source=file:/PATH behind the address"
    elif isAsked:
        problem = f"refers to {_address(reference)}: the token refuses the PIN"
        remedy = f"correct it; the same is not tried again, as tokens lock themselves; {_DEBUG}"
    elif provider is None:
        problem = f"refers to {_address(reference)}, which OpenSSL does not know"
        remedy = f"see whether the configuration that it reads has a provider for it; {_DEBUG}"
    else:
        problem = f"refers to {_address(reference)}: there is no such token, or no such key in it"
        remedy = f"{_whereToLook(provider.pkcs11)}; {_DEBUG}"
    said = error.args[0] if error.args and isinstance(error.args[0], list) else []
    words = ", ".join(dict.fromkeys(each[2] for each in said if each[2])) or str(error)
    return ConfigurationError(source, f"{problem} (OpenSSL: {words})", remedy)


def _whereToLook(module: Path | None) -> str:
    """
    What tells which tokens there are.
    """
    if module is None:
        return "see what 'p11tool --list-tokens' says"
    if module.name.startswith(_CLIENT):
        return "see whether 'p11-kit server' runs where P11_KIT_SERVER_ADDRESS says, and lets us in"
    return f"see what 'p11tool --provider {module} --list-tokens' says"


def _address(reference: KeyReference) -> str:
    return withoutPIN(reference.uri)


def _place(reference: KeyReference) -> str:
    return "token" if reference.kind is ReferenceKind.PKCS11 else "TPM"
