"""
Tests for L{tlstunnel.reveal.mailanswers}: what a client hears of what a server answers.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.mailcourse import FORGED, Course
from tlstunnel.errors import Malformed, Oversize
from tlstunnel.reveal.mailguard import COMMANDS_AT_ONCE
from tlstunnel.testing.dialogues import split


class AnswersTests(SynchronousTestCase):
    """
    What the server says.
    """

    def test_whatIsNotForTheClientIsNotOffered(self) -> None:
        """
        The list stays one.
        """
        hidden = (
            *(b"XCLIENT NAME ADDR", b"xforward", b"CHUNKING", b"BINARYMIME", b"STARTTLS"),
            b"XRCPTFORWARD",
        )
        for place in range(4):
            offers = [b"mx", b"SIZE 10", b"8BITMIME"]
            offers[max(place, 1) : max(place, 1)] = hidden
            lines = [b"250-" + each + b"\r\n" for each in offers]
            lines[-1] = lines[-1].replace(b"-", b" ", 1)
            answer = b"".join(lines)
            for pieces in split(answer):
                course = Course().client(b"EHLO x\r\n").server(*pieces)
                self.assertEqual(course.told, b"250-mx\r\n250-SIZE 10\r\n250 8BITMIME\r\n")

    def test_aListOfNothingElseIsOneLine(self) -> None:
        """
        As that of a server without extensions.
        """
        course = Course().client(b"EHLO x\r\n").server(b"250-mx\r\n250 XCLIENT ADDR\r\n")
        self.assertEqual(course.told, b"250 mx\r\n")
        course = Course().client(b"HELO x\r\n").server(b"250\r\n")
        self.assertEqual(course.told, b"250\r\n")

    def test_otherAnswersPassAsTheyAre(self) -> None:
        """
        Whatever is in them.
        """
        for said, answer in (
            (b"EHLO x\r\n", b"550-no\r\n550 XCLIENT\r\n"),
            (b"HELP\r\n", b"214-XCLIENT\r\n214 STARTTLS\r\n"),
            (b"NOOP\r\n", b"250-XCLIENT\n250 \n"),
        ):
            self.assertEqual(Course().client(said).server(answer).told, answer)

    def test_whatIsNoAnswerEndsTheConnection(self) -> None:
        """
        Nobody knows any longer what belongs to what.
        """
        for answer in (
            b"\r\n",
            b"25 Ok\r\n",
            b"250Ok\r\n",
            b"250-a\r\n251 b\r\n",
            b"250-a\r\nb\r\n",
            b"* OK\r\n",
            b"\x16\x03\x01\n",
            b"150 wait\r\n",
            b"300 what\r\n",
            b"354 go\r\n",
        ):
            with self.assertRaises(Malformed):
                Course().client(b"NOOP\r\n").server(answer)

    def test_soDoesAnEndlessOne(self) -> None:
        """
        It is not kept.
        """
        for answer in (b"250 " + b"x" * 9000, b"250-x\r\n" * 101):
            with self.assertRaises(Oversize):
                Course().client(b"EHLO x\r\n").server(answer)

    def test_aMailThatIsAcceptedTooEarlyEndsTheConnection(self) -> None:
        """
        Its answer would be that to something else.
        """
        with self.assertRaises(Malformed):
            Course().client(b"DATA\r\n").server(b"250 Ok\r\n")

    def test_goingOnBehindWordsThatNobodyAskedForEndsTheConnection(self) -> None:
        """
        The client hears them; what the server takes next for what is not known.
        """
        course = Course().server(b"250 Ok\r\n")
        self.assertEqual(course.told, b"250 Ok\r\n")
        with self.assertRaises(Malformed):
            course.client(b"NOOP\r\n")
        course = Course().toMail().client(b"text").server(b"552 too big\r\n")
        self.assertEqual(course.told, b"552 too big\r\n")
        with self.assertRaises(Malformed):
            course.client(b"text\r\n")

    def test_nothingReachesAServerThatHasTakenLeave(self) -> None:
        """
        It is no fault of a client that was silent for too long, and has not read that yet.
        """
        for course, said in (
            (Course(), b"AUTH PLAIN eA==\r\nQUIT\r\n"),
            (Course().client(b"MAI"), b"L FROM:<>\r\n" + FORGED[0]),
            (Course().toMail().client(b"text\r\n"), b".\r\n" + FORGED[0]),
        ):
            heard = course.heard
            course.server(b"421 4.4.2 timeout\r\n").client(said, *[said] * 3)
            self.assertEqual((course.heard, course.guard.flush()), (heard, b""))
            self.assertEqual(course.told, b"421 4.4.2 timeout\r\n")

    def test_nothingIsKeptForIt(self) -> None:
        """
        Not even what had come before, and waits for its turn.
        """
        course = Course()
        course.guard.feed(b"NOOP\r\n" * COMMANDS_AT_ONCE * 2)
        course.server(b"250 Ok\r\n" * COMMANDS_AT_ONCE, b"421 4.3.2 bye\r\n")
        self.assertEqual(course.guard.feed(b""), b"")
        self.assertTrue(course.guard.pieceBytes)

    def test_leaveIsTakenInPlaceOfAnyAnswer(self) -> None:
        """
        Also of those that the client does not hear.
        """
        course = Course(forwards=True).client(b"MAIL FROM:<>\r\n").server(b"421-a\r\n421 b\r\n")
        self.assertEqual(course.told, b"421-a\r\n421 b\r\n")
        self.assertEqual(Course().client(FORGED[0]).server(b"421 b\r\n").told, b"421 b\r\n")
