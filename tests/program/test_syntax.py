"""
Tests for L{tlstunnel.program.syntax}: what all command lines have in common.
"""

from __future__ import annotations

import io
import sys

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel import __version__
from tlstunnel.__main__ import main
from tlstunnel.commands import COMMANDS
from tlstunnel.commands.identity import IdentityOptions
from tlstunnel.commands.pool import PoolCommandOptions
from tlstunnel.program import signals

#: The words of every command, and of the program itself.
ALL: list[list[str]] = [[], *([name] for name in COMMANDS)]
ALL += [["identity", name] for name, *_ in IdentityOptions.subCommands]
ALL += [["pool", name] for name, *_ in PoolCommandOptions.subCommands]

#: Words, and the one line about them.
MISTAKES = [
    ("--trusst x", "--trusst: there is no such option; did you mean --trust?"),
    ("--no-such-thing", "--no-such-thing: there is no such option"),
    ("-z", "-z: there is no such option"),
    ("--connect-t", "--connect-t: may be --connect-timeout or --connect-total; write more of it"),
    ("--trust", "--trust: its value is missing; write --trust FILE|DIR|system"),
    ("-r", "-r: its value is missing; write -r ADDR"),
    ("--client=yes", "--client: takes no value; write it alone"),
    ("idenity list", "'idenity' is neither an option nor a command; did you mean identity?"),
    ("-v demo", "'demo' is neither an option nor a command; put it before all options"),
    ("--starttls --pool x", "--starttls: has no value, as --pool follows it; give it one, or"),
    ("-c -l -r a.example:1", "--local: has no value, as -r follows it; give it one, or leave it"),
    ("xyzzy", "'xyzzy' is neither an option nor a command; each option begins with a hyphen"),
    (
        "identity",
        (
            "say what to do: create, import, list, renew, check, trust, allow, disclose, "
            "issuer or agent"
        ),
    ),
    ("pool", "say what to do: serve"),
    ("identity craete x", "there is no command 'craete'; did you mean create?"),
    ("identity xyzzy", "there is no command 'xyzzy'; there are create, import, list, renew"),
    ("identity create", "ID is missing; write 'tlstunnel identity create [options] ID'"),
    ("identity create a b", "'b' is one word too many; write 'tlstunnel identity create"),
    ("identity create a -p", "-p: its value is missing; write -p VALUE"),
    ("identity list --pol x", "--pol: there is no such option; did you mean --pool?"),
    ("identity trust a", "FILE is missing; write 'tlstunnel identity trust [options] SELECTOR"),
    ("identity create -p a --pool b x", "--pool: has 2 values; give one"),
    ("identity import x --key a --cert b --key c", "--key: has 2 values; give one"),
    ("chat-check f -T a --remote b", "--remote: has 2 values; give one"),
    ("chat-check", "FILE is missing; write 'tlstunnel chat-check [options] FILE'"),
    ("demo now", "'now' is one word too many; write 'tlstunnel demo [--once]'"),
]


class SyntaxTests(SynchronousTestCase):
    """
    The program, with words of all kinds.
    """

    def setUp(self) -> None:
        """
        The signals of this process are not those of a tunnel.
        """
        self.patch(signals, "hold", lambda code: None)

    def call(self, *words: str) -> tuple[object, str, str]:
        """
        Run the program.

        @return: its exit code, and what it wrote to both its outputs.
        """
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        try:
            code: object = main(list(words))
        except SystemExit as end:
            code = end.code
        return code, out.getvalue(), err.getvalue()

    def test_theVersionIsOurs(self) -> None:
        """
        Of every command, with both names of the option.
        """
        for words in ALL:
            for option in ("--version", "-V"):
                self.assertEqual(
                    self.call(*words, option), (0, f"tlstunnel {__version__}\n", ""), words
                )

    def test_everyCommandHasAHelp(self) -> None:
        """
        With both names of the option; it begins with how the command is written.
        """
        for words in ALL:
            helps = [self.call(*words, option) for option in ("--help", "-h")]
            self.assertEqual(helps[0], helps[1])
            code, out, err = helps[0]
            self.assertEqual((code, err), (0, ""))
            self.assertIn(" ".join(["Usage: tlstunnel", *words]), out)
            self.assertNotIn("Twisted", out)
            hasCommands = words in ([], ["identity"], ["pool"])
            self.assertEqual(out.count("Commands"), hasCommands)
            if hasCommands:
                written = " ".join(["tlstunnel", *words, "COMMAND [options]"])
                self.assertEqual(out.count(written), 1)

    def test_theHelpHasEveryCommand(self) -> None:
        """
        With what it is for.
        """
        _, out, _ = self.call("--help")
        for name, (_, _, what) in COMMANDS.items():
            self.assertRegex(out, rf"(?m)^  tlstunnel {name} +{what}$")

    def test_mistakesAreExplained(self) -> None:
        """
        In one line that says what to do; a second one has the help that is of use.
        """
        for words, message in MISTAKES:
            code, out, err = self.call(*words.split())
            first, second = err.splitlines()
            self.assertEqual((code, out), (2, ""))
            self.assertTrue(first.startswith(f"tlstunnel: {message}"), first)
            command = " ".join(["tlstunnel", *words.split()[: 2 if "identity " in words else 1]])
            command = command if words.split()[0] in COMMANDS else "tlstunnel"
            if "there is no command" in message:
                command = "tlstunnel identity"
            self.assertEqual(second, f"tlstunnel: see '{command} --help'")

    def test_abbreviationsAreUnderstood(self) -> None:
        """
        Of options, as long as they are unique.
        """
        options = IdentityOptions()
        options.parseOptions(["create", "--poo", "P", "--forc", "x.y"])
        self.assertEqual((options.subOptions["pool"], options.subOptions["force"]), ("P", 1))
        self.assertRaises(usage.UsageError, IdentityOptions().parseOptions, ["create", "--fork"])
