"""
Tests for L{tlstunnel.identity.users}, and for L{tlstunnel.identity.rules} and
L{tlstunnel.identity.accounts}.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identity.pools import PoolTestCase
from tests.users import STRANGER, closed
from tlstunnel.identity import accounts as accounts_
from tlstunnel.identity.accounts import Accounts, Unanswered
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.rules import LARGEST_RULES, readRules
from tlstunnel.identity.users import Grant, mayUse, usable

ALICE = Identity.parse("alice@example.test")

#: Nobody who could be running the tests.
CALLER = Caller(64001, frozenset({64001, 64100}))


class _Never(Mapping[str, Callable[[str], int]]):
    """A system that must not be asked."""

    def __getitem__(self, kind: str) -> Callable[[str], int]:
        raise AssertionError(f"a {kind} was asked for")

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(())

    def __len__(self) -> int:
        return 0


NEVER = Accounts(_Never())


class UsersTests(PoolTestCase):
    """Who may use an identity."""

    def setUp(self) -> None:
        """Alice is in the pool."""
        super().setUp()
        self.add(ALICE)

    def may(self, text: str | bytes, caller: Caller = CALLER, accounts: Accounts = NEVER) -> bool:
        """Whether somebody may use Alice, by what stands in the file."""
        self.write(f"{ALICE}/users", text.encode() if isinstance(text, str) else text, 0o644)
        return mayUse(self.pool, ALICE, caller, accounts)

    def test_withoutAFileNobodyMay(self) -> None:
        """And with an empty one, or one of comments, nobody either."""
        self.assertFalse(mayUse(self.pool, ALICE, CALLER))
        for text in ("", "\n", "# any\n", "  # user 64001", "\ufeff# any"):
            self.assertFalse(self.may(text), text)

    def test_everyKindOfLine(self) -> None:
        """Users by number, groups by number, which may be supplementary, and everybody."""
        for text in (
            "user 64001",
            "user 1\nuser 64001\n",
            "group 64100",
            "group\t64100",
            "any",
            "  any   # for now\r\n",
            "\ufeffuser 064001",
        ):
            self.assertTrue(self.may(text), text)
        for text in ("user 64100", "group 64002", "user 1\ngroup 1"):
            self.assertFalse(self.may(text), text)

    def test_rootAndWeOurselvesMayUseAll(self) -> None:
        """Whatever stands there, and whether or not it can be read."""
        for uid in (0, os.geteuid()):
            self.assertTrue(self.may("nonsense", Caller(uid)))

    def test_whatIsNotKnownIsAnError(self) -> None:
        """The file counts as a whole or not at all, also where another line would do."""
        for line in (
            "alice",
            "user",
            "user ",
            "usr 64001",
            "any 5",
            "user 99999999999999",
            "user 4294967295",
            "group a:b",
            "user a\tb",
            "any\x00",
            "Any",
            "!user 5",
        ):
            error = self.problem(self.may, f"any\n{line}\n")
            self.assertIn("users, line 2", error.subject, line)
        self.assertIn("did you mean user?", str(self.problem(self.may, "users 5")))
        self.assertIn("UTF-8", str(self.problem(self.may, b"any\nuser \xff\n")))

    def test_namesAreThoseOfTheSystem(self) -> None:
        """Of users and groups; one that nobody has does no harm."""
        root, group = pwd.getpwuid(0).pw_name, grp.getgrgid(0).gr_name
        system = Accounts()
        caller = Caller(64001, frozenset({0}))
        self.assertTrue(self.may(f"group {group}", caller, system))
        self.assertFalse(self.may(f"user {root}", caller, system))
        self.assertFalse(self.may("user nobody-is-called-so", caller, system))

    def test_numbersDecideBeforeAnybodyIsAsked(self) -> None:
        """Wherever they stand."""
        self.assertTrue(self.may("user slow\ngroup slow\nuser 64001\n", accounts=NEVER))

    def test_aNameMayHaveSpaces(self) -> None:
        """As those of Windows domains do."""
        known = Accounts({"group": {"EXAMPLE\\domain users": 64100}.__getitem__})
        self.assertTrue(self.may("group EXAMPLE\\domain users", accounts=known))

    def test_aFileThatOthersCanWriteIsNotBelieved(self) -> None:
        """Or that others own; then the use is refused, and nobody else's word counts."""
        file = self.write(f"{ALICE}/users", b"any", 0o644)
        for mode in (0o664, 0o646, 0o622):
            file.chmod(mode)
            error = self.problem(mayUse, self.pool, ALICE, CALLER)
            self.assertIn("can be written by others", error.problem)
        file.chmod(0o444)
        self.assertTrue(mayUse(self.pool, ALICE, CALLER))
        if os.geteuid() == 0:
            os.chown(file, STRANGER, -1)
            self.assertIn("belongs to", self.problem(mayUse, self.pool, ALICE, CALLER).problem)

    def test_norIsOneThatOthersCanReplace(self) -> None:
        """Who can write its directory puts that of an identity of his there."""
        file = self.write(f"{ALICE}/users", b"any", 0o644)
        for mode in (0o770, 0o707, 0o1777):
            file.parent.chmod(mode)
            error = self.problem(mayUse, self.pool, ALICE, CALLER)
            self.assertEqual(error.subject, str(file.parent))
            self.assertIn("can be written by others", error.problem)
        file.parent.chmod(0o755)
        self.assertTrue(mayUse(self.pool, ALICE, CALLER))
        if os.geteuid() == 0:
            os.chown(file.parent, STRANGER, -1)
            self.assertIn("belongs to", self.problem(mayUse, self.pool, ALICE, CALLER).problem)

    def test_aLinkCountsForWhatItLeadsTo(self) -> None:
        """One that leads nowhere is broken, and not as if there were no file."""
        shared = self.write("shared", b"any", 0o644)
        link = self.path / str(ALICE) / "users"
        link.symlink_to(shared.absolute())
        self.assertTrue(mayUse(self.pool, ALICE, CALLER))
        shared.unlink()
        self.problem(mayUse, self.pool, ALICE, CALLER)

    def test_whatIsNoFileIsRefusedAtOnce(self) -> None:
        """A pipe that nobody writes to, a directory, a device, a file of 10 MB."""
        file = self.path / str(ALICE) / "users"
        begun = time.monotonic()
        os.mkfifo(file)
        self.assertIn("not a file", self.problem(mayUse, self.pool, ALICE, CALLER).problem)
        file.unlink()
        file.mkdir()
        self.problem(mayUse, self.pool, ALICE, CALLER)
        file.rmdir()
        file.symlink_to("/dev/zero")
        self.problem(mayUse, self.pool, ALICE, CALLER)
        file.unlink()
        self.write(f"{ALICE}/users", b"user 64001\n" * 1000000, 0o644)
        error = self.problem(mayUse, self.pool, ALICE, CALLER)
        self.assertIn("more than", error.problem)
        self.assertLess(time.monotonic() - begun, 1)

    def test_theLargestFileIsReadInMilliseconds(self) -> None:
        """Of what each connection goes through, there is not much."""
        lines = b"user 64002\n" * ((LARGEST_RULES - 20) // 11) + b"user 64001\n"
        self.write(f"{ALICE}/users", lines, 0o644)
        begun = time.process_time()
        self.assertTrue(mayUse(self.pool, ALICE, CALLER))
        self.assertLess(time.process_time() - begun, 0.5)

    def test_whatWeMayNotSeeIsAnError(self) -> None:
        """It is not as if it were not there."""
        self.write(f"{ALICE}/users", b"any", 0o644)
        with closed(self.path / str(ALICE)):
            self.problem(mayUse, self.pool, ALICE, CALLER)

    def test_aNameOfThePoolsOwnIsNobody(self) -> None:
        """Whatever a program asks for."""
        for name in ("disclose", "pseudonyms", "ca", "trust"):
            self.problem(mayUse, self.pool, Identity(None, name), CALLER)

    def test_whatCanBeUsed(self) -> None:
        """What is broken is passed over, as it is refused when somebody wants to be that."""
        others = [Identity.parse(each) for each in ("a.test", "b.test", "c.test")]
        for each in others:
            self.add(each)
        self.write("a.test/users", b"any", 0o644)
        self.write("b.test/users", b"nonsense", 0o644)
        self.write("c.test/users", b"group 64100", 0o644)
        self.assertEqual(list(usable(self.pool, CALLER)), [others[0], others[2]])
        self.assertEqual(len(list(usable(self.pool, Caller(0)))), 4)


class GrantTests(PoolTestCase):
    """Lines."""

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=40) | st.text("userganyop 0123456789:#@\t\x00", max_size=30))
    def test_whateverStandsThereIsALineOrAMistake(self, text: str) -> None:
        """What is read is written as it can be read again."""
        try:
            grant = Grant.parse(text)
        except ValueError as error:
            self.assertIn("; ", str(error))
        else:
            self.assertEqual(Grant.parse(str(grant)), grant)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200))
    def test_anyFileIsReadOrRefused(self, content: bytes) -> None:
        """With no other error than the one that names its place."""
        pool = Pool(Path(self.mktemp()))
        file = pool.usersFile(ALICE)
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        file.chmod(0o644)
        try:
            mayUse(pool, ALICE, CALLER, Accounts({"user": int, "group": int}))
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.assertEqual(type(error).__name__, "ConfigurationError")

    def test_aFileThatIsNotThereIsNone(self) -> None:
        """As opposed to one that is empty."""
        self.assertIsNone(readRules(self.path / "nothing"))
        self.assertEqual(readRules(self.write("empty", b"", 0o644)), [])


