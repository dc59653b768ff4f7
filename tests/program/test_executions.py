"""
Tests for the settings of programs: how they are read, and what of them cannot be.
"""

from __future__ import annotations

import os
import resource
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import ConfigurationTests
from tests.program.test_options import BY_NAME
from tests.users import closed
from tlstunnel.address import ExecAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.program.check import check
from tlstunnel.program.risks import ofDialect
from tlstunnel.tunnel.programs import launches

#: A tunnel, behind which its remote and more may stand.
TUNNEL = """
[tunnel.a]
mode = "server"
local = ["127.0.0.1:8443"]
local-id = "www.example.org"
remote-id = "@example.org"
"""

#: Nobody who may be anybody.
USER = 'exec-user = "nobody"\n' if os.geteuid() == 0 else ""


class ReadingTests(SynchronousTestCase):
    """
    Single values.
    """

    def remote(self, given: object) -> object:
        """
        The one remote that C{given} is.
        """
        (found,) = BY_NAME["remote"].read(given)
        return found

    def refused(self, key: str, given: object) -> str:
        """
        Why it is none.
        """
        error = self.assertRaises(ConfigurationError, BY_NAME[key].read, given)
        return str(error)

    def test_wordsAreThoseOfAShell(self) -> None:
        """
        With its quotation marks, and nothing else that it does.
        """
        for text, words in (
            ("exec:/bin/cat", ("/bin/cat",)),
            ("exec:cat -u", ("cat", "-u")),
            ("exec:  cat  'a b' \"c d\" e\\ f ''", ("cat", "a b", "c d", "e f", "")),
            ("exec:/bin/sh -c 'echo $HOME | wc; x'", ("/bin/sh", "-c", "echo $HOME | wc; x")),
            ("exec:cat # no comment", ("cat", "#", "no", "comment")),
        ):
            self.assertEqual(self.remote(text), ExecAddress(words))

    def test_aFileMayHaveThemInAnArray(self) -> None:
        """
        One for each program.
        """
        self.assertEqual(
            self.remote([["exec:/bin/sh", "-c", "echo 'a'"]]),
            ExecAddress(("/bin/sh", "-c", "echo 'a'")),
        )

    def test_itIsWrittenAsItIsRead(self) -> None:
        """
        In the log, and in metrics.
        """
        for words in (("cat",), ("/bin/sh", "-c", "echo 'a' \"$x\""), ("a b", "")):
            address = ExecAddress(words)
            self.assertEqual(self.remote(str(address)), address)

    def test_whatIsNoProgram(self) -> None:
        """
        Nothing, open quotation marks, and what cannot be printed.
        """
        for given, words in (
            ("exec:", "names no program"),
            ("exec:''", "names no program"),
            ("exec:cat 'a", "no closing quotation"),
            ("exec:cat \\", "no escaped character"),
            ("exec:cat 'a\nb'", "cannot be printed"),
            ([["cat"]], "begin it with exec:PROGRAM"),
            ([[]], "begin it with exec:PROGRAM"),
            ([["exec:cat", 1]], "is not text"),
        ):
            self.assertIn(words, self.refused("remote", given))

    def test_limits(self) -> None:
        """
        By the names of prlimit, and by those that people say.
        """
        for text, value in (
            ("cpu=10", ("cpu", 10)),
            ("memory=256M", ("memory", 256 << 20)),
            ("as=1G", ("as", 1 << 30)),
            ("files=64", ("files", 64)),
            ("core=0", ("core", 0)),
            ("fsize=unlimited", ("fsize", resource.RLIM_INFINITY)),
        ):
            self.assertEqual(BY_NAME["exec-limit"].read(text), (value,))

    def test_whatIsNoLimit(self) -> None:
        """
        Other names, and no numbers.
        """
        for given in ("cpu", "cpu=", "cpu=-1", "cpu=1T", "speed=1", "cpu=1.5", "=1", 3):
            self.refused("exec-limit", given)


