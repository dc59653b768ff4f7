"""
Tests for L{tlstunnel.status.metrics}: the names are an interface.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from prometheus_client import exposition
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.status.examples import DAY, NOW, following, identity, snapshot, tunnel
from tlstunnel import __version__
from tlstunnel.errors import reasons
from tlstunnel.net.spreading import atOnce
from tlstunnel.status.combine import combine
from tlstunnel.status.facts import Gathered
from tlstunnel.status.metrics import SAMPLES_PER_TEXT, texts

CHECKOUT = Path(__file__).parents[2]

#: What is in C{docs/status.md}: the name of each metric, and its labels.
INTERFACE = {
    "tlstunnel_connections_total": {"tunnel"},
    "tlstunnel_connections_open": {"tunnel"},
    "tlstunnel_connections_ended_total": {"tunnel", "outcome"},
    "tlstunnel_connections_refused_total": {"tunnel", "reason"},
    "tlstunnel_negotiation_seconds_bucket": {"tunnel", "le"},
    "tlstunnel_negotiation_seconds_count": {"tunnel"},
    "tlstunnel_negotiation_seconds_sum": {"tunnel"},
    "tlstunnel_handshake_seconds_bucket": {"tunnel", "le"},
    "tlstunnel_handshake_seconds_count": {"tunnel"},
    "tlstunnel_handshake_seconds_sum": {"tunnel"},
    "tlstunnel_handshakes_resumed_total": {"tunnel"},
    "tlstunnel_bytes_total": {"tunnel", "direction"},
    "tlstunnel_identity_not_after_seconds": {"tunnel", "identity"},
    "tlstunnel_identities_withdrawn": {"tunnel"},
    "tlstunnel_pool_pull_fresh": set(),
    "tlstunnel_pool_pull_entries": set(),
    "tlstunnel_pool_pull_changed_seconds": set(),
    "tlstunnel_lease_not_after_seconds": {"tunnel", "identity"},
    "tlstunnel_revocation_list_next_update_seconds": {"tunnel", "issuer"},
    "tlstunnel_backend_up": {"tunnel", "backend"},
    "tlstunnel_backend_connections_open": {"tunnel", "backend"},
    "tlstunnel_backend_connections_total": {"tunnel", "backend"},
    "tlstunnel_backend_failures_total": {"tunnel", "backend"},
    "tlstunnel_reloads_total": {"result"},
    "tlstunnel_log_lines_dropped_total": set(),
    "tlstunnel_build_info": {"version", "openssl", "python"},
    "process_cpu_seconds_total": {"worker"},
    "process_start_time_seconds": {"worker"},
    "process_resident_memory_bytes": {"worker"},
    "process_virtual_memory_bytes": {"worker"},
    "process_open_fds": {"worker"},
    "process_max_fds": {"worker"},
}


def samples(*snapshots: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """
    What a program reads from the metrics of some processes.
    """
    text = atOnce(texts(combine(Gathered(snapshots), NOW))).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    """
    Of one of them.
    """
    return found[name, frozenset(labels.items())]


class MetricsTests(SynchronousTestCase):
    """
    L{texts}.
    """

    def test_namesAndLabelsAreThoseOfTheInterface(self) -> None:
        """
        No more and no less.
        """
        found: dict[str, set[str]] = {}
        identities = [identity(), identity(identity="a.example", is_leased=True)]
        for name, labels in samples(
            snapshot(tunnels=[tunnel(identities=identities)], pool_pull=following())
        ):
            found.setdefault(name, set()).update(label for label, _ in labels)
        self.assertEqual(found, INTERFACE)

    def test_theDirectoryIsThereWhereOneIsFollowed(self) -> None:
        """
        As it is; nothing is said of none.
        """
        found = samples(snapshot(pool_pull=following(fresh=False, changed=None)))
        for name, expected in (("fresh", 0), ("entries", 7), ("changed_seconds", 0)):
            self.assertEqual(value(found, f"tlstunnel_pool_pull_{name}"), expected)
        self.assertFalse([name for name, _ in samples(snapshot()) if "pool_pull" in name])

    def test_theWithdrawnAreCounted(self) -> None:
        """
        Of each tunnel.
        """
        found = samples(snapshot(tunnels=[tunnel(withdrawn=["a.example", "b.example"])]))
        self.assertEqual(value(found, "tlstunnel_identities_withdrawn", tunnel="web"), 2)

    def test_refusalsHaveTheirReasons(self) -> None:
        """
        All of them, from the start, so that alerts see the first.
        """
        found = samples(snapshot(tunnels=[tunnel()]), snapshot(2, tunnels=[tunnel()]))
        for reason, count in ("denied", 8), ("rate", 2), ("per-address", 0):
            name = "tlstunnel_connections_refused_total"
            self.assertEqual(value(found, name, tunnel="web", reason=reason), count)

    def test_theDocumentsHaveTheNames(self) -> None:
        """
        All of them, and no others.
        """
        page = (CHECKOUT / "docs" / "status.md").read_text()
        for name in INTERFACE:
            plain = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
            self.assertIn(f"`{plain}`", page)

    def test_valuesAreThoseOfTheDocument(self) -> None:
        """
        Sums over the workers.
        """
        found = samples(snapshot(1), snapshot(2))
        self.assertEqual(value(found, "tlstunnel_connections_total", tunnel="web"), 20)
        self.assertEqual(value(found, "tlstunnel_connections_open", tunnel="web"), 4)
        ended = "tlstunnel_connections_ended_total"
        self.assertEqual(value(found, ended, tunnel="web", outcome="clean"), 10)
        self.assertEqual(value(found, ended, tunnel="web", outcome="tls"), 6)
        carried = "tlstunnel_bytes_total"
        self.assertEqual(value(found, carried, tunnel="web", direction="to_network"), 4000)
        self.assertEqual(value(found, carried, tunnel="web", direction="to_plain"), 2000)
        self.assertEqual(value(found, "tlstunnel_handshakes_resumed_total", tunnel="web"), 8)
        self.assertEqual(value(found, "tlstunnel_log_lines_dropped_total"), 2)
        place = {"tunnel": "web", "backend": "127.0.0.1:80"}
        for name, expected in (
            ("up", 1),
            ("connections_open", 4),
            ("connections_total", 20),
            ("failures_total", 2),
        ):
            self.assertEqual(value(found, f"tlstunnel_backend_{name}", **place), expected)

    def test_everyOutcomeIsThereBeforeItHappens(self) -> None:
        """
        Else Prometheus would not see the first one as an increase, and no alert would tell of it.
        """
        found = samples(snapshot())
        for outcome in reasons() - {"tls"}:
            name = "tlstunnel_connections_ended_total"
            self.assertEqual(value(found, name, tunnel="web", outcome=outcome), 0)

    def test_aLongFamilyIsMadeInParts(self) -> None:
        """
        None takes long, and together they are what they would be in one.
        """
        facts = [tunnel(name=f"web{number}") for number in range(60)]
        document = combine(Gathered((snapshot(tunnels=facts),)), NOW)
        made: list[int] = []
        make = exposition.generate_latest

        def noted(registry: Any) -> bytes:
            text: bytes = make(registry)
            made.append(text.count(b"\n"))
            return text

        self.patch(exposition, "generate_latest", noted)
        steps = texts(document)
        most = 0
        while True:
            try:
                next(steps)
            except StopIteration as end:
                parts = end.value
                break
            most = max(most, len(made))
            made.clear()
        self.assertEqual(most, 1)
        with patch("tlstunnel.status.metrics.TUNNELS_PER_STEP", 10**6):
            atOnce(texts(document))
            self.assertLessEqual(max(made), SAMPLES_PER_TEXT + 2)
            with patch("tlstunnel.status.metrics.SAMPLES_PER_TEXT", 10**6):
                self.assertEqual(atOnce(texts(document)), parts)

    def test_histogramsAreCumulative(self) -> None:
        """
        Each class has those below it, the last has all.
        """
        found = samples(snapshot())
        bucket = "tlstunnel_handshake_seconds_bucket"
        self.assertEqual(value(found, bucket, tunnel="web", le="0.001"), 1)
        self.assertEqual(value(found, bucket, tunnel="web", le="0.005"), 3)
        self.assertEqual(value(found, bucket, tunnel="web", le="+Inf"), 15)
        self.assertEqual(value(found, "tlstunnel_handshake_seconds_count", tunnel="web"), 15)
        self.assertEqual(value(found, "tlstunnel_handshake_seconds_sum", tunnel="web"), 60)

    def test_eachWorkerHasItsProcess(self) -> None:
        """
        The parent has no number.
        """
        found = samples(snapshot(None, tunnels=[]), snapshot(2))
        self.assertEqual(value(found, "process_open_fds", worker=""), 30)
        self.assertEqual(value(found, "process_open_fds", worker="2"), 30)

    def test_theEndOfEachCertificateIsATime(self) -> None:
        """
        From which an alert is made.
        """
        facts = tunnel(identities=[identity(not_after=NOW + DAY)])
        found = samples(snapshot(tunnels=[facts]))
        name = "tlstunnel_identity_not_after_seconds"
        self.assertEqual(value(found, name, tunnel="web", identity="www.example.org"), NOW + DAY)

    def test_whatAnAgentGaveIsAMetricOfItsOwn(self) -> None:
        """
        As alerts about days would always fire.
        """
        facts = tunnel(identities=[identity(not_after=NOW + 300, is_leased=True)])
        found = samples(snapshot(tunnels=[facts]))
        labels = {"tunnel": "web", "identity": "www.example.org"}
        self.assertEqual(value(found, "tlstunnel_lease_not_after_seconds", **labels), NOW + 300)
        self.assertNotIn("tlstunnel_identity_not_after_seconds", {name for name, _ in found})

    def test_whatRunsIsInLabels(self) -> None:
        """
        Of a metric that is always 1.
        """
        found = samples(snapshot())
        ((labels, number),) = (
            (dict(labels), number)
            for (name, labels), number in found.items()
            if name == "tlstunnel_build_info"
        )
        self.assertEqual(number, 1)
        self.assertEqual(labels["version"], __version__)

    def test_labelsThatAreOddAreEscaped(self) -> None:
        """
        A name with quotes or line ends is one label.
        """
        odd = 'a"b\\c\nd'
        found = samples(snapshot(tunnels=[tunnel(name=odd)]))
        self.assertEqual(value(found, "tlstunnel_connections_total", tunnel=odd), 10)

    def test_withoutTheLibraryAllElseWorks(self) -> None:
        """
        The extra is not installed: one line says so, and the page is there.
        """
        program = """
import json, sys
sys.modules["prometheus_client"] = None
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from tests.status.examples import snapshot
from tlstunnel.status.answers import Answers
from tlstunnel.status.facts import Gathered
clock = Clock()
answers = Answers(clock, lambda: succeed(Gathered((snapshot(),))))
for path in (b"/metrics", b"/status.json", b"/health", b"/"):
    answering = answers.to(path)
    for _ in range(100):
        clock.advance(0)
    answering.addCallback(lambda answer: print(answer.code, answer.body[:70].decode().strip()))
"""
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        codes = [line.split()[0] for line in done.stdout.splitlines() if line[:3].isdigit()]
        self.assertEqual(codes, ["501", "200", "200", "200"], done.stdout)
        self.assertIn("install tlstunnel[status]", done.stdout)
