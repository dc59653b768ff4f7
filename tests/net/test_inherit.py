"""
Tests for L{tlstunnel.net.inherit}: sockets that whoever started us listens at already.
"""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.net import inherit
from tlstunnel.net.claim import Claim
from tlstunnel.net.inherit import descriptors, take


class DescriptorsTests(SynchronousTestCase):
    """
    What sd_listen_fds(3) says.
    """

    def test_socketsAreForTheProcessThatIsNamed(self) -> None:
        """
        Another process, or none, has none.
        """
        self.assertEqual(descriptors({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, 2), [])
        self.assertEqual(descriptors({}, 2), [])
        self.assertEqual(descriptors({"LISTEN_PID": "2"}, 2), [])

    def test_namesAreOptional(self) -> None:
        """
        Without names, or with too few, all are nameless.
        """
        both = {"LISTEN_PID": "2", "LISTEN_FDS": "2"}
        self.assertEqual(descriptors(both, 2), [("", 3), ("", 4)])
        self.assertEqual(descriptors({**both, "LISTEN_FDNAMES": "a"}, 2), [("", 3), ("", 4)])
        named = {**both, "LISTEN_FDNAMES": "a:b"}
        self.assertEqual(descriptors(named, 2), [("a", 3), ("b", 4)])

    def test_nonsenseIsNamed(self) -> None:
        """
        A number that is none is an error of who started us.
        """
        for count in ("", "x", "-1", "99999999"):
            environment = {"LISTEN_PID": "2", "LISTEN_FDS": count}
            self.assertRaises(ConfigurationError, descriptors, environment, 2)


class TakeTests(SynchronousTestCase):
    """
    L{take}.
    """

    def setUp(self) -> None:
        """
        Three descriptors are handed down; the second one does not listen, and the third is for
        messages.
        """
        self.patch(inherit, "_taken", set())
        self.patch(inherit, "_offered", [])
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = listening.getsockname()
        other = socket.socket()
        messages = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        messages.bind("")
        messages.listen()
        self.numbers = [each.detach() for each in (listening, other, messages)]
        self.patch(inherit, "descriptors", lambda *_: [*zip("abc", self.numbers, strict=True)])
        self.addCleanup(self.close)

    def close(self) -> None:
        """
        Close what nobody has closed.
        """
        for number in self.numbers:
            try:
                os.close(number)
            except OSError:
                pass

    def test_theSocketIsOurs(self) -> None:
        """
        Once it is closed nobody listens any more, and no program that we start gets it.
        """
        (sock,) = take("a")
        self.assertFalse(sock.get_inheritable())
        socket.create_connection(self.address).close()
        sock.close()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, self.address)

    def test_nobodyGetsOneTwice(self) -> None:
        """
        It would be closed under the other's feet.
        """
        (sock,) = take("a")
        self.addCleanup(sock.close)
        error = self.assertRaises(ConfigurationError, take, "a")
        self.assertIn("no such socket was handed down", str(error))

    def test_whatDoesNotListenIsAnError(self) -> None:
        """
        It names the socket.
        """
        error = self.assertRaises(ConfigurationError, take, "b")
        self.assertIn("--local systemd:b: descriptor", str(error))
        self.assertIn("does not listen", str(error))

    def test_aDaemonKeepsWhatWasHandedDown(self) -> None:
        """
        Although it is another process by then.
        """
        inherit.offered()
        self.patch(inherit, "descriptors", lambda *_: [])
        (sock,) = take("a")
        sock.close()

    def test_allSocketsOfOneNameAreTaken(self) -> None:
        """
        As where a unit has several lines C{ListenStream=}.
        """
        more = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(more.close)
        same = [("a", self.numbers[0]), ("x", self.numbers[1]), ("a", more.detach())]
        self.patch(inherit, "descriptors", lambda *_: same)
        socks = take("a")
        for sock in socks:
            self.addCleanup(sock.close)
        self.assertEqual(socks[0].getsockname(), self.address)
        self.assertEqual(len(socks), 2)

    def test_socketsForAnotherProcessAreAnErrorThatSaysSo(self) -> None:
        """
        A shell between systemd and us keeps them to itself.
        """
        self.patch(inherit, "descriptors", lambda *_: [])
        self.patch(os, "environ", {**os.environ, "LISTEN_PID": "1"})
        error = self.assertRaises(ConfigurationError, take, "a")
        self.assertIn("they are for process '1': start us without a shell", str(error))

    def test_whatIsNoStreamIsAnError(self) -> None:
        """
        There is nothing to do TLS on.
        """
        error = self.assertRaises(ConfigurationError, take, "c")
        self.assertIn("is not TCP or a UNIX socket of streams; use ListenStream=", str(error))

    def test_whatCarriesMessagesIsTakenWhereThatIsWanted(self) -> None:
        """
        And nothing else is, which the error says in the words of a unit.
        """
        claim = Claim((), kind=socket.SOCK_SEQPACKET, isLocal=True, key="socket")
        (sock,) = take("c", claim)
        self.addCleanup(sock.close)
        error = str(self.assertRaises(ConfigurationError, take, "a", claim))
        self.assertIn("--socket systemd:a: descriptor", error)
        self.assertIn("is not a UNIX socket of messages; use ListenSequentialPacket= with", error)

    def test_aSocketOfTCPIsNoneWhosePeersTheSystemKnows(self) -> None:
        """
        It carries streams, and that is not enough.
        """
        claim = Claim((), isLocal=True)
        error = str(self.assertRaises(ConfigurationError, take, "a", claim))
        self.assertIn("is not a UNIX socket of streams; use ListenStream= with a path", error)

    def test_anotherNameIsAnError(self) -> None:
        """
        That has those there are.
        """
        self.assertIn("there are: a, b", str(self.assertRaises(ConfigurationError, take, "d")))
