"""
Data connections of ftp behind address translation, and those to which the server connects:
L{tlstunnel.protocols.ftpdata} and L{tlstunnel.protocols.ftpports}.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.ftpdialogues import CLIENT, PROTECTED, SERVER
from tlstunnel.errors import LimitReached
from tlstunnel.protocols.ftp import ftp
from tlstunnel.protocols.ftpcontrol import DATA_MESSAGES
from tlstunnel.protocols.ftpdata import ACTIVE
from tlstunnel.protocols.ftpports import Target, activeTarget
from tlstunnel.testing.dialogues import client, inside, server, split
from tlstunnel.testing.legs import MemoryLeg
from tlstunnel.testing.memory import Driver
from tlstunnel.tunnel.filtering import MAX_MESSAGES_PER_TURN

#: What asks for an active data connection to the address of L{Driver}'s client.
PORT, EPRT = b"PORT 192,0,2,9,4,1", b"EPRT |1|192.0.2.9|1025|"


def app(*options: str) -> Driver:
    """
    Mode -c, the app greeted.
    """
    driver = inside(client(ftp, *options), CLIENT)
    driver.network.feed(PROTECTED)
    assert driver.stage == "relay", driver.error
    driver.plain.takeWritten()
    driver.network.takeWritten()
    return driver


def backend(*options: str) -> Driver:
    """
    Mode -s, the backend met, and data protected.
    """
    driver = inside(server(ftp, *options), SERVER)
    driver.plain.feed(b"220 backend\r\n")
    driver.network.feed(b"PBSZ 0\r\nPROT P\r\n")
    assert driver.stage == "relay", driver.error
    driver.network.takeWritten()
    return driver


def both(*options: str) -> list[tuple[Driver, MemoryLeg, MemoryLeg]]:
    """
    Both modes, each with the leg of the client and that of the server.
    """
    ours, theirs = app(*options), backend(*options)
    return [(ours, ours.plain, ours.network), (theirs, theirs.network, theirs.plain)]


class TranslationTests(SynchronousTestCase):
    """
    The options C{address} and C{ports}.
    """

    def test_theReplyToPASVNamesTheAddress(self) -> None:
        """
        That of EPSV has none to name.
        """
        for driver, asking, answering in both("address=198.51.100.7"):
            asking.feed(b"PASV\r\nEPSV\r\n")
            answering.feed(b"227 (127,0,0,1,4,1)\r\n229 (|||1026|)\r\n")
            self.assertEqual(
                asking.takeWritten(),
                b"227 Entering Passive Mode (198,51,100,7,195,80)\r\n"
                b"229 Entering Extended Passive Mode (|||50001|)\r\n",
            )
            self.assertEqual(driver.channels.opened, [1025, 1026])

    def test_overIPv6NobodyTranslatesForPASV(self) -> None:
        """
        The client's host is one that has no address of IPv4 for us.
        """
        for driver, asking, answering in both("address=198.51.100.7"):
            driver.channels.host = "2001:db8::1"
            asking.feed(b"PASV\r\n")
            self.assertEqual(answering.takeWritten(), b"")
            self.assertTrue(asking.takeWritten().startswith(b"522 "))

    def test_theRangeIsAskedFor(self) -> None:
        """
        Of whoever listens.
        """
        for driver, asking, answering in both("ports=50000-50009"):
            asking.feed(b"PASV\r\n")
            answering.feed(b"227 (127,0,0,1,4,1)\r\n")
            self.assertEqual(driver.channels.ports, range(50000, 50010))

    def test_whereAllOfItIsInUseTheClientIsTold(self) -> None:
        """
        And may try again.
        """
        for driver, asking, answering in both("ports=50000-50009"):
            driver.channels.refusal = LimitReached("all ports from 50000 to 50009 are in use")
            asking.feed(b"EPSV\r\n")
            answering.feed(b"229 (|||1025|)\r\n")
            self.assertEqual(
                asking.takeWritten(),
                b"425 Cannot listen: all ports from 50000 to 50009 are in use\r\n",
            )
            self.assertIsNone(driver.error)


class ActiveTests(SynchronousTestCase):
    """
    The option C{active}.
    """

    def test_theServerIsAskedForPassiveMode(self) -> None:
        """
        And the client gets the reply that it awaits.
        """
        for command, asked, reply, port in (
            (PORT, b"PASV", b"227 Entering Passive Mode (10,9,8,7,8,2).", 2050),
            (EPRT, b"EPSV", b"229-Entering\r\n229 Extended Passive Mode (|||2050|)", 2050),
            (b"port 192,0,2,9,255,255", b"PASV", b"227 =1,2,3,4,0,21", 21),
            (b"EPRT !1!192.0.2.9!1025! ", b"EPSV", b"229 (|||2050|)", 2050),
        ):
            for pieces in split(reply + b"\r\n"):
                for driver, asking, answering in both("active"):
                    asking.feed(command + b"\r\n")
                    self.assertEqual(answering.takeWritten(), asked + b"\r\n")
                    for piece in pieces:
                        answering.feed(piece)
                    verb = command[:4].upper()
                    self.assertEqual(asking.takeWritten(), b"200 " + verb + b" understood\r\n")
                    towards = 65535 if b"255,255" in command else 1025
                    self.assertEqual(driver.channels.connected, [(port, towards)])
                    self.assertEqual(driver.channels.opened, [])

    def test_theOtherFormIsTriedWhereTheServerRefuses(self) -> None:
        """
        As for a client that asks for passive mode; if there is none, it hears the first refusal.
        """
        for command, asked, instead, reply in (
            (PORT, b"PASV", b"EPSV", b"229 (|||2050|)"),
            (EPRT, b"EPSV", b"PASV", b"227 (1,2,3,4,8,2)"),
        ):
            for driver, asking, answering in both("active"):
                asking.feed(command + b"\r\n")
                answering.feed(b"522 what?\r\n")
                self.assertEqual(answering.takeWritten(), asked + b"\r\n" + instead + b"\r\n")
                answering.feed(reply + b"\r\n")
                self.assertTrue(asking.takeWritten().startswith(b"200 "))
                self.assertEqual(driver.channels.connected, [(2050, 1025)])
                asking.feed(command + b"\r\n")
                answering.feed(b"500 first\r\n502 second\r\n")
                self.assertEqual(asking.takeWritten(), b"500 first\r\n")
                self.assertEqual(len(driver.channels.connected), 1)

    def test_whatIsNoConsentIsNone(self) -> None:
        """
        Whatever the server says instead of a port: the client must not wait for a connection.
        """
        for reply, expected in (
            (b"200 ok", b"425 "),
            (b"331 password?", b"425 "),
            (b"227 nowhere", b"425 "),
            (b"229 (|||0|)", b"425 "),
            (b"530 log in", b"530 log in"),
            (b"421 bye", b"421 bye"),
        ):
            for driver, asking, answering in both("active"):
                asking.feed(PORT + b"\r\n")
                answering.feed(reply + b"\r\n")
                self.assertTrue(asking.takeWritten().startswith(expected), reply)
                self.assertEqual(driver.channels.connected, [])

    def test_whereWeCannotConnectTheClientIsTold(self) -> None:
        """
        With the reason.
        """
        for driver, asking, answering in both("active"):
            driver.channels.refusal = LimitReached("too many data connections")
            asking.feed(PORT + b"\r\n")
            answering.feed(b"227 (1,2,3,4,4,1)\r\n")
            self.assertEqual(
                asking.takeWritten(), b"425 Cannot connect: too many data connections\r\n"
            )

    def test_nobodyElseIsConnectedTo(self) -> None:
        """
        Neither another host (the bounce attack of RFC 2577), nor a service of the client's own, nor
        what is no address.  Nothing of it reaches the server.
        """
        for command, code in (
            (b"PORT 192,0,2,8,4,1", b"504 "),
            (b"PORT 127,0,0,1,4,1", b"504 "),
            (b"PORT 0,0,0,0,4,1", b"504 "),
            (b"PORT 192,0,2,9,3,255", b"504 "),
            (b"PORT 192,0,2,9,0,0", b"504 "),
            (b"PORT 192,0,2,9,0,25", b"504 "),
            (b"PORT 192,0,2,9,256,1", b"501 "),
            (b"PORT 448,0,2,9,4,1", b"501 "),
            (b"PORT 192,0,2,9,4", b"501 "),
            (b"PORT 192,0,2,9,4,1,1", b"501 "),
            (b"PORT 192, 0,2,9,4,1", b"501 "),
            (b"PORT 192,0,2,9,4,-1", b"501 "),
            (b"PORT (192,0,2,9,4,1)", b"501 "),
            (b"PORT", b"501 "),
            (b"EPRT |1|192.0.2.8|1025|", b"504 "),
            (b"EPRT |1|192.0.2.9|1023|", b"504 "),
            (b"EPRT |1|192.0.2.9|0|", b"504 "),
            (b"EPRT |2|2001:db8::9|1025|", b"504 "),
            (b"EPRT |2|::1|1025|", b"504 "),
            (b"EPRT |2|::ffff:192.0.2.8|1025|", b"504 "),
            (b"EPRT |3|192.0.2.9|1025|", b"522 "),
            (b"EPRT |1|192.0.2.9|65536|", b"501 "),
            (b"EPRT |1|192.0.2.9|99999|", b"501 "),
            (b"EPRT |1|localhost|1025|", b"501 "),
            (b"EPRT |1|192.0.02.9|1025|", b"501 "),
            (b"EPRT |1|3221225993|1025|", b"501 "),
            (b"EPRT |1|2001:db8::9|1025|", b"501 "),
            (b"EPRT |2|192.0.2.9|1025|", b"501 "),
            (b"EPRT |2|fe80::1%1|1025|", b"501 "),
            (b"EPRT |1|192.0.2.9|1025", b"501 "),
            (b"EPRT |1|192.0.2.9!1025|", b"501 "),
            (b"EPRT |||1025|", b"501 "),
            (b"EPRT", b"501 "),
        ):
            for driver, asking, answering in both("active"):
                asking.feed(command + b"\r\n")
                self.assertEqual(answering.takeWritten(), b"", command)
                self.assertTrue(asking.takeWritten().startswith(code), command)
                self.assertEqual(driver.channels.connected, [])

    def test_overIPv6ThereIsEPRT(self) -> None:
        """
        The address is compared, and not its spelling; where it is of a link, that is the client's.
        """
        for peer, said in (
            ("2001:db8::9", b"2001:DB8:0:0::9"),
            ("fe80::9%eth0", b"fe80::9"),
        ):
            for driver, asking, answering in both("active"):
                driver.channels.host, driver.channels.peer = "2001:db8::1", peer
                asking.feed(PORT + b"\r\n")
                self.assertEqual(answering.takeWritten(), b"")
                self.assertTrue(asking.takeWritten().startswith(b"522 "))
                asking.feed(b"EPRT |2|%b|1025|\r\n" % said)
                self.assertEqual(answering.takeWritten(), b"EPSV\r\n")
                answering.feed(b"229 (|||2050|)\r\n")
                self.assertEqual(driver.channels.connected, [(2050, 1025)])

    def test_anAddressMappedIntoIPv6IsTheSame(self) -> None:
        """
        Some clients know their address in that form only.
        """
        for driver, asking, _ in both("active"):
            asking.feed(b"EPRT |2|::ffff:192.0.2.9|1025|\r\n")
            self.assertEqual(asking.takeWritten(), b"")
            self.assertIsNone(driver.error)

    def test_onAUNIXSocketNobodyListens(self) -> None:
        """
        Whoever connected has no address.
        """
        for driver, asking, answering in both("active"):
            driver.channels.host = driver.channels.peer = ""
            for command in (PORT, EPRT):
                asking.feed(command + b"\r\n")
                self.assertEqual(answering.takeWritten(), b"")
                self.assertTrue(asking.takeWritten().startswith(b"502 "))

    def test_otherFormsOfActiveModeStayRefused(self) -> None:
        """
        Nobody has them.
        """
        for _, asking, answering in both("active"):
            for command in (b"LPRT 4,4,192,0,2,9,2,4,1", b"SSCN ON", b"CPSV"):
                asking.feed(command + b"\r\n")
                self.assertEqual(answering.takeWritten(), b"")
                self.assertTrue(asking.takeWritten().startswith(b"502 "))

    def test_dataHasToBeProtectedFirst(self) -> None:
        """
        In server mode, as for PASV.
        """
        driver = inside(server(ftp, "active"), SERVER)
        driver.plain.feed(b"220 backend\r\n")
        driver.network.takeWritten()
        driver.network.feed(PORT + b"\r\n" + EPRT + b"\r\n")
        self.assertEqual(driver.network.takeWritten().count(b"521 "), 2)
        self.assertEqual(driver.plain.takeWritten(), b"")

    def test_EPRTIsAFeature(self) -> None:
        """
        Where the server has it.
        """
        features = b"211-Features:\r\n EPRT\r\n EPSV\r\n LPRT\r\n211 End\r\n"
        for options, expected in (((), b""), (("active",), b" EPRT\r\n")):
            for _, asking, answering in both(*options):
                asking.feed(b"FEAT\r\n")
                answering.feed(features)
                self.assertEqual(
                    asking.takeWritten(),
                    b"211-Features:\r\n" + expected + b" EPSV\r\n211 End\r\n",
                )


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


class FloodTests(SynchronousTestCase):
    """
    A client that asks for a thousand at once, and a server that names a port for each.
    """

    def test_fewAreMadeInATurn(self) -> None:
        """
        So that others have theirs; each is made, and told of in its place.
        """
        # What is left of one record, and what the next one brings.
        most = 2 * MAX_MESSAGES_PER_TURN // DATA_MESSAGES
        turns: list[Callable[[], None]] = []
        for asked, reply in (
            (b"PASV", b"227 =1,1,1,1,1,1"),
            (b"EPSV", b"229 (|||1|)"),
            (PORT, b"227 =1,1,1,1,1,1"),
        ):
            for driver, near, far in both(ACTIVE):
                near.feed((asked + b"\r\n") * 1000)
                driver.settle()
                self.assertEqual(far.takeWritten().count(b"\r\n"), 1000)
                made = driver.channels.connected if asked == PORT else driver.channels.opened
                patched = self.patch(driver.clock, "callLater", lambda _, call: turns.append(call))
                far._settle = far.deliver
                far.feed((reply + b"\r\n") * 1000)
                done = 0
                while turns:
                    self.assertLessEqual(len(made) - done, most)
                    done = len(made)
                    turns.pop()()
                    far.deliver()
                patched.restore()
                driver.settle()
                self.assertEqual(len(made), 1000)
                replies = near.takeWritten()
                self.assertEqual(replies.count(b"\r\n"), 1000)
                self.assertEqual(replies.count(b"\r\n200 " if asked == PORT else b"\r\n22"), 999)
                self.assertIsNone(driver.error)

    def test_whatLiesBehindThemIsNotForgotten(self) -> None:
        """
        Also where the server says no more.
        """
        for driver, near, far in both():
            near.feed(b"PASV\r\n" * 9 + b"NOOP\r\n")
            far.feed(b"227 =1,1,1,1,1,1\r\n" * 9 + b"200 done\r\n")
            far.end()
            driver.settle()
            self.assertTrue(near.takeWritten().endswith(b")\r\n200 done\r\n"))
            self.assertEqual(len(driver.channels.opened), 9)


class TargetTests(SynchronousTestCase):
    """
    What a client names.
    """

    @given(ADDRESSES, st.integers(0, 65535), st.sampled_from("|!~#"))
    def test_everyAddressIsUnderstood(
        self, host: IPv4Address | IPv6Address, port: int, mark: str
    ) -> None:
        """
        As it was meant.
        """
        family = 1 if host.version == 4 else 2
        said = mark.join(("", str(family), str(host), str(port), ""))
        mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
        self.assertEqual(activeTarget(b"EPRT", said.encode()), Target(mapped or host, port))
        if isinstance(host, IPv4Address):
            numbers = ",".join(map(str, host.packed + port.to_bytes(2, "big")))
            self.assertEqual(activeTarget(b"PORT", numbers.encode()), Target(host, port))

    @given(st.sampled_from([b"PORT", b"EPRT"]), st.binary(max_size=60))
    def test_garbageIsNoTarget(self, verb: bytes, garbage: bytes) -> None:
        """
        Or it is one, but nothing else.
        """
        try:
            host, port = activeTarget(verb, garbage)
        except ValueError:
            return
        self.assertEqual(host, ip_address(host.packed))
        self.assertIn(port, range(65536))

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_garbageConnectsToNobodyElse(self, garbage: bytes) -> None:
        """
        Whatever is said, data goes to the client or nowhere.
        """
        for driver, asking, answering in both("active"):
            asking.feed(b"PORT " + garbage + b"\r\nEPRT " + garbage + b"\r\n")
            answering.feed(b"227 (1,2,3,4,8,2)\r\n229 (|||2050|)\r\n" * 2)
            for far, near in driver.channels.connected:
                self.assertEqual(far, 2050)
                self.assertGreaterEqual(near, 1024)
