"""
The C{chat-check} command: a script in words, and what in it will surprise.
"""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.__main__ import main
from tlstunnel.chat.advice import advise, shown
from tlstunnel.chat.escapes import Values, expandExpect
from tlstunnel.chat.parse import ScriptOptions, parseScript
from tlstunnel.chat.source import makeScript, readyScripts
from tlstunnel.chat.steps import Side
from tlstunnel.commands.chatcheck import ChatCheckOptions, explain

VALUES = Values(b"remote.example", b"local.example")

SEED = rb"""
"220 " "EHLO\r\n\c"
"250-STARTTLS" "\c"
"250 " "STARTTLS\r\n\c"
"220 " "\c"
"""


def advice(text: bytes, mode: Side = "client") -> list[str]:
    """What is said about a script, each with its line and column."""
    script = parseScript(text, "t", ScriptOptions(mode, VALUES))
    return [str(notice).removeprefix("t:") for notice in advise(script)]


class Advice(SynchronousTestCase):
    """
    Each warning, for a script that has nothing else.
    """

    def assertAdvice(self, text: bytes, *wanted: str, mode: Side = "client") -> None:
        """C{text} is warned of so, and not otherwise."""
        self.assertEqual(advice(text, mode), list(wanted), text)

    def test_readyScriptsHaveNoneButOne(self) -> None:
        """That of C{sieve} is explained in it."""
        for name in readyScripts():
            script = makeScript(name, [], ScriptOptions("client", VALUES))
            self.assertEqual(len(advise(script)), 1 if name == "sieve" else 0, name)

    def test_theOriginal(self) -> None:
        """It works with the server that it was made for, and is not careful."""
        self.assertEqual(
            [place.split(": ")[1].split()[0] for place in advice(SEED)],
            ["no", "is", "does", "is", "without"],
        )

    def test_missingBackslashC(self) -> None:
        """A CR is added to what has its line end already, or is all that there is."""
        start = b'GREETING x ABORT ~ "" '
        self.assertAdvice(
            start + rb'"QUIT\r\n" b',
            r"1:23: a CR is added behind the line end: end it with \r\n\c",
        )
        self.assertAdvice(
            start + b"QUIT b", r"1:23: ends with a CR alone: protocols of lines want \r\n\c"
        )
        self.assertAdvice(
            start + b'"" b', r'1:23: an empty send is a CR: to send nothing write "\c"'
        )
        self.assertAdvice(b"BINARY ON " + start + b"QUIT b")

    def test_unquotedHyphen(self) -> None:
        """As at every start."""
        (found, _) = advice(rb'ABORT ~ "" "x\r\n\c" 250-STARTTLS "\c" "250 "')
        self.assertIn("1:22: 250-STARTTLS expects 250 and sends the rest", found)

    def test_expectThatCanNeverMatch(self) -> None:
        """An ABORT string is part of it, as long as it is in force."""
        self.assertAdvice(
            rb'GREETING x ABORT OK "OK ready\n"',
            '1:21: can never match: ABORT "OK" is part of it, and ends first',
        )
        self.assertAdvice(rb'GREETING x ABORT OK ABORT ~ CLR_ABORT OK "OK ready\n"')
        self.assertAdvice(rb"GREETING x ABORT OK OK")
        self.assertAdvice(
            b"GREETING x ABORT ~ MAXBYTES 3 bcde",
            "1:31: can never match: it is longer than MAXBYTES (3)",
        )

    def test_subSendThatIsNeverSent(self) -> None:
        """An empty expect always matches."""
        self.assertAdvice(
            rb'"" "\c" -x\c-y',
            "1:9: the sub-send is never sent: an empty expect always matches",
            mode="server",
        )

    def test_escapesOfSendsInExpects(self) -> None:
        """They are letters there."""
        self.assertAdvice(
            rb'ABORT ~ GREETING x "b\c\c\\d\T"',
            r"1:20: \T is not replaced in an expect",
            r"1:20: \c is just the letter c in an expect",
        )

    def test_lineThatMayBeTheLast(self) -> None:
        """Then its hyphen is a space."""
        self.assertAdvice(
            rb'ABORT ~ GREETING x "250-STARTTLS"',
            '1:20: does not match where this is the last line of a reply, "250 STARTTLS"',
        )

    def test_talkingIntoALine(self) -> None:
        """Only a client can wait for whole lines, and only where there are some."""
        script = rb'"220 " "x\r\n\c" y "\c"'
        self.assertAdvice(
            b"ABORT ~ GREETING x " + script,
            r'1:27: is sent before the line has ended: expect "\n" first',
        )
        self.assertAdvice(script, mode="server")
        self.assertAdvice(b"BINARY ON ABORT ~ GREETING x " + script)
        self.assertAdvice(rb'ABORT ~ GREETING x "220\n" "x\r\n\c" y "\c"')

    def test_aborts(self) -> None:
        """None at all, one too late, one that is not there."""
        self.assertAdvice(
            b'GREETING x "ready\\n"',
            "1:12: without ABORT strings a refusal shows by time-out only",
        )
        self.assertAdvice(
            b'ABORT ~ GREETING x "ready\\n" "\\c" ABORT b',
            "1:41: has no effect: nothing is expected behind it",
        )
        self.assertAdvice(
            b"ABORT ~ GREETING x CLR_ABORT b ready",
            "1:30: there is no such ABORT string to remove",
        )

    def test_timeoutBeyondTheTotal(self) -> None:
        """It can never pass."""
        self.assertAdvice(
            b"ABORT ~ GREETING x TIMEOUT 91 ready",
            "1:28: is longer than the whole script may take (90 s; see TOTAL)",
        )
        self.assertAdvice(b"ABORT ~ GREETING x TOTAL 100 TIMEOUT 91 ready")

    def test_stringsAreShownAsTheyAreWritten(self) -> None:
        """In the escapes of the language."""
        self.assertEqual(shown(b'a"\\\r\n\t\b\x00\xe9'), r'"a\"\\\r\n\t\b\000\351"')
        for byte in range(256):
            text = shown(bytes([byte]))[1:-1].encode()
            self.assertEqual(expandExpect(text, Values()), bytes([byte]))


