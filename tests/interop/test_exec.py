"""
Programs behind a tunnel, one a connection, as inetd would start them: a script that tells its
environment, Postfix's sendmail, Dovecot's imap with a login by certificate, git, rsync, and a shell
on a terminal.
"""

from __future__ import annotations

import imaplib
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Process,
    ServerCertificate,
    Stage,
    find,
    freePort,
    requireRoot,
    run,
    tlstunnel,
    until,
)
from tests.interop.servers.dovecot import USER, Dovecot
from tests.interop.servers.postfix import DOMAIN, Postfix
from tests.interop.tunnel import ENVIRONMENT
from tests.users import STRANGER

NAME = "exec.test.example"
ALICE = f"{USER}@test.example"
USERS = ("-R", "@test.example")

#: As somebody without any rights, where that can be said.
NOBODY = ("--exec-user", "nobody") if os.geteuid() == 0 else ()


class ExecTestCase(InteropTestCase):
    """
    A tunnel to a program, and clients with a certificate.
    """

    alice: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME)
        cls.alice = stage.authority.issue(ALICE)

    def serve(self, program: str, *options: str, dialect: str | None = None) -> int:
        """
        The port of a tunnel to C{program}.
        """
        options = options or (*USERS, *NOBODY)
        self.tunnelProcess = self.serverMode(f"exec:{program}", NAME, dialect, *options)
        return self.tunnelProcess.port

    @property
    def context(self) -> ssl.SSLContext:
        """
        That of Alice.
        """
        context = ssl.create_default_context(cafile=str(self.stage.authority.anchors))
        context.load_cert_chain(self.alice.chain, self.alice.key)
        return context

    def connect(self, port: int) -> ssl.SSLSocket:
        """
        A client.
        """
        sock = socket.create_connection(("127.0.0.1", port), 20)
        wrapped = self.context.wrap_socket(sock, server_hostname=NAME)
        self.addCleanup(wrapped.close)
        return wrapped

    def said(self, port: int, words: bytes = b"") -> bytes:
        """
        What a program says to C{words}, to its end.
        """
        sock = self.connect(port)
        if words:
            sock.sendall(words)
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
        return data

    def script(self, text: str) -> Path:
        """
        A script that anybody may execute.
        """
        path = self.stage.directory("script")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def inClear(self, port: int) -> int:
        """
        The port of a tunnel in client mode to one of C{serve}.
        """
        return self.clientMode(f"127.0.0.1:{port}", NAME, None, "-L", ALICE).port


