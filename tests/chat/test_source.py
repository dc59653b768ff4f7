"""
Where a chat script comes from: the options of chat(8), files, and the ready scripts.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import ScriptOptions
from tlstunnel.chat.source import makeScript, readFile, readyScripts
from tlstunnel.chat.steps import Script, Send
from tlstunnel.chat.words import ScriptError

VALUES = Values(b"mail.example.org", b"client.example.net")
SERVER = ScriptOptions("server", VALUES)


def sent(script: Script) -> list[bytes]:
    """What the sends of a script send."""
    return [step.data for step in script.steps if isinstance(step, Send)]


class Options(SynchronousTestCase):
    """
    What stands after C{--}.
    """

    def make(self, *words: str, options: ScriptOptions = SERVER, chat: str | None = None) -> Script:
        """The script that these words ask for."""
        return makeScript(chat, words, options)

    def assertError(self, message: str, *words: str, chat: str | None = None) -> None:
        """These words have the error C{message}, whole, or but for what to do."""
        error = self.assertRaises(ScriptError, makeScript, chat, words, SERVER)
        assert isinstance(error, ScriptError)
        self.assertTrue(error.remedy, message)
        self.assertIn(str(error), (message, f"{message}; {error.remedy}"))

    def file(self, text: bytes) -> str:
        """The path of a file with this text."""
        path = Path(self.mktemp())
        path.write_bytes(text)
        return str(path)

    def test_wordsAreTheScript(self) -> None:
        """One for each argument, blanks and all."""
        self.assertEqual(sent(self.make("a", "b c", "d")), [b"b c\r"])

    def test_fileIsTheScript(self) -> None:
        """Its errors name it."""
        self.assertEqual(sent(self.make("-f", self.file(b"a b"))), [b"b\r"])
        self.assertEqual(sent(self.make("-f" + self.file(b"a b"))), [b"b\r"])
        path = self.file(b"x y\nTIMEOUT z")
        self.assertError(f"{path}:2:9: TIMEOUT needs a number of seconds", "-f", path)

    def test_timeout(self) -> None:
        """In seconds; 0 is none at all."""
        for words, timeout in (
            (("-t", "7", "a"), 7),
            (("-t7", "a"), 7),
            (("-vt", "7", "a"), 7),
            (("-t", "0", "a"), None),
            (("a",), 45),
        ):
            self.assertEqual(self.make(*words).timeout, timeout, words)

    def test_values(self) -> None:
        """They win over the names of the tunnel."""
        self.assertEqual(sent(self.make("-T", "phone", "-Utwo", "", r"\T \U\c")), [b"phone two"])
        self.assertEqual(sent(self.make("", r"\T \U\c")), [b"mail.example.org client.example.net"])

    def test_environment(self) -> None:
        """Once, at start-up, and only with -E."""
        self.patch(os, "environb", {b"CHATTED": b"x\xff"})
        self.assertEqual(sent(self.make("-E", "", r"$CHATTED\c")), [b"x\xff"])
        self.assertEqual(sent(self.make("", r"$CHATTED\c")), [b"$CHATTED"])

    def test_logging(self) -> None:
        """Three options that have an effect, three that have none and say so."""
        script = self.make("-e", "-v", "a")
        self.assertEqual((script.echo, script.verbose, script.notices), (True, True, ()))
        self.assertTrue(self.make("-V", "a").verbose)
        script = self.make("-s", "-S", "-r", "file", "a")
        self.assertEqual(
            [str(notice) for notice in script.notices],
            [
                "-- argument 1: -s has no effect: there is one log",
                "-- argument 2: -S has no effect: there is one log",
                "-- argument 3: -r has no effect: there is one log",
            ],
        )

    def test_twoHyphensEndTheOptions(self) -> None:
        """So that a script may begin with a hyphen."""
        self.assertEqual(sent(self.make("--", "-v", "b")), [b"b\r"])

    def test_optionsAloneMayFollowChat(self) -> None:
        """They apply to the script that C{--chat} names."""
        path = self.file(rb'"" \U')
        self.assertEqual(sent(self.make("-U", "me", chat=path)), [b"me\r"])

    def test_errors(self) -> None:
        """Each names its argument."""
        path = self.file(b"a b")
        exclude = "--chat and another script exclude each other; options alone may follow --"
        for message, words, chat in (
            ("-- argument 2: no script; give -f FILE, or words", ("-v",), None),
            ("-- argument 2: -x is no option of chat(8)", ("-v", "-x"), None),
            ("-- argument 2: -t needs a value", ("-v", "-t"), None),
            ("-- argument 2: -t needs a number of seconds", ("-t", "x"), None),
            ("-- argument 1: -t needs a number of seconds", ("-t-1",), None),
            ("-- argument 3: -t was given already; give it once", ("-t", "1", "-vt2", "a"), None),
            ("-- argument 3: -f was given already; give it once", ("-f", path, "-f", path), None),
            (
                "-- argument 3: -f FILE and a script in words exclude each other",
                ("-f", path, "a"),
                None,
            ),
            (f"-- argument 2: {exclude}", ("-f", path), path),
            (f"-- argument 1: {exclude}", ("a", "b"), path),
            (
                "-- argument 4: TIMEOUT needs a number of seconds",
                ("-v", "--", "TIMEOUT", "x"),
                None,
            ),
            (
                "/nowhere: cannot read the script: No such file or directory",
                ("-f/nowhere",),
                None,
            ),
        ):
            self.assertError(message, *words, chat=chat)

    def test_directoryIsNoScript(self) -> None:
        """Nor is anything else that cannot be read."""
        path = self.mktemp()
        Path(path).mkdir()
        self.assertError(f"{path}: cannot read the script: Is a directory", "-f", path)

    def test_nobodyIsWaitedForAtAPipe(self) -> None:
        """Neither for a script nor for a file that one names."""
        path = self.mktemp()
        os.mkfifo(path)
        self.assertError(f"{path}: cannot read the script: is a pipe", "-f", path)
        self.assertRaises(OSError, readFile, path.encode())

    def test_longFileIsNotReadWhole(self) -> None:
        """64 KiB is enough."""
        path = self.file(b"#" * 100_000)
        self.assertError(f"{path}:1:1: the script is longer than 64 KiB", "-f", path)

    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)))
    def test_nothingElseIsEverRaised(self, words: list[str]) -> None:
        """Whatever the words, the outcome is a script or a L{ScriptError}."""
        try:
            self.assertIsInstance(self.make(*words), Script)
        except ScriptError:
            pass

    def test_readFile(self) -> None:
        """What C{@file} reads, where it is allowed."""
        self.assertEqual(readFile(self.file(b"x").encode()), b"x")
        self.assertRaises(OSError, readFile, b"/nowhere")


class ReadyScripts(SynchronousTestCase):
    """
    What is installed with the package.
    """

    def test_theirNames(self) -> None:
        """Eight protocols."""
        self.assertEqual(
            readyScripts(),
            ["imap", "ldap", "nntp", "pop3", "postgresql", "sieve", "smtp", "xmpp"],
        )

    def test_eachCanBeRun(self) -> None:
        """In client mode, and without notices but for the one that C{sieve} explains."""
        for name in readyScripts():
            script = makeScript(name, [], ScriptOptions("client", VALUES))
            self.assertEqual(script.name, f"{name}.chat")
            self.assertEqual(
                [notice.position.line for notice in script.notices],
                [7] if name == "sieve" else [],
                name,
            )

    def test_errorsNameTheScript(self) -> None:
        """Also one that is not a file of the administrator's."""
        error = self.assertRaises(ScriptError, makeScript, "smtp", [], ScriptOptions())
        self.assertEqual(
            str(error), r"smtp.chat:5:10: \T has no value; give --remote-id, or -T behind --"
        )

    def test_unknownNameIsAFile(self) -> None:
        """The error lists the names that there are."""
        error = self.assertRaises(ScriptError, makeScript, "smpt", [], ScriptOptions())
        self.assertIn("smpt: cannot read the script", str(error))
        self.assertIn("imap, ldap, nntp, pop3, postgresql, sieve, smtp, xmpp", str(error))

    def test_pathIsAFile(self) -> None:
        """Also beside a ready script of that name."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "smtp").write_bytes(b'"" x')
        script = makeScript(str(directory / "smtp"), [], SERVER)
        self.assertEqual(sent(script), [b"x\r"])
