"""
Tests for L{tlstunnel.tunnel.prepared}: what connections are made with.
"""

from __future__ import annotations

import socket
import weakref
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import root
from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import authorityOf, createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.mysql import mysql
from tlstunnel.protocols.registry import find
from tlstunnel.protocols.setting import Setting
from tlstunnel.tls.creators import Creator
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared

SERVER = Identity(None, "server.example.org")
LOOPBACK = TCPAddress("127.0.0.1", 1)
NOW = datetime.now(UTC)


class PreparedTests(SynchronousTestCase):
    """
    L{Prepared}.
    """

    def setUp(self) -> None:
        """
        A pool with one identity.
        """
        self.pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(self.pool, SERVER)

    def prepared(self, mode: Mode, dialect: str = "none", **settings: Any) -> Prepared:
        """
        A tunnel with its credentials and contexts.
        """
        defaults: dict[str, Any] = {
            "mode": mode,
            "local": (),
            "remote": (LOOPBACK,),
            "dialect": find(dialect),
            "localID": SERVER if mode is Mode.SERVER else None,
            "pool": self.pool,
        }
        return Prepared(Tunnel(**(defaults | settings)))

    def mistake(self, mode: Mode, **settings: Any) -> ConfigurationError:
        """
        What is wrong.
        """
        error = self.assertRaises(ConfigurationError, self.prepared, mode, **settings)
        assert isinstance(error, ConfigurationError)
        return error

    def test_whatADialectNeedsIsBegunWhenATunnelIsOpened(self) -> None:
        """
        For those who play the client themselves, with what they are set to; not by who only looks.
        """
        begun: list[Setting] = []
        dialect = replace(mysql, beginClient=begun.append)
        options = frozenset({"no-full-authentication"})
        kinds: list[tuple[Mode, dict[str, Any]]] = [
            (Mode.SERVER, {}),
            (Mode.CLIENT, {"negotiatesOnly": True}),
            (Mode.CLIENT, {"options": options}),
        ]
        for mode, settings in kinds:
            tunnel = self.prepared(mode, "mysql", remoteID=SERVER, **settings).tunnel
            prepared = Prepared(replace(tunnel, dialect=dialect))
            self.assertEqual(begun, [])
            prepared.open()
        self.assertEqual([(each.options, each.remoteID) for each in begun], [(options, SERVER)])

    def test_aClientExpectsTheHostItConnectsTo(self) -> None:
        """
        If nobody says otherwise.
        """
        remote = (TCPAddress("localhost", 1),)
        expected = Identity(None, "localhost")
        self.assertEqual(self.prepared(Mode.CLIENT, remote=remote).expected, expected)
        dotted = (parseAddress("localhost.:1"),)
        self.assertEqual(self.prepared(Mode.CLIENT, remote=dotted).expected, expected)
        found = self.prepared(Mode.CLIENT, remote=remote, remoteID=SERVER).expected
        self.assertEqual(found, SERVER)

    def test_theIdsOfTheDialectAreOffered(self) -> None:
        """
        Unless others were given, or none.
        """
        self.assertEqual(self.prepared(Mode.SERVER, "imap").alpn, (b"imap",))
        self.assertEqual(self.prepared(Mode.SERVER, "imap", alpn=(b"x",)).alpn, (b"x",))
        self.assertEqual(self.prepared(Mode.SERVER, "imap", alpn=()).alpn, ())

    def test_whatIsMissingIsAnError(self) -> None:
        """
        An identity, whom to believe, and the pool itself.
        """
        nobody = Identity(None, "nobody.example.org")
        self.assertIn("identity create", str(self.mistake(Mode.SERVER, localID=nobody)))
        user = Identity("user", "a.example")
        empty = Pool(Path(self.mktemp()), asked=False)
        error = self.mistake(Mode.CLIENT, remoteID=user, pool=empty)
        self.assertIn("or give --trust FILE", str(error))
        gone = Pool(Path(self.mktemp()))
        self.assertEqual(self.mistake(Mode.CLIENT, remoteID=SERVER, pool=gone).key, "pool")

    def test_theWebsAuthoritiesKnowNoUsers(self) -> None:
        """
        However they are asked for.
        """
        user = Identity("user", "a.example")
        error = self.mistake(Mode.CLIENT, remoteID=user, trust=("system",))
        self.assertEqual(error.key, "trust")

    def test_severalTrustsAreReadTogether(self) -> None:
        """
        Each counts, and is named; one that cannot be read spoils them all.
        """
        files = []
        for name in "one", "two":
            file = Path(self.mktemp())
            file.write_bytes(root(name).certificate.public_bytes(Encoding.PEM))
            files.append(str(file))
        prepared = self.prepared(Mode.CLIENT, remoteID=SERVER, trust=(*files, "system"))
        self.assertEqual(
            prepared.anchors, f"--trust {files[0]}, --trust {files[1]}, --trust system"
        )
        believed = prepared._believed
        assert believed is not None
        self.assertEqual(
            believed.all.certificates, tuple(root(name).certificate for name in ("one", "two"))
        )
        self.assertTrue(believed.all.system)
        user = Identity("john", "a.example")
        prepared = self.prepared(Mode.CLIENT, remoteID=user, trust=(*files, "system"))
        self.assertEqual(prepared.anchors, f"--trust {files[0]}, --trust {files[1]}")
        self.mistake(Mode.CLIENT, remoteID=SERVER, trust=(*files, "/nowhere"))

    def test_sessionsAreThoseOfOneTunnelAndOneReload(self) -> None:
        """
        And of one identity expected, where apps say which.
        """
        there = TCPAddress("192.0.2.1", 5222)
        prepared = self.prepared(Mode.CLIENT, "xmpp", trust=("system",))
        self.assertIsNotNone(prepared._creators._sessions)
        other = self.prepared(Mode.CLIENT, "xmpp", trust=("system",))
        self.assertIsNot(other._creators._sessions, prepared._creators._sessions)
        creators = [prepared.creatorFor(Identity(None, f"{name}.example")) for name in "ab"]
        kept = {each.session(there).server for each in creators}
        self.assertEqual(len(kept), 2)
        self.assertNotIn(None, kept)

    def test_noneAreKeptWhereNoneAreResumed(self) -> None:
        """
        In server mode there is nothing to keep.
        """
        off = self.prepared(Mode.CLIENT, remoteID=SERVER, resumption=False)
        self.assertIsNone(off._creators._sessions)

    def test_noNameIsLookedUp(self) -> None:
        """
        Also where the resolver is dead, keys and trust can be read again.
        """

        def fail(*words: object, **more: object) -> None:
            raise AssertionError("somebody asks the resolver")

        for name in ("getaddrinfo", "gethostbyname", "gethostbyaddr", "getfqdn"):
            self.patch(socket, name, fail)
        remote = (TCPAddress("server.example.org", 25),)
        self.prepared(Mode.CLIENT, "smtp", remote=remote)
        self.prepared(Mode.SERVER, "smtp", remote=remote)

    def test_aGreetingIsAwaitedWhereServersGreet(self) -> None:
        """
        At all ports of which that is known, and with no dialect that says so itself.
        """
        for remotes, dialect, awaits in (
            ("mail.example.org:993", "none", True),
            ("mail.example.org:993 mail.example.org:465", "none", True),
            ("mail.example.org:993 mail.example.org:443", "none", False),
            ("/run/x", "none", False),
            ("mail.example.org:993", "imap", False),
        ):
            remote = tuple(map(parseAddress, remotes.split()))
            prepared = self.prepared(
                Mode.CLIENT, dialect, remote=remote, remoteID=SERVER, skipResolve=True
            )
            self.assertIs(prepared.awaitsGreeting, awaits, remotes)

    def test_namesThatTheCertificateHasAreCovered(self) -> None:
        """
        For dialects where a client says whom it wants, or an app who it is; where any name will
        do, all are.
        """
        for mode, remote in ((Mode.SERVER, None), (Mode.CLIENT, SERVER)):
            covers = self.prepared(mode, localID=SERVER, remoteID=remote).setting.covers
            self.assertTrue(covers("server.example.org"))
            self.assertFalse(covers("other.example.org"))
        self.assertTrue(self.prepared(Mode.SERVER, anyName=True).setting.covers("a.example"))
        self.assertFalse(self.prepared(Mode.CLIENT, remoteID=SERVER).setting.covers("a.example"))


