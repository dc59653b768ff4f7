"""
Tests for L{tlstunnel.net.listen}.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import ourName
from tlstunnel.net import listen
from tlstunnel.net.claim import Claim
from tlstunnel.net.listen import (
    bind,
    bindAll,
)


class BindTests(SynchronousTestCase):
    """
    From addresses to listening sockets.
    """

    def bound(self, address: TCPAddress | UNIXAddress) -> list[socket.socket]:
        """
        Bind, and close at the end of the test.
        """
        sockets = bind(address)
        for each in sockets:
            self.addCleanup(each.close)
        return sockets

    def path(self) -> str:
        """
        A short path of a file that is not there.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        return os.path.relpath(directory / "s")

    def test_anAddressOfIPv4(self) -> None:
        """
        One socket, listening, non-blocking.
        """
        (sock,) = self.bound(TCPAddress("127.0.0.1", 0))
        self.assertEqual(sock.family, socket.AF_INET)
        self.assertFalse(sock.getblocking())
        socket.create_connection(sock.getsockname()).close()

    def test_allInterfacesOfBothFamiliesAreOneSocket(self) -> None:
        """
        C{:443} and C{[::]:443} serve IPv4 too.
        """
        for host in ("", "::"):
            (sock,) = self.bound(TCPAddress(host, 0))
            socket.create_connection(("127.0.0.1", sock.getsockname()[1])).close()

    def test_withoutDescriptorsNoNameIsBlamed(self) -> None:
        """
        The limit is, whether the resolver meets it or the socket.
        """

        def fail(*arguments: Any, **words: Any) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(socket, "getaddrinfo", fail)
        error = self.assertRaises(ConfigurationError, bindAll, Claim([TCPAddress("localhost", 0)]))
        self.assertIn("Too many open files; raise the limit of open files", str(error))

    def test_bothFamiliesCanBeSaidApart(self) -> None:
        """
        Of C{0.0.0.0} and C{[::]} at the same port, in any order, each serves its own.
        """
        with socket.create_server(("0.0.0.0", 0)) as probe:
            port = probe.getsockname()[1]
        four = TCPAddress("0.0.0.0", port)
        for host in ("::", ""):
            for addresses in ((four, TCPAddress(host, port)), (TCPAddress(host, port), four)):
                both = bindAll(Claim(addresses))
                families = [each.sock.family for each in both]
                self.assertEqual(set(families), {socket.AF_INET, socket.AF_INET6})
                for near in ("127.0.0.1", "::1"):
                    with socket.create_connection((near, port)) as client:
                        listening = both[families.index(client.family)].sock
                        listening.accept()[0].close()
                for each in both:
                    each.close()

    def test_otherPortsOfIPv4LeaveAllInterfacesAsTheyAre(self) -> None:
        """
        Port 0 is another one each time.
        """
        for address in (TCPAddress("0.0.0.0", 0), TCPAddress("127.0.0.1", 0)):
            both = bindAll(Claim((address, TCPAddress("::", 0))))
            port = both[1].sock.getsockname()[1]
            socket.create_connection(("127.0.0.1", port)).close()
            for each in both:
                each.close()

    def test_aPortInUseIsNamed(self) -> None:
        """
        With what to do about it.
        """
        (sock,) = self.bound(TCPAddress("127.0.0.1", 0))
        address = TCPAddress("127.0.0.1", sock.getsockname()[1])
        error = self.assertRaises(ConfigurationError, bind, address)
        self.assertIn(f"--local {address}: Address already in use", str(error))

    def test_anAddressThatIsNotOursIsNamed(self) -> None:
        """
        With what to do about it.
        """
        error = self.assertRaises(ConfigurationError, bind, TCPAddress("192.0.2.1", 0))
        self.assertIn("give an address of this host", str(error))

    def test_aNameThatDoesNotResolveIsNamed(self) -> None:
        """
        With what to do about it.
        """
        error = self.assertRaises(ConfigurationError, bind, TCPAddress("gone.invalid", 1))
        self.assertIn("gone.invalid", str(error))

    def test_aNameIsListenedAtInTheFamiliesThatThereAre(self) -> None:
        """
        C{localhost} is also C{::1} where the host has no IPv6.
        """
        there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
        # Addresses for documentation are on no host.
        absent = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0))
        self.patch(socket, "getaddrinfo", lambda *args, **named: [absent, there])
        (sock,) = bind(TCPAddress("both.example", 0))
        self.addCleanup(sock.close)
        self.assertEqual(sock.getsockname()[0], "127.0.0.1")

    def test_allInterfacesAreThoseOfIPv4WhereThereIsNoIPv6(self) -> None:
        """
        The system may list addresses that it does not have.
        """
        there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0))
        absent = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0))
        self.patch(socket, "getaddrinfo", lambda *args, **named: [there, absent])
        (sock,) = bind(TCPAddress("", 0))
        self.addCleanup(sock.close)
        self.assertEqual(sock.getsockname()[0], "0.0.0.0")

    def test_aStaleUNIXSocketIsReplaced(self) -> None:
        """
        A process that died leaves its path behind.
        """
        path = self.path()
        (sock,) = bind(UNIXAddress(path))
        sock.close()
        self.bound(UNIXAddress(path))

    def test_aSocketCanCarryMessages(self) -> None:
        """
        Where that is asked for; a path that is left behind is taken, whatever it carried.
        """
        address = UNIXAddress(self.path())
        (stale,) = bind(address)
        stale.close()
        (sock,) = bind(address, Claim((address,), kind=socket.SOCK_SEQPACKET))
        self.addCleanup(sock.close)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(address.path)
        self.assertFalse(sock.getblocking())

    def test_aLivingSocketOfMessagesIsNotReplaced(self) -> None:
        """
        Neither by another one, nor by one of streams; the error names the setting.
        """
        address = UNIXAddress(self.path())
        claim = Claim((address,), kind=socket.SOCK_SEQPACKET, key="socket")
        (sock,) = bind(address, claim)
        self.addCleanup(sock.close)
        for each in (claim, Claim((address,), key="socket")):
            error = self.assertRaises(ConfigurationError, bind, address, each)
            self.assertIn(f"--socket {address}: Address already in use", str(error))

    def test_whatToDoAboutADirectory(self) -> None:
        """
        It is to be made, or to be opened to us.
        """
        # Short, as the path of a socket has to be.
        path = Path("/nonexistent/socket")
        error = self.assertRaises(ConfigurationError, bind, UNIXAddress(str(path)))
        assert isinstance(error, ConfigurationError)
        self.assertEqual(error.remedy, f"make the directory {path.parent}")
        for number, remedy in (
            (errno.EACCES, f"let user {ourName()} write in {path.parent}"),
            (errno.EROFS, "choose another path"),
        ):

            def refuse(path: str, number: int = number) -> None:
                raise OSError(number, "no")

            self.patch(listen, "_removeStale", refuse)
            error = self.assertRaises(ConfigurationError, bind, UNIXAddress(str(path)))
            assert isinstance(error, ConfigurationError)
            self.assertEqual(error.remedy, remedy)

    def test_aLivingUNIXSocketIsNotReplaced(self) -> None:
        """
        Somebody listens there.
        """
        path = self.path()
        self.bound(UNIXAddress(path))
        self.assertRaises(ConfigurationError, bind, UNIXAddress(path))

    def test_aFileIsNotReplaced(self) -> None:
        """
        It is no socket of ours.
        """
        path = self.path()
        Path(path).write_text("precious")
        self.assertRaises(ConfigurationError, bind, UNIXAddress(path))
        self.assertEqual(Path(path).read_text(), "precious")
