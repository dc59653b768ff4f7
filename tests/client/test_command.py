"""
Tests for C{python3 -m tlstunnel.client}, against a pool that does what a script says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from tests.client.scripted import OK, PATIENCE, TOP, ClientTests, Control, Script
from tlstunnel import client
from tlstunnel.client.__main__ import CUT, GOOD, NO_CONNECTION, NO_TLS, UNPROVEN, USAGE


class CommandTests(ClientTests):
    """
    C{python3 -m tlstunnel.client}.
    """

    def run_(
        self,
        *words: str,
        say: bytes = b"",
        stdin: socket.socket | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Run it to its end.
        """
        given: dict[str, Any] = {"input": say} if stdin is None else {"stdin": stdin}
        return subprocess.run(
            [sys.executable, "-m", "tlstunnel.client", *words],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": str(TOP),
                client.VARIABLE: self.path,
                **(environment or {}),
            },
            **given,
        )

    def connect(
        self, script: Script, *words: str, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Run C{connect} to a server that says nothing.
        """
        self.pool(script)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            return self.run_("connect", "127.0.0.1", port, *words, **options)

    def serves(self, ending: str, say: bytes = b"answer", text: str = OK) -> Script:
        """
        A script that answers once the program has said all.
        """

        def script(control: Control) -> None:
            with control.accepts(text) as plain:
                said = b""
                while data := plain.recv(99):
                    said += data
                control.says(f"end\nreason={ending}\n")
                plain.sendall(say + said)

        return script

    def speaks(self, ending: str) -> Script:
        """
        A script that speaks, and does not listen.
        """

        def script(control: Control) -> None:
            with control.accepts() as plain:
                control.says(f"end\nreason={ending}\n")
                plain.sendall(b"answer\n")
                plain.shutdown(socket.SHUT_WR)
                # A program that has not read everything resets it.
                with contextlib.suppress(ConnectionError):
                    plain.recv(99)

        return script

    def test_standardInputAndOutputAreTheConnection(self) -> None:
        """
        The end of input is told, and then the rest of the answer comes.
        """
        done = self.connect(self.serves("closed"), "--half-close", say=b" to the question")
        self.assertEqual(done.stdout, b"answer to the question")
        self.assertEqual((done.stderr, done.returncode), (b"", GOOD))

    def test_aConnectionThatIsCutIsNotWell(self) -> None:
        """
        What has come is there.
        """
        done = self.connect(self.serves("truncated"), "--half-close")
        self.assertEqual(done.stdout, b"answer")
        self.assertIn(b"truncated", done.stderr)
        self.assertEqual(done.returncode, CUT)

    def test_refusalsHaveCodes(self) -> None:
        """
        As C{tlstunnel probe} has them.
        """

        def refuses(reason: str) -> Script:
            def script(control: Control) -> None:
                control.hears()
                control.says(f"error\nreason={reason}\ndetail=for this reason\n")

            return script

        for reason, code in (
            ("identity", UNPROVEN),
            ("not-offered", NO_TLS),
            ("syntax", USAGE),
            ("no-remote", USAGE),
            ("gone", NO_CONNECTION),
        ):
            done = self.connect(refuses(reason))
            self.assertEqual(done.returncode, code)
            self.assertIn(f"{reason}: for this reason".encode(), done.stderr)

    def test_noConnectionAndNoPool(self) -> None:
        """
        The same code for both, and the words to tell them apart.
        """
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            done = self.run_("connect", "127.0.0.1", port, "--pool", "/nonexistent")
            self.assertEqual(done.returncode, NO_CONNECTION)
            self.assertIn(b"no pool at /nonexistent", done.stderr)
        done = self.run_("connect", "127.0.0.1", port)
        self.assertEqual(done.returncode, NO_CONNECTION)
        refused = f"there is no connection to 127.0.0.1 port {port}: Connection refused\n"
        self.assertIn(refused.encode(), done.stderr)
        done = self.run_("accept", "--", "true")
        self.assertEqual(done.returncode, NO_CONNECTION)
        done = self.run_("hello", "--pool", "/nonexistent")
        self.assertEqual(done.returncode, NO_CONNECTION)

    def test_mistakesInTheCommand(self) -> None:
        """
        No connection is made.
        """
        for words in ("accept",), ("connect", "127.0.0.1"), ("what",), ():
            self.assertEqual(self.run_(*words).returncode, USAGE)

    def test_timesThatAreNone(self) -> None:
        """
        They are named, with the option.
        """
        for time in "0", "-3", "abc", "nan", "1e9":
            done = self.run_("connect", "127.0.0.1", "9", f"--timeout={time}")
            self.assertEqual(done.returncode, USAGE)
            said = f"argument --timeout: {time!r} is no time; give seconds, up to 86400"
            self.assertIn(said.encode(), done.stderr)

    def test_aProgramOfUCSPI(self) -> None:
        """
        Reads from 6, writes to 7, and finds who is there in its environment; nothing there is from
        anybody else.
        """
        program = (
            "read -r line <&6; echo $line from $TLS_IDENTITY $TLS_VERSION $TLS_CIPHER $TLS_SNI "
            "$PROTO $TCPREMOTEIP ${REMOTE_USER-nobody}; echo said >&7"
        )
        done = self.connect(
            self.speaks("closed"),
            *("--remote", "mail.example.org", "--", "sh", "-c", program),
            environment={"REMOTE_USER": "root", "TLS_IDENTITY": "root"},
        )
        self.assertEqual(
            done.stdout.decode().split(),
            "answer from mail.example.org TLSv1.3 TLS_AES_256_GCM_SHA384 mail.example.org SSL "
            "127.0.0.1 nobody".split(),
            done.stderr,
        )
        self.assertEqual(done.returncode, GOOD)

    def test_aProgramOnStandardInput(self) -> None:
        """
        As servers that inetd starts have it; it has nothing else open.
        """
        done = self.connect(
            self.speaks("closed"), "--stdio", "--", "sh", "-c", "read -r line; ls /proc/self/fd >&2"
        )
        self.assertEqual(done.stderr.split(), [b"0", b"1", b"2", b"3"])
        self.assertEqual(done.returncode, GOOD)

    def test_whatAProgramEndsWith(self) -> None:
        """
        Is passed on, but 0 of one that was cut off.
        """
        for ending, program, code in (
            ("closed", "cat <&6", GOOD),
            ("closed", "cat <&6; exit 3", 3),
            ("closed", "kill -TERM $$", 128 + signal.SIGTERM),
            ("truncated", "cat <&6", CUT),
            ("truncated", "cat <&6; exit 3", 3),
        ):
            done = self.connect(self.speaks(ending), "--", "sh", "-c", program)
            self.assertEqual(done.returncode, code, done.stderr)
        done = self.connect(self.speaks("closed"), "--", "/nonexistent")
        self.assertEqual(done.returncode, USAGE)

    def test_programsAreSentTheSignalsThatAreForThem(self) -> None:
        """
        Whoever stops us stops them.
        """
        done = self.connect(
            self.speaks("closed"), "--", "sh", "-c", "kill -TERM $PPID; while :; do sleep 0.1; done"
        )
        self.assertEqual(done.returncode, 128 + signal.SIGTERM)

    def test_aServerThatInetdStarts(self) -> None:
        """
        The connection is at 0, 1 and 2, and nobody has it afterwards but the pool.
        """

        def script(control: Control) -> None:
            heard.append(control.hears())
            ours, theirs = socket.socketpair()
            with ours:
                control.says(OK.replace("mail.example.org", "john@example.org"), theirs)
                ours.sendall(b"question\n")
                ours.shutdown(socket.SHUT_WR)
                answers.append(ours.makefile().read())
                control.handed.close()
                answers.append(peer.recv(9).decode())
                control.says("end\nreason=closed\n")

        heard: list[str] = []
        answers: list[str] = []
        self.pool(script)
        sock, peer = self.connection(None)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tlstunnel.client", "accept", "--local", "www.example.org"),
                *("--client", "request", "--starttls", "smtp", "--alpn", "a,b"),
                *("--", "sh", "-c", 'read -r line; echo "$line? $REMOTE_USER"; echo no >&2'),
            ],
            stdin=sock.fileno(),
            stdout=sock.fileno(),
            stderr=sock.fileno(),
            env={**os.environ, "PYTHONPATH": str(TOP), client.VARIABLE: self.path},
        )
        sock.close()
        self.assertEqual(process.wait(PATIENCE), GOOD)
        for thread in self.threads:
            thread.join()
        self.assertEqual(
            heard[0].splitlines(),
            "tls role=server local=www.example.org client=request starttls=smtp plain=tcp "
            "alpn=a,b".split(),
        )
        self.assertEqual(answers, ["question? john@example.org\n", ""])

    def test_theConnectionNeverHearsInClearWhatIsWrong(self) -> None:
        """
        Standard error may be the connection.
        """
        sock, peer = self.connection(None)
        process = subprocess.Popen(
            [sys.executable, "-m", "tlstunnel.client", "accept", "--pool", "/no", "--", "true"],
            stdin=sock.fileno(),
            stdout=sock.fileno(),
            stderr=sock.fileno(),
            env={**os.environ, "PYTHONPATH": str(TOP)},
        )
        sock.close()
        self.assertEqual(process.wait(PATIENCE), NO_CONNECTION)
        self.assertEqual(peer.recv(99), b"")

    def test_whoThePoolIs(self) -> None:
        """
        C{hello}.
        """

        def script(control: Control) -> None:
            control.hears()
            control.says("ok\nserver=tlstunnel 1\nverbs=tls export\n")

        self.pool(script)
        self.assertEqual(self.run_("hello").stdout, b"server=tlstunnel 1\nverbs=tls export\n")
