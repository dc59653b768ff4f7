"""
Tests for L{tlstunnel.identity.disclosure}: the table of the reference, row by row, and what broken
rules do.
"""

from __future__ import annotations

import os
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identity.pools import PoolTestCase
from tests.identity.test_names import identities
from tests.users import STRANGER
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.disclosure import (
    NotDisclosed,
    NotYours,
    Shown,
    doubts,
    hasRules,
    ruleFor,
    rules,
    whomToShow,
)
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, KeyIdentity, Selector

ALICE = Identity.parse("alice@example.test")
BOB = Identity.parse("bob@example.test")
WWW = Identity.parse("www.example.test")
CAROL = Identity.parse("carol@example.test")

#: Users as the table has them, moved out of the way of those who may run the tests.
U1000 = Caller(61000)
U1001 = Caller(61001)
U1001_IN_2000 = Caller(61001, frozenset({61001, 62000}))
U33 = Caller(60033)
US = Caller(os.geteuid())


class DisclosureTestCase(PoolTestCase):
    """A test with the identities of the table."""

    def setUp(self) -> None:
        """Alice and Bob are for one user, Bob for a group as well, and www for another user."""
        super().setUp()
        for identity, users in (
            (ALICE, "user 61000"),
            (BOB, "user 61000\ngroup 62000"),
            (WWW, "user 60033"),
        ):
            createIdentity(self.pool, identity)
            self.write(f"{identity}/users", users.encode(), 0o644)

    def rule(self, selector: str, *lines: object) -> None:
        """Write a rule."""
        text = "".join(f"{each}\n" for each in lines)
        self.write(f"disclose/{selector}.txt", text.encode(), 0o644)

    def shown(self, caller: Caller, remote: str, asked: Identity | None = None) -> Identity | None:
        """Who is shown."""
        return whomToShow(self.pool, caller, Identity.parse(remote), asked)

    def refused(self, caller: Caller, remote: str, asked: Identity) -> None:
        """It is not to be shown there."""
        self.assertRaises(NotDisclosed, self.shown, caller, remote, asked)


