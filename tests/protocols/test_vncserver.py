"""
Tests for L{tlstunnel.protocols.vnc} in server mode.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.screens import (
    ANONYMOUS,
    ANYTHING,
    CHALLENGE,
    FAILED,
    LOGIN,
    OK,
    PLAIN,
    RESPONSE,
    RFB33,
    RFB37,
    RFB38,
    X509_NONE,
    X509_PLAIN,
    X509_VNC,
    backend,
    network,
    number,
    subtypes,
    text,
)
from tlstunnel.errors import (
    BackendRefused,
    Malformed,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    TunnelError,
)
from tlstunnel.protocols.vnc import vnc
from tlstunnel.testing.conformance import ServerConformance
from tlstunnel.testing.dialogues import CLIENT_HELLO, inside, said, server, split
from tlstunnel.testing.memory import Driver


class ServerRules(ServerConformance):
    """
    What all viewers and backends have in common.
    """

    dialect = vnc
    subtype: int

    @property
    def farewells(self) -> Sequence[tuple[bytes, bytes, type[TunnelError]]]:  # type: ignore[override]
        """
        What ends a connection; all that is offered is known, and may come at once.
        """
        offered = b"\0" + subtypes(self.subtype)
        start, lead = RFB38 + b"\x13\0\2", b"\1\x13\0\2" + offered
        reason = b"TLS is required: use a viewer that knows VeNCrypt with X509 certificates"
        return [
            (RFB33, bytes(4) + text(reason), Refused),
            (b"RFB 003.005\n", bytes(4) + text(reason), Refused),
            (b"RFB 002.000\n", b"", Malformed),
            (b"rfb 003.008\n", b"", Malformed),
            (RFB38 + b"\1", b"\1\x13", Malformed),
            (RFB38 + b"\2", b"\1\x13", Malformed),
            (RFB37 + b"\x10", b"\1\x13", Malformed),
            (RFB38 + b"\x13\0\1", b"\1\x13\0\2\xff", Refused),
            (RFB38 + b"\x13\0\0", b"\1\x13\0\2\xff", Refused),
            (RFB38 + b"\x13\1\0", b"\1\x13\0\2\xff", Refused),
            *((start + number(each), lead + b"\0", Malformed) for each in self.refused),
        ]

    @property
    def refused(self) -> tuple[int, ...]:
        """
        Subtypes that are not offered.
        """
        others = {X509_NONE, X509_VNC, X509_PLAIN} - {self.subtype}
        return (*ANONYMOUS, PLAIN, 0, 1, 2, 19, 263, 0xFFFFFFFF, *others)

    def flood(self, driver: Driver, place: int, piece: bytes) -> None:
        """
        A backend that has refused is not heard any more, while the client hears of it.
        """
        if self.speaker(place) == "B":
            driver.feed("B", piece * (1 << 18))
            if driver.error is None:
                assert driver.plain.paused, "the backend is read on"
                assert len(driver.role.plain.unread) < 1 << 17, "too much of it is kept"
        else:
            super().flood(driver, place, piece)

    needsTLS = {RFB38 + b"\2": b"\1\x13", RFB37 + b"\1\1": b"\1\x13"}

    def test_nothingMayFollowTheRequest(self) -> None:
        """
        A challenge is not to be answered before TLS.
        """
        words = RFB38 + b"\x13\0\2" + number(self.subtype)
        for extra in (RESPONSE, b"\1", CLIENT_HELLO):
            driver = server(vnc, *self.options)
            driver.network.takeWritten()
            heard = said(driver, words + extra)
            assert not heard.endswith(b"\1"), f"{extra!r} may follow"
            assert isinstance(driver.error, PlaintextAfterStartTLS), driver.error


FAILING_BACKENDS: list[tuple[int, bytes, type[TunnelError]]] = [
    (9, b"RFB 002.008\n", Malformed),
    (9, b"220 mail.example.org ESMTP\r\n", Malformed),
    (9, b"\x15\3\3\0\2\2\x28", Malformed),
]


class PasswordServerTests(ServerRules, SynchronousTestCase):
    """
    Mode -s, with a password, which is what is offered by default.
    """

    subtype = X509_VNC
    dialogue = network()
    inside = backend(2)
    variants = [(9, b"RFB 003.889\n"), (11, b"\3\1\x13\2"), (11, b"\3\2\x10\1")]
    failures = FAILING_BACKENDS
    payload = (RESPONSE + ANYTHING, CHALLENGE + OK + ANYTHING)

    def test_aBackendThatWantsNobodySaysSoInsideTheLogin(self) -> None:
        """
        As the client waits for a challenge first, it gets one that means nothing.
        """
        for refusal, reason in (
            (b"\0" + text(b"Too many security failures"), b"Too many security failures"),
            (b"\1\1", b"The server behind this tunnel has another login"),
            (b"\1\x13", b"The server behind this tunnel has another login"),
        ):
            for version in (RFB37, RFB38):
                driver = inside(server(vnc), network(version))
                driver.network.takeWritten()
                driver.plain.feed(RFB38)
                driver.plain.feed(refusal)
                self.assertEqual(driver.network.takeWritten(), bytes(16))
                driver.network.feed(RESPONSE)
                heard = FAILED + text(reason) * (version == RFB38)
                self.assertEqual(driver.network.takeWritten(), heard)
                self.assertIsInstance(driver.error, BackendRefused)
                self.assertEqual(driver.network.ending, "closed")

    def test_theBackendSpeaksNoLaterVersionThanTheClient(self) -> None:
        """
        So that nothing is said that one of them does not know.
        """
        driver = inside(server(vnc), network(RFB37))
        driver.plain.feed(RFB38)
        self.assertEqual(driver.plain.takeWritten(), RFB37)

    def test_anOldBackendHasNoReasonForAClientThatAwaitsOne(self) -> None:
        """
        There is one all the same.
        """
        for version in (RFB33, RFB37):
            driver = inside(server(vnc), network())
            driver.network.takeWritten()
            driver.play(backend(2, version))
            driver.plain.feed(CHALLENGE)
            self.assertEqual(driver.network.takeWritten(), CHALLENGE)
            driver.network.feed(RESPONSE)
            self.assertEqual(driver.plain.takeWritten(), RESPONSE)
            driver.plain.feed(FAILED)
            driver.plain.end()
            self.assertEqual(driver.network.written, FAILED + text(b"Authentication failed"))

    def test_anUnknownVersionIsTheOldestOne(self) -> None:
        """
        In which the backend decides.
        """
        for version in (RFB33, b"RFB 003.004\n", b"RFB 003.005\n", b"RFB 003.006\n"):
            for pieces in ((version + number(2),), *split(version + number(2))):
                driver = inside(server(vnc), network())
                driver.network.takeWritten()
                for piece in pieces:
                    driver.plain.feed(piece)
                self.assertEqual(driver.plain.written, RFB33)
                driver.plain.feed(CHALLENGE)
                self.assertEqual(driver.network.written, CHALLENGE)

    def test_whatTheBackendOffersIsShownInTheLog(self) -> None:
        """
        Where it is something else.
        """
        driver = inside(server(vnc), network())
        for words in (RFB38, b"\2\1\x10"):
            driver.plain.feed(words)
        driver.network.end()
        why = "another login than vncauth: it offers security types 1 (None), 16 (Tight)"
        self.assertIn(why, str(driver.error))

    def test_whoTakesNothingOfWhatIsOfferedLeaves(self) -> None:
        """
        The log can say why that may be.
        """
        for words, cause in (
            ((RFB38,), "no VeNCrypt"),
            ((RFB38, b"\x13", b"\0\2"), "no VNC type in common"),
        ):
            driver = server(vnc)
            for each in words:
                driver.network.feed(each)
            driver.network.end()
            self.assertEqual(getattr(driver.error, "cause", ""), cause)

    def test_aBackendWithTLSIsNotTakenForAnotherLogin(self) -> None:
        """
        What it offers can be chosen by nobody without TLS.
        """
        for words, cause in ((b"\1\x13", "VNC with TLS"), (b"\2\x13\1", "another VNC login")):
            driver = inside(server(vnc), network())
            for each in (RFB38, words):
                driver.plain.feed(each)
            driver.network.end()
            self.assertEqual(getattr(driver.error, "cause", ""), cause)


class OpenServerTests(ServerRules, SynchronousTestCase):
    """
    Mode -s, where nothing is asked for.
    """

    subtype = X509_NONE
    options = ("none",)
    dialogue = network(offered=(X509_NONE,))
    inside = backend(1)
    payload = (ANYTHING, OK + ANYTHING)
    failures = [
        *FAILING_BACKENDS,
        (11, b"\1\2", BackendRefused),
        (11, b"\1\x13", BackendRefused),
        (11, b"\0" + text(b"no"), BackendRefused),
        (11, b"\0" + text(b"no", 0x10000), Oversize),
        (11, b"\0" + text(b"no", 0xFFFFFFFF), Oversize),
    ]

    def test_aBackendThatWantsNobodySaysSo(self) -> None:
        """
        In its own words, where the client awaits some.
        """
        for version, heard in ((RFB37, FAILED), (RFB38, FAILED + text(b"no"))):
            driver = inside(server(vnc, "none"), network(version, (X509_NONE,)))
            driver.network.takeWritten()
            driver.plain.feed(RFB38)
            driver.plain.feed(b"\0" + text(b"no"))
            self.assertEqual(driver.network.takeWritten(), heard)
            self.assertIsInstance(driver.error, BackendRefused)

    def test_thatAllIsWellIsSaidForABackendThatDoesNotSayIt(self) -> None:
        """
        As every client awaits it within TLS.
        """
        for spoken, version, answered in (
            (RFB38, RFB33, RFB33),
            (RFB38, RFB37, RFB37),
            (RFB37, RFB33, RFB33),
            (RFB37, RFB37, RFB37),
            (RFB37, RFB38, RFB37),
        ):
            driver = inside(server(vnc, "none"), network(spoken, (X509_NONE,)))
            driver.network.takeWritten()
            driver.plain.feed(version)
            self.assertEqual(driver.plain.takeWritten(), answered)
            driver.play(backend(1, version)[2:])
            self.assertEqual(driver.network.takeWritten(), OK)
            driver.network.feed(b"\1")
            self.assertEqual(driver.plain.takeWritten(), b"\1")
            driver.plain.feed(ANYTHING)
            self.assertEqual(driver.network.written, ANYTHING)


class NameServerTests(ServerRules, SynchronousTestCase):
    """
    Mode -s, with a name and a password.
    """

    subtype = X509_PLAIN
    options = ("plain",)
    dialogue = network(offered=(X509_PLAIN,))
    inside = [
        *backend(19),
        ("B", b"\0\2"),
        ("T", b"\0\2"),
        ("B", b"\0" + subtypes(PLAIN)),
        ("T", number(PLAIN)),
    ]
    payload = (LOGIN + ANYTHING, OK + ANYTHING)
    variants = [(13, b"\0\3"), (15, b"\0" + subtypes(257, 258, PLAIN, 262))]
    failures = [*FAILING_BACKENDS, (15, b"\1", BackendRefused)]
    refusals = [
        (11, b"\0" + text(b"no"), LOGIN, FAILED + text(b"no")),
        (11, b"\1\2", LOGIN, FAILED + text(b"The server behind this tunnel has another login")),
        (
            15,
            b"\0" + subtypes(X509_PLAIN, 257),
            LOGIN,
            FAILED + text(b"The server behind this tunnel has another login"),
        ),
    ]

    def test_aBackendWithAnOlderVeNCryptIsToldSo(self) -> None:
        """
        As its specification has it.
        """
        driver = self.start(13)
        driver.plain.feed(b"\0\1")
        self.assertEqual(driver.plain.takeWritten(), b"\0\0")
        self.assertFailed(driver, BackendRefused)
