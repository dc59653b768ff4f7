"""
That docs/getting-started.md leads where it says, typed in as it stands there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.ports import freePort

CHECKOUT = Path(__file__).parent.parent
PAGE = CHECKOUT / "docs" / "getting-started.md"

#: What goes on until it is stopped, by how it begins, and what it says when it is up.
STAYING = {"python3 -m http.server": "Serving HTTP on", "tlstunnel -": "tunnel up"}

WAIT_SECONDS = 30


def commandsOf(title: str) -> list[str]:
    """
    The commands below a heading of the page.
    """
    text = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = "".join(re.findall(r"(?ms)^```sh\n(.*?)^```$", text)).splitlines()
    return [line for line in lines if line != ". tunnel/bin/activate"]


class GettingStartedTests(SynchronousTestCase):
    """
    Somebody who follows the page.
    """

    def setUp(self) -> None:
        """
        A directory to be in, the programs, and other ports than the page has: those may be taken.
        """
        if not shutil.which("curl"):
            raise SkipTest("there is no curl")
        self.directory = Path(self.mktemp()).absolute()
        programs = self.directory / "programs"
        programs.mkdir(parents=True)
        for name, words in (("python3", ""), ("tlstunnel", "-m tlstunnel")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self.directory),
            "no_proxy": "*",
        }
        self.ports = {port: str(freePort()) for port in ("8000", "8080", "8443")}
        self.running: dict[str, subprocess.Popen[str]] = {}

    def follow(self, title: str) -> str:
        """
        Type what stands below a heading.

        @return: what the last command has said.
        """
        said = ""
        for command in commandsOf(title):
            command = re.sub(r"\b(8000|8080|8443)\b", lambda found: self.ports[found[1]], command)
            up = next((STAYING[each] for each in STAYING if command.startswith(each)), None)
            said = self.type(command) if up is None else self.start(command, up)
        return said

    def type(self, command: str) -> str:
        """
        Run a command to its end.
        """
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 0, (command, done.stderr))
        return done.stdout

    def start(self, command: str, up: str) -> str:
        """
        Run a command in a terminal of its own, instead of the one that runs there already.
        """
        kind = " ".join(command.split()[:2])
        if kind in self.running:
            before = self.running.pop(kind)
            before.terminate()
            self.assertEqual(before.wait(WAIT_SECONDS), 0)
        process = subprocess.Popen(
            f"exec {command}",
            shell=True,
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running[kind] = process
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for line in process.stdout:
            if up in line:
                return line
        raise self.failureException(f"{command} did not start")

    def test_itLeadsWhereItSays(self) -> None:
        """
        A page comes through both tunnels, both ends are verified, and nobody gets at a key.
        """
        self.assertIn("testcli@tlspool.arpa2.lab", self.follow("Two identities"))
        self.follow("A server that knows no TLS")
        self.assertEqual(
            self.follow("A client that knows no TLS"), "hello from behind the tunnel\n"
        )
        self.follow("Both ends verified")
        url = f"http://127.0.0.1:{self.ports['8080']}/"
        open_ = build_opener(ProxyHandler({})).open
        with open_(url, timeout=WAIT_SECONDS) as answer:
            self.assertEqual(answer.read(), b"hello from behind the tunnel\n")
        output = self.running["tlstunnel -s"].stdout
        assert output is not None
        self.assertIn("testcli@tlspool.arpa2.lab", output.readline())
        key = next(self.directory.glob("**/ca/key.pem")).relative_to(self.directory)
        for path in (key, f"../{key}"):
            error = self.assertRaises(HTTPError, open_, f"{url}{path}", timeout=WAIT_SECONDS)
            assert isinstance(error, HTTPError)
            self.assertEqual(error.code, 404)
            error.close()