class Explanations(SynchronousTestCase):
    """
    A script in words.
    """

    def test_everyStep(self) -> None:
        """With its place, and the limits in force at it."""
        script = parseScript(
            rb"""
BINARY ON TOTAL 80 GREETING "hello\n"
ABORT a ABORT b CLR_ABORT a REPORT c CLR_REPORT c ECHO ON ECHO OFF SAY d
"" "\dx\p\c" e \qy
TIMEOUT 7 f-g-h "\c" i-j\c k l
""",
            "t.chat",
            ScriptOptions("client", VALUES, timeout=None),
        )
        chain = (
            'wait up to 7 s for "f"; if it does not come, send "g\\r" and wait up to 7 s for "h", '
            "else fail with code 3"
        )
        self.assertEqual(
            list(explain(script)),
            [
                "t.chat: talks to the server",
                "in all at most 80 s, and 65536 bytes received",
                '   1  3:7     from now on, "a" ends the script with code 4',
                '   2  3:15    from now on, "b" ends the script with code 5',
                '   3  3:27    "a" ends it no longer; ABORT strings left: 1',
                '   4  3:36    log "c" with the rest of its line, once',
                '   5  3:49    do not log "c" any more',
                "   6  3:56    log what is received",
                "   7  3:64    log no longer what is received",
                '   8  3:72    log "d"',
                "   9  4:1     expect nothing: go on at once",
                '  10  4:4     pause 1 s, send "x", pause 0.01 s',
                '  11  4:14    wait for "e", else fail with code 3',
                '  12  4:16    send "y\\r" (not shown in logs)',
                "  13  5:9     from now on, 7 s for each expect string",
                f"  14  5:11    {chain}",
                "  15  5:17    send nothing",
                '  16  5:22    wait up to 7 s for "i"; if it does not come, send "j" and go on',
                '  17  5:28    send "k\\r"',
                '  18  5:30    wait up to 7 s for "l", else fail with code 3',
                "then nothing may be left unread, and TLS begins",
                "inside TLS: make sure that the server stays silent, and then",
                '  give the app "hello\\n"',
            ],
        )

    def test_server(self) -> None:
        """What is dropped of the backend's words."""
        script = parseScript(b'SWALLOW "220 " "" x', "t.chat", ScriptOptions("server"))
        self.assertEqual(
            list(explain(script)),
            [
                "t.chat: plays the server, before TLS",
                "in all at most 30 s, and 65536 bytes received",
                "   1  1:16    expect nothing: go on at once",
                '   2  1:19    send "x\\r"',
                "behind the last expect: read to the end of its line",
                "then nothing may be left unread, and TLS begins",
                'from the backend: drop all up to "220 " and the rest of its line',
            ],
        )


