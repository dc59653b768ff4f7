"""
C{pool pull} with OpenLDAP slapd: whatever may happen to a directory (docs/provisioning.md).
"""

from __future__ import annotations

import os
import time

from tests.interop.harness import until
from tests.interop.replicas import PullTestCase, Replica, entry, removed
from tests.interop.servers.syncprov import ACCESS, BASE_ALONE, INVISIBLE, REPLICA, SUFFIX

ONE = "host0.example.test"


class MishapTests(PullTestCase):
    """
    Each row of the table.
    """

    def there(self, replica: Replica) -> int:
        """
        How many identities the replica has.
        """
        return sum(map(replica.has, (each.name for each in replica.path.glob("host*"))))

    def test_aServerThatIsKilledIsMissedAndFoundAgain(self) -> None:
        """
        The files stay, and what happened meanwhile is caught up with.
        """
        self.slapd.start()
        replica = self.filled()
        self.slapd.kill()
        until(lambda: replica.says("connect: "), "it is missed")
        self.assertEqual(self.there(replica), 10)
        self.slapd.start()
        self.slapd.change(removed(ONE))
        until(lambda: not replica.has(ONE), "it is gone", 60)
        self.assertEqual(self.there(replica), 9)

    def test_whatIsRemovedWhileWeAreAwayIsRemoved(self) -> None:
        """
        With a log of the session, by which the server names it; and without, where it names all
        that is still there.
        """
        for hasLog in True, False:
            self.slapd = self.directory()
            self.slapd.hasSessionLog = hasLog
            self.slapd.start()
            replica = self.filled()
            replica.stop()
            self.slapd.change(removed(ONE))
            replica.start()
            until(lambda: not replica.has(ONE), "it is gone")  # noqa: B023
            self.assertEqual(self.there(replica), 9)

    def test_aCopyThatIsOlderThanWeAre(self) -> None:
        """
        The server refuses our cookie for ever: after three times everything is asked for again.
        """
        self.slapd.start()
        replica = self.filled()
        self.slapd.stop()
        copy = self.slapd.copy("copy")
        self.slapd.start()
        replica.request("late.example.test")
        late = replica.certificate("late.example.test")
        self.slapd.change(entry("late.example.test", [late]))
        until(lambda: replica.has("late.example.test"), "it is there", 60)
        self.slapd.stop()
        self.slapd.restore(copy)
        self.slapd.start()
        until(lambda: not replica.has("late.example.test"), "it is as in the copy", 90)
        self.assertTrue(replica.says("everything is asked for again"))
        self.assertEqual(self.there(replica), 10)

    def test_whoMayNotReadAnyMoreKeepsWhatThereIs(self) -> None:
        """
        Neither where the base cannot be seen, nor where it is all that can be: that would remove
        everything.
        """
        for access, words in (INVISIBLE, "noSuchObject"), (BASE_ALONE, "would be removed"):
            self.slapd = self.directory()
            self.slapd.hasSessionLog = False
            self.slapd.start()
            replica = self.filled()
            self.slapd.stop()
            self.slapd.access = access
            self.slapd.start()
            # Something has to have changed, so that the server does not say that nothing has.
            self.slapd.change(removed(ONE))
            until(lambda: replica.says(words), "it is said", 60)  # noqa: B023
            self.assertEqual(self.there(replica), 10)
            self.slapd.stop()
            self.slapd.access = ACCESS
            self.slapd.start()
            until(lambda: not replica.has(ONE), "it goes on", 90)  # noqa: B023
            self.assertEqual(self.there(replica), 9)

    def test_aRemovalThatIsMeantHasToBeAllowed(self) -> None:
        """
        Once.
        """
        self.slapd.hasSessionLog = False
        self.slapd.start()
        replica = self.filled()
        replica.stop()
        self.slapd.change("".join(removed(f"host{number}.example.test") for number in range(9)))
        replica.start()
        until(lambda: replica.says("--allow-removal"), "it is refused")
        self.assertEqual(self.there(replica), 10)
        replica.stop()
        replica.start("--allow-removal")
        until(lambda: self.there(replica) == 1, "they are gone")

    def test_aLimitOfTheServerIsNotTakenForTheEnd(self) -> None:
        """
        Nothing is applied of half an answer, and the log says what to do.
        """
        self.slapd.limits = "sizelimit 5"
        self.slapd.start()
        replica = self.replica()
        names = [f"host{number}.example.test" for number in range(10)]
        for name in names:
            replica.request(name)
        self.slapd.change("".join(entry(each, [replica.certificate(each)]) for each in names))
        replica.start()
        until(lambda: replica.says("size=unlimited"), "it is said")
        time.sleep(0.3)
        self.assertEqual(self.there(replica), 0)
        self.slapd.stop()
        who = f"cn={REPLICA.partition('@')[0]},{SUFFIX}"
        self.slapd.limits = f'sizelimit 5\nlimits dn.base="{who}" size=unlimited'
        self.slapd.start()
        until(lambda: self.there(replica) == 10, "all are there", 60)

    def test_aServerWithANumberTellsItsOwnChanges(self) -> None:
        """
        To a replica that comes back with the cookie that it was given, in which that number is.
        """
        self.slapd.serverID = 1
        self.slapd.start()
        replica = self.filled()
        self.assertIn(b"#001#", (replica.path / ".ldap" / "cookie").read_bytes())
        replica.stop()
        replica.start()
        until(lambda: replica.says("up to date"), "it is back")
        self.slapd.change(removed(ONE))
        until(lambda: not replica.has(ONE), "it hears of it")

    def test_whatACrashLeavesIsRemoved(self) -> None:
        """
        Files that were being written; and only one looks after a pool.
        """
        self.slapd.start()
        replica = self.filled()
        assert replica.puller is not None
        replica.puller.kill()
        left = replica.path / ".ldap" / "new" / ".new-left"
        left.write_text("half")
        (replica.path / ONE / "fullchain.pem").unlink()
        puller = replica.start()
        until(lambda: replica.says("up to date") and replica.has(ONE), "it is as it should be")
        self.assertFalse(left.exists())
        replica.start()
        second = replica.puller
        assert second is not None
        until(lambda: "is kept up by another" in second.log, "a second one is refused")
        os.waitpid(second.pid, 0)
        replica.puller = puller
