"""
Tests for L{tlstunnel.program.sockets}: what listens, through all changes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import freePort
from tlstunnel.address import InheritedAddress, Listening, TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net import inherit
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import bind
from tlstunnel.program.plan import Refused
from tlstunnel.program.sockets import Sockets


def tunnel(name: str, *local: Listening, access: SocketAccess | None = None) -> Claim:
    """
    What a tunnel wants that listens there.
    """
    return Claim(local, access or SocketAccess(), name=name)


ANY = TCPAddress("127.0.0.1", 0)


def _shared(sockets: Sequence[socket.socket]) -> list[int]:
    """
    Whether they let others have the same place.
    """
    return [each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for each in sockets]


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

    def keep(self, *tunnels: Claim) -> dict[str, list[socket.socket]]:
        """
        Have C{tunnels} from now on.

        @return: the sockets of each.
        """
        binding = self.sockets.bind(tunnels)
        binding.listen()
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

    def test_anAddressCanBeSaidInAnotherWay(self) -> None:
        """
        All interfaces or one of them, a name or its number: in each case the old socket has the
        port until the new state is decided, and the new one from then on.
        """
        port = self.free().port
        ways: list[tuple[TCPAddress, ...]] = [
            (TCPAddress(host, port),) for host in ("0.0.0.0", "127.0.0.1", "", "localhost")
        ]
        if socket.has_dualstack_ipv6():
            everywhere = TCPAddress("::", port)
            ways += [(everywhere,), (everywhere, TCPAddress("0.0.0.0", port)), (everywhere,)]
        for way in (*ways, *reversed(ways)):
            self.keep(tunnel("a", *way))
            self.assertTrue(self.listens(TCPAddress("127.0.0.1", port)), way)

    def test_whatIsOnlyTriedHearsOfNobody(self) -> None:
        """
        Whoever connects meanwhile comes to the old socket; and no second program of ours can have
        the port, be it undone or kept.
        """
        port = self.free().port
        here, everywhere = TCPAddress("127.0.0.1", port), TCPAddress("0.0.0.0", port)
        before = self.keep(tunnel("a", everywhere))["a"]
        binding = self.sockets.bind([tunnel("a", here)])
        with socket.create_connection((here.host, port)):
            before[0].accept()[0].close()
        binding.undo()
        self.assertRaises(ConfigurationError, bind, here)
        self.assertEqual(_shared(before), [0])
        after = self.keep(tunnel("a", here))["a"]
        self.assertRaises(ConfigurationError, bind, here)
        self.assertEqual(_shared(after), [0])

    def test_whatListensElsewhereStays(self) -> None:
        """
        Only a port that is given up can be taken in another form.
        """
        address = self.free()
        self.keep(tunnel("a", address))
        everywhere = TCPAddress("0.0.0.0", address.port)
        self.assertRaises(
            Refused, self.sockets.bind, [tunnel("a", address), tunnel("b", everywhere)]
        )
        self.assertTrue(self.listens(address))

    def test_aUNIXSocketThatIsGoneIsMadeAgain(self) -> None:
        """
        Somebody has removed it: it is there after the next reload, and before that if it is undone
        as little as it was.
        """
        path = Path(self.mktemp())
        self.keep(tunnel("a", UNIXAddress(str(path))))
        path.unlink()
        self.sockets.bind([tunnel("a", UNIXAddress(str(path)))]).undo()
        self.assertFalse(path.exists())
        self.keep(tunnel("a", UNIXAddress(str(path))))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    def test_anotherProgramsSocketIsLeftAlone(self) -> None:
        """
        It stands where ours was: that is a reason to refuse, and no reason to remove it, or to
        change who may connect.
        """
        path = Path(self.mktemp())
        self.keep(tunnel("a", UNIXAddress(str(path))))
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            before = path.stat().st_mode
            access = SocketAccess(mode=0o600)
            self.assertRaises(
                Refused, self.sockets.bind, [tunnel("a", UNIXAddress(str(path)), access=access)]
            )
            self.keep(tunnel("a", ANY))
            self.assertEqual(path.stat().st_mode, before)

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

        def take(name: str, *more: object) -> list[socket.socket]:
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