class OurNameTests(SynchronousTestCase):
    """
    What we call ourselves, and others.
    """

    def setting(self, **settings: Any) -> Any:
        """
        What dialects are told.
        """
        defaults: dict[str, Any] = {
            "mode": Mode.CLIENT,
            "local": (),
            "remote": (LOOPBACK,),
            "dialect": find("smtp"),
            "remoteID": SERVER,
            "trust": ("system",),
            "skipResolve": True,
        }
        return Prepared(Tunnel(**(defaults | settings))).setting

    def test_weHaveTheNameOfOurIdentity(self) -> None:
        """
        Else that of this host.
        """
        pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(pool, SERVER)
        name = "host.example.net"
        found = self.setting(localID=SERVER, pool=pool, hostName=name)
        self.assertEqual(found.ourName, b"server.example.org")
        self.assertEqual(self.setting(hostName=name).ourName, b"host.example.net")

    def test_anIdentityThatCannotBeWrittenIsNotSaid(self) -> None:
        """
        Servers would answer 501: we are this host then, or an address.
        """
        pool = Pool(Path(self.mktemp()), asked=False)
        for domain, name in (("web_1.example", b"host.example.net"), ("192.0.2.1", b"[192.0.2.1]")):
            identity = Identity.parse(domain)
            createIdentity(pool, identity)
            found = self.setting(localID=identity, pool=pool, hostName="host.example.net")
            self.assertEqual(found.ourName, name)

    def test_theOtherHasTheNameThatIsExpected(self) -> None:
        """
        Of a user it is the domain.
        """
        self.assertEqual(self.setting().peerName, b"server.example.org")
        user = Identity("user", "a.example")
        pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(pool, SERVER)
        self.assertEqual(self.setting(remoteID=user, pool=pool, trust=()).peerName, b"a.example")

    def test_aNameThatCannotBeWrittenIsNotSaid(self) -> None:
        """
        The app is greeted with another; an address is a literal.
        """
        for domain, name in (("db_1.example", b"tlstunnel"), ("192.0.2.1", b"[192.0.2.1]")):
            self.assertEqual(self.setting(remoteID=Identity.parse(domain)).peerName, name)

    def test_theAuthorityIsTheAddress(self) -> None:
        """
        Without the usual port (RFC 9110, section 7.2); a UNIX socket has none.
        """
        for address, authority in (
            (TCPAddress("print.example.org", 631), b"print.example.org:631"),
            (TCPAddress("print.example.org", 80), b"print.example.org"),
            (TCPAddress("print.example.org.", 80), b"print.example.org"),
            (TCPAddress("2001:db8::1", 80), b"[2001:db8::1]"),
            (TCPAddress("fe80::1%eth0", 631), b"[fe80::1]:631"),
            (UNIXAddress("/run/cups.sock"), b"server.example.org"),
        ):
            self.assertEqual(self.setting(remote=(address,)).authority, authority)


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
