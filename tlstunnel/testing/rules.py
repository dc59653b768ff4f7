"""
The part of the conformance suite that both roles share: see L{tlstunnel.testing.conformance}.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

from tlstunnel.errors import PlaintextAfterStartTLS
from tlstunnel.testing.bounds import Bounds
from tlstunnel.testing.course import became, dialsEarly
from tlstunnel.testing.dialogues import CLIENT_HELLO, crumbs, split
from tlstunnel.testing.memory import Driver
from tlstunnel.testing.pointers import lookAt
from tlstunnel.tls.records import RECORD_BYTES

# What may follow a message of the peer.
_EXTRAS = (
    b"x",
    b" ",
    b"\r\n",
    b"\0",
    CLIENT_HELLO,
    b" " + CLIENT_HELLO,
    b"* OK\r\n",
    b"RSET\r\n",
    b"220 go\r\n",
)


class Rules(Bounds):
    """
    What holds in both roles.
    """

    @lookAt(
        "negotiate, which says and hears what leads up to TLS, and greetApp or meetBackend "
        "behind it",
        1,
        2,
    )
    def test_itReachesTheSwitchAndTheRelay(self) -> None:
        """
        Up to the switch nothing of either side has passed to the other, and no backend was
        dialled; every word that is said is that of the dialogue (rules 1, 2).
        """
        driver = self.start(len(self.dialogue))
        self.assertSwitched(driver)
        assert not driver.backendDialled or dialsEarly(driver), "the backend was dialled before TLS"
        self.finish(driver, len(self.dialogue))

    @lookAt(
        "how messages are read: readLine, readExactly and readUntil wait for all of them, "
        "readSome does not",
        9,
        17,
    )
    def test_segmentsDoNotMatter(self) -> None:
        """
        However it is cut, the outcome is the same, and nothing is said to a message that is not
        complete (rules 9, 17).
        """
        for place in self.heard():
            who, text = self.whole[place]
            for pieces in split(text):
                driver = self.awaiting(place)
                for piece in pieces:
                    self.assertGoesOn(driver, place, pieces)
                    if place < len(self.dialogue):
                        self.assertSilent(driver.network, "the network leg", place, pieces)
                        self.assertSilent(driver.plain, "the plain leg", place, pieces)
                    driver.feed(who, piece)
                self.go(driver, place + 1, len(self.whole))
                self.arrive(driver)
                self.assertStage(driver, "relay", place, pieces)

    @lookAt(
        "how messages are read: readLine, readExactly and readUntil wait for all of them, "
        "readSome does not",
        9,
        17,
    )
    def test_pausesDoNotMatter(self) -> None:
        """
        Byte by byte, with some time between them, and a long one before the greeting (rule 17).
        """
        driver = self.start()
        for place, (who, text) in enumerate(self.whole):
            if place == len(self.dialogue):
                self.enter(driver)
            if place not in self.heard():
                driver.play(self.whole[place : place + 1])
                continue
            for at in range(len(text)):
                driver.clock.advance(0.01)
                driver.feed(who, text[at : at + 1])
        self.arrive(driver)
        self.assertStage(driver, "relay")

    @lookAt(
        "how messages are read: nothing of what follows may be taken; where the peer has to "
        "wait for an answer, the test case says pipelined = False",
        17,
    )
    def test_messagesThatComeTogetherAreTakenApart(self) -> None:
        """
        All that the peer says in clear may come in one segment (rule 17).
        """
        if not self.pipelined:
            return
        places = self.heardInClear()
        driver = self.start()
        for place in range(len(self.dialogue)):
            if place in places[:1]:
                driver.network.feed(b"".join(self.whole[each][1] for each in places))
            elif place not in places:
                driver.play(self.whole[place : place + 1])
        self.assertSwitched(driver)

    @lookAt(
        "negotiate: the reply to the request decides, and nothing that was said before it",
        5,
        6,
    )
    def test_otherWordsForTheSameLeadToTheSame(self) -> None:
        """
        What is advertised decides nothing, and nothing of it is remembered inside TLS (rules 5, 6).
        """
        for place, words in self.variants:
            who = self.speaker(place)
            for pieces in ((words,), crumbs(words)):
                driver = self.awaiting(place)
                for piece in pieces:
                    self.assertGoesOn(driver, place, words)
                    driver.feed(who, piece)
                self.finish(driver, place + 1, words)

    @lookAt("write, if it was overridden: what passes it by is not in the log that -v writes")
    def test_whatIsSaidInClearCanBeSeen(self) -> None:
        """
        All of it, in its order, and nothing of what is said inside TLS or on the plain leg.
        """
        ours = "C" if self.mode == "client" else "S"
        driver = self.start(len(self.dialogue))
        assert driver.role.transcript is None, "it would go on inside TLS"
        self.finish(driver, len(self.dialogue))
        expected = [(who == ours, text) for who, text in self.dialogue if who in "CS"]
        turns = [
            [
                (isOurs, b"".join(text for _, text in said))
                for isOurs, said in groupby(each, itemgetter(0))
            ]
            for each in (driver.told, expected)
        ]
        assert turns[0] == turns[1], f"seen was {turns[0]}"

    # The switch

    @lookAt(
        "the end of negotiate: in a server role goAhead or goAheadExactly, and in both "
        "nothing that reads more than a message, as takeRest and readSome; where TLS may "
        "follow at once, exact, directStart, and tlsMayFollow in the test case",
        3,
    )
    def test_nothingMayFollowTheLastMessage(self) -> None:
        """
        One byte in the same segment is too much, whether the buffer has it or still the socket,
        and whatever the segments before: the peer gets no go-ahead, but a reset (rule 3).
        """
        last = self.lastWords()
        if last is None:
            return
        place, text = last
        for extra in _EXTRAS:
            for size in (RECORD_BYTES, len(text)):
                driver = self.start(place)
                if not driver.role.exact:
                    driver.network.readSize = size
                driver.network.feed(text + extra)
                self.checkFollowed(driver, extra)
        for cut in range(1, len(text)):
            driver = self.start(place)
            driver.network.feed(text[:cut])
            driver.network.feed(text[cut:] + _EXTRAS[0])
            self.checkFollowed(driver, _EXTRAS[0])

    def checkFollowed(self, driver: Driver, extra: bytes) -> None:
        """
        What became of a connection on which C{extra} followed in the same segment.
        """
        if self.tlsMayFollow:
            self.assertSwitched(driver, extra)
            self.checkLeftToTLS(driver, extra)
        else:
            self.assertFailed(driver, PlaintextAfterStartTLS, extra)
            assert driver.network.ending == "aborted", f"{extra!r} ended it, and not with a reset"
            if self.mode == "server":
                self.assertSilent(driver.network, "the client", extra)

    @lookAt("what reads on after the last message", 3)
    def test_whatFollowsLaterReachesNothingButTLS(self) -> None:
        """
        In the next segment it is no plaintext any more: TLS will not like it (rule 3).
        """
        for extra in _EXTRAS:
            driver = self.start(len(self.dialogue))
            driver.network.feed(extra)
            self.assertSwitched(driver, extra)
            self.checkLeftToTLS(driver, extra)

    def checkLeftToTLS(self, driver: Driver, extra: bytes) -> None:
        """
        C{extra} is in the socket for OpenSSL, and in nothing else.
        """
        pending = driver.network.pendingInput(1000)
        assert pending == extra, f"of {extra!r} only {pending!r} is left for TLS"
        assert driver.role.unread == b"", f"{driver.role.unread!r} was read in clear"
        self.go(driver, len(self.dialogue), len(self.whole))
        self.arrive(driver)
        driver.network.takeWritten()
        self.assertStage(driver, "relay", extra)
        self.assertSilent(driver.plain, "the plain leg", extra)

    @lookAt(
        "the filters in toPlain and toNetwork; a protocol whose messages they read has a "
        "payload of its own in the test case",
        7,
        14,
    )
    def test_insideTLSAllBytesPass(self) -> None:
        """
        In both directions, whatever they are; no limit applies any more (rules 7, 8, 14).
        """
        driver = self.start(len(self.whole))
        self.arrive(driver)
        first, answer = self.payload
        asking, answering = (
            (driver.plain, driver.network)
            if self.mode == "client"
            else (driver.network, driver.plain)
        )
        driver.clock.advance(1e6)
        for _ in range(3):
            for giving, taking, words in ((asking, answering, first), (answering, asking, answer)):
                giving.feed(words)
                passed = taking.takeWritten()
                assert passed == words, f"of {words!r} passed {passed!r}; {became(driver)}"
        driver.clock.advance(1e6)
        assert not driver.ended, became(driver)
