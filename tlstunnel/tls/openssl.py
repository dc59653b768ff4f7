"""
How OpenSSL is configured where pyOpenSSL has no call for it: by a file that the library reads once,
when it is loaded.

So this has to be called first of all, and can do nothing where the library is loaded already: it
then knows two more groups.  Where it turns out later that something else is needed, such as a
provider for keys that we do not have, the process begins anew.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.keyprovider import KeyProvider
from tlstunnel.identity.keyreference import ReferenceKind

_VARIABLE = "OPENSSL_CONF"
_BINDING = "cryptography.hazmat.bindings._rust"

#: Which provider is to be loaded, for a process that begins anew, and for workers.
_PROVIDER = "TLSTUNNEL_KEY_PROVIDER"

# What tpm2-openssl needs to be asked for signatures, and for nothing else (property(7)): it would
# take part in the agreement on keys, which then fails with all groups that a TPM knows.
_OF_TPM = "?tpm2.signature=yes"

#: What the provider is called in errors.
PROVIDER_NAME = "tlstunnel-keys"

_isOurs = False
_provider: KeyProvider | None = None


def configure() -> None:
    """
    Load OpenSSL with our configuration, unless the administrator has given one, or it is too late.
    """
    global _isOurs, _provider  # noqa: PLW0603 - a process has the library once
    wanted = os.environ.pop(_PROVIDER, None)
    if _VARIABLE in os.environ or _BINDING in sys.modules:
        return
    _isOurs = True
    loaded = None
    if wanted is not None:
        # Where it cannot be had, whoever needs it begins anew, and hears why.
        with suppress(ConfigurationError, TypeError, ValueError):
            _provider, loaded = _asked(wanted)
    with _file(loaded) as path:
        os.environ[_VARIABLE] = path
        try:
            __import__(_BINDING)
        finally:
            # Ours is not for the programs that we start.
            del os.environ[_VARIABLE]


def _asked(wanted: str) -> tuple[KeyProvider, KeyProvider]:
    """
    The provider that an earlier start of ours asks for, and what of it is loaded.

    @raise ConfigurationError: it cannot be loaded any more.
    @raise ValueError: it was somebody else; as is a C{TypeError}.
    """
    module, pkcs11 = json.loads(wanted)
    provider = KeyProvider(Path(module), None if pkcs11 is None else Path(pkcs11))
    return provider, provider.check()


@contextmanager
def _file(provider: KeyProvider | None) -> Iterator[str]:
    """
    The file that the library reads: one of ours as it is, or with a provider, in memory where the
    system has that.
    """
    path = Path(__file__).with_suffix(".cnf")
    if provider is None:
        yield str(path)
        return
    content = path.read_bytes() + configurationOf(provider).encode()
    with suppress(AttributeError, OSError):  # as there are systems without
        descriptor = os.memfd_create("openssl.cnf")
        try:
            os.write(descriptor, content)
            inMemory = f"/proc/self/fd/{descriptor}"
            if Path(inMemory).exists():
                yield inMemory
                return
        finally:
            os.close(descriptor)
    with tempfile.NamedTemporaryFile(prefix="tlstunnel-", suffix=".cnf") as file:
        file.write(content)
        file.flush()
        yield file.name


def configurationOf(provider: KeyProvider) -> str:
    """
    What stands behind our configuration where a provider is to be loaded (config(5)).
    """
    lines = ["", "[tlstunnel]", "providers = providers"]
    if provider.kind is ReferenceKind.TPM:
        lines.append("alg_section = algorithms")
    # Where one is named, that of OpenSSL itself is no more loaded by itself.
    lines += ["", "[providers]", "default = usual", f"{PROVIDER_NAME} = keys"]
    lines += ["", "[usual]", "activate = 1"]
    lines += ["", "[keys]", f"module = {provider.module}"]
    if provider.kind is ReferenceKind.PKCS11:
        # Releases up to 1.0 take their own copy for the key when that is loaded again, and lose it
        # with the first one.
        lines.append("pkcs11-module-cache-keys = false")
    if provider.pkcs11 is not None:
        lines.append(f"pkcs11-module-path = {provider.pkcs11}")
    lines.append("activate = 1")
    if provider.kind is ReferenceKind.TPM:
        lines += ["", "[algorithms]", f"default_properties = {_OF_TPM}"]
    return "\n".join([*lines, ""])


def keyProvider() -> KeyProvider | None:
    """
    The provider that this process was to load; see L{isLoaded} for whether it has.
    """
    return _provider


def isReplaced() -> bool:
    """
    Whether the administrator has the library read another configuration than ours.
    """
    return not _isOurs and _VARIABLE in os.environ


def isConfigured() -> bool:
    """
    Whether the library has read our configuration, and none of somebody else.
    """
    return _isOurs


def isLoaded(module: Path) -> bool:
    """
    Whether a module is a part of this process: one that is not what it should be was passed over in
    silence.
    """
    flag = getattr(os, "RTLD_NOLOAD", None)
    if flag is None:
        return True
    try:
        ctypes.CDLL(str(module), mode=flag | os.RTLD_LAZY)
    except OSError:
        return False
    return True


def environmentOfWorkers() -> dict[str, str]:
    """
    What workers need in their environment to load the library as we have.
    """
    return {} if _provider is None else {_PROVIDER: _written(_provider)}


def beginAnew(provider: KeyProvider | None) -> None:
    """
    Let this process begin once more: the library has read its configuration.  Nothing may have been
    opened or taken yet that it needs.

    @param provider: what it is to load then.
    @raise ConfigurationError: the provider cannot be loaded.
    @raise OSError: the system does not let us.
    """
    if provider is not None:
        if not _isOurs:
            raise ConfigurationError(
                f"`key-provider` {provider.module}",
                f"cannot be loaded, as OpenSSL was: {_why()}",
                _whatToDo(),
            )
        provider.check()
        os.environ[_PROVIDER] = _written(provider)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves


def _why() -> str:
    if _VARIABLE in os.environ:
        return f"${_VARIABLE} has it read {os.environ[_VARIABLE]!r} instead of our configuration"
    return "whoever runs this has loaded it before us"


def _whatToDo() -> str:
    if _VARIABLE in os.environ:
        return f"unset {_VARIABLE}; or leave `key-provider` out, and name the provider in that file"
    return "run 'tlstunnel --config FILE'"


def _written(provider: KeyProvider) -> str:
    pkcs11 = None if provider.pkcs11 is None else str(provider.pkcs11)
    return json.dumps([str(provider.module), pkcs11])


def libraryVersion() -> str:
    """
    Which OpenSSL is loaded, as C{3.5.1}.
    """
    from OpenSSL import SSL

    words = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace").split()
    return words[1] if len(words) > 1 else "unknown"
