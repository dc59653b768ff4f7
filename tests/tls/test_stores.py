"""
Tests for L{tlstunnel.tls.stores}.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, make, root
from tlstunnel.identity.trust import Anchors
from tlstunnel.tls import binding, stores
from tlstunnel.tls.binding import CLIENTS, SERVERS
from tlstunnel.tls.stores import believe

HOST = "www.example.org"


def anchorsOf(*names: str, system: bool = False, source: str = "tests") -> Anchors:
    """Some authorities."""
    return Anchors(tuple(root(each).certificate for each in names), system, source)


def context(anchors: Anchors, purpose: int | None = None) -> SSL.Context:
    """One that believes them."""
    found = SSL.Context(SSL.TLS_METHOD)
    believe(found, anchors, purpose)
    return found


def storeOf(found: SSL.Context) -> Any:
    """Where it looks them up."""
    store: Any = found.get_cert_store()
    return store._store


class StoresTests(SynchronousTestCase):
    """
    L{believe}.
    """

    def setUp(self) -> None:
        """Nobody believes anybody yet."""
        self.patch(stores, "_known", type(stores._known)())

    def isShared(self, one: SSL.Context, other: SSL.Context) -> bool:
        """Whether both look up theirs in the same place."""
        return bool(storeOf(one) == storeOf(other))

    def test_whoBelievesTheSameSharesIt(self) -> None:
        """Wherever it was read; and nobody else does."""
        one = context(anchorsOf("A", "B"))
        self.assertTrue(self.isShared(one, context(anchorsOf("A", "B", source="elsewhere"))))
        for other in (
            context(anchorsOf("A")),
            context(anchorsOf("B", "A")),
            context(anchorsOf("A", "B", system=True)),
            context(anchorsOf("A", "B"), CLIENTS),
            context(anchorsOf("A", "B"), SERVERS),
        ):
            self.assertFalse(self.isShared(one, other))

    def test_itLivesAsLongAsAnybodyNeedsIt(self) -> None:
        """Whoever has made it may go first; and when all have gone, so has it."""
        host = make(Recipe(san=alternative(dns(HOST))), root("A"))
        several = [context(anchorsOf("A"), SERVERS) for _ in range(3)]
        while len(several) > 1:
            del several[0]
            gc.collect()
            self.assertTrue(self.isShared(several[-1], context(anchorsOf("A"), SERVERS)))
        store: Any = several[0].get_cert_store()
        leaf = crypto.X509.from_cryptography(host.certificate)
        crypto.X509StoreContext(store, leaf, []).verify_certificate()
        several.clear()
        gc.collect()
        self.assertEqual(len(stores._known), 0)

    def test_theSystemsAreReadAgainWhenTheyHaveChanged(self) -> None:
        """A reload would be for nothing else."""
        file = Path(self.mktemp())
        file.write_text("")
        self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": str(file.absolute())})
        one = context(anchorsOf(system=True))
        self.assertTrue(self.isShared(one, context(anchorsOf(system=True))))
        file.write_text("# Another one.\n")
        self.assertFalse(self.isShared(one, context(anchorsOf(system=True))))

    def test_whereTheyAreIsKnown(self) -> None:
        """By all ways in which they are found."""
        self.patch(os, "environ", {"SSL_CERT_FILE": "/a", "SSL_CERT_DIR": "/b:/c"})
        places = binding.systemPlaces()
        self.assertEqual(places[:3], ("/a", "/b", "/c"))
        self.assertIn("/etc/ssl/certs/ca-certificates.crt", places)

    def test_withoutTheBindingEachHasItsOwn(self) -> None:
        """That costs memory alone."""
        for name in "_SHARING", "_FILES":
            missing = ("no_such_name",) if name == "_SHARING" else "no_such_name"
            with self.subTest(name):
                self.setUp()
                self.patch(binding, name, missing)
                one, other = context(anchorsOf(system=True)), context(anchorsOf(system=True))
                self.assertFalse(self.isShared(one, other))
