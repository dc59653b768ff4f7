"""
Tests for L{tlstunnel.status.combine}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.status.examples import (
    DAY,
    NOW,
    backend,
    connection,
    failure,
    identity,
    snapshot,
    tunnel,
)
from tlstunnel.status.combine import combine
from tlstunnel.status.document import VERSION, Document
from tlstunnel.status.facts import Gathered
from tlstunnel.status.snapshot import CONNECTIONS_SHOWN


def of(**facts: Any) -> Document:
    """
    The document of one process.
    """
    return combine(Gathered((snapshot(**facts),)), NOW)


class CombineTests(SynchronousTestCase):
    """
    L{combine}.
    """

    def test_isJSONOfAVersion(self) -> None:
        """
        It survives the way.
        """
        document = of()
        self.assertEqual(document["version"], VERSION)
        self.assertEqual(json.loads(json.dumps(document)), document)

    def test_countsOfWorkersAreAddedUp(self) -> None:
        """
        Of a tunnel that two workers serve there is one, with the sums.
        """
        both = combine(Gathered((snapshot(1), snapshot(2))), NOW)
        (found,) = both["tunnels"]
        self.assertEqual(found["connections"], 20)
        self.assertEqual(found["open"], 4)
        self.assertEqual(found["ended"], {"clean": 10, "tls": 6})
        self.assertEqual(set(found["handshake"]["counts"]), {2})
        self.assertEqual(found["handshake"]["seconds"], 120.0)
        self.assertEqual((found["to_network"], found["to_plain"]), (4000, 2000))
        self.assertEqual(found["rates"]["connections"], [2, 4])
        self.assertEqual(both["connections"]["open"], 4)

    def test_whatWasHeardOfABackendLastCounts(self) -> None:
        """
        A worker that had no connection for it since cannot know.
        """
        here, there = "192.0.2.1:1", "192.0.2.2:1"
        down = {"up": False, "heard": NOW - 60, "open": 0}
        document = combine(
            Gathered(
                (
                    snapshot(
                        1, tunnels=[tunnel(backends={here: backend(**down), there: backend()})]
                    ),
                    snapshot(2, tunnels=[tunnel(backends={here: backend()})]),
                    snapshot(3, tunnels=[tunnel(backends={there: backend(**down, failures=7)})]),
                )
            ),
            NOW,
        )
        found = document["tunnels"][0]["backends"]
        self.assertEqual([each["backend"] for each in found], [here, there])
        self.assertEqual([each["state"] for each in found], ["up", "up"])
        self.assertEqual([each["open"] for each in found], [2, 2])
        self.assertEqual([each["failures"] for each in found], [2, 8])
        lost = tunnel(backends={here: backend(up=False, heard=NOW), there: backend()})
        self.assertEqual(of(tunnels=[lost])["tunnels"][0]["backends"][0]["state"], "down")
        self.assertTrue(of(tunnels=[lost])["healthy"])

    def test_whatBelongsToAWorkerNamesIt(self) -> None:
        """
        A connection, a failure, a process.
        """
        both = combine(Gathered((snapshot(1), snapshot(2))), NOW)
        shown = both["connections"]["shown"]
        self.assertEqual({each["worker"] for each in shown}, {1, 2})
        self.assertEqual({each["worker"] for each in both["failures"][0]["entries"]}, {1, 2})
        self.assertEqual([each["worker"] for each in both["processes"]], [1, 2])

    def test_theWorstStateOfATunnelCounts(self) -> None:
        """
        One worker whose tunnel is down is worth a look.
        """
        states = ("up", "down", "full")
        document = combine(
            Gathered(
                tuple(
                    snapshot(n, tunnels=[tunnel(state=state)]) for n, state in enumerate(states, 1)
                )
            ),
            NOW,
        )
        self.assertEqual(document["tunnels"][0]["state"], "down")
        self.assertEqual(document["problems"], ["tunnel web is down"])
        self.assertFalse(document["healthy"])

    def test_aSilentWorkerIsNamed(self) -> None:
        """
        And all is not well.
        """
        document = combine(Gathered((snapshot(None), snapshot(1)), (2,)), NOW)
        self.assertEqual(document["silent"], [2])
        self.assertEqual(document["problems"], ["worker 2 does not answer"])
        self.assertFalse(document["healthy"])

    def test_aFullTunnelIsNotIll(self) -> None:
        """
        It does what its limits say.
        """
        self.assertTrue(of(tunnels=[tunnel(state="full")])["healthy"])

    def test_aRemovedTunnelThatDrainsIsNotIll(self) -> None:
        """
        As long as another one is up.
        """
        draining = tunnel(name="old", state="draining")
        self.assertTrue(of(tunnels=[tunnel(), draining])["healthy"])
        self.assertEqual(of(tunnels=[draining])["problems"], ["no tunnel accepts connections"])

    def test_withoutTunnelsNothingIsServed(self) -> None:
        """
        As before the workers are there.
        """
        self.assertFalse(of(tunnels=[])["healthy"])

    def test_anIdentityHasAStateAndDaysLeft(self) -> None:
        """
        By the clock of whoever is asked.
        """
        for facts, state, left in (
            (identity(), "valid", 90),
            (identity(is_due=True, not_after=NOW + 20 * DAY), "due", 20),
            (identity(is_due=True, not_after=NOW - DAY), "expired", -1),
            (identity(not_before=NOW + DAY), "early", 90),
        ):
            (found,) = of(tunnels=[tunnel(identities=[facts])])["tunnels"][0]["identities"]
            self.assertEqual((found["state"], found["days_left"]), (state, left))

    def test_whatAnAgentDoesNotRenewIsAProblem(self) -> None:
        """
        Once it has ended, as clients are refused then; one in a file is shown all the same.
        """
        for isLeased, left, isHealthy in ((True, 1, True), (True, -1, False), (False, -1, True)):
            facts = identity(is_leased=isLeased, not_after=NOW + left)
            found = of(tunnels=[tunnel(identities=[facts])])
            self.assertEqual(found["healthy"], isHealthy)
            if not isHealthy:
                (problem,) = found["problems"]
                self.assertIn("the certificate for www.example.org has ended", problem)

    def test_theCertificateThatExpiresFirstCounts(self) -> None:
        """
        Where one worker has not taken up the new one.
        """
        old = tunnel(identities=[identity(not_after=NOW + DAY)])
        document = combine(Gathered((snapshot(1), snapshot(2, tunnels=[old]))), NOW)
        (found,) = document["tunnels"][0]["identities"]
        self.assertEqual(found["days_left"], 1)

    def test_theRevocationListThatEndsFirstCounts(self) -> None:
        """
        Where one worker has not taken up the new one.
        """
        old = tunnel(revocation_lists=[{"issuer": '"CN=Private"', "next_update": NOW}])
        document = combine(Gathered((snapshot(1), snapshot(2, tunnels=[old]))), NOW)
        self.assertEqual(
            document["tunnels"][0]["revocation_lists"],
            [{"issuer": '"CN=Private"', "next_update": NOW}],
        )

    def test_failuresAreGroupedByOutcomeAndHint(self) -> None:
        """
        The largest group first, the newest in each first.
        """
        many = [failure(time=NOW - number) for number in range(3)]
        other = [failure(outcome="connect", hint="start it"), failure(hint=None)]
        found = of(failures=other + many)["failures"]
        self.assertEqual(
            [(each["outcome"], each["hint"], each["count"]) for each in found],
            [("tls", "let it speak TLS 1.2", 3), ("connect", "start it", 1), ("tls", None, 1)],
        )
        self.assertEqual(found[0]["last"], NOW)
        self.assertEqual([each["time"] for each in found[0]["entries"]], [NOW, NOW - 1, NOW - 2])

    def test_ofAllWorkersOnlyTheLastHundredFailuresCount(self) -> None:
        """
        The page does not grow with the number of workers.
        """
        many = [failure(time=NOW - number) for number in range(80)]
        document = combine(Gathered((snapshot(1, failures=many), snapshot(2, failures=many))), NOW)
        self.assertEqual(sum(each["count"] for each in document["failures"]), 100)

    def test_ofAllWorkersOnlySomeConnectionsAreShown(self) -> None:
        """
        The newest and the oldest.
        """
        many = [connection(began=NOW - number) for number in range(CONNECTIONS_SHOWN)]
        both = combine(
            Gathered((snapshot(1, connections=many), snapshot(2, connections=many))), NOW
        )
        shown = both["connections"]["shown"]
        self.assertEqual(len(shown), CONNECTIONS_SHOWN)
        self.assertEqual(shown[0]["began"], NOW)
        self.assertEqual(shown[-1]["began"], NOW - CONNECTIONS_SHOWN + 1)

    def test_whoReadsTheConfigurationKnowsOfReloads(self) -> None:
        """
        Where there are workers, that is their parent; the last reload comes first.
        """
        reloads = [
            {"time": NOW + number, "result": "applied", "changes": [], "problems": []}
            for number in range(2)
        ]
        parent = snapshot(None, tunnels=[], reloads=reloads, results={"applied": 2, "failed": 1})
        found = combine(
            Gathered(
                (
                    parent,
                    snapshot(1),
                )
            ),
            NOW,
        )["reloads"]
        self.assertEqual((found["applied"], found["failed"]), (2, 1))
        self.assertEqual([each["time"] for each in found["last"]], [NOW + 1, NOW])
