"""
Which provider of OpenSSL a process needs for the keys of its tunnels; and how it gets it, as the
library is loaded by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.keyprovider import MODULE, PROVIDER, KeyProvider, providerIn, providerOf
from tlstunnel.identity.keyreference import readReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.pool import Pool
from tlstunnel.program.configuration import Configuration
from tlstunnel.tls import openssl
from tlstunnel.tunnel.description import Tunnel


def loadProvider(configuration: Configuration) -> None:
    """
    See to it that this process has the provider that it needs, and else let it begin anew, with
    that.

    @raise ConfigurationError: it cannot have it.
    """
    _load(_given(configuration.process) or _linked(configuration.tunnels))


def loadProviderOf(pool: Pool, identity: Identity) -> None:
    """
    The same for the key of one identity: beside others its provider might take part.

    @raise ConfigurationError: it cannot have it.
    """
    provider = providerIn(pool.path)
    if provider is not None and _refers(pool, identity):
        _load(provider)


def loadProviderFor(pool: Pool, credentials: Credentials) -> None:
    """
    The same for credentials that are to be put into a pool.

    @raise ConfigurationError: it cannot have it.
    """
    if credentials.isReferred:
        _load(providerIn(pool.path))


def _load(provider: KeyProvider | None) -> None:
    if provider in (None, openssl.keyProvider()):
        return
    openssl.beginAnew(provider)


def _given(settings: Mapping[str, Any]) -> KeyProvider | None:
    """
    What the settings of the process name.
    """
    module, pkcs11 = (
        None if settings.get(name) is None else Path(settings[name]).absolute()
        for name in (PROVIDER, MODULE)
    )
    return providerOf(module, pkcs11, f"`{MODULE}` {pkcs11}")


def _linked(tunnels: Iterable[Tunnel]) -> KeyProvider | None:
    """
    What the pools name that have keys for these tunnels which need it.
    """
    if openssl.isReplaced():
        # The administrator's configuration may have it.
        return None
    found: dict[KeyProvider, Pool] = {}
    # A pool in which nothing refers to another place may be closed to us.
    for pool in dict.fromkeys(pool for pool, identity in _ours(tunnels) if _refers(pool, identity)):
        provider = providerIn(pool.path)
        if provider is not None:
            found.setdefault(provider, pool)
    if len(found) > 1:
        one, other = (str(each.path) for each in list(found.values())[:2])
        raise ConfigurationError(
            f"`pool` {other}",
            f"names another provider for its keys than {one}, and a process has one",
            "let two processes serve them, or both pools name the same",
        )
    return next(iter(found), None)


def _ours(tunnels: Iterable[Tunnel]) -> Iterator[tuple[Pool, Identity]]:
    for tunnel in tunnels:
        for side in tunnel.sides:
            for identity in (*side.localIDs, *(each.identity for each in side.names)):
                yield side.pool, identity


def _refers(pool: Pool, identity: Identity) -> bool:
    """
    Whether the key of one of our identities is somewhere else; what is wrong with it, others say.
    """
    with suppress(ConfigurationError, ValueError):
        file = pool.directoryOf(identity) / "privkey.pem"
        return readReference(readFile(file)) is not None
    return False