class Command(SynchronousTestCase):
    """
    The command as it is called.
    """

    def run_(self, *arguments: str) -> tuple[int, str, str]:
        """Its exit code, and what it printed on both."""
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        code = main(["chat-check", *arguments])
        return code, out.getvalue(), err.getvalue()

    def file(self, text: bytes) -> str:
        """The path of a file with this text."""
        path = Path(self.mktemp())
        path.write_bytes(text)
        return str(path)

    def test_goodScript(self) -> None:
        """Explained, and warned of."""
        path = self.file(SEED)
        code, out, err = self.run_(path)
        self.assertEqual((code, err), (0, ""))
        self.assertIn('send "STARTTLS\\r\\n"', out)
        self.assertIn(f"warning: {path}:3:1: does not match where this is the last line", out)

    def test_badScript(self) -> None:
        """The error is that of the tunnel, and the word is shown."""
        path = self.file(b'"" TIMEOUT 10 x')
        code, out, err = self.run_(path)
        self.assertEqual((code, out), (1, ""))
        self.assertIn(f"{path}:1:4: TIMEOUT stands where a send is due", err)
        self.assertIn('the word is: "TIMEOUT"', err)

    def test_strict(self) -> None:
        """Read as the tunnel would with that option."""
        self.assertEqual(self.run_("--chat-strict", self.file(b'"" TIMEOUT 10'))[0], 0)

    def test_values(self) -> None:
        """They can be given, and need not be."""
        path = self.file(rb'"" "\T \U\r\n\c" x')
        self.assertIn("remote.example local.example", self.run_(path)[1])
        self.assertIn("a b", self.run_("-T", "a", "-U", "b", path)[1])

    def test_modes(self) -> None:
        """A directive belongs to one of them."""
        path = self.file(b'SWALLOW a "" x')
        self.assertEqual([self.run_("-s", path)[0], self.run_("-c", path)[0]], [0, 1])

    def test_readyScript(self) -> None:
        """By its name."""
        self.assertEqual(self.run_("pop3")[0], 0)

    def test_files(self) -> None:
        """C{@file} is read as the tunnel would with that option."""
        path = self.file(f'"" @{self.file(b"contents")} x'.encode())
        self.assertIn('send "contents\\r"', self.run_("--chat-files", path)[1])
        self.assertIn('send "@', self.run_(path)[1])

    def test_oneFile(self) -> None:
        """No more, and no less."""
        self.assertRaises(usage.UsageError, ChatCheckOptions().parseOptions, [])
        self.assertEqual(self.run_("a", "b")[0], 2)


class Guide(SynchronousTestCase):
    """
    The scripts in the guide.
    """

    def scripts(self) -> list[bytes]:
        """Their texts."""
        guide = (Path(__file__).parents[2] / "docs" / "chat.md").read_bytes()
        return re.findall(rb"(?ms)^```text\n(.*?)^```$", guide)

    def test_scriptsCanBeRun(self) -> None:
        """In the mode that they are shown for."""
        for text in self.scripts():
            mode: Side = "server" if text.startswith(b"SWALLOW") else "client"
            parseScript(text, "guide", ScriptOptions(mode, VALUES))
        self.assertEqual(len(self.scripts()), 4)

    def test_carefulScriptIsTheReadyOne(self) -> None:
        """But for its comments."""
        options = ScriptOptions("client", VALUES)
        script = parseScript(self.scripts()[1], "guide", options)
        ready = makeScript("smtp", [], options)
        self.assertEqual(script.greeting, ready.greeting)
        self.assertEqual(
            [step.word.text for step in script.steps], [step.word.text for step in ready.steps]
        )
