"""
Tests for L{tlstunnel.reveal.identitymap} and L{tlstunnel.reveal.patterns}.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, KeyIdentity, Selector
from tlstunnel.protocols.implicit import implicit
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.identitymap import IdentityMap, Names, OwnNames, namesFor
from tlstunnel.reveal.patterns import LONGEST_SUBJECT, Pattern
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.disclosures import preparedWords
from tlstunnel.tunnel.servedname import ServedName

JOHN = Identity.parse("john@example.org")
HOST = Identity.parse("www.example.org")
WORKLOAD = Identity.parse("spiffe://example.org/ns/web")
KEY = KeyIdentity.of(bytes(32))

# Lines of the map "m", and for whom: as whom, and as whom not.
LINES = {
    "by name": ("m john@example.org john", "john@example.org", ("john",), ("John", "john ")),
    "the name of a host": ("m www.example.org www", "www.example.org", ("www",), ("web",)),
    "a domain in capitals": ("m john@Example.ORG john", "john@example.org", ("john",), ()),
    "a user in capitals": ("m John@example.org john", "john@example.org", (), ("john", "John")),
    "an IDN": ("m j@bücher.example b", "j@xn--bcher-kva.example", ("b",), ()),
    "an address": ("m 2001:DB8:0::1 six", "2001:db8::1", ("six",), ()),
    "a workload": ("m spiffe://e.org/a web", "spiffe://e.org/a", ("web",), ()),
    "somebody else": ("m ann@example.org john", "john@example.org", (), ("john", "")),
    "another map": ("M john@example.org a\nm x.org b", "john@example.org", (), ("a", "b")),
    "a quoted name": ('m x.org "my name"', "x.org", ("my name",), ("my",)),
    "a quotation mark": ('m x.org "a""b"', "x.org", ('a"b',), ()),
    "partly quoted": ('m x.org a" "b', "x.org", ("a b",), ()),
    "a comment": ("m x.org a#b c", "x.org", ("a",), ("a#b",)),
    "a quoted comment": ('m x.org "a#b"', "x.org", ("a#b",), ("a",)),
    "two lines in one": ("m x.org \\\n  a", "x.org", ("a",), ()),
    "a line of Windows": ("m x.org a\r", "x.org", ("a",), ("a\r",)),
    "everybody": ("m x.org all", "x.org", ("a", "all", "postgres"), ("", "a\0", "a\n")),
    "the name all": ('m x.org "all"', "x.org", ("all",), ("a",)),
    "the name +a": ('m x.org "+a"', "x.org", ("+a",), ("a",)),
    "names that match": ("m x.org /^a[0-9]+$", "x.org", ("a1", "a22"), ("a", "ba1", "a1\n", "a1b")),
    "a part": (r"m /^([a-z]+)@example\.org$ \1", "john@example.org", ("john",), ("", "ann")),
    "a part, and more": (r"m /^(.*)@x\.org$ db_\1_ro", "a@x.org", ("db_a_ro",), ("a",)),
    "the first part": (r"m /^(.)(.*)@x\.org$ \1", "ab@x.org", ("a",), ("b", "ab")),
    "a part that is empty": (r"m /^(a*)b@x\.org$ x\1", "b@x.org", (), ("x", "")),
    "an unquoted dot": (r"m /^.*@example\.org$ a", "j@exampleXorg.org", (), ("a",)),
    "an expression for users": (r"m /^.*@.*$ a", "www.example.org", (), ("a",)),
    "a part named all": (r"m /^(.*)@x\.org$ \1", "all@x.org", ("all",), ("a",)),
    "a part that is a slash": (r"m /^(.*)@x\.org$ \1", "/^.*$@x.org", (), ("a",)),
}

# Lines that are wrong, and a word of what is said.
WRONG = {
    "m x.org": "three fields",
    "m x.org a b": "three fields",
    "m x.org a,b": "comma",
    'm x.org "a': "quotation mark",
    "m x.org a\0": "NUL",
    "include other.conf": "includes",
    'm "" a': "not a domain",
    'm x.org ""': "is no name",
    "m @x.org a": "not one identity",
    "m .org a": "may stand for several",
    "m all a": "not one identity",
    "m x.org +a": "member",
    "m sha256//x a": "not in Base64",
    "m sha256//AAAA a": "a SHA-256 has 32",
    r"m x.org \1": "nothing that",
    r"m /^x$ \1": "nothing that",
    r"m /^(?:x)$ \1": "nothing that",
    r"m /^(x)$ \1\1": "is no name",
    r"m /^(x)$ \2": "is no name",
    "m /x$ a": "part of a name",
    "m /^x a": "part of a name",
    r"m /^x\$ a": "more than is understood",
    "m /^(x$ a": "more than is understood",
    "m /^a|b$ a": "more than is understood",
    "m /^(a*)*$ a": "more than is understood",
    "m /^((a))$ a": "more than is understood",
    "m /^(?i)a$ a": "more than is understood",
    "m /^a*?$ a": "more than is understood",
    r"m /^(a)\1$ b": "more than is understood",
    "m /^[[:alpha:]]$ b": "more than is understood",
    "m /^.*.*.*.*$ a": "too many ways",
    "m /^[z-a]$ a": "no regular expression",
    'm "/^a{9,1}$" a': "no regular expression",
    "m x.org /^.*.*.*.*$": "too many ways",
    f"m /^{'a' * 300}$ a": "characters",
}


class MapCase(SynchronousTestCase):
    """
    Has files.
    """

    def read(self, text: str | bytes, name: str = "m") -> IdentityMap:
        """
        Read a map from a file with C{text}.
        """
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return IdentityMap.read(path, name)


class MapTests(MapCase):
    """
    What lines mean.
    """

    def test_lines(self) -> None:
        """
        Each allows what it says, and nothing else.
        """
        for title, (line, who, allowed, refused) in LINES.items():
            try:
                identity = Identity.parse(who)
            except ValueError:
                # A certificate can have such a one.
                user, _, domain = who.rpartition("@")
                identity = Identity(user, domain)
            names = self.read(f"# comment\n\n{line}\n")
            for name in allowed:
                self.assertTrue(names.allows(identity, name), (title, name))
            for name in refused:
                self.assertFalse(names.allows(identity, name), (title, name))

    def test_wrongLinesAreNamed(self) -> None:
        """
        With the file and the number of the line.
        """
        for line, word in WRONG.items():
            error = self.assertRaises(ConfigurationError, self.read, f"#\n\n{line}\n")
            self.assertIn(word, str(error), line)
            self.assertIn(", line 3", error.subject, line)

    def test_linesOfOtherMapsMayBeMeantForOthers(self) -> None:
        """
        As long as they are lines.
        """
        names = self.read("peer /x +y\nm x.org a\nother @all \\2\n")
        self.assertEqual(names.names(Identity.parse("x.org")), ("a",))

    def test_aLongLineCountsFromWhereItBegins(self) -> None:
        """
        And ends with the file.
        """
        error = self.assertRaises(ConfigurationError, self.read, "#\nm \\\n x.org \\\n")
        self.assertIn(", line 2", error.subject)

    def test_withoutTheMapThereIsNothing(self) -> None:
        """
        Nobody could log in, which is nobody's intention.
        """
        error = self.assertRaises(ConfigurationError, self.read, "other x.org a\n")
        self.assertIn("no line of the map m", str(error))

    def test_itIsTextInUTF8(self) -> None:
        """
        A mark of the order of bytes is no part of the first map's name.
        """
        self.assertRaises(ConfigurationError, self.read, b"m x.org \xff\n")
        names = self.read(b"\xef\xbb\xbfm x.org \xc3\xa4\n")
        self.assertEqual(names.names(Identity.parse("x.org")), ("ä",))
        # The same letter, of two characters.
        self.assertFalse(names.allows(Identity.parse("x.org"), "a\u0308"))

    def test_namesAreListedInTheirOrder(self) -> None:
        """
        Once each, as far as they are known; the first is what somebody is called by default.
        """
        names = self.read(
            "m john@example.org z\nm john@example.org all\nm john@example.org /^a$\n"
            "m /^(.*)@example\\.org$ \\1\nm john@example.org z\n"
        )
        self.assertEqual(names.names(JOHN), ("z", "john"))

    def test_aKeyHasTheNameThatItIsGiven(self) -> None:
        """
        Its digest has to be the same.
        """
        names = self.read(f"m {KEY} app\n")
        self.assertTrue(names.allows(KEY, "app"))
        self.assertFalse(names.allows(KeyIdentity.of(bytes(31) + b"\1"), "app"))

    def test_nobodyIsLikeSomebodyOfAnotherKind(self) -> None:
        """
        Not the user of a domain like the domain.
        """
        names = self.read("m example.org a\n")
        for who in (JOHN, HOST, WORKLOAD, KEY):
            self.assertFalse(names.allows(who, "a"))

    @given(st.text(max_size=60))
    def test_anythingIsReadOrRefused(self, text: str) -> None:
        """
        And whatever is read has a name for nobody but those in it.
        """
        assume(all(not 0xD800 <= ord(each) < 0xE000 for each in text))
        try:
            names = self.read(f"m x.org a\n{text}\n")
        except ConfigurationError:
            return
        self.assertTrue(names.allows(Identity.parse("x.org"), "a"))


class OwnNamesTests(SynchronousTestCase):
    """
    Without a map.
    """

    names: Names = OwnNames()

    def test_everybodyHasTheOwnName(self) -> None:
        """
        Of a user, the part before the @ is one too.
        """
        for who, names in (
            (JOHN, ("john@example.org", "john")),
            (HOST, ("www.example.org",)),
            (Identity.parse("192.0.2.1"), ("192.0.2.1",)),
            (WORKLOAD, ("spiffe://example.org/ns/web",)),
            (KEY, ()),
            (Identity.parse("john"), ()),
        ):
            self.assertEqual(tuple(self.names.names(who)), names)
            for name in names:
                self.assertTrue(self.names.allows(who, name))

    def test_nobodyHasAnother(self) -> None:
        """
        However alike it is.
        """
        for name in (
            *("", " ", "John", "john ", " john", "john\0", "john\0ann", "john\n", "joh", "johnn"),
            *("john@EXAMPLE.org", "john@example.org.", "john@", "@example.org", "example.org"),
            *(
                "j\u043ehn",
                "\uff4aohn",
                "john\u200b",
                "joh\u006e\u0301",
                "postgres",
                "root",
                "all",
                "'john'",
            ),
        ):
            self.assertFalse(self.names.allows(JOHN, name), name)

    def test_theyAreTakenWithoutAFile(self) -> None:
        """
        And the map of the word is, with one.
        """
        self.assertIsInstance(namesFor(Disclosure(), "mysql"), OwnNames)
        path = Path(self.mktemp())
        path.write_text("mysql x.org a\npostgresql x.org b\n")
        names = namesFor(Disclosure(identityMap=path), "mysql")
        self.assertEqual(tuple(names.names(Identity.parse("x.org"))), ("a",))


class SeveralDomainsTests(SynchronousTestCase):
    """
    Who may come where users are known by a part of their names.
    """

    def prepare(
        self,
        *selectors: str,
        words: tuple[str, ...] = ("postgresql",),
        names: tuple[ServedName, ...] = (),
    ) -> int:
        """
        Prepare what tells of users whom these match.

        @return: how many words there are.
        """
        anywhere = TCPAddress("127.0.0.1", 1)
        parsed = tuple(map(Selector.parse, selectors))
        tunnel = Tunnel(
            Mode.SERVER,
            (anywhere,),
            (anywhere,),
            implicit,
            remoteID=AccessList(parsed) if len(parsed) > 1 else parsed[0],
            disclosure=Disclosure(words=words, identityMap=self.map),
            names=names,
        )
        return len(preparedWords(tunnel))

    map: Path | None = None

    def test_usersOfOneDomainAreNotMistaken(self) -> None:
        """
        Nor are hosts of any, which have their whole names.
        """
        for selectors in (
            ("@example.org",),
            ("john@example.org", "ann@example.org"),
            ("@example.org", "spiffe://example.org/"),
            (".example.com", "example.net", "spiffe://example.org/"),
            (".",),
        ):
            self.assertEqual(self.prepare(*selectors, words=("postgresql", "mysql")), 2)

    def test_thoseOfSeveralNeedAMap(self) -> None:
        """
        Then it is for that to say who is who.
        """
        for selectors in (("@.",), ("@.example.org",), ("john@a.example", "john@b.example")):
            for word in ("postgresql", "mysql"):
                error = self.assertRaises(
                    ConfigurationError, self.prepare, *selectors, words=(word,)
                )
                self.assertIn("of several domains", str(error))
        self.map = Path(self.mktemp())
        self.map.write_text("postgresql john@a.example john\n")
        self.assertEqual(self.prepare("@."), 1)

    def test_thoseOfNamesWithTablesCount(self) -> None:
        """
        Who may come for one name is no john who may come for another one.
        """
        for own in ("@b.example", "@.a.example"):
            named = ServedName("b.example", remoteID=Selector.parse(own))
            error = self.assertRaises(
                ConfigurationError, self.prepare, "@a.example", names=(named,)
            )
            self.assertIn("of several domains", str(error))
        same = ServedName("b.example", remoteID=Selector.parse("@a.example"))
        self.assertEqual(self.prepare("@a.example", names=(same,)), 1)

    def test_noUserIsAHost(self) -> None:
        """
        www.example.com@example.org has the name of one before the @.
        """
        for selectors in (("@example.org", ".example.com"), ("www.example.com", "a@example.org")):
            for word in ("postgresql", "mysql"):
                error = self.assertRaises(
                    ConfigurationError, self.prepare, *selectors, words=(word,)
                )
                self.assertIn("a user for a host", str(error))
        self.assertEqual(self.prepare("@example.org", ".", words=("xmpp",)), 1)


class PatternTests(SynchronousTestCase):
    """
    Expressions of an administrator, and subjects of anybody.
    """

    def test_noSubjectTakesLong(self) -> None:
        """
        The worst expression that is accepted, and a subject that almost matches.
        """
        pattern = Pattern("^a*a*a*b$")
        start = time.process_time()
        self.assertIsNone(pattern.match("a" * LONGEST_SUBJECT))
        self.assertLess(time.process_time() - start, 5.0)

    def test_choicesAreCounted(self) -> None:
        """
        However they are written.
        """
        for text in (
            "^" + "a?" * 26 + "$",
            "^" + "(a|a)" * 26 + "$",
            "^a{1,}a+a*.*$",
            "^" + "a{0,9}" * 9 + "$",
        ):
            self.assertRaises(ValueError, Pattern, text)
        for text in ("^(john|ann|bob)@(a|b|c)\\.org$", "^a{3}b{2}c{4}d{5}e{6}$", "^a?b?c?d?$"):
            Pattern(text)

    def test_nothingLongMatches(self) -> None:
        """
        Not even what matches everything.
        """
        self.assertIsNotNone(Pattern("^.*$").match("a" * LONGEST_SUBJECT))
        self.assertIsNone(Pattern("^.*$").match("a" * (LONGEST_SUBJECT + 1)))

    def test_theWholeHasToMatch(self) -> None:
        """
        To the last byte.
        """
        pattern = Pattern("^a$")
        self.assertIsNotNone(pattern.match("a"))
        for subject in ("a\n", "ba", "ab", "", "a\0", "A"):
            self.assertIsNone(pattern.match(subject), subject)

    def test_lettersAreThoseOfASCII(self) -> None:
        """
        Digits as well.
        """
        for text, subject in ((r"^\w$", "ä"), (r"^\d$", "\u0663"), (r"^\s$", "\xa0")):
            self.assertIsNone(Pattern(text).match(subject))

    @given(st.from_regex(r"\^[ab.\[\]()|*+?{},0-9\\dw^$-]{0,12}\$", fullmatch=True))
    def test_whatIsTakenMeansTheSameToPython(self, text: str) -> None:
        """
        And has no more ways than it has.
        """
        try:
            pattern = Pattern(text)
        except ValueError:
            return
        usual = re.compile(text[:-1] + r"\Z", re.ASCII)
        for subject in ("", "a", "ab", "aab", "b", "ba", "a1", "0", "."):
            self.assertEqual(pattern.match(subject) is None, usual.match(subject) is None)
