"""
Tests for docs/example/pool/tlstunnel.h, against a pool that does what a script says.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.client.scripted import OK, PATIENCE, TOP, ClientTests, Control, Script, sends
from tlstunnel.client import VARIABLE

STRICT = "-Wall -Wextra -Werror -pedantic -std=c99 -D_GNU_SOURCE -g".split()

#: With what is wrong with its memory, a leak included, a program ends with an error.
CHECKED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# Starts a program with a descriptor at 3, where nothing else is.
_AT_THREE = """
import os, sys
handed = int(sys.argv[1])
if handed != 3:
    os.dup2(handed, 3)
    os.close(handed)
os.execv(sys.argv[2], sys.argv[2:])
"""

PROVEN = "remote=mail.example.org name=*.example.org alpn="


class HeaderTests(ClientTests):
    """
    A program in C, which looks after its memory itself.
    """

    def setUp(self) -> None:
        """
        Compile it.
        """
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise SkipTest("NOT TESTED: there is no C compiler (Debian package gcc)")
        directory = Path(self.mktemp())
        directory.mkdir()
        self.program = str(directory.resolve() / "header")
        include = f"-I{TOP / 'docs' / 'example' / 'pool'}"
        source = str(Path(__file__).with_name("header.c"))
        command = [compiler, *STRICT, include, "-o", self.program, source]
        done = subprocess.run([*command, *CHECKED], capture_output=True, text=True, check=False)
        if done.returncode:
            # Not every compiler has what that needs.
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        super().setUp()

    def run_(self, *words: str, script: Script | None, path: str | None = None) -> list[str]:
        """
        Run it to its end.

        @return: what it has printed, by lines, but for the last of a program that left no
            descriptor.
        """
        if script is not None:
            self.pool(script)
        sock, self.peer = self.connection(None)
        handed = os.dup(sock.fileno())
        sock.close()
        start = [sys.executable, "-ISc", _AT_THREE, str(handed)]
        try:
            done = subprocess.run(
                [*start, self.program, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                pass_fds=[handed],
                env={**os.environ, VARIABLE: path or self.path},
            )
        finally:
            os.close(handed)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        *lines, last = done.stdout.splitlines()
        self.assertEqual(last, "next 3")
        return lines

    def test_whatComesBackIsProven(self) -> None:
        """
        It can be read and asked about, in any order; the end is told.
        """
        pem = "-----BEGIN CERTIFICATE-----\nAAAA\n\n-----END CERTIFICATE-----"

        def script(control: Control) -> None:
            with control.accepts() as plain:
                self.assertEqual(
                    control.hears(), "export\nlabel=EXPORTER-Test\nlength=4\ncontext=0aff\n"
                )
                control.says("ok\nmaterial=00ff0102\n")
                self.assertEqual(control.hears(), "export\nlabel=EXPORTER-Test\nlength=4\n")
                control.says("error\nreason=syntax\ndetail=no such label\n")
                plain.sendall(b"question")
                control.says("end\nreason=truncated\n")
                plain.shutdown(socket.SHUT_WR)
                self.assertEqual(control.hears(), "certificate\n")
                control.says(f"ok\n\n{pem}\n")
                plain.recv(1)

        steps = ["context", "export", "read", "certificate", "ended"]
        self.assertEqual(
            self.run_("15000", "client", "mail.example.org", "", *steps, script=script),
            [
                PROVEN,
                "00ff0102",
                "syntax: no such label",
                *("question", "end"),
                *pem.splitlines(),
                "truncated",
            ],
        )

    def test_whatItAsks(self) -> None:
        """
        Is what the program says, and the time that it has.
        """
        heard = []

        def script(control: Control) -> None:
            heard.append(control.hears())
            control.says("error\nreason=identity\ndetail=it is = somebody else\n")

        for timeout, line in ("-1", []), ("15000", ["timeout=15"]), ("14001", ["timeout=15"]):
            said = self.run_(timeout, "client", "a.test", "smtp", script=script)
            self.assertEqual(said, ["identity: it is = somebody else"])
            self.assertEqual(
                heard.pop().splitlines(),
                ["tls", *line, "role=client", "remote=a.test", "starttls=smtp"],
            )
            self.assertEqual(self.peer.recv(1), b"")

    def test_noValueCanBeAnotherLine(self) -> None:
        """
        The pool is not even asked.
        """
        said = self.run_("15000", "client", "a.test\nlocal=root", script=None)
        self.assertEqual(said, ["syntax: a value has a control character"])
        said = self.run_("15000", "client", "a" * 70000, script=None)
        self.assertEqual(said, ["syntax: the request is too long"])

    def test_nonsenseIsAnError(self) -> None:
        """
        All descriptors that come with it are closed.
        """

        for text, count in (
            (OK, 0),
            (OK, 2),
            (OK, 30),
            (b"ok\n" + b"a" * 70000, 1),
            ("ok\n" + "a" * 9000, 1),
            ("what\n", 1),
            ("end\n", 0),
            (b"\0\n", 1),
            ("error", 1),
        ):
            said = self.run_("15000", "client", "a.test", script=sends(text, count))
            self.assertTrue(said[0].startswith("malformed: "), said)

    def test_aPoolThatIsNotThere(self) -> None:
        """
        Or is not any more, or does not answer, or has refused before it was asked.
        """

        def goes(control: Control) -> None:
            control.hears()

        def isSilent(control: Control) -> None:
            control.hears()
            self.assertEqual(control.sock.recv(1), b"")

        def refuses(control: Control) -> None:
            control.says("error\nreason=limit\ndetail=there are too many\n")

        for timeout, script, path, said in (
            ("-1", None, "/no/pool", "gone: no pool at /no/pool: No such file or directory"),
            ("-1", None, "/" * 200, "gone: the path of the pool is too long"),
            ("-1", goes, None, "gone: the pool went away"),
            ("100", isSilent, None, "timeout: the pool does not answer in time"),
            ("-1", refuses, None, "limit: there are too many"),
        ):
            lines = self.run_(timeout, "client", "a.test", script=script, path=path)
            self.assertEqual(lines, [said])

    def test_anEndThatIsNotTold(self) -> None:
        """
        Takes too long, or never comes.
        """

        def waits(control: Control) -> None:
            with control.accepts():
                self.assertEqual(control.sock.recv(1), b"")

        def goes(control: Control) -> None:
            control.accepts().close()

        for script, said in (waits, "timeout"), (goes, "gone"):
            lines = self.run_("15000", "client", "a.test", "", "ended", script=script)
            self.assertEqual(lines, [PROVEN, said])

    def test_aServerThatSpeaksBeforeTLS(self) -> None:
        """
        Has its plaintext at once, and proof later or never.
        """

        def early(*said: str) -> Script:
            def script(control: Control) -> None:
                with control.accepts("plain\n") as plain:
                    self.assertEqual(plain.recv(8), b"greeting")
                    for each in said:
                        control.says(each)
                    plain.recv(1)

            return script

        steps = ["export", "verify", "ended"]
        nothing = ["remote= name= alpn=", "unverified: nobody has proved anything yet"]
        for said, lines in (
            ((OK, "end\nreason=closed\n"), ["verified", "closed"]),
            (
                ("error\nreason=identity\ndetail=nobody knows it\n",),
                ["identity: nobody knows it", "identity"],
            ),
        ):
            self.assertEqual(
                self.run_("15000", "server", "a.test", "mysql", *steps, script=early(*said)),
                [*nothing, *lines],
            )

    def test_theFirstEndCounts(self) -> None:
        """
        And of what was not verified none is a good one; nobody waits for the end of a flood.
        """

        def says(first: str, *said: str) -> Script:
            def script(control: Control) -> None:
                with control.accepts(first) as plain:
                    for each in said:
                        control.says(each)
                    plain.recv(1)

            return script

        end, cut = "end\nreason=closed\n", "end\nreason=truncated\n"
        for first, said, steps, last in (
            (OK, [cut, end], ["certificate", "ended"], "truncated"),
            ("plain\n", [end], ["ended"], "unverified"),
            ("plain\n", ["error\nreason=closed\n"], ["ended"], "unverified"),
            (OK, ["ok\n"] * 9 + [end], ["ended"], "malformed"),
        ):
            lines = self.run_("15000", "client", "a.test", "", *steps, script=says(first, *said))
            self.assertEqual(lines[-1], last)

    def test_materialIsHexadecimal(self) -> None:
        """
        And as long as it has to be.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                for each in ("zz zz+1-", " 1 2 3 4", "000102"):
                    control.hears()
                    control.says(f"ok\nmaterial={each}\n")
                plain.recv(1)

        lines = self.run_("15000", "client", "a.test", "", *["export"] * 3, script=script)
        self.assertEqual(lines[1:], ["malformed: the pool has sent something else"] * 3)
