"""
A chat script as the dialect of a tunnel: from the command line, and again at a reload.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.chat.dialect import ChatDialect
from tlstunnel.chat.steps import Script, Send
from tlstunnel.chat.words import ScriptError
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.service import TunnelService
from tlstunnel.tunnel.description import Tunnel

CLIENT = ("-c", "-l", "127.0.0.1:0", "-r", "mail.example.org:587", "--skip-resolve")
SERVER = ("-s", "-l", "127.0.0.1:0", "-r", "127.0.0.1:25", "-L", "mail.example.org")


def tunnelOf(*words: str) -> Tunnel:
    """What a command line describes."""
    options = TunnelOptions()
    options.parseOptions(list(words))
    tunnel: Tunnel = options["tunnel"]
    return tunnel


def scriptOf(tunnel: Tunnel) -> Script:
    """The script of a tunnel."""
    role: Any = getattr(tunnel.dialect, tunnel.mode.value)
    script: Script = role.script
    return script


def sentBy(*words: str) -> list[bytes]:
    """What the script of a command line sends."""
    script = scriptOf(tunnelOf(*words))
    return [step.data for step in script.steps if isinstance(step, Send)]


class CommandLines(SynchronousTestCase):
    """
    The ways to give a script.
    """

    def file(self, text: bytes) -> str:
        """The path of a file with this text."""
        path = Path(self.mktemp())
        path.write_bytes(text)
        return str(path)

    def assertMistake(self, message: str, *words: str) -> None:
        """The command line is wrong, and the message says how."""
        error = self.assertRaises(usage.UsageError, tunnelOf, *words)
        self.assertIn(message, str(error))

    def test_file(self) -> None:
        """After C{--chat}, and as in the original."""
        path = self.file(b'"" x y')
        for words in ("--chat", path), ("--", "-f", path):
            self.assertEqual(sentBy(*CLIENT, *words), [b"x\r"])

    def test_words(self) -> None:
        """As in the original."""
        self.assertEqual(sentBy(*CLIENT, "--", "-t", "5", "", "-c", "y"), [b"-c\r"])

    def test_readyScript(self) -> None:
        """By its name, with a value from behind C{--}."""
        self.assertIn(
            b"EHLO me.example\r\n", sentBy(*CLIENT, "--chat", "smtp", "--", "-U", "me.example")
        )

    def test_wordsWithoutHyphensAreNoScript(self) -> None:
        """A stray word is a mistake, as ever."""
        self.assertRaises(usage.UsageError, tunnelOf, *CLIENT, "x")

    def test_namesOfTheTunnel(self) -> None:
        """The remote one is of -R, else of -r; the local one of -L."""
        script = self.file(rb'"" "\T\c" x')
        self.assertEqual(sentBy(*CLIENT, "--chat", script), [b"mail.example.org"])
        self.assertEqual(sentBy(*CLIENT, "-R", "u@a.example", "--chat", script), [b"a.example"])
        ours = self.file(rb'"" "\U\c" x')
        self.assertEqual(sentBy(*CLIENT, "-L", "b.example", "--chat", ours), [b"b.example"])
        self.assertEqual(sentBy(*SERVER, "--chat", ours), [b"mail.example.org"])
        self.assertEqual(sentBy(*SERVER, "-R", ".c.example", "--chat", script), [b"c.example"])
        self.assertMistake(r"\U has no value", *CLIENT, "--chat", ours)
        self.assertMistake(r"\T has no value", *SERVER, "--chat", script)

    def test_modeDecidesWhichSideItPlays(self) -> None:
        """And with that which directives it may have."""
        script = self.file(b'SWALLOW a "" x')
        self.assertEqual(scriptOf(tunnelOf(*SERVER, "--chat", script)).side, "server")
        self.assertMistake("SWALLOW belongs to server mode", *CLIENT, "--chat", script)

    def test_strict(self) -> None:
        """As chat(8) reads it."""
        script = self.file(b'"" TIMEOUT x')
        self.assertMistake("TIMEOUT stands where a send is due", *CLIENT, "--chat", script)
        self.assertEqual(sentBy(*CLIENT, "--chat-strict", "--chat", script), [b"TIMEOUT\r"])

    def test_filesInScripts(self) -> None:
        """Only on request."""
        script = self.file(f'"" @{self.file(b"contents")} x'.encode())
        self.assertEqual(sentBy(*CLIENT, "--chat-files", "--chat", script), [b"contents\r"])
        self.assertTrue(sentBy(*CLIENT, "--chat", script)[0].startswith(b"@"))

    def test_mistakes(self) -> None:
        """Each names its place."""
        self.assertMistake("-- argument 2: TIMEOUT needs", *CLIENT, "--", "TIMEOUT", "x")
        self.assertMistake("both were given", *CLIENT, "--starttls", "smtp", "--chat", "pop3")
        self.assertMistake("nowhere: cannot read the script", *CLIENT, "--chat", "nowhere")

    def test_scriptHasItsOwnTotal(self) -> None:
        """The tunnel's limit leaves it the time that it asks for."""
        tunnel = tunnelOf(*CLIENT, "--", "TOTAL", "500", "x")
        total = tunnel.dialect.negotiationSeconds
        assert total is not None
        self.assertGreater(total, 500)

    def test_noticesAreForTheLog(self) -> None:
        """As the dialect has them."""
        tunnel = tunnelOf(*CLIENT, "--", "-s", "x")
        self.assertEqual(len(tunnel.dialect.notices), 2)


class Reloading(SynchronousTestCase):
    """
    A script is read again at a reload.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(b'"" old x')
        tunnel = tunnelOf(*CLIENT, "--trust", "system", "--chat", str(self.path))
        self.service = TunnelService(tunnel, Clock())

    def sent(self) -> bytes:
        """What new connections are told."""
        assert self.service.factory is not None
        (send,) = (
            step
            for step in scriptOf(self.service.factory.prepared.tunnel).steps
            if isinstance(step, Send)
        )
        return send.data

    def reload(self, text: bytes) -> bytes:
        """Change the script, reload, and see what is sent then."""
        self.service.privilegedStartService()
        for port in self.service._ports:
            self.addCleanup(port.stopListening)
        self.assertEqual(self.sent(), b"old\r")
        self.path.write_bytes(text)
        self.service.reload()
        return self.sent()

    def test_newScript(self) -> None:
        """New connections get it."""
        self.assertEqual(self.reload(b'"" new x'), b"new\r")

    def test_brokenScript(self) -> None:
        """The old one stays."""
        self.assertEqual(self.reload(b'"" "new x'), b"old\r")

    def test_renewedDialectCanBeRenewedAgain(self) -> None:
        """Any number of times."""
        dialect = self.service.tunnel.dialect
        assert isinstance(dialect, ChatDialect)
        again = dialect.renewed().renewed()
        self.assertIsInstance(again, ChatDialect)
        self.path.write_bytes(b'"')
        self.assertRaises(ScriptError, again.renewed)
