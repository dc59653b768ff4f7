"""
Tests for the commands C{tlstunnel identity allow} and C{tlstunnel identity disclose}, and for what
C{identity list} and C{identity check} say of rules.
"""

from __future__ import annotations

import os
import pwd
import stat

from twisted.python import usage

from tests.commands.identities import CommandTestCase
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.disclosure import whomToShow
from tlstunnel.identity.names import Identity
from tlstunnel.identity.permission import ourName
from tlstunnel.identity.users import mayUse

ALICE = Identity.parse("alice@example.test")
ROOT = pwd.getpwuid(0).pw_name


class RulesTestCase(CommandTestCase):
    """A test with two identities."""

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        self.succeed("create", "alice@example.test")
        self.succeed("create", "www.example.test")
        self.users = self.path / "alice@example.test" / "users"
        self.rule = self.path / "disclose" / "shop.test.txt"

    def complaint(self, *words: str) -> str:
        """Run a command that does not work, and return what it says."""
        code, out, err = self.call(*words)
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        return err


class AllowTests(RulesTestCase):
    """C{allow}."""

    def test_somebody(self) -> None:
        """Several at once, by name and by number, each once."""
        said = self.succeed("allow", "alice@example.test", f"user:{ROOT}", "group:64001")
        self.assertEqual(said, f"alice@example.test: may be used by user {ROOT}, group 64001\n")
        self.succeed("allow", "alice@example.test", "group:64001", "user:64002")
        self.assertEqual(self.users.read_text(), f"user {ROOT}\ngroup 64001\nuser 64002\n")
        self.assertEqual(stat.S_IMODE(self.users.stat().st_mode), 0o644)
        self.assertTrue(mayUse(self.pool, ALICE, Caller(1, frozenset({64001}))))

    def test_everybody(self) -> None:
        """With a word."""
        said = self.succeed("allow", "alice@example.test", "any")
        self.assertEqual(said, "alice@example.test: may be used by everybody\n")

    def test_noMore(self) -> None:
        """Comments of others stay, and so do lines."""
        self.users.write_text("\ufeff# who\nuser 5 # five\n# group\nuser 6 # six\u2028any\n")
        self.succeed("allow", "--remove", "alice@example.test", "user:05")
        self.assertEqual(self.users.read_text(), "# who\n# group\nuser 6 # six\u2028any\n")
        self.assertIn(
            "'user 5'", self.complaint("allow", "--remove", "alice@example.test", "user:5")
        )
        said = self.succeed("allow", "--remove", "alice@example.test", "user:6")
        self.assertIn("root and the user that runs", said)

    def test_nothingIsChanged(self) -> None:
        """Whoever only asks."""
        said = self.succeed("allow", "alice@example.test")
        self.assertIn("root and the user that runs", said)
        self.assertFalse(self.users.exists())

    def test_mistakes(self) -> None:
        """What is said about them, and nothing is written."""
        for words, part in (
            (("alice@example.test", "bob"), "write user:NAME, group:NAME or any"),
            (("alice@example.test", "user:"), "write user:NAME, group:NAME or any"),
            (
                ("alice@example.test", "usr:5"),
                "usr:5: 'usr 5' names no user and no group; write user:NAME, group:NAME or any",
            ),
            (("alice@example.test", "user:nobody-has-it"), "there is no user nobody-has-it"),
            (("alice@example.test", "user:99999999999"), "is no number of a user"),
            (("carol@example.test", "any"), "identity create"),
            (("non sense", "any"), "ID"),
        ):
            self.assertIn(part, self.complaint("allow", *words))
        self.assertFalse(self.users.exists())
        self.assertRaises(usage.UsageError, self.call, "allow")
        self.assertRaises(usage.UsageError, self.call, "allow", "--remove", "alice@example.test")

    def test_aBrokenFileIsNotMadeWorse(self) -> None:
        """Nor is one that is somewhere else."""
        self.users.write_text("nonsense\n")
        self.assertIn("line 1", self.complaint("allow", "alice@example.test", "any"))
        self.users.unlink()
        self.users.symlink_to(self.base / "shared")
        (self.base / "shared").write_text("user 5\n")
        self.assertIn("is a link", self.complaint("allow", "alice@example.test", "any"))

    def test_checkTellsOfMistakes(self) -> None:
        """And of names that nobody has."""
        self.succeed("check", "alice@example.test")
        self.users.write_text("user nobody-has-it\ngroup 5\n")
        code, out, _ = self.call("check", "alice@example.test")
        self.assertEqual(code, 1)
        self.assertIn("users, line 1: there is no user nobody-has-it", out)
        self.users.write_text("nonsense\n")
        code, out, _ = self.call("check", "alice@example.test")
        self.assertEqual((code, out.count("\n")), (1, 1))


