"""
Reading chat scripts: the language of chat(8), where ours differs, and every error with its place.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.chat.escapes import Pause, Values, expandExpect
from tlstunnel.chat.parse import DIRECTIVES, KEYWORDS, ScriptOptions, parseScript, parseWords
from tlstunnel.chat.steps import (
    Abort,
    ClearAbort,
    ClearReport,
    Echo,
    Expect,
    Report,
    Say,
    Script,
    Send,
    Side,
    Timeout,
)
from tlstunnel.chat.words import (
    MAX_SCRIPT_BYTES,
    ScriptError,
    argumentWords,
    fileWords,
    splitAtHyphens,
)
from tlstunnel.errors import ConfigurationError

_PIECES = [b"\\", b"-", b" ", b"\n", b"\\c", b"^", b"$A", b"@", b"\\T", b"EOT", b"BREAK"]

VALUES = Values(b"mail.example.org", b"client.example.net")
CLIENT = ScriptOptions(side="client", values=VALUES)
SERVER = ScriptOptions(side="server", values=VALUES)


def parse(text: bytes, options: ScriptOptions = SERVER) -> Script:
    """The script C{t.chat} with this text."""
    return parseScript(text, "t.chat", options)


def sends(text: bytes, options: ScriptOptions = SERVER) -> list[bytes]:
    """What the sends of a script send."""
    return [step.data for step in parse(text, options).steps if isinstance(step, Send)]


def expects(text: bytes, options: ScriptOptions = SERVER) -> list[list[bytes | None]]:
    """The expect strings and sub-sends of each expect, in turn."""
    return [
        [
            part
            for attempt in step.attempts
            for part in (attempt.expected, attempt.otherwise.data if attempt.otherwise else None)
        ]
        for step in parse(text, options).steps
        if isinstance(step, Expect)
    ]


class Words(SynchronousTestCase):
    """
    How a file falls into words.
    """

    def words(self, text: bytes) -> list[tuple[bytes, bool, str]]:
        """Each word with whether it is quoted, and its place."""
        return [(word.text, word.quoted, str(word.position)) for word in fileWords(text, "t")]

    def test_wordsAreSeparatedByBlanks(self) -> None:
        """Spaces, tabs and line ends separate, and each word knows its place."""
        self.assertEqual(
            self.words(b" a\tb \n\nc"),
            [(b"a", False, "t:1:2"), (b"b", False, "t:1:4"), (b"c", False, "t:3:1")],
        )

    def test_eitherQuoteProtectsBlanks(self) -> None:
        """A quoted word runs to the same quote; the other one is an ordinary character in it."""
        self.assertEqual(
            self.words(b"\"a 'b\" 'c \"d'"),
            [(b"a 'b", True, "t:1:1"), (b'c "d', True, "t:1:8")],
        )

    def test_backslashProtectsTheQuote(self) -> None:
        """It stays, for the escapes; so does what it protects."""
        self.assertEqual(self.words(rb'"a\"b\\"'), [(rb"a\"b\\", True, "t:1:1")])

    def test_textBehindAClosingQuoteIsANewWord(self) -> None:
        """As in chat(8)."""
        self.assertEqual([word for word, *_ in self.words(b'"a"b"c"d')], [b"a", b'b"c"d'])

    def test_quoteInsideAnUnquotedWordIsText(self) -> None:
        """As in chat(8)."""
        self.assertEqual([word for word, *_ in self.words(b"it's a\"b")], [b"it's", b'a"b'])

    def test_emptyQuotesAreAWord(self) -> None:
        """The empty word has a meaning."""
        self.assertEqual(self.words(b"\"\" ''"), [(b"", True, "t:1:1"), (b"", True, "t:1:4")])

    def test_commentIsALineThatBeginsWithANumberSign(self) -> None:
        """In column 2 the sign is text."""
        self.assertEqual([word for word, *_ in self.words(b"#a b\n #c d#e")], [b"#c", b"d#e"])

    def test_carriageReturnBeforeTheLineEndIsDropped(self) -> None:
        """A script may have been written on another system."""
        self.assertEqual(
            [word for word, *_ in self.words(b"a b\r\nc\rd\r\n")], [b"a", b"b", b"c\rd"]
        )

    def test_columnsCountCharacters(self) -> None:
        """A place is for a human to find."""
        self.assertEqual(self.words("é b".encode())[1][2], "t:1:3")

    def test_wordsOfACommandLineAreTakenAsTheyAre(self) -> None:
        """The shell has dealt with the quotes; the place is the number of the argument."""
        words = list(argumentWords([b'"a b"', b"#c"]))
        self.assertEqual([word.text for word in words], [b'"a b"', b"#c"])
        self.assertEqual([str(word.position) for word in words], ["-- argument 1", "-- argument 2"])

    def test_scriptIsBounded(self) -> None:
        """64 KiB is a script, one byte more is not."""
        self.assertEqual(len(list(fileWords(b"a" * MAX_SCRIPT_BYTES, "t"))), 1)
        self.assertRaises(ScriptError, list, fileWords(b"a" * (MAX_SCRIPT_BYTES + 1), "t"))

    def test_hyphensSplitUnlessProtected(self) -> None:
        """A hyphen at the end separates nothing from nothing."""
        for text, parts in (
            (b"", []),
            (b"a", [b"a"]),
            (b"a-b-c", [b"a", b"b", b"c"]),
            (b"a-", [b"a"]),
            (b"a--", [b"a", b""]),
            (b"a--b", [b"a", b"", b"b"]),
            (b"-", [b""]),
            (b"-b", [b"", b"b"]),
            (rb"a\-b", [rb"a\-b"]),
            (rb"a\\-b", [rb"a\\", b"b"]),
            (b"a\\", [b"a\\"]),
        ):
            self.assertEqual(splitAtHyphens(text), parts, text)


class Escapes(SynchronousTestCase):
    """
    The table of escapes.
    """

    def test_escapesOfAnExpect(self) -> None:
        """What each stands for where something is awaited."""
        for text, expanded in (
            (rb"\b\n\r\s\t", b"\b\n\r \t"),
            (rb"\\", b"\\"),
            (rb"a\cb\c", b"acbc"),
            (rb"\d\p\K", b"dpK"),
            (rb"\N\0\000", b"\0\0\0"),
            (rb"\7\77\377\1234", b"\7\77\377S4"),
            (rb"\8\9", b"89"),
            (rb"a\qb", b"ab"),
            (rb"\T\U", rb"\T\U"),
            (rb"\-\^\$\x", b"-^$x"),
            (b"a\\", b"a"),
            (b"^A^a^?^[", b"\1\1\x1f\x1b"),
            (b"a^@b", b"ab"),
            (b"^", b"^"),
            (b"$HOME", b"$HOME"),
            (b"caf\xc3\xa9", b"caf\xc3\xa9"),
        ):
            self.assertEqual(expandExpect(text, VALUES), expanded, text)

    def test_escapesOfASend(self) -> None:
        """What each stands for where something is sent; a CR follows unless it ends in C{\\c}."""
        for text, sent in (
            (rb"\b\n\r\s\t", b"\b\n\r \t\r"),
            (rb"\\", b"\\\r"),
            (rb"a\cb", b"acb\r"),
            (rb"a\c", b"a"),
            (rb"a\\c", b"a\\c\r"),
            (rb"\c", b""),
            (b'""', b"\r"),
            (rb"\N\0\000\c", b"\0\0\0"),
            (rb"\1\12\101\377\c", b"\1\nA\xff"),
            (rb"a\qb\c", b"ab"),
            (rb"\T\U\c", b"mail.example.orgclient.example.net"),
            (rb"^A^?\^\-\$\s\q\x\c", b"\1\x1f^-$ x"),
            (b"a\\", b"a\\\r"),
            (b"$HOME", b"$HOME\r"),
            (b"EOT", b"\4"),
            (b'"EOT"', b"\4"),
            (b"a-b", b"a-b\r"),
            (b"@/etc/hostname", b"@/etc/hostname\r"),
            (b"@", b"@\r"),
        ):
            self.assertEqual(sends(b'"" ' + text), [sent], text)

    def test_pausesStandBetweenWhatIsSent(self) -> None:
        """One second, ten milliseconds; no write is empty."""
        (step,) = (step for step in parse(rb'"" \da\p\pb\c').steps if isinstance(step, Send))
        self.assertEqual(step.parts, (Pause(1.0), b"a", Pause(0.01), Pause(0.01), b"b"))

    def test_quietSendIsSecret(self) -> None:
        """The log does not show a string with C{\\q}."""
        quiet = [s.secret for s in parse(rb'"" \qa "" b').steps if isinstance(s, Send)]
        self.assertEqual(quiet, [True, False])

    def test_environmentIsExpandedOnRequest(self) -> None:
        """A name is letters, digits and underscores; without a value it is nothing."""
        values = replace(VALUES, environment={b"A_1": rb"x\n^A$A_1"})
        options = replace(SERVER, values=values)
        self.assertEqual(sends(rb'"" $A_1-$B.\$A_1\c', options), [b"x\\n^A$A_1-.$A_1"])
        self.assertEqual(expects(rb'"$A_1"', options), [[b"x\\n^A$A_1", None]])

    def test_valuesAreNotScannedAgain(self) -> None:
        """A host name is no script."""
        options = replace(SERVER, values=Values(rb"a\cb\n", b"-"))
        self.assertEqual(sends(rb'"" "\T\U\c"', options), [rb"a\cb\n-"])

    def test_escapesActInsideQuotes(self) -> None:
        """Quotes protect blanks only."""
        self.assertEqual(sends(rb'"" "\s^A\c"'), [b" \1"])


class Steps(SynchronousTestCase):
    """
    How words become steps.
    """

    def test_expectsAndSendsAlternate(self) -> None:
        """Across line ends, too."""
        script = parse(b"a b c\nd e")
        self.assertEqual(
            [type(step) for step in script.steps], [Expect, Send, Expect, Send, Expect]
        )

    def test_keywordsTakeTheNextWord(self) -> None:
        """All eight; HANGUP has no effect and says so."""
        script = parse(
            b"ABORT a CLR_ABORT b REPORT c CLR_REPORT d\n"
            b"TIMEOUT 7 ECHO ON ECHO x SAY e\\c HANGUP OFF"
        )
        self.assertEqual(
            [(type(step), *list(vars(step).values())[1:]) for step in script.steps],
            [
                (Abort, b"a"),
                (ClearAbort, b"b"),
                (Report, b"c"),
                (ClearReport, b"d"),
                (Timeout, 7),
                (Echo, True),
                (Echo, False),
                (Say, b"e"),
            ],
        )
        self.assertIn("HANGUP has no effect", str(script.notices[0]))

    def test_keywordsActInsideQuotes(self) -> None:
        """As in chat(8), so that old scripts keep their meaning."""
        self.assertIsInstance(parse(b"'TIMEOUT' 3").steps[0], Timeout)

    def test_keywordsAreWholeWordsInUpperCase(self) -> None:
        """Anything else is an expect."""
        self.assertEqual(expects(b"timeout a TIMEOUTS"), [[b"timeout", None], [b"TIMEOUTS", None]])

    def test_addedKeywordsActUnquotedOnly(self) -> None:
        """A script for chat(8) may expect such a word."""
        self.assertEqual(expects(b'"TOTAL" 5'), [[b"TOTAL", None]])
        self.assertEqual(parse(b"TOTAL 5").total, 5)

    def test_timeoutOfNothingIsTheDefault(self) -> None:
        """0 and less: 45 seconds."""
        self.assertEqual(
            [vars(step)["seconds"] for step in parse(b"TIMEOUT 0 TIMEOUT -3 TIMEOUT +2").steps],
            [45, 45, 2],
        )

    def test_subExpects(self) -> None:
        """Expect, else send, and expect."""
        for text, parts in (
            (b"a-b-c-d-e", [b"a", b"b\r", b"c", b"d\r", b"e", None]),
            (b"a--c", [b"a", b"\r", b"c", None]),
            (b"a-b", [b"a", b"b\r"]),
            (b"a-", [b"a", None]),
            (rb"a-b\c-c", [b"a", b"b", b"c", None]),
            (b"a-EOT-c", [b"a", b"\4", b"c", None]),
            (b'""', []),
            (b"-b-c", [b"", b"b\r", b"c", None]),
        ):
            self.assertEqual(expects(text), [parts], text)

    def test_hyphenInQuotesIsLiteral(self) -> None:
        """Ours differs from chat(8) here."""
        self.assertEqual(expects(b'"250-STARTTLS"'), [[b"250-STARTTLS", None]])

    def test_escapedHyphenIsLiteralEverywhere(self) -> None:
        """In and out of quotes, strict or not."""
        for strict in False, True:
            for text in rb"250\-STARTTLS", rb'"250\-STARTTLS"':
                self.assertEqual(
                    expects(text, replace(SERVER, strict=strict)), [[b"250-STARTTLS", None]]
                )

    def test_strictHyphenSeparatesInQuotes(self) -> None:
        """As in chat(8)."""
        self.assertEqual(
            expects(b'"250-STARTTLS"', replace(SERVER, strict=True)),
            [[b"250", b"STARTTLS\r"]],
        )

    def test_strictSendsKeywords(self) -> None:
        """As in chat(8)."""
        self.assertEqual(sends(b'"" TIMEOUT', replace(SERVER, strict=True)), [b"TIMEOUT\r"])

    def test_quotedKeywordIsSent(self) -> None:
        """The way to say it on purpose."""
        self.assertEqual(sends(b'"" "TIMEOUT"'), [b"TIMEOUT\r"])

    def test_keywordsAreTextInSubSends(self) -> None:
        """They are recognised as whole words only."""
        self.assertEqual(expects(b"a-TIMEOUT-b"), [[b"a", b"TIMEOUT\r", b"b", None]])

    def test_wordsOfACommandLine(self) -> None:
        """No quotes there: a hyphen separates."""
        script = parseWords(argumentWords([b"250-STARTTLS", b"a b"]), "--", SERVER)
        (expect, send) = script.steps
        assert isinstance(expect, Expect) and isinstance(send, Send)
        self.assertEqual(expect.attempts[0].expected, b"250")
        self.assertEqual(send.data, b"a b\r")

    def test_fileIsReadWhereAllowed(self) -> None:
        """Its first 1023 bytes, less one line end; escapes are processed in it."""
        files = {b"f": b"a\\sb\n\n", b"long": b"x" * 2000, b"eot": b"EOT\n"}
        options = replace(SERVER, readFile=files.__getitem__)
        self.assertEqual(sends(b'"" @f', options), [b"a b\n\r"])
        self.assertEqual(sends(b'"" "@ \tlong"', options), [b"x" * 1023 + b"\r"])
        self.assertEqual(sends(b'"" @eot', options), [b"\4"])

    def test_scriptHasItsLimits(self) -> None:
        """Defaults by mode, and what the directives say."""
        self.assertEqual((parse(b"").total, parse(b"").maxBytes), (30, 65536))
        self.assertEqual((parse(b"", CLIENT).total, parse(b"").timeout), (90, 45))
        script = parse(b"TOTAL 7 MAXBYTES 8")
        self.assertEqual((script.total, script.maxBytes), (7, 8))

    def test_greetingsAreConcatenated(self) -> None:
        """No CR is added, C{\\c} is allowed, and none is not the same as an empty one."""
        script = parse(rb'GREETING "* OK \T" GREETING "\r\n\c"', CLIENT)
        self.assertEqual(script.greeting, b"* OK mail.example.org\r\n")
        self.assertEqual(parse(b'GREETING ""', CLIENT).greeting, b"")
        self.assertIsNone(parse(b"", CLIENT).greeting)

    def test_swallowsAreKeptInOrder(self) -> None:
        """Each is matched in turn; a hyphen is a hyphen."""
        self.assertEqual(parse(rb"SWALLOW 2-\s SWALLOW x").swallow, (b"2- ", b"x"))

    def test_binary(self) -> None:
        """It can be switched on, and off."""
        self.assertTrue(parse(b"BINARY ON").binary)
        self.assertFalse(parse(b"BINARY ON BINARY OFF").binary)

    def test_scriptCanBeShared(self) -> None:
        """It is immutable."""
        script = parse(b"a b")
        self.assertRaises(AttributeError, setattr, script, "total", 1)
        self.assertRaises(AttributeError, setattr, script.steps[0], "attempts", ())


class Notices(SynchronousTestCase):
    """
    What is said at start-up about a script that can be run.
    """

    def notices(self, text: bytes, options: ScriptOptions) -> list[str]:
        """All notices."""
        return [str(notice) for notice in parse(text, options).notices]

    def test_unquotedHyphenBetweenLetters(self) -> None:
        """It is a sub-expect, which its author may not have meant."""
        (notice,) = self.notices(b"x y\n250-STARTTLS z", SERVER)
        self.assertIn("t.chat:2:1: 250-STARTTLS expects 250 and sends the rest", notice)
        for text in (b"ogin:--ogin:", rb"250\-STARTTLS", b'"250-STARTTLS"', rb"a\n-b"):
            self.assertEqual(self.notices(text, SERVER), [], text)

    def test_missingGreeting(self) -> None:
        """An app of a server-first protocol would wait for ever."""
        (notice,) = self.notices(b'"220 " "\\c"', CLIENT)
        self.assertIn("t.chat:1:1: no GREETING", notice)
        self.assertEqual(self.notices(b'GREETING "x" "220 " "\\c"', CLIENT), [])
        self.assertEqual(self.notices(b'"" "x" a', CLIENT), [])
        self.assertEqual(self.notices(b'"220 " "\\c"', SERVER), [])

    def test_fileThatIsNotRead(self) -> None:
        """C{@file} is sent as it stands."""
        (notice,) = self.notices(b'"" @/etc/hostname x', CLIENT)
        self.assertIn("t.chat:1:4: @/etc/hostname is sent as it stands", notice)


class Errors(SynchronousTestCase):
    """
    What keeps a tunnel from starting, with the place where it stands.
    """

    def assertError(self, text: bytes, message: str, options: ScriptOptions = CLIENT) -> None:
        """C{text} has the error C{message}, whole, or but for what to do."""
        error = self.assertRaises(ScriptError, parse, text, options)
        assert isinstance(error, ScriptError)
        self.assertTrue(error.remedy, text)
        self.assertIn(str(error), (message, f"{message}; {error.remedy}"), text)

    def test_conformanceVectors(self) -> None:
        """62 to 69."""
        unnamed = ScriptOptions(side="client")
        for text, message in (
            (b'"220 " "EHLO', "t.chat:1:8: unterminated quote"),
            (
                rb'"" TIMEOUT 10 "\c"',
                "t.chat:1:4: TIMEOUT stands where a send is due; quote it to send the word",
            ),
            (b'"220 " BREAK', "t.chat:1:8: BREAK has no meaning on a socket"),
            (rb'"220 " "\K\c"', "t.chat:1:8: BREAK has no meaning on a socket"),
            (b"TIMEOUT", "t.chat:1:1: TIMEOUT needs a number of seconds"),
            (rb'TIMEOUT x "" "\c"', "t.chat:1:9: TIMEOUT needs a number of seconds"),
            (
                rb'"250 " "STARTTLS\r\n\c"',
                "t.chat:1:8: the script ends with a send; expect the answer (or BINARY ON)",
            ),
            (rb'ABORT "" "220 " "\c"', "t.chat:1:7: empty ABORT string"),
            (rb'SWALLOW "220 " "220 " "\c"', "t.chat:1:1: SWALLOW belongs to server mode"),
        ):
            self.assertError(text, message)
        self.assertError(
            rb'"" "EHLO \U\c" "250 " "\c"',
            r"t.chat:1:4: \U has no value; give --local-id, or -U behind --",
            unnamed,
        )

    def test_otherErrors(self) -> None:
        """The place is that of the offending word."""
        for text, message in (
            (b"ABORT", "t.chat:1:1: ABORT needs a string"),
            (b"x y ECHO", "t.chat:1:5: ECHO needs ON or OFF"),
            (b"TOTAL 0", "t.chat:1:7: TOTAL needs a number of seconds, at least 1"),
            (b"MAXBYTES -1", "t.chat:1:10: MAXBYTES needs a number of bytes, at least 1"),
            (b"MAXBYTES", "t.chat:1:1: MAXBYTES needs a number of bytes"),
            (b"TIMEOUT 9999999999", "t.chat:1:9: TIMEOUT needs a number of seconds"),
            (b"TIMEOUT 1\xd9\xa1", "t.chat:1:9: TIMEOUT needs a number of seconds"),
            (b"BINARY on", "t.chat:1:8: BINARY needs ON or OFF"),
            (rb'GREETING "\d"', "t.chat:1:10: a GREETING cannot pause"),
            (b'REPORT ""', "t.chat:1:8: empty REPORT string"),
            (b"ABORT " + b"x" * 1025, "t.chat:1:7: ABORT string of more than 1024 bytes"),
            (
                b"ABORT TIMEOUT 5",
                "t.chat:1:7: TIMEOUT stands where its string is due; quote it to mean the word",
            ),
            (
                b'"" BINARY',
                "t.chat:1:4: BINARY stands where a send is due; quote it to send the word",
            ),
            (b"a-BREAK-b", "t.chat:1:1: BREAK has no meaning on a socket"),
            (
                rb'"" "\c" a-b',
                "t.chat:1:9: the script ends with a send; expect the answer (or BINARY ON)",
            ),
            (b"'a\\'", "t.chat:1:1: unterminated quote"),
        ):
            self.assertError(text, message)
        self.assertError(b"GREETING x", "t.chat:1:1: GREETING belongs to client mode", SERVER)
        self.assertError(
            rb'"" "\T"',
            r"t.chat:1:4: \T has no value; give --remote-id, or -T behind --",
            ScriptOptions(),
        )

    def test_errorCarriesTheWord(self) -> None:
        """For whoever wants to show it."""
        error = self.assertRaises(ScriptError, parse, b'"" \nTIMEOUT 10')
        self.assertEqual(
            (error.word, error.position.line, error.position.column), (b"TIMEOUT", 2, 1)
        )
        self.assertIsInstance(error, ConfigurationError)

    def test_errorInWordsNamesTheArgument(self) -> None:
        """There are no lines on a command line."""
        words = argumentWords([b"a", b"b", b"TIMEOUT", b"x"])
        error = self.assertRaises(ScriptError, parseWords, words, "--", SERVER)
        self.assertEqual(
            str(error), "-- argument 4: TIMEOUT needs a number of seconds; write digits alone"
        )

    def test_atMostFiftyStringsAreInForce(self) -> None:
        """CLR_ABORT makes room."""
        many = b"".join(b"ABORT a%d " % number for number in range(50))
        parse(many + b"CLR_ABORT a7 ABORT b")
        self.assertError(many + b"\nABORT b", "t.chat:2:1: more than 50 ABORT strings")

    def test_lastSendIsFineWhereItIsMeant(self) -> None:
        """In server mode it is the go-ahead; BINARY ON asks for it; an empty one sends nothing."""
        parse(b"a b", SERVER)
        parse(b"BINARY ON a b", CLIENT)
        parse(rb'a "\c" ABORT x', CLIENT)
        parse(rb'a "\d\c"', CLIENT)

    def test_unreadableFile(self) -> None:
        """It is looked for once, at start-up."""

        def missing(name: bytes) -> bytes:
            raise FileNotFoundError(2, "No such file")

        self.assertError(
            b'"" @/f x',
            "t.chat:1:4: cannot read /f: No such file",
            replace(CLIENT, readFile=missing),
        )

    @given(
        st.one_of(
            st.binary(max_size=200),
            st.lists(
                st.sampled_from([*KEYWORDS, *DIRECTIVES, b"ON", b"1", b'"', b"'", *_PIECES]),
                max_size=30,
            ).map(b" ".join),
        ),
        st.sampled_from(["client", "server"]),
        st.booleans(),
        st.booleans(),
    )
    def test_nothingElseIsEverRaised(
        self, text: bytes, mode: Side, strict: bool, named: bool
    ) -> None:
        """Whatever the text, the outcome is a script or a L{ScriptError}."""
        options = ScriptOptions(mode, VALUES if named else Values(), strict)
        try:
            self.assertIsInstance(parse(text, options), Script)
        except ScriptError as error:
            self.assertTrue(str(error).startswith("t.chat:"))
