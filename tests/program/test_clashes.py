"""
Tests for L{tlstunnel.program.clashes}: tunnels that would listen at the same place.
"""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
from tlstunnel.address import TCPAddress, parseListening
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import bindAll
from tlstunnel.program import clashes as clashing
from tlstunnel.program.clashes import clashes, wantedBy

#: Hosts of addresses of this machine.
HOSTS = ("", "[::]", "0.0.0.0", "127.0.0.1", "127.0.0.2", "[::1]", "localhost")


class ClashTests(SynchronousTestCase):
    """
    L{clashes}.
    """

    def clash(self, *tables: tuple[str, ...]) -> bool:
        """
        Whether addresses in C{tables} are in each other's way.
        """
        wanted = [
            each
            for number, table in enumerate(tables)
            for each in wantedBy(str(number), [parseListening(text) for text in table])
        ]
        return bool(list(clashes(wanted)))

    def test_notEachIsComparedWithEach(self) -> None:
        """
        Thousands of addresses at one port are soon looked through, and the one found that clashes.
        """
        compared = []

        def overlap(one: clashing.Wanted, other: clashing.Wanted) -> bool:
            compared.append(one)
            return before(one, other)

        before = clashing._overlap
        self.patch(clashing, "_overlap", overlap)
        hosts = [f"127.0.{number // 250}.{number % 250}:1" for number in range(2000)]
        self.assertFalse(self.clash((*hosts, "[::1]:1")))
        self.assertTrue(self.clash(tuple(hosts), ("127.0.3.7:1",)))
        self.assertTrue(self.clash(tuple(hosts), (":1",)))
        self.assertLess(len(compared), 100)

    def canListen(self, host: str) -> bool:
        """
        Whether this machine has an address.
        """
        try:
            bound = bindAll(Claim([parseListening(f"{host}:0")]))
        except ConfigurationError:
            return False
        for each in bound:
            each.close()
        return True

    def test_whatTheSystemDoes(self) -> None:
        """
        Those clash that cannot be bound beside each other, in one tunnel or in two.  What a name
        means is not asked for: nothing is said unless it is certain.
        """
        for hosts in product(filter(self.canListen, HOSTS), repeat=2):
            port = freePort()
            one, other = ([f"{host}:{port}"] for host in hosts)
            for tables in ((one, other), ([*one, *other],)):
                bound = []
                isTaken = False
                for table in tables:
                    try:
                        bound += bindAll(Claim([parseListening(text) for text in table]))
                    except ConfigurationError as error:
                        self.assertIn("in use", error.problem)
                        isTaken = True
                for each in bound:
                    each.close()
                said = self.clash(*map(tuple, tables))
                self.assertTrue(said == isTaken or (isTaken and "localhost" in hosts), tables)

    def test_otherPortsDoNot(self) -> None:
        """
        Nor those that the system chooses.
        """
        self.assertFalse(self.clash(("127.0.0.1:1",), ("127.0.0.1:2",)))
        self.assertFalse(self.clash((":0", ":0"), (":0",)))

    def test_pathsThatMeanTheSame(self) -> None:
        """
        However they are written.
        """
        self.assertTrue(self.clash(("/a/b",), ("/a/../a/b",)))
        self.assertFalse(self.clash(("/a/b",), ("/a/c",)))

    def test_socketsOfSystemd(self) -> None:
        """
        Nobody gets one twice; without a name, all are meant.
        """
        self.assertTrue(self.clash(("systemd:a",), ("systemd:a",)))
        self.assertTrue(self.clash(("systemd:a",), ("systemd",)))
        self.assertFalse(self.clash(("systemd:a",), ("systemd:b",)))

    def test_theFirstIsNamed(self) -> None:
        """
        Each of the others is told, once.
        """
        address = TCPAddress("127.0.0.1", 1)
        wanted = [each for name in "abc" for each in wantedBy(name, [address])]
        self.assertEqual(
            [(each.table, first.table) for each, first in clashes(wanted)], [("b", "a"), ("c", "a")]
        )
