"""
Real TLS clients, run as programs: each returns what it printed and how it ended.

Every one of them verifies the server's certificate against the name and the anchors it is given;
a test that wants to see a refusal gives another name.
"""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.interop.processes import SYSTEM_PATH, find

#: The Debian package in which each client program comes.
PACKAGES = {
    "openssl": "openssl",
    "gnutls-cli": "gnutls-bin",
    "swaks": "swaks",
    "curl": "curl",
    "lftp": "lftp",
    "ldapsearch": "ldap-utils",
    "psql": "postgresql-client",
    "newer psql": "postgresql-18",
    "mariadb": "mariadb-client",
    "ipptool": "cups-ipp-utils",
    "lp": "cups-client",
    "lpadmin": "cups-client",
    "lpstat": "cups-client",
    "kermit": "ckermit",
    "testssl": "testssl.sh",
    "chat": "ppp",
    "stunnel": "stunnel4",
    "mosquitto_sub": "mosquitto-clients",
    "mosquitto_pub": "mosquitto-clients",
    "posttls-finger": "postfix",
    "unshare": "util-linux",
    "env": "coreutils",
    "php": "php-cli",
    "mbsync": "isync",
}


@dataclass(frozen=True)
class Outcome:
    """
    @ivar code: the exit code.
    @ivar text: standard output and standard error, as they came.
    """

    command: tuple[str, ...]
    code: int
    text: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)}\nended with {self.code}:\n{self.text}"

    def expect(self, *texts: str) -> str:
        """
        @return: what it printed.
        @raise AssertionError: it failed, or did not print one of C{texts}; shows all it printed.
        """
        if self.code != 0:
            raise AssertionError(str(self))
        for text in texts:
            if text not in self.text:
                raise AssertionError(f"{text!r} is not in the output of {self}")
        return self.text

    def expectFailure(self, *texts: str) -> str:
        """
        @raise AssertionError: it succeeded, or did not print one of C{texts}.
        """
        if self.code == 0:
            raise AssertionError(f"should have failed: {self}")
        for text in texts:
            if text not in self.text:
                raise AssertionError(f"{text!r} is not in the output of {self}")
        return self.text


def run(
    command: Sequence[str],
    say: str = "",
    seconds: float = 30.0,
    environment: Mapping[str, str] = {},
    endless: bool = False,
) -> Outcome:
    """
    Run a client to its end.

    @param command: the program's name and its arguments.
    @param say: its standard input, which then ends.
    @param endless: let it not end before the client does; then C{say} is no longer than a pipe.
    @raise SkipTest: it is not installed.
    @raise AssertionError: it did not end in time.
    """
    path = find(command[0], PACKAGES.get(command[0], command[0]))
    with (
        ExitStack() as stack,
        subprocess.Popen(
            [path, *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C", **environment},
        ) as process,
    ):
        words: bytes | None = say.encode()
        if endless:
            assert process.stdin is not None
            held, process.stdin = stack.enter_context(process.stdin), None
            with suppress(BrokenPipeError):
                held.write(say.encode())
            words = None
        try:
            output = process.communicate(words, timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[0].decode(errors="backslashreplace")
            raise AssertionError(
                f"{' '.join(command)} did not end within {seconds:g} s:\n{said}"
            ) from None
    return Outcome(tuple(command), process.returncode, output.decode(errors="backslashreplace"))


def openssl(
    port: int, name: str, anchors: Path, *options: str, say: str = "", starttls: str | None = None
) -> Outcome:
    """
    C{openssl s_client} that insists on a good certificate for C{name}.  It stays until the server
    closes, so that C{say} has to end with what makes the server do so.

    @param starttls: its name for the protocol; None: TLS at once.
    """
    upgrade = [] if starttls is None else ["-starttls", starttls]
    return run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *upgrade),
            *("-servername", name, "-verify_hostname", name, "-CAfile", str(anchors)),
            *("-verify_return_error", "-brief", "-ign_eof", *options),
        ],
        say,
    )


def gnutls(
    port: int, name: str, anchors: Path, *options: str, say: str = "", starttls: str | None = None
) -> Outcome:
    """
    C{gnutls-cli} that insists on a good certificate for C{name}; say as in L{openssl}.
    """
    upgrade = [] if starttls is None else [f"--starttls-proto={starttls}"]
    return run(
        [
            *("gnutls-cli", *upgrade, f"--port={port}", f"--x509cafile={anchors}"),
            *(f"--sni-hostname={name}", f"--verify-hostname={name}", *options),
            "127.0.0.1",
        ],
        say,
        # At the end of its input it ends TLS in that direction, which some servers take for all.
        endless=True,
    )


def curl(
    scheme: str, port: int, name: str, anchors: Path, *options: str, path: str = "/", say: str = ""
) -> Outcome:
    """
    C{curl} for one URL below C{SCHEME://NAME:PORT}, which it finds on loopback.  TLS is required
    (C{--ssl-reqd}), and verified.
    """
    return run(
        [
            *("curl", "-sS", "--no-progress-meter", "--max-time", "20", "--ssl-reqd"),
            *("--cacert", str(anchors), "--resolve", f"{name}:{port}:127.0.0.1", *options),
            f"{scheme}://{name}:{port}{path}",
        ],
        say,
    )


def verified(anchors: Path) -> ssl.SSLContext:
    """
    What Python's own clients need to insist on a good certificate.
    """
    return ssl.create_default_context(cafile=str(anchors))
