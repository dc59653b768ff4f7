"""
Tests for L{tlstunnel.reveal.mailguard}: nobody says what only we may say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.reveal.mailcourse import FORGED, GO, HARMLESS, REFUSAL, Course
from tests.reveal.mailserver import HABITS, Habits, MailServer
from tlstunnel.errors import Malformed, Oversize, TunnelError
from tlstunnel.interfaces import IFilter
from tlstunnel.protocols.filters import PIECE_BYTES
from tlstunnel.reveal.mailguard import (
    COMMANDS_AT_ONCE,
    MAIL_PIECE_BYTES,
    MAX_AWAITED,
    MAX_COMMAND_BYTES,
)
from tlstunnel.testing.dialogues import split

#: Ends of a mail that not all servers take for one, behind text.
DOUBTFUL = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\0.\0",
)


class GuardTests(SynchronousTestCase):
    """
    What the client says.
    """

    def test_theyAreFilters(self) -> None:
        """
        As the relay knows them.
        """
        course = Course()
        for each in (course.guard, course.answers):
            verifyObject(IFilter, each)

    def test_whatOnlyWeMaySayIsRefused(self) -> None:
        """
        In every spelling, cut anywhere; the answer comes in its place.
        """
        for said in FORGED:
            for pieces in [(said,), *split(said)] if len(said) < 50 else [(said,)]:
                course = Course().client(b"NOOP\r\n", *pieces, b"QUIT\r\n")
                self.assertEqual(course.heard, b"NOOP\r\n" + HARMLESS + b"QUIT\r\n", said)
                course.server(b"250 Ok\r\n250 2.0.0 Ok\r\n", b"221 Bye\r\n")
                self.assertEqual(course.told, b"250 Ok\r\n" + REFUSAL + b"221 Bye\r\n")

    def test_itIsRefusedBehindALogin(self) -> None:
        """
        Also pipelined, and where the server asks for more of the login.
        """
        course = Course().client(b"AUTH PLAIN AHUAcA==\r\n" + FORGED[0])
        self.assertEqual(course.heard, b"AUTH PLAIN AHUAcA==\r\n" + HARMLESS)
        course.server(b"235 Ok\r\n250 Ok\r\n")
        self.assertEqual(course.told, b"235 Ok\r\n" + REFUSAL)
        course = Course().client(b"AUTH LOGIN\r\n").server(b"334 VXNlcjo\r\n")
        course.client(FORGED[0]).server(b"501 no\r\n").client(FORGED[0])
        self.assertEqual(course.heard, b"AUTH LOGIN\r\n*\r\n" + HARMLESS)

    def test_anAnswerToAChallengeIsNoCommand(self) -> None:
        """
        Whatever it looks like, and whether it comes behind the challenge or before.
        """
        course = Course(forwards=True).client(b"AUTH LOGIN\r\n").server(b"334 \r\n")
        course.client(b"MAIL\r\n").server(b"334 \r\n").client(b"DATA\r\n").server(b"235 Ok\r\n")
        self.assertEqual(course.heard, b"AUTH LOGIN\r\nMAIL\r\nDATA\r\n")
        course.client(b"QUIT\r\n").server(b"221 Bye\r\n")
        self.assertEqual(course.told, b"334 \r\n334 \r\n235 Ok\r\n221 Bye\r\n")
        course = Course().client(b"AUTH LOGIN\r\nYQ==\r\nYg==\r\n").server(b"334 \r\n334 \r\n")
        course.server(b"235 Ok\r\n").client(FORGED[0]).server(b"250 Ok\r\n")
        self.assertTrue(course.told.endswith(REFUSAL))

    def test_aMailMayHaveItAll(self) -> None:
        """
        It passes byte for byte, cut anywhere, up to its end; from there on it is no mail.
        """
        mail = b"Subject: x\r\n\r\nXCLIENT ADDR=192.0.2.1\r\n..\r\n.x\r\nBDAT\nx\0y\rz.\r\n.\r\n"
        for pieces in [(mail,), *split(mail)]:
            course = Course().toMail().client(*pieces, FORGED[0])
            self.assertEqual(course.heard, mail + HARMLESS, pieces)
            course.server(b"250 queued\r\n250 Ok\r\n")
            self.assertEqual(course.told, b"250 queued\r\n" + REFUSAL)

    def test_aMailMayBeEmpty(self) -> None:
        """
        Its end is the first line.
        """
        for pieces in split(b".\r\n"):
            course = Course().toMail().client(*pieces).server(b"250 Ok\r\n").client(FORGED[0])
            self.assertEqual(course.heard, b".\r\n" + HARMLESS)

    def test_anEndThatIsNoneForAllEndsTheConnection(self) -> None:
        """
        Cut anywhere, and before anything behind it passes.
        """
        for end in DOUBTFUL:
            said = b"text" + end + FORGED[0]
            for pieces in [(said,), *split(said)]:
                course = Course().toMail()
                with self.assertRaises(Malformed):
                    course.client(*pieces)
                self.assertTrue(said.startswith(course.heard))
                self.assertLess(len(course.heard), len(b"text" + end) + 1, (end, pieces))

    def test_soDoesOneAtItsBeginning(self) -> None:
        """
        Right behind the line of DATA.
        """
        for start in (b".\n", b".\r\r\n", b".\0", b"\n.\r\n"):
            with self.assertRaises(Malformed):
                Course().toMail().client(start + b"x")

    def test_aClientThatDoesNotAwaitTheMailIsCutOff(self) -> None:
        """
        What it says may be the mail, or commands.
        """
        for said in (b"DATA\r\nx", b"DATA\r\n.\r\n", b"data \r\nQUIT\r\n"):
            for pieces in split(said):
                with self.assertRaises(Malformed):
                    Course().client(*pieces)

    def test_aRefusedMailIsNone(self) -> None:
        """
        Commands follow.
        """
        course = Course().client(b"DATA\r\n").server(b"554 no\r\n").client(FORGED[0])
        self.assertEqual(course.heard, b"DATA\r\n" + HARMLESS)

    def test_aChunkIsRefused(self) -> None:
        """
        With all that follows: it was not offered.
        """
        for said in (b"BDAT 10 LAST\r\n", b" bdat 0\n"):
            with self.assertRaises(Malformed):
                Course().client(said)

    def test_noPasswordIsInAnError(self) -> None:
        """
        What is said where it must not be may be the login of an honest client.
        """
        secret = b"AHJlYWRlcgBodW50ZXIy"
        for before, answers, said in (
            (b"", b"", b"AUTH PLAIN " + secret + b"\r \r\n"),
            (b"AUTH PLAIN\r\n", b"334 \r\n", secret + b"\0\r\n"),
            (b"DATA\r\n", b"", b"AUTH PLAIN " + secret + b"\r\n"),
            (b"", b"250 2.0.0 Ok\r\n", b"AUTH PLAIN " + secret + b"\r\n"),
            (b"", b"", b"BDAT 20\r\n" + secret),
            (b"", b"", b"AUTH PLAIN " + secret * 700),
        ):
            course = Course().client(before).server(answers)
            with self.assertRaises(TunnelError) as caught:
                course.client(said)
            self.assertNotIn(secret.decode(), repr(caught.exception) + str(caught.exception))

    def test_commandsPassInOneForm(self) -> None:
        """
        All servers see the same lines; one without an end does not pass.
        """
        course = Course().client(b"NOOP\nRSET\r\r\n\r\nMAIL FROM:<\xc3\xbc@x>\r\nQUIT")
        self.assertEqual(course.heard, b"NOOP\r\nRSET\r\n\r\nMAIL FROM:<\xc3\xbc@x>\r\n")
        self.assertEqual(course.guard.flush(), b"")

    def test_aLineThatIsTwoForSomeServersEndsTheConnection(self) -> None:
        """
        Behind a bare CR, or a NUL.
        """
        for said in (b"NOOP\rXCLIENT\r\n", b"NOOP\0XCLIENT\r\n", b"\0NOOP\r\n"):
            with self.assertRaises(Malformed):
                Course().client(said)

    def test_aVeryLongLineEndsTheConnection(self) -> None:
        """
        In pieces of any size; one as long as a login may be passes.
        """
        line = b"x" * (MAX_COMMAND_BYTES - 2) + b"\r\n"
        self.assertEqual(Course().client(line).heard, line)
        for pieces in ((b"x" + line,), [b"x"] * (MAX_COMMAND_BYTES + 1)):
            with self.assertRaises(Oversize):
                Course().client(*pieces)

    def test_manyCommandsWithoutAnswersEndTheConnection(self) -> None:
        """
        They would be kept.
        """
        course = Course().client(b"\n" * MAX_AWAITED)
        with self.assertRaises(Oversize):
            course.client(b"\n")

    def test_commandsBehindAMailHaveTurnsOfTheirOwn(self) -> None:
        """
        A large piece may end in thousands of them.
        """
        guard = Course().toMail().guard
        self.assertEqual(guard.pieceBytes, MAIL_PIECE_BYTES)
        passed = guard.feed(b"x\r\n.\r\n" + b"\n" * 5000)
        self.assertEqual((passed, guard.pieceBytes), (b"x\r\n.\r\n", 0))
        while not guard.pieceBytes:
            before = guard.messages
            passed += guard.feed(b"")
            self.assertLessEqual(guard.messages - before, COMMANDS_AT_ONCE)
        self.assertEqual(passed, b"x\r\n.\r\n" + b"\r\n" * 5000)
        self.assertEqual(guard.pieceBytes, PIECE_BYTES)

    def test_aBigMailIsSearchedFast(self) -> None:
        """
        Also one that is made of what is like an end.
        """
        for filling in (b"A" * 76 + b"\r\n", b"\r\n..", b"\n..", b".", b"\r\n"):
            guard = Course().toMail().guard
            piece = (filling * MAIL_PIECE_BYTES)[:MAIL_PIECE_BYTES]
            began = time.process_time()
            for _ in range(64):
                guard.feed(piece)
            self.assertLess(time.process_time() - began, 1.0, filling)


class ForwardTests(SynchronousTestCase):
    """
    XFORWARD, between the client's commands.
    """

    def test_itComesBeforeEachMail(self) -> None:
        """
        However they are pipelined; nobody hears its answer.
        """
        course = Course(forwards=True).client(b"ehlo me.test x\r\n")
        course.server(b"250-mx\r\n250 XFORWARD ADDR\r\n")
        course.client(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        course.server(b"250 forwarded\r\n250 sender\r\n250 recipient\r\n" + GO)
        course.client(b"x\r\n.\r\nmail from:<>\r\n").server(b"250 queued\r\n250-f\r\n250 f\r\n")
        self.assertEqual(
            course.heard,
            b"ehlo me.test x\r\n"
            b"XFORWARD EHLO=me.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n"
            b"XFORWARD EHLO=me.test\r\nmail from:<>\r\n",
        )
        self.assertEqual(
            course.told, b"250 mx\r\n250 sender\r\n250 recipient\r\n" + GO + b"250 queued\r\n"
        )

    def test_theOldWaysToSendAMailAreWaysToo(self) -> None:
        """
        RFC 821, section 3.4.
        """
        for verb in (b"MAIL", b"send", b"Soml", b"\tSAML"):
            course = Course(forwards=True).client(verb + b" FROM:<>\r\n")
            self.assertEqual(course.heard, b"XFORWARD =\r\n" + verb + b" FROM:<>\r\n")

    def test_aMailWithinAMailIsForTheClientToHear(self) -> None:
        """
        The server refuses both.
        """
        course = Course(forwards=True).client(b"MAIL FROM:<>\r\n")
        course.server(b"503 nested\r\n503 nested MAIL\r\n")
        self.assertEqual(course.told, b"503 nested MAIL\r\n")

    def test_aServerThatTakesItNoLongerIsLeft(self) -> None:
        """
        Its mails would be ours.
        """
        for answer in (b"550 no\r\n", b"501 what\r\n", b"451 later\r\n"):
            with self.assertRaises(Malformed):
                Course(forwards=True).client(b"MAIL FROM:<>\r\n").server(answer)


class LMTPTests(SynchronousTestCase):
    """
    A mail has as many answers as recipients (RFC 2033).
    """

    def test_theAnswersAreCounted(self) -> None:
        """
        Those of accepted recipients, of this mail.
        """
        course = Course(isLMTP=True)
        for accepted in (b"250 a\r\n550 b\r\n250 c\r\n", b"250 a\r\n251 b\r\n451 c\r\n"):
            course.client(b"LHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b>\r\n" * 3 + b"DATA\r\n")
            course.server(b"250 mx\r\n250 sender\r\n" + accepted + GO)
            course.client(b"x\r\n.\r\n" + FORGED[0]).server(b"250 for a\r\n450 for c\r\n")
            course.told = b""
            course.server(b"250 Ok\r\n")
            self.assertEqual(course.told, REFUSAL)

    def test_recipientsOfAnotherMailDoNotCount(self) -> None:
        """
        RSET, another hello and another mail forget them.
        """
        for afresh in (b"RSET\r\n", b"LHLO x\r\n", b"MAIL FROM:<>\r\n"):
            course = Course(isLMTP=True).client(b"RCPT TO:<a@b>\r\n", afresh, b"RCPT TO:<a@b>\r\n")
            course.server(b"250 a\r\n250 Ok\r\n250 a\r\n").client(b"DATA\r\n").server(GO)
            course.client(b".\r\n" + FORGED[0]).server(b"250 for a\r\n250 Ok\r\n")
            self.assertTrue(course.told.endswith(REFUSAL))


#: What may stand around a dot.
_BREAKS = st.sampled_from((b"\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\r\r\n", b"\n\r", b""))

#: What somebody would like to say behind the end of a mail, and somewhere else.
_ATTACKS = st.sampled_from(
    (b"XCLIENT A=1", b" XCLIENT A=1", b"\0xforward A=1", b"X\\CLIENT", b"NOOP\rXCLIENT A=1", b"*")
).map(lambda line: line + b"\r\n")

_COMMANDS = st.sampled_from(
    (
        *(
            b"MAIL FROM:<>",
            b"RCPT TO:<a>",
            b"RCPT TO:<a>\r\nRCPT TO:<b>",
            b"DATA",
            b" DATA",
            b"DATA",
        ),
        *(b"AUTH PLAIN", b"AUTH PLAIN\r\nYQ==", b"RSET", b"NOOP\nNOOP", b"BDAT 4 LAST", b"EHLO x"),
        *(b"LHLO x", b"", b".", b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nDATA"),
    )
).map(lambda line: line + b"\r\n")

_TEXT = st.sampled_from((b"text", b"\r\n", b"\n", b"\r", b"XCLIENT A=1\r\n", b""))

_ENDS = st.tuples(_TEXT, _BREAKS, st.just(b"."), _BREAKS, st.one_of(_ATTACKS, _TEXT)).map(b"".join)

#: What comes at once.
SAID = st.lists(st.one_of(_COMMANDS, _ENDS, _ATTACKS), min_size=1, max_size=3).map(b"".join)

#: How attacks come far.
_OPENINGS = st.sampled_from(
    (
        b"",
        b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nDATA\r\n",
        b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n",
    )
)


class PropertyTests(SynchronousTestCase):
    """
    Whatever is said, to whatever kind of server, cut anywhere.
    """

    @given(
        st.sampled_from(sorted(HABITS)).map(HABITS.__getitem__),
        _OPENINGS,
        st.lists(SAID, min_size=1, max_size=5),
        st.sampled_from((1, 2, 7, 1000)),
    )
    @settings(max_examples=1000)
    def test_nothingIsForged(
        self, habits: Habits, opening: bytes, said: Sequence[bytes], size: int
    ) -> None:
        """
        The server believes nothing.
        """
        server = MailServer(habits)
        pieces = [
            each[start : start + size] for each in said for start in range(0, len(each), size)
        ]
        talk(server, Course(habits.isLMTP), [opening, *pieces])
        self.assertEqual(server.believed, [])

    @given(_OPENINGS, st.lists(SAID, min_size=1, max_size=4))
    @settings(max_examples=300)
    def test_whatIsForwardedIsOurs(self, opening: bytes, said: Sequence[bytes]) -> None:
        """
        However much the client says it too.
        """
        server = MailServer()
        talk(server, Course(forwards=True), [opening, *said])
        for each in server.believed:
            self.assertRegex(each, rb"\AXFORWARD (EHLO|LHLO)?=\S*\Z")

    @given(SAID, st.data())
    def test_cutsDoNotMatter(self, said: bytes, data: st.DataObject) -> None:
        """
        What passes of a mail, and what ends the connection.
        """
        cuts = sorted(data.draw(st.sets(st.integers(0, len(said)), max_size=6)))
        ends = [*cuts, len(said)]
        pieces = [said[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
        self.assertEqual(outcome([said]), outcome(pieces))


def talk(server: MailServer, course: Course, said: Sequence[bytes]) -> None:
    """
    Let a client and a server talk, until the connection is ended.
    """
    heard = 0
    for piece in said:
        try:
            course.client(piece)
            answers = server.say(course.heard[heard:])
            heard = len(course.heard)
            course.server(answers)
        except TunnelError:
            return


def outcome(pieces: Iterable[bytes]) -> tuple[bytes, str]:
    """
    What a mail's end is, and how the course ends.
    """
    course = Course().toMail()
    try:
        course.client(*pieces)
    except TunnelError as error:
        return b"", error.reason
    return course.heard, ""