class ProgramTests(ExecTestCase):
    """
    What is on every system.
    """

    def test_aScriptTellsWhoIsThere(self) -> None:
        """
        As a CGI program, or one of UCSPI.
        """
        path = self.script(
            'printf "%s %s %s %s\\n" "$REMOTE_USER" "$PROTO" "$TLS_VERSION" "$TLS_SNI"; id -un'
        )
        said = self.said(self.serve(str(path))).decode().splitlines()
        self.assertEqual(said[0], f"{ALICE} SSL TLSv1.3 {NAME}")
        if NOBODY:
            self.assertEqual(said[1], "nobody")

    def test_namesInCertificatesAreWrittenAsStunnelDoes(self) -> None:
        """
        By stunnel itself, before the same script, for the same client.
        """
        stunnel = find("stunnel", "stunnel4")
        path = self.script('printf "%s|%s\\n" "$SSL_CLIENT_DN" "$SSL_CLIENT_I_DN"')
        server = self.stage.authority.pool / NAME
        port = freePort()
        directory = self.stage.directory("stunnel")
        directory.mkdir()
        file = directory / "stunnel.conf"
        file.write_text(
            f"foreground = yes\npid =\n[exec]\naccept = 127.0.0.1:{port}\n"
            f"cert = {server}/fullchain.pem\nkey = {server}/privkey.pem\n"
            f"CAfile = {self.stage.authority.anchors}\nverifyChain = yes\nexec = {path}\n"
            f"execArgs = script\n"
        )
        process = Process(directory)
        process.spawn([stunnel, str(file)], [port])
        try:
            theirs = self.said(port)
        finally:
            process.stop()
        ours = self.said(self.serve(str(path)))
        self.assertEqual(ours, theirs)
        self.assertIn(b"O=tlstunnel interop tests", ours)

    def test_aShellOnATerminal(self) -> None:
        """
        It is interactive, and ends when it is told.
        """
        port = self.serve("/bin/sh -i", *USERS, *NOBODY, "--exec-pty")
        said = self.said(port, b"tty; stty size; echo $((6 * 7)); exit\n")
        self.assertIn(b"/dev/pts/", said)
        self.assertIn(b"24 80", said)
        self.assertIn(b"42", said)

    def test_severalProcesses(self) -> None:
        """
        They are told of the program, here by an array of words, and each starts its own.
        """
        directory = self.stage.directory("workers")
        directory.mkdir()
        port = freePort()
        file = directory / "tlstunnel.toml"
        user = 'exec-user = "nobody"\n' if NOBODY else ""
        file.write_text(
            '[process]\nworkers = 2\n[tunnel.a]\nmode = "server"\n'
            f'local = "127.0.0.1:{port}"\nlocal-id = "{NAME}"\n{user}exec-limit = "core=0"\n'
            f'pool = "{self.stage.authority.pool}"\nremote-id = "@test.example"\n'
            'remote = [["exec:/bin/sh", "-c", "echo $PPID; ulimit -c"]]\n'
        )
        shown = tlstunnel("--config", str(file), "--show").expect()
        self.assertIn('remote = [["exec:/bin/sh", "-c", "echo $PPID; ulimit -c"]]', shown)
        process = Process(directory)
        words = [sys.executable, "-m", "tlstunnel", "--config", str(file)]
        process.spawn(words, [port], environment=ENVIRONMENT)
        try:
            said = [self.said(port).split() for _ in range(8)]
            parents = {int(parent) for parent, _ in said}
            self.assertEqual({limit for _, limit in said}, {b"0"})
            self.assertNotIn(process.pid, parents)
        finally:
            process.stop()

    def test_aStrangerWithoutAHomeAndAnErrorOutput(self) -> None:
        """
        Whoever serves needs neither a name nor descriptors that others have.
        """
        requireRoot("a tunnel of somebody else")
        pool = self.stage.directory("pool")
        shutil.copytree(self.stage.authority.pool, pool)
        for path in (pool, *pool.rglob("*")):
            os.chown(path, STRANGER, STRANGER)
        port = freePort()
        started = (
            "import encodings.idna, os, sys, tlstunnel.commands.run, tlstunnel.tap;"
            "from tlstunnel.__main__ import main;"
            f"os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER});"
            "os.close(2); os.close(0); sys.exit(main())"
        )
        words = [
            *(sys.executable, "-c", started, "-s", "-l", f"127.0.0.1:{port}", "-L", NAME),
            *("--pool", str(pool), *USERS),
            *("-r", "exec:/bin/sh -c 'id -u; echo >&2 oops; exit 3'"),
        ]
        environment = {"PATH": os.environ["PATH"], **ENVIRONMENT}
        process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, cwd="/")
        try:
            until(lambda: self._answers(port), "the tunnel answers")
            self.assertEqual(self.said(port), f"{STRANGER}\n".encode())
        finally:
            process.terminate()
            self.assertEqual(process.wait(20), 0)

    def _answers(self, port: int) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def test_aCheckLooksForTheProgram(self) -> None:
        """
        And whether it may run as it is said.
        """
        file = self.stage.directory("configuration")
        for line, expected in (
            ('remote = "exec:/bin/nothing-there"', "there is no program /bin/nothing-there"),
            ('remote = "exec:/etc/passwd"', "may not be executed"),
            ('remote = "exec:cat"\nexec-user = "no-such-user"', "there is no such user"),
            ('remote = ["exec:cat", "127.0.0.1:1"]', "give it alone"),
        ):
            user = "" if "exec-user" in line or not NOBODY else 'exec-user = "nobody"\n'
            file.write_text(
                f'[tunnel.a]\nmode = "server"\nlocal = "127.0.0.1:1"\nlocal-id = "{NAME}"\n'
                f'pool = "{self.stage.authority.pool}"\nremote-id = "@test.example"\n{user}{line}\n'
            )
            tlstunnel("--config", str(file), "--check").expectFailure(expected)


