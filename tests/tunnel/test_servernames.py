"""
Tests for L{tlstunnel.tunnel.servernames} and L{tlstunnel.tls.faces}: what a client comes to by the
name that it asks for, in TLS 1.2 and 1.3, with OpenSSL as the client.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, dns, mail, make, root
from tests.revoked import makeList, pem
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError, TunnelError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pins import keyOf
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.registry import find
from tlstunnel.tls import binding
from tlstunnel.tls.checkup import handshake
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.failures import handshakeFailure
from tlstunnel.tls.session import Session
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import Addresses, ServedName, normalName

MEMORY = cast(Any, None)

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def at(port: int) -> Addresses:
    """A backend."""
    return (TCPAddress("127.0.0.1", port),)


FRONT, OPEN, CLOSED, SECOND = (at(port) for port in (1, 2, 3, 4))


class Met:
    """
    What came of a connection.

    @ivar told: what the client was told by an alert, or otherwise; empty if it was served.
    @ivar why: why we have ended it; C{None} if we have not.
    @ivar shown: the first name in the certificate that the client saw.
    @ivar remote: where its connection would be forwarded to.
    @ivar authorities: those that it was told of when it was asked for a certificate.
    """

    def __init__(
        self,
        server: SSL.Connection,
        client: SSL.Connection,
        session: Session,
        prepared: Prepared,
        begin: Callable[[SSL.Connection, SSL.Connection], Any],
    ) -> None:
        failed, told = begin(server, client)
        if told is None:
            # In TLS 1.3 a client hears only now what the server thinks of it.
            try:
                client.recv(1)
            except SSL.WantReadError:
                pass
            except SSL.Error as late:
                told = late
        self.session = session
        self.told = str(told or "")
        self.why: TunnelError | None = (
            session.completed(server) if failed is None else handshakeFailure(failed, session)
        )
        certificate = client.get_peer_certificate(as_cryptography=True)
        names = _names(certificate) if certificate is not None else []
        self.shown = names[0] if names else ""
        assert prepared.names is not None
        self.remote: Addresses | None = None
        if self.why is None:
            self.remote = prepared.names.remote(session) or prepared.tunnel.remote
        self.authorities = [each.CN for each in client.get_client_ca_list()]
        self.alpn = session.alpn


def _names(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


class NamesTestCase(SynchronousTestCase):
    """
    A server tunnel with a pool of its own.
    """

    def setUp(self) -> None:
        """
        Three identities, and a PKI for clients.
        """
        self.pool = Pool(Path(self.mktemp()))
        for name in ("front.example", "open.example", "closed.example"):
            createIdentity(self.pool, Identity.parse(name))
        self.trust = Path(self.mktemp())
        self.trust.write_bytes(root().certificate.public_bytes(Encoding.PEM))
        self.bob = make(Recipe(san=alternative(mail("bob@partner.example"))), root())
        self.eve = make(Recipe(san=alternative(mail("eve@other.example"))), root())

    def tunnel(self, *names: ServedName, **settings: Any) -> Tunnel:
        """
        A description.
        """
        defaults: dict[str, Any] = {
            "mode": Mode.SERVER,
            "local": (TCPAddress("127.0.0.1", 0),),
            "remote": FRONT,
            "dialect": find("none"),
            "localID": Identity.parse("front.example"),
            "pool": self.pool,
            "trust": (str(self.trust),),
            "names": names,
        }
        return Tunnel(**(defaults | settings))

    def prepared(self, *names: ServedName, **settings: Any) -> Prepared:
        """
        A tunnel that is ready.
        """
        return Prepared(self.tunnel(*names, **settings))

    def issue(self, directory: str, *names: str) -> None:
        """
        Put a certificate for C{names} into the pool.
        """
        createIdentity(self.pool, Identity.parse(directory))
        place = self.pool.path / directory
        issued = make(Recipe(san=alternative(*map(dns, names))), root())
        (place / "fullchain.pem").write_bytes(issued.chainPEM())
        (place / "privkey.pem").write_bytes(issued.keyPEM())

    def meet(
        self,
        prepared: Prepared,
        name: bytes | str | None,
        version: str = "1.3",
        issued: Issued | None = None,
        alpn: tuple[bytes, ...] = (),
        creator: Creator | None = None,
        begin: Callable[[SSL.Connection, SSL.Connection], Any] = handshake,
    ) -> Met:
        """
        Let a client come.

        @param name: what it asks for.
        @param issued: the certificate that it has.
        """
        creator = creator or prepared.serverCreator
        session = creator.session()
        server = creator.connection(MEMORY, session)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])
        if issued is not None:
            context.use_certificate(issued.certificate)
            context.use_privatekey(issued.key)
        if alpn:
            context.set_alpn_protos(list(alpn))
        client = SSL.Connection(context, MEMORY)
        if name is not None:
            client.set_tlsext_host_name(name.encode() if isinstance(name, str) else name)
        client.set_connect_state()
        return Met(server, client, session, prepared, begin)


class SelectionTests(NamesTestCase):
    """
    Which certificate a client is shown.
    """

    def shown(self, prepared: Prepared, name: bytes | str | None) -> str:
        """
        Whose certificate it is, or why there is none; the same in both versions.
        """
        found = set()
        for version in VERSIONS:
            met = self.meet(prepared, name, version)
            self.assertEqual(met.why is None, not met.told)
            found.add(met.shown if met.why is None else met.told)
        (only,) = {"unrecognized name" if "unrecognized" in each else each for each in found}
        return only

    def several(self, **settings: Any) -> Prepared:
        """
        A tunnel with three -L.
        """
        others = tuple(map(Identity.parse, ("open.example", "closed.example")))
        return self.prepared(otherIDs=others, **settings)

    def test_theNameChoosesTheCertificate(self) -> None:
        """
        Of those that the tunnel has.
        """
        prepared = self.several()
        for name in ("front.example", "open.example", "closed.example"):
            self.assertEqual(self.shown(prepared, name), name)

    def test_caseAndADotAtTheEndDoNotMatter(self) -> None:
        """
        As in all domains.
        """
        for name in ("OPEN.example", "open.example.", "oPeN.EXAMPLE."):
            self.assertEqual(self.shown(self.several(), name), "open.example")

    def test_theFirstIsForClientsThatAskForNoName(self) -> None:
        """
        An address is none; lftp sends one nevertheless.
        """
        prepared = self.several()
        for name in (None, "192.0.2.1", "2001:db8::1"):
            self.assertEqual(self.shown(prepared, name), "front.example")

    def test_aNameThatNobodyHasIsRefused(self) -> None:
        """
        With alert 112, whatever bytes it has: names in Unicode are sent as A-labels.
        """
        prepared = self.several()
        names = (
            "other.example",
            "example",
            "x.open.example",
            "ö.example",
            b"\xff",
            b"a..b",
            b"*.x",
        )
        for name in names:
            self.assertEqual(self.shown(prepared, name), "unrecognized name", name)

    def test_anyNameIsServedAsTheFirst(self) -> None:
        """
        Where that was asked for; those that somebody has are still his.
        """
        prepared = self.several(anyName=True)
        self.assertEqual(self.shown(prepared, "other.example"), "front.example")
        self.assertEqual(self.shown(prepared, "open.example"), "open.example")

    def test_whoAsksForNoNameIsRefusedWhereOneIsRequired(self) -> None:
        """
        With the alert that RFC 8446, section 9.2, wants; before it there was none.
        """
        prepared = self.several(requireSNI=True)
        self.assertEqual(self.shown(prepared, "open.example"), "open.example")
        for version, name, alert in (
            ("1.2", None, "unrecognized"),
            ("1.3", None, "missing extension"),
            ("1.3", "192.0.2.1", "unrecognized"),
        ):
            met = self.meet(prepared, name, version)
            self.assertIn(alert, met.told)
            self.assertIn("asks for no name", str(met.why))

    def test_aWildcardStandsForOneLabel(self) -> None:
        """
        And for nothing that has a table of its own.
        """
        self.issue("wild.example", "*.wild.example", "wild.example")
        self.issue("www.wild.example", "www.wild.example")
        prepared = self.prepared(ServedName("*.wild.example"), ServedName("www.wild.example"))
        self.assertEqual(self.shown(prepared, "a.wild.example"), "*.wild.example")
        self.assertEqual(self.shown(prepared, "www.wild.example"), "www.wild.example")
        for name in ("wild.example", "a.b.wild.example", ".wild.example"):
            self.assertEqual(self.shown(prepared, name), "unrecognized name")

    def test_theNamesInCertificatesComeLast(self) -> None:
        """
        Behind those that were given, and behind their wildcards.
        """
        self.issue("many.example", "many.example", "a.many.example", "*.more.example")
        prepared = self.several(localID=Identity.parse("many.example"))
        for name in ("a.many.example", "x.more.example"):
            self.assertEqual(self.shown(prepared, name), "many.example")
        self.assertEqual(self.shown(prepared, "open.example"), "open.example")

    def test_aTableForAWildcardCountsMoreThanACertificate(self) -> None:
        """
        Which may have the very name.
        """
        self.issue("many.example", "many.example", "a.many.example", "*.many.example")
        prepared = self.prepared(
            ServedName("*.many.example", remote=CLOSED, remoteID=Selector.parse("@.")),
            localID=Identity.parse("many.example"),
        )
        for version in VERSIONS:
            self.assertIsNone(self.meet(prepared, "a.many.example", version).remote)
            met = self.meet(prepared, "a.many.example", version, self.bob)
            self.assertEqual(met.remote, CLOSED)
            self.assertEqual(self.meet(prepared, "many.example", version).remote, FRONT)

    def test_aUserIsServedUnderAnyOtherName(self) -> None:
        """
        The certificate of user@domain covers none; other -L keep theirs.
        """
        user = Identity.parse("user@front.example")
        createIdentity(self.pool, user)
        prepared = self.several(localID=user)
        self.assertEqual(self.shown(prepared, "closed.example"), "closed.example")
        self.assertIsNone(self.meet(prepared, "whatever.example").why)


class CertificatesTests(NamesTestCase):
    """
    How a name finds its certificate.
    """

    def mistake(self, *names: ServedName, **settings: Any) -> str:
        """
        What is wrong.
        """
        return str(self.assertRaises(ConfigurationError, self.prepared, *names, **settings))

    def test_itsOwnDirectoryComesFirst(self) -> None:
        """
        Even if another -L is for it too.
        """
        self.issue("many.example", "many.example", "open.example")
        prepared = self.prepared(ServedName("open.example"), localID=Identity.parse("many.example"))
        self.assertEqual(self.meet(prepared, "open.example").shown, "open.example")

    def test_itIsReadOnce(self) -> None:
        """
        So that what is shown is what was looked at, also where it is replaced at that moment.
        """
        read: list[Identity] = []
        find = Pool.credentials

        def credentials(pool: Pool, identity: Identity) -> Any:
            read.append(identity)
            return find(pool, identity)

        self.patch(Pool, "credentials", credentials)
        self.prepared(ServedName("open.example"), ServedName("closed.example"))
        self.assertEqual(len(read), len(set(read)))

    def test_elseTheFirstOfOursThatIsForIt(self) -> None:
        """
        In the order of -L.
        """
        for name in ("a.example", "b.example"):
            self.issue(name, name, "x.example", "*.y.example")
        first, second = map(Identity.parse, ("b.example", "a.example"))
        prepared = self.prepared(
            ServedName("x.example"), ServedName("*.y.example"), localID=first, otherIDs=(second,)
        )
        self.assertEqual(self.meet(prepared, "x.example").shown, "b.example")
        self.assertEqual(self.meet(prepared, "w.y.example").shown, "b.example")

    def test_elseThereIsAnError(self) -> None:
        """
        That names the file and what to do.
        """
        said = self.mistake(ServedName("missing.example"))
        self.assertIn("missing.example/fullchain.pem: is not there", said)
        self.assertIn("--local-id (front.example) has none for it either", said)
        self.assertIn("identity create", said)
        self.assertIn("*.front.example", self.mistake(ServedName("*.front.example")))

    def test_aDirectoryThatIsNotForItIsAnError(self) -> None:
        """
        Whoever asks for the name would not believe it.
        """
        self.issue("wrong.example", "other.example")
        said = self.mistake(ServedName("wrong.example"))
        self.assertIn("wrong.example/fullchain.pem: is not for wrong.example", said)

    def test_aWildcardHasTheDirectoryOfWhatIsBehindItsAsterisk(self) -> None:
        """
        As certbot has it; if that is for no wildcard, -L decides.
        """
        self.issue("wild.example", "*.wild.example")
        prepared = self.prepared(ServedName("*.wild.example"))
        self.assertEqual(self.meet(prepared, "a.wild.example").shown, "*.wild.example")
        self.issue("sub.example", "sub.example")
        self.issue("many.example", "*.sub.example")
        prepared = self.prepared(
            ServedName("*.sub.example"), localID=Identity.parse("many.example")
        )
        self.assertEqual(self.meet(prepared, "a.sub.example").shown, "*.sub.example")
        self.assertEqual(list(map(str, prepared.certificates)), ["many.example"])

    def test_allThatIsShownIsKnown(self) -> None:
        """
        To the log and to the status, which say when it expires.
        """
        prepared = self.prepared(
            ServedName("open.example"), otherIDs=(Identity.parse("closed.example"),)
        )
        self.assertEqual(
            sorted(map(str, prepared.certificates)),
            ["closed.example", "front.example", "open.example"],
        )

    def test_whatIsAlikeIsMadeOnce(self) -> None:
        """
        A thousand names with one certificate have one context, and one more if they demand one.
        """
        self.issue("wild.example", "*.wild.example", "wild.example")
        names = [ServedName(f"n{n}.wild.example", remote=at(n + 1)) for n in range(1000)]
        names[0] = replace(names[0], remoteID=Selector.parse("@."))
        names[1] = replace(names[1], remoteID=Selector.parse("@.example"))
        prepared = self.prepared(*names, localID=Identity.parse("wild.example"))
        assert prepared.names is not None
        self.assertEqual(len(prepared.names._contexts), 2)
        self.assertEqual(self.meet(prepared, "n999.wild.example").remote, at(1000))

    def test_aBackendThatIsDialledBeforeTLSCannotBeChosen(self) -> None:
        """
        mysql has to show its greeting first.
        """
        said = self.mistake(ServedName("open.example", remote=OPEN), dialect=find("mysql"))
        self.assertIn("cannot be chosen with mysql", said)
        chosen = ServedName("open.example", remotes=((b"h2", OPEN),))
        self.assertIn("cannot be chosen", self.mistake(chosen, dialect=find("mysql")))
        self.prepared(ServedName("open.example", minimum="1.3"), dialect=find("mysql"))
        self.assertIn("cannot be chosen", self.mistake(chosen, dialect=find("nats")))
        self.prepared(chosen, dialect=find("nats"), options=frozenset({"handshake-first"}))


class DemandsTests(NamesTestCase):
    """
    What is demanded of a client, by the name that it asks for.
    """

    closed = ServedName(
        "closed.example", remote=CLOSED, remoteID=Selector.parse("@partner.example")
    )
    opened = ServedName("open.example", remote=OPEN, anybody=True)

    def test_nobodyGetsToTheBackendOfANameButAsItsPolicyDemands(self) -> None:
        """
        In every order of default, tables, ALPN, SNI, and certificates, in both versions.
        """
        names = (None, "front.example", "open.example", "closed.example", "CLOSED.example.")
        asked = (*names, "other.example", "192.0.2.1")
        tunnels = [
            self.prepared(*tables, localID=Identity.parse(first), remoteID=demanded)
            for first in ("front.example", "closed.example", "open.example")
            for tables in itertools.permutations((self.opened, self.closed))
            for demanded in (None, Selector.parse("@.partner.example"))
        ]
        reached = set()
        for prepared, name, version, client, alpn in itertools.product(
            tunnels, asked, VERSIONS, (None, self.bob, self.eve), ((), (b"h2",))
        ):
            met = self.meet(prepared, name, version, client, alpn)
            meant = str(name or prepared.tunnel.localID).lower().removesuffix(".")
            if meant[0].isdigit():
                meant = str(prepared.tunnel.localID)
            if met.remote == CLOSED:
                self.assertEqual(meant, "closed.example")
                self.assertEqual(str(met.session.identity), "bob@partner.example")
            elif met.remote == OPEN:
                self.assertEqual(meant, "open.example")
                self.assertIsNone(met.session.identity)
            elif met.remote == FRONT:
                self.assertEqual(meant, "front.example")
                self.assertIsNone(prepared.tunnel.remoteID)
            else:
                self.assertNotEqual(met.told, "")
            reached.add(met.remote)
        self.assertEqual(reached, {None, CLOSED, OPEN, FRONT})

    def test_theAlertSaysWhatIsWrong(self) -> None:
        """
        As it does where there is one name.
        """
        stranger = make(Recipe(san=alternative(mail("bob@partner.example"))), root("Stranger"))
        for default in ("front.example", "closed.example"):
            prepared = self.prepared(self.opened, self.closed, localID=Identity.parse(default))
            for issued, version, alert in (
                (None, "1.2", "handshake failure"),
                (None, "1.3", "certificate required"),
                (self.eve, "1.2", "bad certificate"),
                (self.eve, "1.3", "bad certificate"),
                (stranger, "1.2", "unknown ca"),
                (stranger, "1.3", "unknown ca"),
            ):
                met = self.meet(prepared, "closed.example", version, issued)
                self.assertIn(alert, met.told, (default, version))
                self.assertIn("open.example", self.meet(prepared, "open.example", version).shown)

    def test_theAuthoritiesAreThoseOfTheName(self) -> None:
        """
        A client chooses its certificate by them; where none is demanded, none is asked for.
        """
        other = Path(self.mktemp())
        other.write_bytes(root("Other").certificate.public_bytes(Encoding.PEM))
        (self.pool.path / "trust").mkdir(exist_ok=True)
        for selector, name in (("@partner.example", "Root"), ("@other.example", "Other")):
            file = self.pool.path / "trust" / f"{selector}.pem"
            file.write_bytes(root(name).certificate.public_bytes(Encoding.PEM))
        theirs = ServedName("front.example", remoteID=Selector.parse("@other.example"))
        prepared = self.prepared(self.closed, self.opened, theirs, trust=())
        for version in VERSIONS:
            for name, authorities in (
                ("closed.example", ["Root"]),
                ("front.example", ["Other"]),
                ("open.example", []),
            ):
                met = self.meet(prepared, name, version, self.bob)
                self.assertEqual(met.authorities, authorities, (name, version))
            # The anchors of one name do not count under another.
            self.assertIn("unknown ca", self.meet(prepared, None, version, self.bob).told)
            self.assertEqual(self.meet(prepared, "closed.example", version, self.bob).told, "")

    def test_theVersionIsThatOfTheName(self) -> None:
        """
        Whichever is the lowest of the others, and of the first.
        """
        for first, minimum in (("front.example", "1.2"), ("front.example", "1.3")):
            prepared = self.prepared(
                ServedName("open.example", minimum="1.2"),
                ServedName("closed.example", minimum="1.3"),
                localID=Identity.parse(first),
                minimum=minimum,
            )
            for name, lowest in (
                ("open.example", "1.2"),
                ("closed.example", "1.3"),
                (None, minimum),
            ):
                old = self.meet(prepared, name, "1.2")
                if lowest == "1.2":
                    self.assertIsNone(old.why, name)
                else:
                    self.assertIn("protocol version", old.told)
                    self.assertIn("too old", str(old.why))
                    self.assertIsNone(old.remote)
                self.assertIsNone(self.meet(prepared, name, "1.3").why)

    def test_theProtocolsAreThoseOfTheName(self) -> None:
        """
        Each has its own; one that has none ignores an offer.
        """
        prepared = self.prepared(
            ServedName("open.example", alpn=(b"imap",)),
            ServedName("closed.example", alpn=()),
            alpn=(b"h2",),
        )
        for version in VERSIONS:
            for name, offered, chosen in (
                ("open.example", b"imap", b"imap"),
                ("front.example", b"h2", b"h2"),
                ("closed.example", b"h2", b""),
            ):
                self.assertEqual(self.meet(prepared, name, version, None, (offered,)).alpn, chosen)
            for name, offered in (("open.example", b"h2"), ("front.example", b"imap")):
                met = self.meet(prepared, name, version, None, (offered,))
                self.assertIn("no application protocol", met.told)

    def test_theProtocolChoosesTheBackend(self) -> None:
        """
        Of a name; a client without ALPN goes where the name has its others.
        """
        name = ServedName(
            "open.example",
            remote=OPEN,
            alpn=(b"h2", b"http/1.1"),
            remotes=((b"h2", SECOND), (b"http/1.1", ())),
        )
        prepared = self.prepared(name, alpn=(b"h2",))
        for version in VERSIONS:
            for offered, remote in (
                ((b"h2",), SECOND),
                ((b"http/1.1", b"h2"), SECOND),
                ((b"http/1.1",), OPEN),
                ((), OPEN),
            ):
                met = self.meet(prepared, "open.example", version, None, offered)
                self.assertEqual(met.remote, remote)
            self.assertEqual(
                self.meet(prepared, "front.example", version, None, (b"h2",)).remote, FRONT
            )
        assert prepared.names is not None
        self.assertEqual(prepared.names.remotes, {OPEN, SECOND})

    def test_theDemandsOfTheTunnelHoldWhereANameSaysNothing(self) -> None:
        """
        Who may come to a name without a certificate is said there.
        """
        prepared = self.prepared(
            ServedName("closed.example", remote=CLOSED),
            self.opened,
            remoteID=AccessList((Selector.parse("@partner.example"),)),
        )
        for version in VERSIONS:
            self.assertIsNone(self.meet(prepared, "closed.example", version).remote)
            self.assertIsNone(self.meet(prepared, "closed.example", version, self.eve).remote)
            met = self.meet(prepared, "closed.example", version, self.bob)
            self.assertEqual(met.remote, CLOSED)
            self.assertEqual(self.meet(prepared, "open.example", version).remote, OPEN)

    def test_whoIsDeniedByTheTunnelIsDeniedUnderEveryName(self) -> None:
        """
        Whatever a name says of who may come; what it denies itself comes on top.
        """
        eve, bob = map(Selector.parse, ("@other.example", "bob@partner.example"))
        anyUser = ServedName("closed.example", remote=CLOSED, remoteID=Selector.parse("@."))
        prepared = self.prepared(anyUser, remoteID=Selector.parse("@."), denyID=(eve,))
        strict = self.prepared(replace(anyUser, denyID=(bob,)), self.opened)
        for version in VERSIONS:
            for name in ("closed.example", "front.example"):
                self.assertIsNone(self.meet(prepared, name, version, self.eve).remote)
                self.assertIsNotNone(self.meet(prepared, name, version, self.bob).remote)
            self.assertIsNone(self.meet(strict, "closed.example", version, self.bob).remote)
            self.assertEqual(self.meet(strict, "closed.example", version, self.eve).remote, CLOSED)

    def test_keysArePinnedUnderEveryName(self) -> None:
        """
        But for those that are open, and besides what a name demands.
        """
        pins = (keyOf(self.bob.certificate),)
        names = (replace(self.closed, remoteID=Selector.parse("@.")), self.opened)
        beside = self.prepared(*names, pins=pins)
        alone = self.prepared(*names, ServedName("front.example"), pins=pins, trust=("pins",))
        for version in VERSIONS:
            for prepared in (beside, alone):
                for issued, remote in ((self.bob, CLOSED), (self.eve, None), (None, None)):
                    met = self.meet(prepared, "closed.example", version, issued)
                    self.assertEqual(met.remote, remote)
                self.assertEqual(self.meet(prepared, "open.example", version).remote, OPEN)
            self.assertEqual(self.meet(alone, None, version, self.bob).remote, FRONT)
            self.assertIsNone(self.meet(alone, None, version, self.eve).remote)

    def test_whatWasRevokedIsRefusedUnderAName(self) -> None:
        """
        Also where everybody may come to the others.
        """
        place = self.pool.path / "trust"
        place.mkdir(exist_ok=True)
        (place / "gone.crl").write_bytes(pem(makeList(self.bob)))
        prepared = self.prepared(self.opened, replace(self.closed, remoteID=Selector.parse("@.")))
        for version in VERSIONS:
            met = self.meet(prepared, "closed.example", version, self.bob)
            self.assertIn("revoked", met.told)
            self.assertEqual(
                self.meet(prepared, "closed.example", version, self.eve).remote, CLOSED
            )
            self.assertEqual(self.meet(prepared, "open.example", version, self.bob).remote, OPEN)

    def test_nothingIsResumedWhereThereAreSeveralNames(self) -> None:
        """
        A ticket would be good for all of them.
        """
        for names, isSaid in (((), False), ((self.opened,), True)):
            prepared = self.prepared(*names, resumption=True)
            self.assertEqual(prepared.serverCreator.session().givesTickets, not isSaid)
            said = noticesOf(prepared, datetime.now(UTC))
            self.assertEqual(any("several names" in each for each in said), isSaid)

    def test_eachCertificateHasItsStaple(self) -> None:
        """
        Names that show the same have the same.
        """
        others = (Identity.parse("closed.example"),)
        prepared = self.prepared(
            ServedName("open.example"),
            ServedName("closed.example", minimum="1.3"),
            otherIDs=others,
            ocspStapling=True,
        )
        self.assertEqual(len(prepared.staples), 3)

    def test_aNameThatIsChangedWhileTheHandshakeBeginsAgainIsJudgedAgain(self) -> None:
        """
        A client that offers no key in a group of ours is told to send another hello (RFC 8446,
        section 4.1.4), which may ask for another name: that one counts, with all that it demands.
        """
        for names in itertools.permutations(("open.example", "closed.example")):
            for issued in (None, self.bob):
                prepared = self.prepared(self.opened, self.closed)
                asked: list[bytes | None] = []

                def begin(server: SSL.Connection, client: SSL.Connection) -> Any:
                    # It has a key for a group that we do not take.
                    binding._lib.SSL_set1_curves_list(client._ssl, b"P-521:P-256")
                    self.assertRaises(SSL.WantReadError, client.do_handshake)
                    server.bio_write(client.bio_read(1 << 16))
                    self.assertRaises(SSL.WantReadError, server.do_handshake)
                    asked.append(server.get_servername())  # noqa: B023
                    client.set_tlsext_host_name(names[1].encode())  # noqa: B023
                    client.bio_write(server.bio_read(1 << 16))
                    return handshake(server, client)

                met = self.meet(prepared, names[0], "1.3", issued, begin=begin)
                self.assertEqual(asked, [names[0].encode()])
                if names[1] == "closed.example" and issued is None:
                    self.assertIsNone(met.remote)
                else:
                    expected = OPEN if names[1] == "open.example" else CLOSED
                    self.assertEqual((met.remote, met.told), (expected, ""))

    def test_aMistakeOfOursServesNobody(self) -> None:
        """
        The alert is internal_error, and the log has a reason.
        """
        prepared = self.prepared(self.opened, self.closed)

        def fail(*arguments: object) -> None:
            raise KeyError("a mistake")

        self.patch(binding, "changeContext", fail)
        for version in VERSIONS:
            met = self.meet(prepared, "closed.example", version, self.bob)
            self.assertIn("internal error", met.told)
            self.assertIn("could not be judged", str(met.why))

    def test_whereNothingWasChosenNobodyIsServed(self) -> None:
        """
        If OpenSSL did not ask us, whatever the certificate was.
        """
        prepared = self.prepared(self.opened, self.closed)
        for context in {prepared.serverCreator.context}:
            context._used = False
            context.set_tlsext_servername_callback(lambda connection: None)
        for version in VERSIONS:
            met = self.meet(prepared, "open.example", version)
            self.assertIn("not decided", str(met.why))
            self.assertIsNone(met.remote)


class AgreementTests(NamesTestCase):
    """
    A client that has said before for whom it comes, in clear or on another connection.
    """

    closed = ServedName(
        "closed.example", remote=CLOSED, remoteID=Selector.parse("@partner.example")
    )
    opened = ServedName("open.example", remote=OPEN)

    def setUp(self) -> None:
        """
        A tunnel with two tables.
        """
        super().setUp()
        self.ready = self.prepared(self.opened, self.closed)
        self.creator = self.ready.serverCreator

    def test_SNIAndWhatWasSaidInClearMustAgree(self) -> None:
        """
        Neither leads anywhere else (rule 11).
        """
        for said, name in itertools.permutations(
            ("open.example", "closed.example", "front.example"), 2
        ):
            for version in VERSIONS:
                creator = self.creator.under(said)
                met = self.meet(self.ready, name, version, self.bob, creator=creator)
                self.assertIn("unrecognized", met.told)
                self.assertIn("another name before", str(met.why))

    def test_whatWasSaidInClearCountsWhereThereIsNoSNI(self) -> None:
        """
        With all that the name demands.
        """
        for version in VERSIONS:
            for name in (None, "192.0.2.1", "closed.example"):
                creator = self.creator.under("closed.example")
                met = self.meet(self.ready, name, version, self.bob, creator=creator)
                self.assertEqual((met.remote, met.shown), (CLOSED, "closed.example"))
                met = self.meet(self.ready, name, version, creator=creator)
                self.assertIsNone(met.remote)
                creator = self.creator.under("open.example")
                met = self.meet(self.ready, None, version, self.eve, creator=creator)
                self.assertEqual((met.remote, met.shown), (OPEN, "open.example"))

    def test_namesThatAreServedAlikeAgree(self) -> None:
        """
        A server of xmpp may be asked for by its domain in clear, and by its own name in TLS.
        """
        self.issue("chat.example", "chat.example", "host.chat.example")
        prepared = self.prepared(self.opened, localID=Identity.parse("chat.example"))
        creator = prepared.serverCreator.under("chat.example")
        met = self.meet(prepared, "host.chat.example", creator=creator)
        self.assertEqual((met.why, met.shown), (None, "chat.example"))

    def test_whereThereIsNoChoiceThereIsNothingToAgreeOn(self) -> None:
        """
        It costs nothing there; nor does a name that nobody has.
        """
        creator = self.prepared().serverCreator
        self.assertIs(creator.under("front.example"), creator)
        self.assertIs(self.creator.under("other.example"), self.creator)

    def test_aNameIsRequiredAlsoBehindOneInClear(self) -> None:
        """
        --require-sni is about TLS.
        """
        prepared = self.prepared(self.opened, requireSNI=True)
        creator = prepared.serverCreator.under("open.example")
        self.assertIn("no name", str(self.meet(prepared, None, creator=creator).why))

    def test_aConnectionBesideAnotherIsUnderTheSameName(self) -> None:
        """
        With what that demands; SNI may be absent, and if it is there, it agrees.
        """
        for version in VERSIONS:
            session = self.creator.session()
            server = self.creator.connection(MEMORY, session)
            control = self.meet(self.ready, "closed.example", version, self.bob).session
            beside = self.creator.beside(server, control)
            for name in (None, "127.0.0.1", "closed.example"):
                met = self.meet(self.ready, name, version, self.bob, creator=beside)
                self.assertEqual((met.why, met.shown), (None, "closed.example"))
                for other in (None, self.eve):
                    met = self.meet(self.ready, name, version, other, creator=beside)
                    self.assertIsNotNone(met.why)
            for name in ("open.example", "front.example", "other.example"):
                met = self.meet(self.ready, name, version, self.bob, creator=beside)
                self.assertIsNotNone(met.why)

    def test_aConnectionBesideAnotherNeedsNoNameAgain(self) -> None:
        """
        The other one had it.
        """
        prepared = self.prepared(self.opened, requireSNI=True)
        control = self.meet(prepared, "open.example").session
        creator = prepared.serverCreator
        beside = creator.beside(creator.connection(MEMORY, creator.session()), control)
        met = self.meet(prepared, None, creator=beside)
        self.assertEqual((met.why, met.shown), (None, "open.example"))


class DescriptionTests(SynchronousTestCase):
    """
    L{ServedName}, and how names are written.
    """

    def test_aNameHasOneForm(self) -> None:
        """
        Tunnels are compared by it.
        """
        for text, name in (
            ("WWW.Example.org.", "www.example.org"),
            ("*.Example.org", "*.example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
        ):
            self.assertEqual(normalName(text), name)

    def test_whatIsNoNameIsRefused(self) -> None:
        """
        An asterisk stands for a whole label, and for the first one only.
        """
        for text in ("", "*", "*.", "w*.example.org", "a.*.example.org", "192.0.2.1", "a b", "u@x"):
            self.assertRaises(ValueError, normalName, text)

    @given(st.text(max_size=12) | st.from_regex(r"[a*.\-A]{1,8}", fullmatch=True))
    def test_whateverIsTakenIsTakenAgain(self, text: str) -> None:
        """
        And nothing but C{ValueError} is raised.
        """
        try:
            name = normalName(text)
        except ValueError:
            return
        self.assertEqual(normalName(name), name)


_LABELS = st.sampled_from(("a", "b", "c"))
_DOMAINS = st.lists(_LABELS, min_size=1, max_size=3).map(".".join)
_TABLE = st.dictionaries(_DOMAINS | _DOMAINS.map("*.{}".format), st.integers(0, 9), max_size=6)


class FindTests(SynchronousTestCase):
    """
    L{Faces.find}.
    """

    def test_aWildcardStandsForALabel(self) -> None:
        """
        And not for nothing.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        faces = Faces(Face(context), {"*.example.org": Face(context)}, {})
        self.assertTrue(faces.covers("a.example.org"))
        self.assertFalse(faces.covers(".example.org"))

    @given(_TABLE, _TABLE, _DOMAINS)
    def test_itFindsWhatItShould(
        self, given: dict[str, int], certified: dict[str, int], domain: str
    ) -> None:
        """
        As somebody would who goes through both tables again and again.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        tables = [
            {name: Face(context, name=f"{number} {place}") for name, number in table.items()}
            for place, table in enumerate((given, certified))
        ]
        faces = Faces(Face(context), tables[0], tables[1])
        expected = None
        for table in tables:
            for name in table:
                if expected is None and name == domain:
                    expected = table[name]
            for name in table:
                _, dot, parent = domain.partition(".")
                isWild = bool(dot) and name == f"*.{parent}"
                if expected is None and isWild:
                    expected = table[name]
        self.assertIs(faces.find(domain), expected)