class CheckTests(ConfigurationTests):
    """
    Whole tunnels.
    """

    def mistake(self, text: str, user: str = USER) -> str:
        """
        What is wrong with a tunnel, and where it is said.
        """
        try:
            configuration = self.read(TUNNEL + user + text)
        except Exception as error:  # noqa: BLE001 - of whatever kind
            return str(error)
        try:
            launches(configuration.tunnels[0])
        except ConfigurationError as error:
            return str(error)
        return ""

    def test_aProgramIsFound(self) -> None:
        """
        By its path, or in PATH.
        """
        for remote in ("exec:/bin/cat", "exec:cat"):
            tunnel = self.read(f'{TUNNEL}{USER}remote = "{remote}"\n').tunnels[0]
            (launch,) = launches(tunnel).values()
            self.assertTrue(Path(launch.path).is_absolute())

    def test_whatIsWrongWithOne(self) -> None:
        """
        Before the first client comes.
        """
        plain = self.folder / "plain"
        plain.write_text("")
        for remote, words in (
            ("exec:/no/such", "there is no program /no/such"),
            ("exec:no-such-program", "there is no program no-such-program"),
            ("exec:bin/cat", "is not an absolute path"),
            (f"exec:{plain}", "may not be executed"),
            ("exec:/bin", "is no file"),
        ):
            self.assertIn(words, self.mistake(f'remote = "{remote}"\n'))

    def test_whatCannotBeSeen(self) -> None:
        """
        Is not taken for missing, and a name that no file can have is that of no program.
        """
        private = self.folder / "of mine"
        private.mkdir()
        self.folder.chmod(0o755)
        program = private / "serve"
        program.write_text("")
        tunnel = self.read(f'{TUNNEL}remote = [["exec:{program.absolute()}"]]\n').tunnels[0]
        with closed(private):
            error = self.assertRaises(ConfigurationError, launches, tunnel)
        self.assertIn("cannot be reached: Permission denied; we run as user", str(error))
        self.assertIn(f"whom the directory {os.path.realpath(private)} keeps out", str(error))
        remote = f'remote = [["exec:{program.absolute()}"]]\n'
        self.assertIn(f"'chmod +x '{program.absolute()}''", self.mistake(remote))
        self.assertIn("there is no program", self.mistake(f'remote = "exec:/{"x" * 300}"\n'))

    def test_itStandsAlone(self) -> None:
        """
        Also among those of a name.
        """
        self.assertIn("give it alone", self.mistake('remote = ["exec:cat", "127.0.0.1:1"]\n'))
        name = 'remote = "127.0.0.1:1"\n[tunnel.a.name."a.example.org"]\n'
        self.assertIn("give it alone", self.mistake(f'{name}remote = ["exec:cat", "/s"]\n'))
        self.assertEqual(self.mistake(f'{name}remote = "exec:cat"\n'), "")

    def test_whereThereCanBeNone(self) -> None:
        """
        In client mode, behind a proxy, and for protocols that need an address.
        """
        via = 'via = "http://127.0.0.1:1"\n'
        for text, words in (
            (f'remote = "exec:cat"\n{via}', "leave out"),
            ('remote = "exec:cat"\nstarttls = "ftp"\n', "not for ftp"),
            ('remote = "exec:cat"\nstarttls = "mysql"\n', "not for mysql"),
            ('remote = "exec:cat"\nstarttls = "nats"\n', "not for nats"),
        ):
            self.assertIn(words, self.mistake(text))
        later = 'remote = "exec:cat"\nstarttls = "nats"\ndialect-option = "handshake-first"\n'
        self.assertEqual(self.mistake(later), "")
        client = TUNNEL.replace("server", "client").replace("@example.org", "example.org")
        with self.assertRaises(Exception) as caught:
            self.read(f'{client}remote = "exec:cat"\n')
        self.assertIn('with mode = "server" alone', str(caught.exception))

    def test_settingsWithoutAProgram(self) -> None:
        """
        Mean nothing.
        """
        for line in ('exec-user = "nobody"', "exec-pty = true", 'exec-limit = "cpu=1"'):
            text = f'remote = "127.0.0.1:1"\n{line}\n'
            self.assertIn("is for a program in", self.mistake(text, ""))

    def test_rootHasToBeMeant(self) -> None:
        """
        Nothing runs as root because nobody has thought of it.
        """
        with mock.patch("os.geteuid", lambda: 0):
            self.assertIn("would run as root", self.mistake('remote = "exec:cat"\n', ""))
            self.assertEqual(self.mistake('remote = "exec:cat"\nexec-user = "root"\n', ""), "")
        with mock.patch("os.geteuid", lambda: 12345):
            self.assertEqual(self.mistake('remote = "exec:cat"\n', ""), "")
            self.assertIn(
                "only root can", self.mistake('remote = "exec:cat"\nexec-user = "root"\n', "")
            )

    def test_usersAndLimitsAreChecked(self) -> None:
        """
        Whoever is not there, and more than we may have.
        """
        with mock.patch("os.geteuid", lambda: 0):
            unknown = 'remote = "exec:cat"\nexec-user = "no-such-user"\n'
            self.assertIn("there is no such user", self.mistake(unknown, ""))
        twice = 'remote = "exec:cat"\nexec-limit = ["as=1G", "memory=2G"]\n'
        self.assertIn("given twice", self.mistake(twice))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY:
            more = f'remote = "exec:cat"\nexec-limit = "files={hard + 1}"\n'
            self.assertIn("all that we may have", self.mistake(more))

    def test_aProgramForAnybodyIsARisk(self) -> None:
        """
        It is said, and no more.
        """
        text = f'{TUNNEL}{USER}remote = "exec:cat"\n'
        self.assertEqual(list(ofDialect(self.read(text).tunnels[0])), [])
        opened = self.read(text.replace('remote-id = "@example.org"\n', "")).tunnels[0]
        self.assertIn("any client can start exec:cat", " ".join(ofDialect(opened)))

    def test_aCheckTellsItsKey(self) -> None:
        """
        And looks at all of the file.
        """
        configuration = self.read(f'{TUNNEL}{USER}remote = "exec:/no/such"\n')
        found = [str(each) for each in check(configuration, datetime.now(UTC))]
        self.assertTrue(any("tunnel.a.remote" in each and "/no/such" in each for each in found))
