"""
Tests for L{tlstunnel.tls.resumption}: which sessions are kept, and which are offered.
"""

from __future__ import annotations

import contextlib
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.identity.names import Identity
from tlstunnel.tls import resumption
from tlstunnel.tls.resumption import (
    LONGEST_SECONDS,
    MOST_DECLINED,
    REST,
    SESSIONS_PER_SERVER,
    Offer,
    Server,
    Sessions,
)
from tlstunnel.tls.verification import Proof

HOST = "srv.example.org"
OTHER = "other.example.org"
HERE = TCPAddress("192.0.2.1", 443)
THERE = TCPAddress("192.0.2.2", 443)


class SessionsTests(SynchronousTestCase):
    """
    L{Sessions}.
    """

    def setUp(self) -> None:
        """
        Nothing is kept, and it is one second past 1970.
        """
        self.now = 1.0
        self.sessions = Sessions(lambda: self.now)

    def offer(self, until: float = 100.0) -> Offer:
        """
        One that cannot be resumed, as nobody tries.
        """
        proof = Proof(Identity.parse(HOST), b"", until)
        return Offer(cast(SSL.Session, object()), proof, until)

    def server(self, name: str = "a") -> Server:
        """
        What is kept of one.
        """
        server = self.sessions.at(name)
        assert server is not None
        return server

    def test_aSessionIsTakenOnce(self) -> None:
        """
        As it is offered once (RFC 8446, appendix C.4).
        """
        offer = self.offer()
        self.sessions.keep(self.server(), offer)
        self.assertIs(self.sessions.take(self.server()), offer)
        self.assertIsNone(self.sessions.take(self.server()))

    def test_itBelongsToItsServer(self) -> None:
        """
        And to nobody else.
        """
        self.sessions.keep(self.server("a"), self.offer())
        self.assertIsNone(self.sessions.take(self.server("b")))

    def test_whatHasEndedIsNotOffered(self) -> None:
        """
        Not even at that moment.
        """
        self.sessions.keep(self.server(), self.offer(until=50.0))
        self.now = 50.0
        self.assertIsNone(self.sessions.take(self.server()))

    def test_ofOneServerTheOldestGoes(self) -> None:
        """
        The youngest is offered first.
        """
        offers = [self.offer() for _ in range(SESSIONS_PER_SERVER + 1)]
        for each in offers:
            self.sessions.keep(self.server(), each)
        found = [self.sessions.take(self.server()) for _ in offers]
        self.assertEqual(found, [*reversed(offers[1:]), None])

    def test_theServerThatHasBeenKnownLongestIsForgotten(self) -> None:
        """
        With all that is kept of it, also by connections that go on.
        """
        for name in ("SESSIONS_KEPT", "SERVERS_KNOWN"):
            with self.subTest(name):
                self.setUp()
                self.patch(resumption, name, 2)
                first = self.server("a")
                for which in "abc":
                    self.sessions.keep(self.server(which), self.offer())
                self.sessions.keep(first, self.offer())
                self.assertEqual(self.sessions.count, 2)
                self.assertIsNone(self.sessions.take(first))
                for which in "bc":
                    self.assertIsNotNone(self.sessions.take(self.server(which)), which)
                self.assertEqual(self.sessions.count, 0)

    def test_aServerThatResumesNothingRests(self) -> None:
        """
        Nothing is kept for it for a while, and then one is tried.
        """
        server = self.server()
        self.sessions.keep(server, self.offer())
        for _ in range(MOST_DECLINED):
            self.assertIs(self.sessions.at("a"), server)
            self.sessions.answered(server, False)
        self.assertEqual(self.sessions.count, 0)
        self.assertIsNone(self.sessions.at("a"))
        self.sessions.keep(server, self.offer())
        self.assertEqual(self.sessions.count, 0)
        self.now += REST
        self.sessions.keep(self.server(), self.offer())
        self.assertIsNotNone(self.sessions.take(self.server()))
        self.sessions.answered(server, False)
        self.assertIsNone(self.sessions.at("a"))

    def test_aServerThatFailsByItRestsForLong(self) -> None:
        """
        It would fail each time, and not only by this one.
        """
        for _ in range(3):
            self.sessions.keep(self.server(), self.offer(self.now + 2 * LONGEST_SECONDS))
        self.sessions.failed(self.server())
        self.assertEqual(self.sessions.count, 0)
        self.now += LONGEST_SECONDS - 1
        self.assertIsNone(self.sessions.at("a"))
        self.now += 1
        self.assertIsNotNone(self.sessions.at("a"))

    def test_oneThatDeclinesNowAndThenDoesNot(self) -> None:
        """
        Those with several processes, and those that were started anew.
        """
        for _ in range(3):
            for _ in range(MOST_DECLINED - 1):
                self.sessions.answered(self.server(), False)
            self.sessions.answered(self.server(), True)
        self.assertEqual(self.server().declined, 0)

    @given(
        st.lists(
            st.tuples(st.sampled_from("keep take resume decline fail".split()), st.integers(0, 9)),
            max_size=200,
        )
    )
    def test_thereAreNeverTooMany(self, steps: list[tuple[str, int]]) -> None:
        """
        Whatever is kept and taken, and they are counted right.
        """
        most = {"SESSIONS_KEPT": 9, "SESSIONS_PER_SERVER": 4, "SERVERS_KNOWN": 6}
        with contextlib.ExitStack() as stack:
            for name, number in (most | {"MOST_DECLINED": 3}).items():
                stack.callback(setattr, resumption, name, getattr(resumption, name))
                setattr(resumption, name, number)
            self.setUp()
            sessions = self.sessions
            seen: list[Server] = []
            for step, which in steps:
                self.now += 7.0
                server = sessions.at(which)
                if server is None:
                    continue
                seen.append(server)
                # A connection may have begun long ago.
                server = seen[len(seen) // 2]
                if step == "keep":
                    sessions.keep(server, self.offer(self.now + 20.0))
                elif step == "take":
                    sessions.take(server)
                elif step == "fail":
                    sessions.failed(server)
                else:
                    sessions.answered(server, step == "resume")
                self.assertLessEqual(sessions.count, 9)
            self.assertLessEqual(len(sessions._servers), 6)
            found = [len(each.offers) for each in sessions._servers.values()]
            self.assertEqual(sum(found), sessions.count)
            self.assertLessEqual(max(found, default=0), 4)