class DiscloseTests(RulesTestCase):
    """C{disclose}."""

    def test_aRule(self) -> None:
        """The first one says what changes by there being rules at all."""
        said = self.succeed("disclose", "shop.test", "alice@example.test")
        self.assertEqual(
            said,
            f"shop.test: alice@example.test ({self.rule})\n"
            "From now on rules alone decide: where none names an identity, it is not shown, even "
            "to a program that asks for it.\n",
        )
        said = self.succeed("disclose", "SHOP.test", "www.example.test", "alice@example.test", "-")
        self.assertEqual(
            said,
            "shop.test: alice@example.test, then www.example.test, then no identity "
            f"({self.rule})\n",
        )
        self.assertEqual(self.rule.read_text(), "alice@example.test\nwww.example.test\n-\n")
        us = Caller(os.geteuid())
        self.assertEqual(whomToShow(self.pool, us, Identity.parse("shop.test")), ALICE)

    def test_whoWouldBeShown(self) -> None:
        """By the rule that decides, which may be another one; to the programs of a user."""
        said = self.succeed("disclose", "www.shop.test")
        self.assertEqual(
            said,
            "www.shop.test: no rule\n"
            f"There, the programs of user {ourName()} show no identity, unless they ask for one.\n",
        )
        self.succeed("disclose", ".shop.test", "alice@example.test", "@example.test")
        said = self.succeed("disclose", "www.shop.test")
        self.assertIn(".shop.test.txt)\nThere, the programs of user ", said)
        self.assertIn(" show alice@example.test.\n", said)
        said = self.succeed("disclose", "--user", "64001", "www.shop.test")
        self.assertIn("a pseudonym of example.test", said)
        self.succeed("disclose", "other.test", "alice@example.test")
        said = self.succeed("disclose", "--user", "64001", "other.test")
        self.assertIn("show no identity, as they may use none of these", said)
        said = self.succeed("disclose", "--user", ROOT, "other.test")
        self.assertIn(f"the programs of user {ROOT} show alice@example.test", said)
        self.succeed("disclose", "no.test", "-")
        self.assertIn("show no identity.\n", self.succeed("disclose", "no.test"))
        self.assertIn("show no identity.\n", self.succeed("disclose", "elsewhere.test"))

    def test_onlyLooking(self) -> None:
        """Makes no pseudonym."""
        self.succeed("disclose", "forum.test", "@example.test")
        self.succeed("disclose", "forum.test")
        self.assertFalse((self.path / "pseudonyms").exists())

    def test_whatElseIsNeeded(self) -> None:
        """Of identities that are not there, and of pseudonyms."""
        said = self.succeed("disclose", "shop.test", "carol@example.test", "@example.test")
        self.assertIn("carol@example.test is not in the pool, and is passed over", said)
        self.assertIn("tlstunnel identity trust @example.test FILE", said)

    def test_nothingFollowsTheEnd(self) -> None:
        """As it would never count."""
        self.succeed("disclose", "shop.test", "alice@example.test", "-")
        self.assertIn(
            "--remove shop.test -", self.complaint("disclose", "shop.test", "www.example.test")
        )
        self.succeed("disclose", "--remove", "shop.test", "-")
        self.succeed("disclose", "shop.test", "www.example.test", "-")

    def test_lessOfARule(self) -> None:
        """What is left may be nobody; then no other rule takes its place."""
        self.succeed("disclose", "shop.test", "alice@example.test", "@example.test")
        said = self.succeed("disclose", "--remove", "shop.test", "@example.test")
        self.assertEqual(said, f"shop.test: alice@example.test ({self.rule})\n")
        said = self.succeed("disclose", "--remove", "shop.test", "alice@example.test")
        self.assertEqual(said, f"shop.test: no identity ({self.rule})\n")
        self.assertIn("it says: nothing", self.complaint("disclose", "--remove", "shop.test", "-"))

    def test_noRuleAnyMore(self) -> None:
        """Then a less concrete one decides, and it is said which; a broken one can go too."""
        self.succeed("disclose", "shop.test", "alice@example.test")
        self.succeed("disclose", ".", "-")
        self.rule.write_text("non sense")
        self.assertIn("line 1", self.complaint("disclose", "shop.test"))
        said = self.succeed("disclose", "--remove", "shop.test")
        self.assertEqual(said, f"shop.test: no identity ({self.path / 'disclose' / '..txt'})\n")
        said = self.complaint("disclose", "--remove", "shop.test")
        self.assertIn("shop.test.txt: is not there; 'tlstunnel identity list' shows which", said)

    def test_mistakes(self) -> None:
        """What is said about them, and nothing is written."""
        for words, part in (
            (("*.shop.test", "-"), "write .shop.test"),
            (("shop.test", "*"), "ID"),
            (("shop.test", "@.test"), "ID"),
            (("--user", "nobody-has-it", "shop.test"), "there is no user nobody-has-it"),
            (("--remove", "shop.test", "-"), "is not there"),
        ):
            self.assertIn(part, self.complaint("disclose", *words))
        self.assertFalse(self.rule.exists())
        self.assertRaises(usage.UsageError, self.call, "disclose")
        self.assertRaises(usage.UsageError, self.call, "disclose", "--user", "5", "shop.test", "-")

    def test_aListShowsBoth(self) -> None:
        """Who may use an identity, and who is shown to whom."""
        before = self.succeed("list")
        self.succeed("allow", "alice@example.test", "user:5", "group:6")
        self.succeed("disclose", ".shop.test", "alice@example.test", "-")
        self.succeed("disclose", "forum.test", "@example.test")
        said = self.succeed("list")
        self.assertEqual(
            said.removeprefix(before),
            "\n"
            "MAY BE USED         BY\n"
            "alice@example.test  user 5, group 6\n"
            "\n"
            "TO          WE ARE\n"
            ".shop.test  alice@example.test, then no identity\n"
            "forum.test  @example.test\n",
        )
        self.users.write_text("nonsense")
        (self.path / "disclose" / "README").touch()
        said = self.succeed("list")
        self.assertIn("nobody, as this is broken: ", said)
        self.assertIn("broken: ", said)

    def test_checkTellsOfBrokenRules(self) -> None:
        """Whoever is checked."""
        self.succeed("disclose", "shop.test", "alice@example.test")
        self.succeed("check", "www.example.test")
        self.rule.rename(self.rule.with_name("Shop.test.txt"))
        code, out, _ = self.call("check", "www.example.test")
        self.assertEqual(code, 1)
        self.assertIn("Shop.test.txt: never counts", out)
