"""
Tests for L{tlstunnel.tunnel.prepared}: what is kept for connections to come, and for how long.
"""

from __future__ import annotations

import weakref
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.identity.issuer import authorityOf
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.registry import find
from tlstunnel.tls.creators import Creator
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared


class CreatorsTests(SynchronousTestCase):
    """
    L{Prepared.creatorFor}, where the app says whom to expect.
    """

    def setUp(self) -> None:
        """
        A client tunnel for xmpp.
        """
        pool = Pool(Path(self.mktemp()), asked=False)
        authorityOf(pool)
        remote = (TCPAddress("127.0.0.1", 1),)
        self.prepared = Prepared(Tunnel(Mode.CLIENT, (), remote, find("xmpp"), pool=pool))
        self.made: weakref.WeakSet[Creator] = weakref.WeakSet()

    def creatorFor(self, number: int) -> Creator:
        """
        The creator for one of any number of servers.
        """
        creator = self.prepared.creatorFor(Identity(None, f"host-{number}.example.org"))
        self.made.add(creator)
        return creator

    def test_oneIsKeptForEachServer(self) -> None:
        """
        A thousand at most: the same one as long as there are no more.
        """
        first = self.creatorFor(0)
        for number in range(1, 1000):
            self.assertIsNot(self.creatorFor(number), first)
        self.assertIs(self.creatorFor(0), first)
        self.assertEqual(len(self.made), 1000)

    def test_anAppThatNamesMoreDoesNotFillTheMemory(self) -> None:
        """
        Those before are forgotten, and made again where they are needed.
        """
        first = self.creatorFor(0)
        for number in range(1, 1001):
            self.creatorFor(number)
        self.assertIsNot(self.creatorFor(0), first)
        del first
        for number in range(1001, 3000):
            self.creatorFor(number)
            self.assertLessEqual(len(self.made), 1000)
