"""
Tests for L{tlstunnel.tap}: what twistd gets.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel import tap
from tlstunnel.program import signals
from tlstunnel.program.options import FILE_OPTIONS, LOG_OPTIONS, TUNNEL_OPTIONS, VIEW_OPTIONS
from tlstunnel.tls import separation


class TapTests(SynchronousTestCase):
    """
    The options; what the service does is tested with twistd itself, beside the program.
    """

    def test_twistdFindsUs(self) -> None:
        """
        By its plugin.
        """
        from twisted.plugins import tlstunnel_plugin

        maker = tlstunnel_plugin.tlstunnel
        self.assertEqual(maker.tapname, "tlstunnel")
        self.assertIs(maker.options, tap.Options)
        self.assertIs(maker.makeService, tap.makeService)

    def test_theLogIsTwistds(self) -> None:
        """
        All options are those of the program, but for the log, for which twistd has its own, and
        those with which nothing is served.
        """
        self.assertEqual(tap.Options.settings, (*FILE_OPTIONS, *TUNNEL_OPTIONS))
        for option in (*LOG_OPTIONS, *VIEW_OPTIONS):
            with self.assertRaises(usage.UsageError):
                tap.Options().parseOptions([f"--{option.name}"])

    def test_aTokenDoesNotFollowToTheBackground(self) -> None:
        """
        What its module has opened does not survive a fork; in the foreground there is none.
        """
        made: Any = SimpleNamespace(privilegedStartService=lambda: None)
        self.patch(tap, "makeProcess", lambda *arguments, **more: (made, {}))
        self.patch(tap, "sourceOf", lambda options: None)
        self.patch(signals, "hold", lambda: None)
        self.patch(separation.process, "token", "POOL/ID/privkey.pem")
        options = tap.Options()
        options.parent = {"nodaemon": False}
        ended = self.assertRaises(SystemExit, tap.makeService, options)
        self.assertIn("give twistd --nodaemon", str(ended))
        options.parent = {"nodaemon": True}
        self.assertIs(tap.makeService(options), made)

    def test_aMistakeIsSaidInTwoLines(self) -> None:
        """
        Twistd itself would print the whole help before it.
        """
        said = StringIO()
        self.patch(sys, "stderr", said)
        ended = self.assertRaises(SystemExit, ServerOptions().parseOptions, ["tlstunnel", "-c"])
        assert isinstance(ended, SystemExit)
        self.assertEqual(ended.code, 2)
        first, second = said.getvalue().splitlines()
        self.assertIn("--local: is missing", first)
        self.assertEqual(second, "tlstunnel: see 'twistd tlstunnel --help'")


class LogTests(SynchronousTestCase):
    """
    What writes the log under twistd.
    """

    def factory(self, *words: str) -> Any:
        """
        What twistd has as C{--logger}, with C{words} of its own on its command line.
        """
        self.patch(tap, "logs", tap.Logs())
        options = ServerOptions()
        pool = self.mktemp()
        options.parseOptions([*words, "tlstunnel", *f"-c -l :1 -r a:1 --pool {pool}".split()])
        return options.get("logger")

    def test_aFileIsTwistds(self) -> None:
        """
        It is written at once, and twistd rotates it.
        """
        self.assertIsNone(self.factory("--logfile", "x"))
        self.assertIsNone(self.factory("-n", "--logfile", "x"))
        self.assertIsNone(self.factory())

    def test_whoeverChoosesALoggerHasIt(self) -> None:
        """
        As with every plugin.
        """
        self.assertIs(self.factory("-n", "--logger", "os.getcwd"), os.getcwd)

    def test_standardOutputIsOurs(self) -> None:
        """
        Whoever reads that may stop: tests.program.test_program has it with twistd itself.
        """
        for words in (("-n",), ("-n", "--logfile", "-")):
            self.assertTrue(ILogObserver.providedBy(self.factory(*words)()))

    def test_theSystemsLogIsOurs(self) -> None:
        """
        With twistd's prefix; where there is none, twistd says so.
        """
        self.patch(tap, "PATHS", ("/nowhere",))
        self.assertIsNone(self.factory("--syslog"))
        # Its path is short, as it has to be.
        directory = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, directory)
        path = Path(directory, "log")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(path))
            self.addCleanup(path.unlink)
            self.patch(tap, "PATHS", ("/nowhere", str(path)))
            observer = self.factory("--syslog", "--prefix", "mail")()
            self.assertTrue(ILogObserver.providedBy(observer))
            Logger("here", observer=observer).info("up")
            self.assertEqual(daemon.recv(100), b"<14>mail[%d]: up" % os.getpid())
