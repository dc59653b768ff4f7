"""
Tests for L{tlstunnel.status.history}: sums over workers never fall.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.status.examples import NOW, backend, snapshot, tunnel
from tlstunnel.status.combine import combine
from tlstunnel.status.document import Document, TunnelStatus
from tlstunnel.status.facts import Gathered, ProcessFacts, Snapshot
from tlstunnel.status.history import History

NONE: dict[str, Any] = {
    "connections": 0,
    "open": 0,
    "refused": {"denied": 0, "per-address": 0, "rate": 0},
    "outcomes": {"clean": 0},
    "handshake": {"counts": [0] * 15, "seconds": 0.0},
    "resumed": 0,
    "to_network": 0,
    "to_plain": 0,
}


def said(worker: int, *tunnels: Any, **process: Any) -> Snapshot:
    """
    What a worker says.
    """
    found = snapshot(worker, tunnels=list(tunnels))
    facts: ProcessFacts = {**found["process"], **process}  # type: ignore[typeddict-item]
    return {**found, "process": facts}


class HistoryTests(SynchronousTestCase):
    """
    L{History}, of two workers with a tunnel each of which has ten connections.
    """

    def setUp(self) -> None:
        """
        They have said how they are.
        """
        self.history = History()
        self.look(said(1, tunnel()), said(2, tunnel()))

    def look(self, *snapshots: Snapshot) -> Document:
        """
        The document, when these answer.
        """
        answered = {index: each for each in snapshots if (index := each["process"]["worker"])}
        return combine(Gathered(snapshots, (), self.history.add(answered)), NOW)

    def web(self, *snapshots: Snapshot) -> TunnelStatus:
        """
        The tunnel in it.
        """
        (found,) = self.look(*snapshots)["tunnels"]
        return found

    def test_nothingIsAddedToThoseWhoAnswer(self) -> None:
        """
        They say all there is.
        """
        self.assertEqual(self.web(said(1, tunnel()), said(2, tunnel()))["connections"], 20)

    def test_whatASilentWorkerSaidCounts(self) -> None:
        """
        Once, however long it is silent; but its connections may be open or not.
        """
        for _ in range(3):
            found = self.web(said(1, tunnel()))
            self.assertEqual(found["connections"], 20)
            self.assertEqual(found["ended"], {"clean": 10, "tls": 6})
            self.assertEqual(found["refused"], {"denied": 8, "per-address": 0, "rate": 2})
            self.assertEqual(found["handshake"]["seconds"], 120.0)
            self.assertEqual((found["to_network"], found["to_plain"]), (4000, 2000))
            self.assertEqual(found["open"], 2)
        self.assertEqual(self.web(said(1, tunnel()), said(2, tunnel()))["connections"], 20)

    def test_aWorkerThatIsReplacedHasCounted(self) -> None:
        """
        What takes its place begins at 0.
        """
        for pid in (7, 8):
            found = self.web(said(1, tunnel()), said(2, tunnel(**NONE), pid=pid))
            self.assertEqual(found["connections"], 20)
        found = self.web(said(1, tunnel()), said(2, tunnel(), pid=9))
        self.assertEqual((found["connections"], found["to_plain"]), (30, 3000))

    def test_oneThatIsReplacedBeforeItAnswersCountsToo(self) -> None:
        """
        It is silent first.
        """
        self.web(said(1, tunnel()))
        self.assertEqual(self.web(said(1, tunnel()), said(2, pid=7))["connections"], 20)

    def test_aWorkerThatIsDoneWithATunnelHasCounted(self) -> None:
        """
        As long as others have that, whether it is removed or comes back.
        """
        self.assertEqual(self.web(said(1, tunnel()), said(2))["connections"], 20)
        found = self.web(said(1, tunnel()), said(2, tunnel(**NONE)))
        self.assertEqual(found["connections"], 20)
        found = self.web(said(1, tunnel()), said(2, tunnel(**{**NONE, "connections": 1})))
        self.assertEqual(found["connections"], 21)

    def test_aTunnelThatNobodyHasBeginsAgain(self) -> None:
        """
        At 0, all at once.
        """
        self.assertEqual(self.look(said(1), said(2))["tunnels"], [])
        found = self.web(said(1, tunnel(**NONE)), said(2, tunnel(**NONE)))
        self.assertEqual(found["connections"], 0)

    def test_linesOfTheLogCountLikewise(self) -> None:
        """
        They are not of a tunnel.
        """
        dropped = [
            self.look(*each)["log_lines_dropped"]
            for each in (
                (said(1), said(2, log_lines_dropped=5)),
                (said(1),),
                (said(1), said(2, pid=7, log_lines_dropped=0)),
                (said(1), said(2, pid=7, log_lines_dropped=2)),
            )
        ]
        self.assertEqual(dropped, [6, 6, 6, 8])

    def test_backendsGoOnCounting(self) -> None:
        """
        As long as anybody knows them: the addresses of a name come and go.
        """
        for number in range(5):
            gone = f"192.0.2.{number}:1"
            mine = {"127.0.0.1:80": backend(), gone: backend()}
            found = self.web(said(1, tunnel()), said(2, tunnel(backends=mine), pid=200 + number))
            kept = {each["backend"]: each["connections"] for each in found["backends"]}
            self.assertEqual(kept, {"127.0.0.1:80": 20 + 10 * number + 10, gone: 10})
        self.assertLessEqual(len(self.history._gone["web"]["backends"]), 2)