class TableTests(DisclosureTestCase):
    """Table 3.2 of the reference, a row each."""

    def test_oneIdentity(self) -> None:
        """The rule has one, and the caller may use it."""
        self.rule("shop.test", ALICE)
        self.assertEqual(self.shown(U1000, "shop.test"), ALICE)
        self.assertEqual(self.shown(U1000, "SHOP.test."), ALICE)

    def test_aSelectorOfSeveralIsNotTheirParent(self) -> None:
        """C{.shop.test} is not C{shop.test}, and the first line wins."""
        self.rule("shop.test", ALICE)
        self.rule(".shop.test", BOB, ALICE)
        self.assertEqual(self.shown(U1000, "www.shop.test"), BOB)
        self.assertEqual(self.shown(U1000, "shop.test"), ALICE)

    def test_supplementaryGroupsCount(self) -> None:
        """Whoever has none of them is shown as nobody, as no line is usable."""
        self.rule(".shop.test", BOB, ALICE)
        self.assertEqual(self.shown(U1001_IN_2000, "www.shop.test"), BOB)
        self.assertIsNone(self.shown(U1001, "www.shop.test"))

    def test_nobodyByRule(self) -> None:
        """The most concrete selector decides alone."""
        self.rule("mx.partner.test", WWW)
        self.rule(".partner.test", "-")
        self.assertEqual(self.shown(U33, "mx.partner.test"), WWW)
        self.assertIsNone(self.shown(U1000, "other.partner.test"))

    def test_nobodyElsewhere(self) -> None:
        """By the rule for all others, and by a rule with a comment only."""
        self.rule(".", "-")
        self.rule("empty.test", "# nobody yet")
        self.assertIsNone(self.shown(U1000, "elsewhere.test"))
        self.assertIsNone(self.shown(U1000, "empty.test"))

    def test_whatIsAskedForHasToBeInTheRule(self) -> None:
        """And is never replaced by what is in it."""
        self.rule("shop.test", ALICE)
        self.refused(U1000, "shop.test", BOB)

    def test_nobodyByRuleForWhoeverIsAskedFor(self) -> None:
        """Although the caller may use it."""
        self.rule(".", "-")
        self.refused(U33, "elsewhere.test", WWW)

    def test_pseudonyms(self) -> None:
        """One for each user, and always the same."""
        self.rule("forum.test", "@example.test")
        first, second = self.shown(U1000, "forum.test"), self.shown(U1000, "forum.test")
        other = self.shown(U1001, "forum.test")
        assert first is not None and other is not None
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)
        self.assertEqual({first.domain, other.domain}, {"example.test"})

    def test_usersOfARemoteDomain(self) -> None:
        """One of them, and all others."""
        self.rule("john@chat.test", BOB)
        self.rule("@chat.test", ALICE)
        self.assertEqual(self.shown(U1000, "john@chat.test"), BOB)
        self.assertEqual(self.shown(U1000, "jane@chat.test"), ALICE)

    def test_whoIsNotInThePoolIsPassedOver(self) -> None:
        """Also for those who may use all."""
        self.rule("gone.test", CAROL, ALICE)
        self.assertEqual(self.shown(U1000, "gone.test"), ALICE)
        self.assertEqual(self.shown(Caller(0), "gone.test"), ALICE)
        createIdentity(self.pool, CAROL)
        self.assertEqual(self.shown(U1000, "gone.test"), ALICE)
        self.assertEqual(self.shown(Caller(0), "gone.test"), CAROL)

    def test_aBrokenRuleFailsClosed(self) -> None:
        """It is refused, and no other rule takes its place."""
        self.rule(".", ALICE)
        # The latter asks a program in the original TLS Pool.
        for line in "non sense", "?":
            self.rule("bad.test", line)
            self.assertIn("line 1", self.problem(self.shown, U1000, "bad.test").subject)

    def test_addressesMatchThemselvesOnly(self) -> None:
        """And no selector of names."""
        self.rule("192.0.2.1", WWW)
        self.rule(".", ALICE)
        self.assertEqual(self.shown(U33, "192.0.2.1"), WWW)
        self.assertIsNone(self.shown(U33, "192.0.2.2"))
        self.assertIsNone(self.shown(U1000, "192.0.2.2"))

    def test_aNameThatIsNotCanonicalNeverMatches(self) -> None:
        """There is a warning about it."""
        self.rule("Shop.test", ALICE)
        self.assertIsNone(self.shown(U1000, "shop.test"))
        (found,) = doubts(self.pool)
        self.assertIn("Shop.test.txt: never counts", found)
        self.assertIn("write shop.test", found)

    def test_rulesAreReadForEachRequest(self) -> None:
        """Nothing has to be reloaded."""
        self.rule("shop.test", ALICE)
        self.assertEqual(self.shown(U1000, "shop.test"), ALICE)
        self.rule("shop.test", BOB)
        self.assertEqual(self.shown(U1000, "shop.test"), BOB)


class AskedTests(DisclosureTestCase):
    """A process that says who it wants to be."""

    def test_withoutRulesItIsThat(self) -> None:
        """If it may; and who does not ask is nobody."""
        self.assertFalse(hasRules(self.pool))
        self.assertEqual(self.shown(U1000, "shop.test", ALICE), ALICE)
        self.assertIsNone(self.shown(U1000, "shop.test"))
        self.assertRaises(NotYours, self.shown, U1001, "shop.test", ALICE)

    def test_whereThereAreRulesOneHasToSayIt(self) -> None:
        """Without a rule about the remote identity, nobody is shown to it."""
        self.rule("other.test", ALICE)
        self.refused(U1000, "shop.test", ALICE)
        self.refused(Caller(0), "shop.test", ALICE)

    def test_anyLineOfTheRuleWillDo(self) -> None:
        """Not only the first; but none behind the end."""
        self.rule("shop.test", ALICE, BOB, "-", WWW)
        self.assertEqual(self.shown(U1000, "shop.test", BOB), BOB)
        self.refused(U33, "shop.test", WWW)

    def test_whatIsNotOursIsNotTold(self) -> None:
        """Whether or not it is in a rule, or in the pool."""
        self.rule("shop.test", ALICE, CAROL)
        for asked in (ALICE, BOB, CAROL):
            self.assertRaises(NotYours, self.shown, U1001, "shop.test", asked)

    def test_whoMayUseAllIsToldWhatIsMissing(self) -> None:
        """It is not in the pool."""
        self.rule("shop.test", CAROL)
        self.problem(self.shown, US, "shop.test", CAROL)

    def test_ownPseudonymsCanBeAskedFor(self) -> None:
        """And nobody else's, and not elsewhere."""
        self.rule("forum.test", "@example.test")
        self.rule("shop.test", "@example.test")
        ours = self.shown(U1000, "forum.test")
        assert ours is not None
        self.assertEqual(self.shown(U1000, "forum.test", ours), ours)
        self.assertRaises(NotYours, self.shown, U1001, "forum.test", ours)
        self.assertRaises(NotYours, self.shown, U1000, "shop.test", ours)
        self.refused(Caller(0), "shop.test", ours)


