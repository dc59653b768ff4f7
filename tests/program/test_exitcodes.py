"""
Tests for the exit codes of the C{tlstunnel} program, and its words where it does not start.
"""

from __future__ import annotations

import os
import pwd
import socket

from twisted.trial.unittest import SkipTest

from tests.program.processes import AS_STRANGER, TWISTD, ProgramTestCase, nameOf
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool


class ExitCodeTests(ProgramTestCase):
    """
    What is wrong is said in a line, and the program ends.
    """

    def test_aMistakeOnTheCommandLineIsExitCode2(self) -> None:
        """
        With one line that says what, and one that says where to read.
        """
        self.fails(2, "--local: is missing", "-c", "-r", "a.example:1")

    def test_aPortInUseIsExitCode1(self) -> None:
        """
        The line names the option and the address.
        """
        with socket.create_server(("127.0.0.1", 0)) as busy:
            address = f"127.0.0.1:{busy.getsockname()[1]}"
            self.fails(1, f"--local {address}: Address already in use", *self.server("-l", address))

    def test_aPathThatIsTooLongIsExitCode1(self) -> None:
        """
        Wherever there may be one, in every command.
        """
        path = f"/tmp/{'a' * 300}"
        client = "-c -l 127.0.0.1:0 -r 127.0.0.1:1 -R server.example.org".split()
        for words in (
            self.server(pool=path),
            self.server("--trust", path, "-R", "a.example"),
            [*client, "--trust", path],
            [*client, "--pool", path],
            ["identity", "list", "--pool", path],
            ["identity", "check", "a.example", "--pool", path],
            ["identity", "create", "a.example", "--pool", path],
            ["identity", "renew", "--pool", path],
            ["identity", "import", "a.example", "--cert", path, "--key", path],
            ["chat-check", path],
        ):
            self.fails(1, "File name too long", *words)

    def test_aUserWithoutAHomeIsServed(self) -> None:
        """
        The help is shown, and a client that needs no pool is not asked for one.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can be somebody else")
        del self.environment["HOME"]
        self.program = ("-c", AS_STRANGER)
        self.assertEqual(self.run_("--help").returncode, 0)
        with socket.create_server(("127.0.0.1", 0)) as busy:
            client = "-c -r 127.0.0.1:1 -R server.example.org -l".split()
            for trust in ([], ["--trust", "system"]):
                self.fails(1, "Address already in use", *client, nameOf(busy), *trust)
        self.fails(1, "--pool: is needed", *client, "127.0.0.1:0", "-L", "a.example")
        self.fails(1, "--pool: is needed", "identity", "create", "a.example")

    def test_tooFewDescriptorsAreExitCode1(self) -> None:
        """
        Where there are too few to load the program, and where the first connection would fail.
        """
        for number, because in (6, "Too many open files"), (8, "is too low to serve a connection"):
            limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({number},) * 2);"
            start = limit + "from tlstunnel.__main__ import main; raise SystemExit(main())"
            done = self.run_(*self.server(), program=("-c", start))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, rf"\Atlstunnel: .*{because}.*\n\Z")

    def test_noThreadIsExitCode1(self) -> None:
        """
        Under twistd, too.
        """
        script = "import threading\ndef fail(self): raise RuntimeError('no')\n"
        script += "threading.Thread.start = fail\n"
        for start, words in (
            ("from tlstunnel.__main__ import main; raise SystemExit(main())", ()),
            ("from twisted.scripts.twistd import run; run()", TWISTD[2:]),
        ):
            done = self.run_(*words, *self.server(), program=("-c", script + start))
            self.assertEqual(done.returncode, 1)
            self.assertEqual(
                done.stderr, "tlstunnel: a thread cannot be started: raise ulimit -u\n"
            )

    def test_workersThatCannotReadTheKeysAreExitCode1(self) -> None:
        """
        Where twistd becomes somebody else: in one line, before there is any worker.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        program = [*TWISTD[:-1], f"--uid={pwd.getpwnam('nobody').pw_uid}", TWISTD[-1]]
        done = self.run_(*self.server("--workers", "2"), program=tuple(program))
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 1, said)
        self.assertIn("cannot be read: Permission denied", said)
        self.assertNotIn("Traceback", said)

    def test_aMissingPoolIsExitCode1(self) -> None:
        """
        The line says how to make one.
        """
        self.fails(1, "tlstunnel identity create", *self.server(pool="/nonexistent"))

    def test_aMissingIdentityIsExitCode1(self) -> None:
        """
        The line says how to make it.
        """
        self.fails(1, "identity create", *self.server(name="nobody.example.org"))

    def test_aKeyThatOthersCanReadIsExitCode1(self) -> None:
        """
        The line says what to do.
        """
        key = self.pool / "server.example.org" / "privkey.pem"
        key.chmod(0o644)
        self.fails(1, "chmod 600", *self.server())

    def test_aKeyThatDoesNotFitIsExitCode1(self) -> None:
        """
        The line names both files.
        """
        createIdentity(Pool(self.pool, asked=False), Identity.parse("other.example.org"))
        (self.pool / "other.example.org" / "privkey.pem").replace(
            self.pool / "server.example.org" / "privkey.pem"
        )
        self.fails(1, "does not fit", *self.server())

    def test_aHostThatDoesNotResolveIsExitCode1(self) -> None:
        """
        At the start, unless it was asked for otherwise.
        """
        self.fails(
            1,
            "does not resolve",
            *"-c -l 127.0.0.1:0 -r no-such-host.invalid:25 --pool".split(),
            str(self.pool),
        )

    def test_anInterfaceThatIsNotThereIsExitCode1(self) -> None:
        """
        In an address with a zone.
        """
        words = "-c -l 127.0.0.1:0 -r [fe80::1%nosuch]:25 -R a.example --pool".split()
        self.fails(1, "--remote [fe80::1%nosuch]:25", *words, str(self.pool))

    def test_theWebsAuthoritiesKnowNoUsers(self) -> None:
        """
        However they are asked for.
        """
        words = "-c -l 127.0.0.1:0 -r 127.0.0.1:1 -R user@a.example --trust system --pool".split()
        self.fails(1, "--trust system", *words, str(self.pool))
