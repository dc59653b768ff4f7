"""
Tests for L{tlstunnel.identity.revocation}: which lists count, and what they mean for a chain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from time import time

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    dns,
    intermediate,
    make,
    makeKey,
    root,
)
from tests.revoked import HOUR, entry, makeList, part, pem, place
from tlstunnel.errors import ConfigurationError, IdentityRefused
from tlstunnel.identity.crl import RevocationList
from tlstunnel.identity.revocation import EARLY, MISSING, OLD, REVOKED, Revocations
from tlstunnel.identity.revocationfiles import loadRevocations

DAY = timedelta(days=1)

LEAF = make(Recipe(san=alternative(dns("a.example"))), root())
BELOW = make(Recipe(san=alternative(dns("b.example"))), intermediate())
SHORT = LEAF.certificate, root().certificate
LONG = BELOW.certificate, intermediate().certificate, root().certificate
NAMESAKE = make(authorityRecipe("Root"))
STRANGER = make(authorityRecipe("Stranger"))

GOOD = ""


def causeOf(
    chain: Sequence[x509.Certificate],
    *lists: x509.CertificateRevocationList,
    anchors: Sequence[x509.Certificate] = (),
) -> str:
    """Why a chain is refused, with some lists; empty if it is not."""
    try:
        Revocations(map(RevocationList, lists)).judge(chain, time(), anchors)
    except IdentityRefused as refused:
        return refused.cause
    return GOOD


# How X509_verify_cert(3) says it: none, forged, too early, too old, revoked, about others.
_CODES = {3: MISSING, 8: MISSING, 11: EARLY, 12: OLD, 23: REVOKED, 44: MISSING}


def causeOfOpenSSL(
    chain: Sequence[x509.Certificate], *lists: x509.CertificateRevocationList
) -> str:
    """The same as OpenSSL says it, if all certificates of the chain are to be looked at."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(chain[-1]))
    for each in lists:
        store.add_crl(each)
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    leaf, *others = map(crypto.X509.from_cryptography, chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        code = error.args[0][0] if isinstance(error.args[0], list) else error.errors[0]
        return _CODES[int(code)]
    return GOOD


REMOVED = entry(LEAF.certificate.serial_number, x509.ReasonFlags.remove_from_crl)
HELD = entry(LEAF.certificate.serial_number, x509.ReasonFlags.certificate_hold)
OF_ROOT = makeList()
OF_INTERMEDIATE = makeList(issuer=intermediate())

# Chains, lists, and what comes of them.
TABLE: tuple[
    tuple[str, Sequence[x509.Certificate], tuple[x509.CertificateRevocationList, ...], str], ...
] = (
    ("good", SHORT, (OF_ROOT,), GOOD),
    ("revoked", SHORT, (makeList(LEAF),), REVOKED),
    ("held", SHORT, (makeList(HELD),), REVOKED),
    ("let go", SHORT, (makeList(REMOVED),), GOOD),
    ("expired", SHORT, (makeList(start=-DAY, end=-HOUR),), OLD),
    ("from the future", SHORT, (makeList(start=HOUR),), EARLY),
    ("signed by another of the same name", SHORT, (makeList(signer=NAMESAKE),), MISSING),
    ("expired and fresh", SHORT, (makeList(start=-DAY, end=-HOUR), OF_ROOT), GOOD),
    ("fresh and from the future", SHORT, (makeList(LEAF, start=HOUR), OF_ROOT), GOOD),
    ("came back", SHORT, (makeList(LEAF, start=-DAY), makeList(number=2)), GOOD),
    ("the newer decides", SHORT, (makeList(start=-DAY), makeList(LEAF, number=2)), REVOKED),
    ("neither is newer", SHORT, (makeList(LEAF), makeList()), REVOKED),
    ("all have one", LONG, (OF_ROOT, OF_INTERMEDIATE), GOOD),
    ("no list of the intermediate", LONG, (OF_ROOT,), MISSING),
    ("no list of the root", LONG, (OF_INTERMEDIATE,), MISSING),
    ("a revoked intermediate", LONG, (makeList(intermediate()), OF_INTERMEDIATE), REVOKED),
    ("a revoked leaf below it", LONG, (OF_ROOT, makeList(BELOW, issuer=intermediate())), REVOKED),
    ("about authorities only", SHORT, (makeList(extra=part(onlyAuthorities=True)),), MISSING),
    ("about all others only", SHORT, (makeList(LEAF, extra=part(onlyUsers=True)),), REVOKED),
    ("about others elsewhere only", SHORT, (makeList(LEAF, extra=part("http://x/")),), MISSING),
)


class JudgingTests(SynchronousTestCase):
    """What lists mean for a chain."""

    def test_eachCase(self) -> None:
        """One after the other."""
        for name, chain, lists, expected in TABLE:
            with self.subTest(name):
                self.assertEqual(causeOf(chain, *lists), expected)
                self.assertEqual(causeOf(chain, *reversed(lists)), expected)

    def test_OpenSSLAgrees(self) -> None:
        """It judges all these chains alike."""
        for name, chain, lists, expected in TABLE:
            with self.subTest(name):
                self.assertEqual(causeOfOpenSSL(chain, *lists), expected)

    def test_chainsWithoutAnyListAreNotLookedAt(self) -> None:
        """Public servers go on to be believed beside a private authority that has lists."""
        self.assertEqual(causeOf(SHORT, makeList(issuer=STRANGER)), GOOD)
        self.assertEqual(causeOf(SHORT), GOOD)

    def test_namesAreComparedAsTheyAreMeant(self) -> None:
        """Also a list whose issuer is written in another way counts."""
        shouting = make(authorityRecipe("ROOT "), key=root().key)
        self.assertEqual(causeOf(SHORT, makeList(LEAF, issuer=shouting)), REVOKED)

    def test_aForgedOneIsNoNewerOne(self) -> None:
        """That which is really the issuer's goes on to count."""
        lists = makeList(LEAF, start=-DAY), makeList(signer=NAMESAKE, number=2)
        self.assertEqual(causeOf(SHORT, *lists), REVOKED)

    def test_partsAreAddedUp(self) -> None:
        """Of those that are about one certificate each counts."""
        here = "http://here.example/crl"
        leaf = make(Recipe(extra=place(here)), root())
        chain = leaf.certificate, root().certificate
        empty, full = makeList(extra=part(here)), makeList(leaf, extra=part(here))
        self.assertEqual(causeOf(chain, empty), GOOD)
        self.assertEqual(causeOf(chain, full, OF_ROOT), REVOKED)
        self.assertEqual(causeOf(chain, empty, makeList(leaf)), REVOKED)
        self.assertEqual(causeOf(chain, makeList(extra=part("http://there.example/"))), MISSING)

    def test_aPartForSomeReasonsOnlyRefuses(self) -> None:
        """It does not say of anybody that all is well."""
        here = "http://here.example/crl"
        names, some = [x509.UniformResourceIdentifier(here)], [x509.ReasonFlags.key_compromise]
        points = [x509.DistributionPoint(names, None, frozenset(some), None)]
        leaf = make(Recipe(extra=((x509.CRLDistributionPoints(points), False),)), root())
        chain = leaf.certificate, root().certificate
        empty, full = makeList(extra=part(here)), makeList(leaf, extra=part(here))
        self.assertEqual(causeOf(chain, empty), MISSING)
        self.assertEqual(causeOf(chain, empty, OF_ROOT), GOOD)
        self.assertEqual(causeOf(chain, full, OF_ROOT), REVOKED)

    def test_anAnchorNeedsNone(self) -> None:
        """It is one because somebody said so."""
        alone = (BELOW.certificate, intermediate().certificate)
        self.assertEqual(causeOf(alone, OF_INTERMEDIATE), GOOD)
        self.assertEqual(causeOf((LEAF.certificate,), OF_ROOT), GOOD)

    def test_anAnchorWhoseIssuerIsAnAnchorToo(self) -> None:
        """As in a bundle of a root and those below it: the root's list counts."""
        alone = (BELOW.certificate, intermediate().certificate)
        bundle = root().certificate, intermediate().certificate
        revoked = makeList(intermediate())
        self.assertEqual(causeOf(alone, OF_INTERMEDIATE, revoked, anchors=bundle), REVOKED)
        self.assertEqual(causeOf(alone, OF_INTERMEDIATE, OF_ROOT, anchors=bundle), GOOD)
        self.assertEqual(causeOf(alone, OF_INTERMEDIATE, anchors=bundle), MISSING)
        forged = NAMESAKE.certificate, intermediate().certificate
        self.assertEqual(causeOf(alone, OF_INTERMEDIATE, revoked, anchors=forged), GOOD)

    def test_suchAnIssuerIsFoundHoweverItsNameIsWritten(self) -> None:
        """And whatever its key is of."""
        for kind in "ec", "rsa2048", "ed25519":
            key = makeKey(kind)
            above = make(authorityRecipe("Above"), key=key)
            shouting = make(authorityRecipe("ABOVE "), key=key)
            below = make(authorityRecipe("Below"), shouting)
            leaf = make(Recipe(), below)
            alone = leaf.certificate, below.certificate
            lists = makeList(issuer=below), makeList(below, issuer=above)
            bundle = STRANGER.certificate, above.certificate
            self.assertEqual(causeOf(alone, *lists, anchors=bundle), REVOKED)

    def test_anAnchorThatRenewsAKeyIsNoRoot(self) -> None:
        """It has the name of its issuer (RFC 4210, section 4.4), whose list counts for it."""
        new = make(authorityRecipe("Root"), root())
        leaf = make(Recipe(), new)
        lists = makeList(issuer=new), makeList(new)
        bundle = new.certificate, root().certificate
        self.assertEqual(causeOf((leaf.certificate, bundle[0]), *lists, anchors=bundle), REVOKED)

    def test_aRootThatRevokesItself(self) -> None:
        """Is an anchor no more."""
        self.assertEqual(causeOf(SHORT, makeList(root())), REVOKED)

    def test_untilWhen(self) -> None:
        """Until the first list ends, or a newer one begins to count."""
        coming = makeList(start=HOUR)
        end = OF_ROOT.next_update_utc
        assert end is not None
        for lists, expected in (
            ((), inf),
            ((OF_ROOT,), end.timestamp()),
            ((OF_ROOT, coming), coming.last_update_utc.timestamp()),
        ):
            until = Revocations(map(RevocationList, lists)).judge(SHORT, time())
            self.assertEqual(until, expected)

    def test_theWordsSayWhoseListItIs(self) -> None:
        """And at which depth the certificate is."""
        lists = Revocations([RevocationList(OF_INTERMEDIATE)])
        refused = self.assertRaises(IdentityRefused, lists.judge, LONG, time())
        self.assertIn('"CN=Root"', str(refused))
        self.assertIn("at depth 1", str(refused))


class LoadingTests(SynchronousTestCase):
    """Lists in directories, read again and again."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir()

    def write(self, name: str, *lists: x509.CertificateRevocationList) -> None:
        """Put a file there."""
        (self.place / name).write_bytes(pem(*lists))

    def load(self) -> Revocations:
        """Read what is there."""
        return loadRevocations([self.place])

    def judged(self, found: Revocations, issued: Issued = LEAF) -> str:
        """Why a certificate of the root is refused; empty if it is not."""
        try:
            found.judge((issued.certificate, root().certificate), time())
        except IdentityRefused as refused:
            return refused.cause
        return GOOD

    def test_nothing(self) -> None:
        """No directory, or none with lists: nothing is looked at."""
        self.assertFalse(loadRevocations([self.place / "absent"]))
        (self.place / "anchors.pem").write_bytes(b"no list")
        self.assertFalse(self.load())

    def test_allFiles(self) -> None:
        """Of both kinds of names."""
        self.write("private.crl", makeList(LEAF))
        self.write("0a1b2c3d.r0", OF_INTERMEDIATE)
        self.assertEqual(len(self.load().lists), 2)

    def test_aBrokenFileIsRefused(self) -> None:
        """It would be as if nobody were revoked."""
        (self.place / "private.crl").write_bytes(b"")
        self.assertRaises(ConfigurationError, self.load)

    def test_whatDoesNotCountForItsNameIsSaid(self) -> None:
        """As nobody would notice else that it revokes nothing."""
        anchor = root().certificate.public_bytes(Encoding.PEM)
        for name, content in (
            ("list.pem", pem(OF_ROOT)),
            ("anchors.pem", anchor + pem(OF_ROOT)),
            ("private.CRL", OF_ROOT.public_bytes(Encoding.DER)),
        ):
            file = self.place / name
            file.write_bytes(content)
            for places in [self.place], [file]:
                found = loadRevocations(places)
                (notice,) = found.notices
                self.assertIn(str(file), notice)
                self.assertFalse(found)
            file.write_bytes(anchor if name.endswith(".pem") else b"")
            self.assertEqual(self.load().notices, ())

    def test_whatIsNoFileIsNotRead(self) -> None:
        """A pipe would hold up everything."""
        puts: tuple[Callable[[Path], None], ...] = (os.mkfifo, os.mkdir, partial(os.symlink, "-"))
        for number, put in enumerate(puts):
            path = self.place / "private.crl"
            put(path)
            error = self.assertRaises(ConfigurationError, self.load)
            self.assertIn(str(path), str(error))
            path.rename(self.place / f"{number}.old")

    def test_theSameIsShared(self) -> None:
        """By tunnels with the same pool."""
        self.write("private.crl", OF_ROOT)
        self.assertIs(self.load(), self.load())

    def test_anotherListTakesOver(self) -> None:
        """A reload reads it."""
        self.write("private.crl", makeList(start=-DAY))
        before = self.load()
        self.write("private.crl", makeList(LEAF, number=2))
        self.assertEqual((self.judged(before), self.judged(self.load())), (GOOD, REVOKED))

    def test_anOlderOneDoesNot(self) -> None:
        """Whoever puts it back does not bring back whom the newer one has revoked."""
        self.write("private.crl", makeList(LEAF, number=8))
        before = self.load()
        self.write("private.crl", makeList(number=7, start=-DAY))
        after = self.load()
        self.assertEqual(self.judged(after), REVOKED)
        (notice,) = after.warnings(datetime.now(UTC))
        self.assertIn("number 7", notice)
        self.assertIn("number 8", notice)
        del before
        self.assertEqual(self.judged(self.load()), REVOKED)

    def test_noDetourHelpsAnOlderOne(self) -> None:
        """The newer is not forgotten either where there was none for a while."""
        self.write("private.crl", makeList(LEAF, number=8))
        self.load()
        (self.place / "private.crl").unlink()
        self.load()
        self.write("private.crl", makeList(number=7, start=-DAY))
        self.assertEqual(self.judged(self.load()), REVOKED)

    def test_aNewerOneTakesOverAfterAnOlderOne(self) -> None:
        """Also if it lets somebody come back."""
        for lists in makeList(LEAF), makeList(start=-DAY), makeList(number=9, start=-HOUR / 2):
            self.write("private.crl", lists)
            after = self.load()
        self.assertEqual((self.judged(after), after.notices), (GOOD, ()))

    def test_whatIsGoneIsSaid(self) -> None:
        """Whoever takes a list away is believed, but not in silence."""
        self.write("private.crl", makeList(LEAF))
        before = self.load()
        (self.place / "private.crl").unlink()
        after = self.load()
        self.assertTrue(before)
        self.assertEqual(self.judged(after), GOOD)
        self.assertIn("any more", after.notices[0])


class WarningTests(SynchronousTestCase):
    """Who is told of the end of a list before it comes."""

    def warnings(
        self, end: timedelta, start: timedelta = -HOUR, since: timedelta | None = None
    ) -> list[str]:
        """What is said of a list."""
        now = datetime.now(UTC)
        lists = Revocations([RevocationList(makeList(start=start, end=end))])
        return lists.warnings(now, None if since is None else now + since)

    def test_inTime(self) -> None:
        """A week and a day before, or in the last quarter and eighth of its time."""
        for start, end, isDue in (
            (-DAY * 10, DAY * 30, False),
            (-DAY * 33, DAY * 6.9, True),
            (-DAY, DAY * 6, False),
            (-DAY * 6, DAY, True),
            (-HOUR * 10, HOUR * 14, False),
            (-HOUR * 20, HOUR * 4, True),
        ):
            with self.subTest(f"{start} {end}"):
                self.assertEqual(bool(self.warnings(end, start)), isDue)

    def test_notTwice(self) -> None:
        """Only when there is a new reason."""
        self.assertEqual(self.warnings(DAY * 5, -DAY * 35, since=-DAY), [])
        self.assertTrue(self.warnings(DAY * 6.5, -DAY * 33.5, since=-DAY))

    def test_theEnd(self) -> None:
        """Is said every time, as nobody is let in."""
        (notice,) = self.warnings(-HOUR, -DAY * 3, since=-HOUR / 2)
        self.assertIn("refused", notice)

    def test_theFuture(self) -> None:
        """May be the clock's fault."""
        (notice,) = self.warnings(DAY, HOUR)
        self.assertIn("clock", notice)