class BrokenTests(DisclosureTestCase):
    """Files that are not as they should be."""

    def test_everyOtherLineIsAMistake(self) -> None:
        """With its place."""
        for line in ("@", "@.example.test", "@a@b", "--", "- -", "*", "a/b", "alice@", "*.x.test"):
            self.rule("shop.test", ALICE, line)
            error = self.problem(self.shown, U1000, "shop.test")
            self.assertIn("shop.test.txt, line 2", error.subject, line)

    def test_aRuleThatOthersCanWriteIsNotBelieved(self) -> None:
        """Or that others own."""
        self.rule("shop.test", ALICE)
        file = self.path / "disclose" / "shop.test.txt"
        file.chmod(0o666)
        self.problem(self.shown, U1000, "shop.test")
        file.chmod(0o644)
        if os.geteuid() == 0:
            os.chown(file, STRANGER, -1)
            self.problem(self.shown, U1000, "shop.test")

    def test_aRuleThatOthersCanTakeAwayIsNotBelieved(self) -> None:
        """Then one that says less would count; also where it has been taken away already."""
        self.rule(".", ALICE)
        self.rule("shop.test", "-")
        directory = self.path / "disclose"
        directory.chmod(0o775)
        self.problem(self.shown, U1000, "shop.test")
        (directory / "shop.test.txt").unlink()
        self.assertEqual(
            self.problem(self.shown, U1000, "shop.test").remedy, f"run 'chmod go-w {directory}'"
        )

    def test_brokenUsersOfALineRefuse(self) -> None:
        """Else another one than the preferred would be shown, and nobody would notice."""
        self.rule("shop.test", ALICE, BOB)
        self.write(f"{ALICE}/users", b"nonsense", 0o644)
        self.problem(self.shown, U1000, "shop.test")

    def test_whatIsInThePlaceOfTheRulesRefuses(self) -> None:
        """A file, a link that leads nowhere: not as if there were no rules."""
        place = self.path / "disclose"
        place.write_bytes(b"")
        self.problem(self.shown, U1000, "shop.test", ALICE)
        place.unlink()
        place.symlink_to("nowhere")
        self.problem(self.shown, U1000, "shop.test", ALICE)
        self.assertEqual(len(list(doubts(self.pool))), 1)

    def test_nothingIsWaitedFor(self) -> None:
        """A pipe, a directory, a link that leads nowhere, a file of 10 MB."""
        (self.path / "disclose").mkdir()
        begun = time.monotonic()
        os.mkfifo(self.path / "disclose" / "pipe.test.txt")
        (self.path / "disclose" / "directory.test.txt").mkdir()
        (self.path / "disclose" / "link.test.txt").symlink_to("nowhere")
        self.write("disclose/large.test.txt", b"# \n" * 4000000, 0o644)
        for name in ("pipe", "directory", "link", "large"):
            self.problem(self.shown, U1000, f"{name}.test")
        self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(len(list(doubts(self.pool))), 4)

    def test_thousandsOfRulesDoNotMatter(self) -> None:
        """Only those are looked for that could decide."""
        for number in range(3000):
            self.rule(f"host{number}.test", ALICE)
        self.rule(".", BOB)
        deep = ".".join(["a"] * 120) + ".b.test"
        begun = time.process_time()
        for _ in range(20):
            self.assertEqual(self.shown(U1000, deep), BOB)
            self.assertEqual(self.shown(U1000, "host7.test"), ALICE)
        self.assertLess(time.process_time() - begun, 2)

    def test_aKeyIsNobodysName(self) -> None:
        """No rule can be about it."""
        self.rule(".", ALICE)
        remote = KeyIdentity.of(bytes(32))
        self.assertIsNone(whomToShow(self.pool, U1000, remote))

    def test_workloads(self) -> None:
        """One, those below, and a whole trust domain; each has a file of its own."""
        self.rule("spiffe:mesh.test,ns,api", ALICE)
        self.rule("spiffe:mesh.test,ns,", BOB)
        self.rule("spiffe:mesh.test", "-")
        self.assertEqual(self.shown(U1000, "spiffe://mesh.test/ns/api"), ALICE)
        self.assertEqual(self.shown(U1000, "spiffe://mesh.test/ns/web"), BOB)
        self.assertIsNone(self.shown(U1000, "spiffe://mesh.test/other"))
        self.assertEqual(list(doubts(self.pool)), [])

    def test_whatIsDoubtful(self) -> None:
        """Lines that never count, identities that are not there, names of no selector."""
        self.rule("a.test", ALICE, "-", BOB)
        self.rule("b.test", CAROL)
        self.rule("b a d", ALICE)
        self.rule("ok.test", ALICE, "@example.test", "-")
        self.write("disclose/README", b"about", 0o644)
        self.write("disclose/.new-xyz", b"half", 0o600)
        self.write(f"{BOB}/users", b"nonsense", 0o644)
        found = "\n".join(doubts(self.pool))
        self.assertEqual(found.count("\n"), 4, found)
        for part in (
            "what follows '-' never counts: bob@",
            "carol@example.test is not in the pool",
            "b a d.txt: never counts",
            "README: never counts",
            "users, line 1",
        ):
            self.assertIn(part, found)

    def test_aNameThatBeginsLikeAFileThatIsNotFinishedIsOne(self) -> None:
        """There is a New York, with domains below it."""
        self.rule(".new-york.test", CAROL)
        self.assertIn("carol@example.test is not in the pool", "\n".join(doubts(self.pool)))

    def test_aPoolWithoutRulesHasNoDoubts(self) -> None:
        """Nor has one that is not there."""
        self.assertEqual(list(doubts(self.pool)), [])

    @settings(max_examples=60, deadline=None)
    @given(identities, st.binary(max_size=60))
    def test_anyRuleShowsWhatItSaysOrRefuses(self, remote: Identity, content: bytes) -> None:
        """There is no other error, and nobody is shown whom it does not name."""
        if not remote.fileName.isascii() or len(remote.fileName) > 200:
            return
        selector = Selector(remote.user, remote.domain, remote.path)
        self.write(f"disclose/{selector.fileName}.txt", content, 0o644)
        try:
            shown = whomToShow(self.pool, U1000, remote)
        except ConfigurationError:
            return
        rule = ruleFor(self.pool, remote)
        assert rule is not None
        self.assertIn(shown, [None, *(each.identity for each in rule.counting)])

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=30) | identities.map(str))
    def test_aLineIsReadAsItIsWritten(self, text: str) -> None:
        """Or it is a mistake with a remedy."""
        try:
            shown = Shown.parse(text)
        except ValueError as error:
            self.assertIn("; ", str(error))
        else:
            self.assertEqual(Shown.parse(str(shown)), shown)

    def test_rulesInTheirOrder(self) -> None:
        """With what is wrong where one is."""
        self.rule("b.test", ALICE)
        self.rule("a.test", "non sense")
        broken, good = rules(self.pool)
        assert isinstance(broken, ConfigurationError) and not isinstance(good, ConfigurationError)
        self.assertEqual((str(good.selector), str(good)), ("b.test", str(ALICE)))
