"""
What clients of ftp say, as FileZilla and others have it, and what becomes of that: the server hears
all of it but what is about TLS, word for word, and the client every reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.ftpdialogues import CLIENT, PROTECTED
from tlstunnel.protocols.ftp import ftp
from tlstunnel.testing.dialogues import client, inside, server
from tlstunnel.testing.memory import Driver

OK = b"200 ok\r\n"


class Step(NamedTuple):
    """
    A command.

    @ivar said: by the client.
    @ivar passed: what the server hears; nothing where the tunnel answers.
    @ivar reply: of the server.
    @ivar heard: by the client; by default the reply.
    """

    said: bytes
    passed: bytes = b""
    reply: bytes = b""
    heard: bytes = b""


def same(said: bytes, reply: bytes) -> Step:
    """
    A command that passes, and its reply, as they are.
    """
    return Step(said, said, reply)


FEATURES = (
    b"211-Features:\r\n MDTM\r\n REST STREAM\r\n SIZE\r\n HOST\r\n%b CLNT\r\n"
    b" MLST type*;size*;modify*;perm*;\r\n MLSD\r\n%b UTF8\r\n TVFS\r\n EPSV\r\n211 End\r\n"
)

LOGIN = (
    same(b"USER alice", b"331 Password required\r\n"),
    same(b"PASS a b  c ", b"230-Welcome\r\n \r\n230 Logged in\r\n"),
)

PASV = Step(
    b"PASV",
    b"PASV",
    b"227 Entering Passive Mode (10,0,0,5,200,13).\r\n",
    b"227 Entering Passive Mode (192,0,2,1,195,80)\r\n",
)

EPSV = Step(
    b"EPSV",
    b"EPSV",
    b"229 Entering Extended Passive Mode (|||51213|)\r\n",
    b"229 Entering Extended Passive Mode (|||50000|)\r\n",
)

PROTECTING = (
    Step(b"PBSZ 0", heard=b"200 PBSZ=0\r\n"),
    Step(b"PROT P", heard=b"200 Protection set to Private\r\n"),
)

LISTED = b"150 Here it comes\r\n226 Done\r\n"

FILEZILLA = (
    *LOGIN,
    same(b"SYST", b"215 UNIX Type: L8\r\n"),
    Step(
        b"FEAT",
        b"FEAT",
        FEATURES % (b" AUTH TLS\r\n PBSZ\r\n", b" PROT\r\n"),
        FEATURES % (b"", b""),
    ),
    same(b"CLNT FileZilla", b"200 Don't care\r\n"),
    same(b"OPTS UTF8 ON", b"200 UTF8 mode enabled\r\n"),
    *PROTECTING,
    same(b"OPTS MLST type;size;modify;", b"200 MLST OPTS type;size;modify;\r\n"),
    same(b"PWD", b'257 "/" is the current directory\r\n'),
    same(b"TYPE I", OK),
    PASV,
    same(b"MLSD", LISTED),
    same(b"CWD Sn\xc3\xa4rk", b"250 ok\r\n"),
    same(b"QUIT", b"221 Bye\r\n"),
)

#: With --ssl-reqd, as it fetches a file.
CURL = (
    *LOGIN,
    *PROTECTING,
    same(b"PWD", b'257 "/"\r\n'),
    EPSV,
    same(b"TYPE I", OK),
    same(b"SIZE snark.txt", b"213 28\r\n"),
    same(b"RETR snark.txt", LISTED),
    same(b"QUIT", b"221 Bye\r\n"),
)

#: A server of many names, and all that RFC 3659 has.
MACHINES = (
    same(b"HOST ftp.example.org", b"220-Welcome to\r\n220 ftp.example.org\r\n"),
    same(b"HOST [2001:db8::1]", b"504 No such host\r\n"),
    *LOGIN,
    *PROTECTING,
    same(b"MLST snark.txt", b"250-Listing\r\n type=file;size=28; /snark.txt\r\n250 End\r\n"),
    same(b"mlst", b"250-Listing\r\n type=cdir; /\r\n250 End\r\n"),
    same(b"OPTS MLST", b"200 MLST OPTS \r\n"),
    same(b"OPTS UTF8 OFF", b"501 no\r\n"),
    same(b"CLNT NcFTPClient 3.2.6 linux-x86_64-glibc2.31", OK),
    same(b"MDTM 20260101000000 snark.txt", b"213 20260101000000\r\n"),
    same(b"REST 14", b"350 Restarting at 14\r\n"),
    EPSV,
    same(b"MLSD /with  two spaces ", LISTED),
)


class ClientsTests(SynchronousTestCase):
    """
    Sessions from the login on.
    """

    def talk(self, driver: Driver, isServer: bool, steps: Sequence[Step]) -> None:
        """
        Take them, one after the other.
        """
        ours, theirs = driver.plain, driver.network
        if isServer:
            ours, theirs = theirs, ours
        for step in steps:
            ours.feed(step.said + b"\r\n")
            self.assertEqual(theirs.takeWritten(), step.passed and step.passed + b"\r\n", step)
            theirs.feed(step.reply)
            self.assertIsNone(driver.error)
            self.assertEqual(ours.takeWritten(), step.heard or step.reply, step)

    def test_inServerModeTheyAreServed(self) -> None:
        """
        After AUTH TLS, which curl and others ask for in two ways.
        """
        for steps, asking in (
            (FILEZILLA, (b"AUTH TLS",)),
            (CURL, (b"AUTH SSL", b"AUTH TLS")),
            (MACHINES, (b"FEAT", b"AUTH TLS")),
        ):
            driver = server(ftp)
            for line in asking:
                driver.network.feed(line + b"\r\n")
            driver.handshake()
            driver.plain.feed(b"220 backend\r\n")
            driver.network.takeWritten()
            self.talk(driver, True, steps)

    def test_inClientModeTheyAreServed(self) -> None:
        """
        As apps that do not ask for TLS.
        """
        for steps in (FILEZILLA, CURL, MACHINES):
            driver = inside(client(ftp), CLIENT)
            driver.network.feed(PROTECTED)
            driver.plain.takeWritten()
            driver.network.takeWritten()
            self.talk(driver, False, [step for step in steps if step not in PROTECTING])
