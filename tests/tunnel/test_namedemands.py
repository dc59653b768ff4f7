"""
Tests for what a server tunnel demands under each of its names, in TLS 1.2 and 1.3.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.certificates import Recipe, alternative, mail, make, root
from tests.revoked import makeList, pem
from tests.tunnel.namestage import CLOSED, FRONT, OPEN, SECOND, VERSIONS, NamesTestCase
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pins import keyOf
from tlstunnel.tls import binding
from tlstunnel.tls.checkup import handshake
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.servedname import ServedName


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