class AccountsTests(PoolTestCase):
    """A system that has to ask somebody who is slow, or away."""

    def setUp(self) -> None:
        """A directory that answers when it is let."""
        super().setUp()
        self.asked: list[str] = []
        self.answering = Event()
        self.addCleanup(self.answering.set)
        self.accounts = Accounts({"user": self.lookUp, "group": self.lookUp})

    def lookUp(self, name: str) -> int:
        """Wait, unless it is somebody who is known here."""
        self.asked.append(name)
        if name == "local":
            return 64001
        self.answering.wait(30)
        return {"distant": 64001}[name]

    def number(self, name: str) -> int | None:
        """Ask for a user."""
        return self.accounts.numberOf("user", name, 0.05)

    def test_anAnswerCountsForAWhile(self) -> None:
        """Also that there is nobody of that name."""
        self.answering.set()
        self.assertEqual([self.number("local"), self.number("local")], [64001] * 2)
        self.assertEqual([self.number("nobody"), self.number("nobody")], [None] * 2)
        self.assertEqual(self.asked, ["local", "nobody"])
        self.patch(time, "monotonic", lambda: time.time() + 1e9)
        self.assertEqual(self.number("local"), 64001)
        self.assertEqual(self.asked, ["local", "nobody", "local"])

    def test_whoeverAsksWaitsForAMomentOnce(self) -> None:
        """Then not at all, until there is an answer."""
        begun = time.monotonic()
        for _ in range(20):
            self.assertRaises(Unanswered, self.number, "distant")
        self.assertLess(time.monotonic() - begun, 0.5)
        self.assertEqual(self.asked, ["distant"])
        self.assertEqual(self.number("local"), 64001)
        self.answering.set()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                self.assertEqual(self.number("distant"), 64001)
            except Unanswered:
                time.sleep(0.01)
            else:
                break
        self.assertEqual(self.asked, ["distant", "local"])

    def test_whileOneIsWaitedForOthersAreNotWaitedForLong(self) -> None:
        """Else a directory that is away would cost a moment for each name."""
        begun = time.monotonic()
        for name in "abcdefghijkl":
            self.assertRaises(Unanswered, self.accounts.numberOf, "user", name)
        self.assertLess(time.monotonic() - begun, 2 * accounts_.PATIENCE_SECONDS)

    def test_noMoreThanSomeAreAskedForAtATime(self) -> None:
        """However many names there are."""
        for number in range(30):
            self.assertRaises(Unanswered, self.accounts.numberOf, "user", str(number), 0)
        self.assertLessEqual(len(self.asked), accounts_.MOST_ASKED)

    def test_onlySoManyAnswersAreKept(self) -> None:
        """The memory does not grow with the names."""
        self.patch(accounts_, "MOST_KEPT", 3)
        self.answering.set()
        for number in range(20):
            self.number(str(number))
        self.assertLessEqual(len(self.accounts._questions), 4)

    def test_anErrorOfTheSystemIsNoUser(self) -> None:
        """And no thread that ends with a traceback."""
        broken = Accounts({"user": int})
        self.assertIsNone(broken.numberOf("user", "x"))

    def test_whileItIsNotKnownTheUseIsRefusedWithAReason(self) -> None:
        """Unless another line is enough."""
        self.add(ALICE)
        self.write(f"{ALICE}/users", b"user distant\nuser local\n", 0o644)
        self.assertTrue(mayUse(self.pool, ALICE, CALLER, self.accounts))
        self.write(f"{ALICE}/users", b"user distant\n", 0o644)
        error = self.problem(mayUse, self.pool, ALICE, CALLER, self.accounts)
        self.assertIn("users, line 1", error.subject)
        self.assertIn("give its number", error.remedy)
