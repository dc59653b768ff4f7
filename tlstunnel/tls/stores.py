"""
Stores of anchors: what OpenSSL looks up those in whom a context believes.

One with all anchors of the system has a megabyte and takes milliseconds to fill, and there may be
thousands of contexts that believe the same.  So contexts share a store as long as any of them
lives.  Anchors are what they are, wherever they were read; what counts as the system's is looked up
each time, so that a store with those is shared until its files change.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from weakref import WeakKeyDictionary, WeakValueDictionary

from OpenSSL import SSL, crypto
from twisted.logger import Logger

from tlstunnel.errors import quote
from tlstunnel.identity.trust import Anchors
from tlstunnel.tls import binding

_log = Logger()

# Stores that are in use, by what is in them; and by whom.
_known: WeakValueDictionary[Hashable, crypto.X509Store] = WeakValueDictionary()
_users: WeakKeyDictionary[SSL.Context, crypto.X509Store] = WeakKeyDictionary()


def believe(context: SSL.Context, anchors: Anchors, purpose: int | None = None) -> None:
    """
    Make C{anchors} those of a context that has none.

    @param purpose: what peers are: C{binding.SERVERS} or C{binding.CLIENTS}; C{None} to leave that
        to TLS.
    """
    system = _stampOfSystem() if anchors.system else ()
    key = anchors.certificates, system, purpose
    store = None if system is None else _known.get(key)
    if store is None or not binding.shareStore(context, store):
        _fill(context, anchors, purpose)
        store = None if system is None else binding.heldStore(context)
    if store is not None:
        _known[key] = _users[context] = store


def _fill(context: SSL.Context, anchors: Anchors, purpose: int | None) -> None:
    if anchors.system:
        context.set_default_verify_paths()
    store = context.get_cert_store()
    assert store is not None
    for certificate in anchors.certificates:
        try:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        except crypto.Error as error:
            name = quote(certificate.subject.rfc4514_string().encode())
            _log.warn(
                "{source}: OpenSSL does not take {name}, which is passed over: {error}",
                source=anchors.source,
                name=name,
                error=error,
            )
    # An anchor is an anchor, also where it is not a root.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if purpose is not None:
        binding.setPurpose(store, purpose)


def _stampOfSystem() -> Hashable | None:
    """
    What changes with the anchors of the system; C{None} where it is not known where they are.
    """
    places = binding.systemPlaces()
    found: list[tuple[object, ...] | None] = []
    for each in places:
        try:
            status = os.stat(each)  # noqa: PTH116 - without objects, as there may be many contexts
        except OSError:
            found.append(None)
        else:
            stamp = status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
            found.append((each, *stamp))
    return tuple(found) or None
