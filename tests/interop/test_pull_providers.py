"""
C{pool pull} with two OpenLDAP slapd of which each follows the other: changes are written to either.
"""

from __future__ import annotations

from tests.interop.harness import record, until
from tests.interop.replicas import PullTestCase, entry, removed, replaced
from tests.interop.servers.syncprov import SyncProvider

WWW, MAIL = "www.example.test", "mail.example.test"


class ProvidersTests(PullTestCase):
    """
    Two providers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.other = self.directory()
        for number, (slapd, peer) in enumerate(
            ((self.slapd, self.other), (self.other, self.slapd)), 1
        ):
            slapd.serverID, slapd.peer, slapd.isFirst = number, peer, number == 1
            slapd.start()

    def move(self, here: SyncProvider, there: SyncProvider) -> None:
        """
        Let the one that dies be replaced by the other, at its address, as a name with several
        addresses and a load balancer do.
        """
        here.stop()
        there.stop()
        there.ports = here.ports
        there.start()

    def test_eitherIsFollowedAndTheNextGoesOnWhereItWas(self) -> None:
        """
        The cookie has the latest of both, so that nothing is asked for again.
        """
        replica = self.replica()
        for name in (WWW, MAIL):
            replica.request(name)
        replica.start()
        until(lambda: replica.says("up to date"), "it is up to date")
        first, second = (replica.certificate(name) for name in (WWW, MAIL))
        until(lambda: self.hasTree(self.other), "the other one has the pool")
        self.slapd.change(entry(WWW, [first]))
        until(lambda: replica.shows(WWW, first), "what was written here is there")
        self.other.change(entry(MAIL, [second]))
        until(lambda: replica.shows(MAIL, second), "what was written to the other is there")
        cookie = replica.path / ".ldap" / "cookie"
        until(
            lambda: all(each in cookie.read_bytes() for each in (b"#001#", b"#002#")),
            "the cookie has both",
        )
        self.move(self.slapd, self.other)
        again = replica.certificate(WWW, after=5)
        self.other.change(replaced(WWW, [again]) + removed(MAIL))
        until(lambda: replica.shows(WWW, again), "the other one is followed")
        until(lambda: not replica.has(MAIL), "and what it removes is gone")
        assert replica.puller is not None
        self.assertNotIn("everything is asked for again", replica.puller.log)
        self.assertNotIn("would be removed", replica.puller.log)
        record("ldap", "client", self.slapd, "pool pull, two providers")

    def hasTree(self, slapd: SyncProvider) -> bool:
        """
        Whether it has what it is to get from its peer.
        """
        return "ou=disclose" in slapd.dump()