class GitTests(ExecTestCase):
    """
    git-daemon, as its manual has it for inetd.
    """

    def test_aRepositoryIsCloned(self) -> None:
        """
        Through two tunnels.
        """
        git = find("git", "git")
        base = self.stage.directory("git")
        work = base / "work"
        work.mkdir(parents=True)
        (work / "file").write_text("content " * 100000)
        identity = ("-c", "user.name=a", "-c", "user.email=a@test.example")
        for words in (
            ["init", "-q"],
            ["add", "file"],
            [*identity, "commit", "-q", "-m", "first"],
        ):
            run([git, "-C", str(work), *words]).expect()
        run([git, "clone", "-q", "--bare", str(work), str(base / "served.git")]).expect()
        run(["chown", "-R", "nobody", str(base)]).expect()
        port = self.serve(f"{git} daemon --inetd --export-all --base-path={base}")
        clear = self.inClear(port)
        copy = base / "copy"
        run([git, "clone", "-q", f"git://127.0.0.1:{clear}/served.git", str(copy)]).expect()
        self.assertEqual((copy / "file").read_text(), (work / "file").read_text())


class RsyncTests(ExecTestCase):
    """
    rsync's daemon, which looks whether its standard input is a socket.
    """

    def test_filesAreCopied(self) -> None:
        """
        Both ways.
        """
        rsync = find("rsync", "rsync")
        base = self.stage.directory("rsync")
        served = base / "served"
        served.mkdir(parents=True)
        (served / "file").write_bytes(os.urandom(3_000_000))
        file = base / "rsyncd.conf"
        file.write_text(
            f"use chroot = no\nlog file = /dev/null\n[files]\npath = {served}\nread only = no\n"
        )
        run(["chown", "-R", "nobody", str(base)]).expect()
        clear = self.inClear(self.serve(f"{rsync} --daemon --config={file}"))
        url = f"rsync://127.0.0.1:{clear}/files/"
        copy = base / "copy"
        run([rsync, "-r", url, f"{copy}/"]).expect()
        self.assertEqual((copy / "file").read_bytes(), (served / "file").read_bytes())
        (copy / "more").write_text("more")
        run([rsync, str(copy / "more"), url]).expect()
        self.assertEqual((served / "more").read_text(), "more")


class IMAPTests(ExecTestCase):
    """
    Dovecot's imap alone, which is logged in already: the certificate is the login.
    """

    dovecot: ClassVar[Dovecot]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        requireRoot("Dovecot")
        cls.dovecot = stage.start(Dovecot(stage.directory("dovecot")))

    def test_theCertificateIsTheLogin(self) -> None:
        """
        Whoever has it reads the mails of its user, and of nobody else.
        """
        imap = find("/usr/lib/dovecot/imap", "dovecot-imapd")
        doveadm = find("doveadm", "dovecot-core")
        self.dovecot.deliver("By exec")
        home = self.dovecot.directory / "mail"
        path = self.script(
            "case $REMOTE_USER in *@test.example) ;; *) exit 1;; esac\n"
            "export USER=${REMOTE_USER%@*}\n"
            f"export HOME={home}/$USER IP=$TCPREMOTEIP\n"
            f"exec {doveadm} -c {self.dovecot.directory}/dovecot.conf exec imap"
        )
        self.assertTrue(imap)
        port = self.serve(str(path), *USERS, "--exec-user", "mail")
        client = Reader(NAME, port, ssl_context=self.context)
        try:
            self.assertEqual(client.state, "AUTH")
            client.select("INBOX")
            found = client.search(None, "SUBJECT", '"By exec"')[1][0].split()
            self.assertEqual(len(found), 1)
        finally:
            client.logout()


class Reader(imaplib.IMAP4_SSL):
    """
    A client that knows where its server is.
    """

    def _create_socket(self, timeout: float | None) -> Any:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout or 20)
        return self.ssl_context.wrap_socket(sock, server_hostname=self.host)


class SendmailTests(ExecTestCase):
    """
    Postfix's sendmail, which speaks SMTP on its standard input.
    """

    postfix: ClassVar[Postfix]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        requireRoot("Postfix")
        cls.postfix = stage.start(Postfix(stage.directory("postfix")))

    def test_aMailGoesIntoTheQueue(self) -> None:
        """
        Behind STARTTLS, which sendmail knows nothing of.
        """
        sendmail = find("sendmail", "postfix")
        port = self.serve(
            f"{sendmail} -C {self.postfix.directory} -bs",
            *USERS,
            *("--exec-user", "root"),
            dialect="smtp",
        )
        with smtplib.SMTP("127.0.0.1", port) as client:
            client._host = NAME  # type: ignore[attr-defined]
            client.starttls(context=self.context)
            client.sendmail(f"a@{DOMAIN}", [f"b@{DOMAIN}"], "Subject: by exec\r\n\r\nWords.\r\n")
        until(lambda: any(self.postfix.inbox.glob("*")), "the mail arrives")
