"""
Tests for L{tlstunnel.protocols.ftpcontrol}: ABOR, which servers answer once or twice.

Who of client and server is one reply behind takes each answer for that to another command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.test_ftpdata import both
from tlstunnel.testing.legs import MemoryLeg

#: What servers say to ABOR while a transfer is under way: vsftpd, ProFTPD and pure-ftpd; vsftpd to
#: one who has closed his data connection; pure-ftpd in an upload; who answers that first; and those
#: who answer both together.
TWICE = (
    (b"426 Transfer aborted", b"226 Abort successful"),
    (b"426 Failure writing", b"225 No transfer to ABOR"),
    (b"426 Aborted", b"451 Aborted"),
    (b"225 Aborted", b"425 Transfer aborted"),
    (b"226 Transfer complete", b"226 ABOR ok"),
    (b"451 Cannot", b"502 What is ABOR"),
)
ONCE = (b"426 Transfer aborted", b"226 Abort successful", b"225 Ok", b"451 Aborted")


class Server:
    """
    One that is asked something by a client behind a tunnel.
    """

    def __init__(self, client: MemoryLeg, server: MemoryLeg) -> None:
        self.client = client
        self.server = server

    def ask(self, *commands: bytes) -> list[bytes]:
        """
        What the server hears of these commands.
        """
        self.client.feed(b"".join(each + b"\r\n" for each in commands))
        return self.heard()

    def heard(self) -> list[bytes]:
        """
        What the server hears.
        """
        return self.server.takeWritten().split(b"\r\n")[:-1]

    def say(self, *replies: bytes) -> list[bytes]:
        """
        What the client hears of these replies.
        """
        self.server.feed(b"".join(each + b"\r\n" for each in replies))
        return self.client.takeWritten().split(b"\r\n")[:-1]


class AbortTests(SynchronousTestCase):
    """
    In both modes.
    """

    def transferring(self) -> Iterator[Server]:
        """
        Each time a transfer is under way, and is to be aborted.
        """
        for _, client, server in both():
            found = Server(client, server)
            self.assertEqual(found.ask(b"RETR x"), [b"RETR x"])
            self.assertEqual(found.say(b"150 here"), [b"150 here"])
            # Nothing may follow it at once: pure-ftpd reads what comes as one line.
            self.assertEqual(found.ask(b"ABOR"), [b"ABOR"])
            yield found

    def assertInStep(self, found: Server) -> None:
        """
        All that follows has its own reply.
        """
        self.assertEqual(found.ask(b"FEAT"), [b"FEAT"])
        said = found.say(b"211-Features", b" AUTH TLS", b" MDTM", b"211 End")
        self.assertEqual(said, [b"211-Features", b" MDTM", b"211 End"])
        self.assertEqual(found.ask(b"TYPE I"), [b"TYPE I"])
        self.assertEqual(found.say(b"200 Type"), [b"200 Type"])
        self.assertEqual(found.ask(b"PBSZ 0"), [])
        self.assertEqual(found.say(), [b"200 PBSZ=0"])
        self.assertEqual(found.ask(b"EPSV"), [b"EPSV"])
        self.assertEqual(found.say(b"500 What"), [])
        self.assertEqual(found.heard(), [b"PASV"])
        self.assertEqual(found.say(b"502 No"), [b"500 What"])

    def test_twoRepliesAreForTheTransferAndForABOR(self) -> None:
        """
        The server is asked something of our own, of which the client hears nothing.
        """
        for first, second in TWICE:
            for found in self.transferring():
                self.assertEqual(found.say(first), [first])
                self.assertEqual(found.heard(), [b"NOOP"])
                self.assertEqual(found.say(second), [second])
                self.assertEqual(found.say(b"200 Nothing done"), [])
                self.assertInStep(found)

    def test_oneReplyMayBeForBoth(self) -> None:
        """
        That shows by the answer to our own question.
        """
        for reply in ONCE:
            for found in self.transferring():
                self.assertEqual(found.say(reply), [reply])
                self.assertEqual(found.heard(), [b"NOOP"])
                self.assertEqual(found.say(b"200-Nothing", b"200 done"), [])
                self.assertInStep(found)

    def test_aServerMayRefuseWhatWeAsk(self) -> None:
        """
        Where that is no answer to ABOR, the client hears nothing of it.
        """
        for reply in ONCE:
            for found in self.transferring():
                self.assertEqual(found.say(reply), [reply])
                self.assertEqual(found.heard(), [b"NOOP"])
                self.assertEqual(found.say(b"550 Permission denied."), [])
                self.assertInStep(found)

    def test_aRefusalThatMayBeToABORCostsNoOtherReply(self) -> None:
        """
        What is not for our own question is passed on.
        """
        for found in self.transferring():
            self.assertEqual(found.say(b"226 Closed"), [b"226 Closed"])
            self.assertEqual(found.ask(b"SIZE x"), [b"NOOP", b"SIZE x"])
            said = found.say(b"502 What is NOOP", b"213 5")
            self.assertEqual(said, [b"502 What is NOOP", b"213 5"])
            self.assertInStep(found)

    def test_aRefusalOfTheNextCommandIsNotForABOR(self) -> None:
        """
        Also where the client asks on without waiting.
        """
        for _, client, server in both():
            found = Server(client, server)
            found.ask(b"RETR x")
            found.say(b"150 here")
            found.ask(b"ABOR", b"SIZE x")
            said = found.say(b"226 Closed", b"550 No such file")
            self.assertEqual(said, [b"226 Closed", b"550 No such file"])
            self.assertInStep(found)

    def test_whatTheClientAsksMeanwhileKeepsItsPlace(self) -> None:
        """
        Of what is ours to answer, and what is the server's.
        """
        for replies in TWICE:
            for said in (replies[:1], replies):
                for found in self.transferring():
                    first, *others = said
                    self.assertEqual(found.say(first), [first])
                    self.assertEqual(found.ask(b"PBSZ 0", b"SIZE x"), [b"NOOP", b"SIZE x"])
                    answers = found.say(*others, b"200 Nothing done", b"550 No such file")
                    self.assertEqual(answers, [*others, b"200 PBSZ=0", b"550 No such file"])
                    self.assertInStep(found)

    def test_severalAreAskedAboutOnce(self) -> None:
        """
        However many the server answers.
        """
        for count in range(4):
            for found in self.transferring():
                self.assertEqual(found.ask(b"ABOR", b"ABOR"), [b"ABOR", b"ABOR"])
                self.assertEqual(found.say(b"426 Aborted"), [b"426 Aborted"])
                self.assertEqual(found.heard(), [b"NOOP"])
                said = [b"225 Nothing to abort"] * count
                self.assertEqual(found.say(*said, b"200 Nothing done"), said)
                self.assertEqual(found.heard(), [])
                self.assertInStep(found)

    def test_whereNothingIsToBeAbortedNothingIsAsked(self) -> None:
        """
        There is one reply.
        """
        for _, client, server in both():
            found = Server(client, server)
            self.assertEqual(found.ask(b"ABOR"), [b"ABOR"])
            self.assertEqual(found.say(b"225 Nothing to abort"), [b"225 Nothing to abort"])
            self.assertEqual(found.heard(), [])
            self.assertInStep(found)

    def test_aClientThatDoesNotWaitIsFollowed(self) -> None:
        """
        By what cannot be an answer to ABOR.
        """
        for replies in ([b"426 Aborted"], [b"426 Aborted", b"226 Ok"]):
            for found in self.transferring():
                self.assertEqual(found.ask(b"FEAT"), [b"FEAT"])
                said = found.say(*replies, b"211-Features", b" AUTH TLS", b"211 End")
                self.assertEqual(said, [*replies, b"211-Features", b"211 End"])
                self.assertEqual(found.heard(), [])
                self.assertInStep(found)

    def test_aServerThatDoesNotKnowNOOPIsNotAskedAgain(self) -> None:
        """
        Its refusal is for us, and it has answered ABOR before.
        """
        for found in self.transferring():
            found.say(b"426 Aborted", b"226 Ok")
            self.assertEqual(found.heard(), [b"NOOP"])
            self.assertEqual(found.say(b"500 What"), [])
            self.assertInStep(found)

    def test_aServerThatShutsDownIsHeard(self) -> None:
        """
        Whatever it was asked.
        """
        for found in self.transferring():
            said = found.say(b"426 Aborted", b"226 Ok", b"421 Bye")
            self.assertEqual(said, [b"426 Aborted", b"226 Ok", b"421 Bye"])


class CountTests(SynchronousTestCase):
    """
    What a client may have of it.
    """

    def test_manyAreAskedAboutOnce(self) -> None:
        """
        A client that floods has nothing sent that it has not paid for.
        """
        for _, client, server in both():
            found = Server(client, server)
            asked = [b"RETR x", *[b"ABOR"] * 500]
            self.assertEqual(found.ask(*asked), asked)
            found.say(b"226 Done", *[b"225 Nothing"] * 500)
            self.assertEqual(re.findall(rb"NOOP", server.takeWritten()), [b"NOOP"])
