"""
Tests for L{tlstunnel.program.sockets}: what listens, through all changes.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
from tlstunnel.address import InheritedAddress, TCPAddress, UNIXAddress
from tlstunnel.net import inherit
from tlstunnel.net.access import SocketAccess
from tlstunnel.program.plan import Refused
from tlstunnel.program.sockets import Sockets
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Listening, Mode, Tunnel


def tunnel(name: str, *local: Listening, access: SocketAccess | None = None) -> Tunnel:
    """
    One that listens there.
    """
    remote = (TCPAddress("127.0.0.1", 1),)
    return Tunnel(
        Mode.SERVER, local, remote, find("none"), name=name, access=access or SocketAccess()
    )


ANY = TCPAddress("127.0.0.1", 0)


class SocketsTests(SynchronousTestCase):
    """
    L{Sockets}.
    """

    def setUp(self) -> None:
        """
        There are none.
        """
        self.sockets = Sockets()
        self.addCleanup(self.sockets.close)

    def keep(self, *tunnels: Tunnel) -> dict[str, list[socket.socket]]:
        """
        Have C{tunnels} from now on.

        @return: the sockets of each.
        """
        binding = self.sockets.bind(tunnels)
        binding.keep()
        return {name: [each.sock for each in bound] for name, bound in binding.bound.items()}

    def free(self) -> TCPAddress:
        """
        An address where nobody listens.
        """
        return TCPAddress("127.0.0.1", freePort())

    def listens(self, address: TCPAddress) -> bool:
        """
        Whether somebody does.
        """
        try:
            socket.create_connection((address.host, address.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def test_anAddressThatStaysKeepsItsSocket(self) -> None:
        """
        In the same tunnel, in another one, and beside others.
        """
        address, other = self.free(), self.free()
        (sock,) = self.keep(tunnel("a", address))["a"]
        self.assertEqual(self.keep(tunnel("a", other, address))["a"][1], sock)
        self.assertEqual(self.keep(tunnel("b", address))["b"], [sock])
        self.assertTrue(self.listens(address))
        self.assertFalse(self.listens(other))

    def test_portsThatTheSystemChoosesAreEachAnother(self) -> None:
        """
        And stay what they are.
        """
        before = self.keep(tunnel("a", ANY, ANY), tunnel("b", ANY))
        self.assertEqual(len({each.fileno() for each in (*before["a"], *before["b"])}), 3)
        self.assertEqual(self.keep(tunnel("a", ANY, ANY), tunnel("b", ANY)), before)

    def test_whatIsUndoneLeavesNothing(self) -> None:
        """
        What was there is there.
        """
        address, fresh = self.free(), self.free()
        self.keep(tunnel("a", address))
        binding = self.sockets.bind([tunnel("a", fresh)])
        self.assertTrue(self.listens(fresh))
        binding.undo()
        self.assertFalse(self.listens(fresh))
        self.assertTrue(self.listens(address))

    def test_allThatCannotBeBoundIsSaid(self) -> None:
        """
        And nothing else is bound.
        """
        address = self.free()
        with socket.create_server(("127.0.0.1", 0)) as occupied:
            taken = TCPAddress(*occupied.getsockname())
            refused = self.assertRaises(
                Refused,
                self.sockets.bind,
                [
                    tunnel("a", taken),
                    tunnel("b", address),
                    tunnel("c", address),
                    tunnel("d", taken),
                ],
            )
            assert isinstance(refused, Refused)
        self.assertEqual([name for name, _ in refused.refusals], ["a", "c", "d"])
        self.assertIn("is there twice", refused.refusals[1][1].problem)
        self.assertFalse(self.listens(address))

    def test_whoMayConnectCanChange(self) -> None:
        """
        Of a UNIX socket that stays, and back if that is undone.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path = directory / "s"
        address = UNIXAddress(os.path.relpath(path))
        before = self.keep(tunnel("a", address, access=SocketAccess(mode=0o600)))
        after = tunnel("a", address, access=SocketAccess(mode=0o666))
        binding = self.sockets.bind([after])
        self.assertEqual(path.stat().st_mode & 0o777, 0o666)
        binding.undo()
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.keep(after), before)
        self.assertEqual(path.stat().st_mode & 0o777, 0o666)

    def test_aLinkInThePlaceOfASocketIsNotFollowed(self) -> None:
        """
        Somebody would get permissions on a file of their choice.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        path, victim = directory / "s", directory / "secret"
        victim.touch(0o600)
        address = UNIXAddress(os.path.relpath(path))
        self.keep(tunnel("a", address))
        path.unlink()
        path.symlink_to("secret")
        access = SocketAccess(mode=0o666)
        self.assertRaises(Refused, self.sockets.bind, [tunnel("a", address, access=access)])
        self.assertEqual(victim.stat().st_mode & 0o777, 0o600)

    def test_whatWasHandedDownIsKeptForWhomeverItIsNext(self) -> None:
        """
        It is handed down only once.
        """
        taken: list[str] = []

        def take(name: str) -> list[socket.socket]:
            taken.append(name)
            return [socket.create_server(("127.0.0.1", 0))]

        self.patch(inherit, "take", take)
        address = InheritedAddress("mail")
        before = self.keep(tunnel("a", address))["a"]
        self.keep()
        self.assertEqual(self.keep(tunnel("b", address))["b"], before)
        self.assertEqual(taken, ["mail"])
        self.sockets.close()
        self.assertEqual(before[0].fileno(), -1)

    def test_theResolverIsAskedOnlyForNewNames(self) -> None:
        """
        Not for addresses.
        """
        named = tunnel("a", TCPAddress("localhost", 0))
        self.assertTrue(self.sockets.asksResolver([named]))
        self.keep(named)
        self.assertFalse(self.sockets.asksResolver([named]))
        self.assertFalse(self.sockets.asksResolver([tunnel("b", ANY, TCPAddress("", 0))]))
