"""
Tests for L{tlstunnel.tunnel.servernames} and L{tlstunnel.tls.faces}: which certificate and backend
a client comes to by the name that it asks for, in TLS 1.2 and 1.3, with OpenSSL as the client.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from tests.tunnel.namestage import CLOSED, FRONT, MEMORY, OPEN, VERSIONS, NamesTestCase, at
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import ServedName


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
