"""
What the documents say of the status is so.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.status.test_metrics import INTERFACE
from tlstunnel.status import document, facts
from tlstunnel.status.answers import Answers
from tlstunnel.status.ledger import FAILURES, RELOADS
from tlstunnel.status.snapshot import CONNECTIONS_SHOWN
from tlstunnel.status.source import STATES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "status.md").read_text()
RULES = (DOCS / "prometheus" / "tlstunnel.rules.yml").read_text()
DASHBOARD = (DOCS / "prometheus" / "dashboard.json").read_text()

#: Not of the document: what processes tell each other.
_INNER = {"Totals", "TunnelFacts", "IdentityFacts", "BackendFacts", "Snapshot"}


class PagesTests(SynchronousTestCase):
    """
    C{docs/status.md}, and what Prometheus and Grafana are given.
    """

    def test_everyFieldIsExplained(self) -> None:
        """
        None is in the document of which the page knows nothing.
        """
        known = set(re.findall(r"`([a-z_]+)`", PAGE))
        for module in (document, facts):
            for name, kind in vars(module).items():
                if isinstance(kind, type) and hasattr(kind, "__total__") and name not in _INNER:
                    self.assertEqual(set(kind.__annotations__) - known, set(), name)

    def test_everyStateIsExplained(self) -> None:
        """
        With what it means.
        """
        for state in STATES:
            self.assertIn(f"`{state}`", PAGE)

    def test_everyPathIsThere(self) -> None:
        """
        Those that are for others than the page itself.
        """
        paths = set(Answers(None, None)._known)  # type: ignore[arg-type]
        listed = set(re.findall(r"(?m)^\| `(/[a-z.]*)` \|", PAGE))
        self.assertEqual(listed, {"/", "/status.json", "/metrics", "/health"})
        self.assertTrue({each.encode() for each in listed} <= paths)

    def test_boundsAreThoseOfThePage(self) -> None:
        """
        How many are shown and remembered.
        """
        self.assertIn(f"connections {CONNECTIONS_SHOWN} are shown", PAGE)
        self.assertIn(f"at most {CONNECTIONS_SHOWN}", PAGE)
        self.assertIn(f"last {FAILURES} connections", PAGE.replace("\n", " "))
        self.assertIn(f"at most {RELOADS}", PAGE)

    def test_everyAlertIsExplained(self) -> None:
        """
        And no other.
        """
        alerts = re.findall(r"alert: (\w+)", RULES)
        self.assertEqual(re.findall(r"(?m)^\| (Tlstunnel\w+) \|", PAGE), alerts)

    def test_everyAlertIsTried(self) -> None:
        """
        By the tests of the rules.
        """
        tried = (DOCS / "prometheus" / "tlstunnel.rules.test.yml").read_text()
        for alert in re.findall(r"alert: (\w+)", RULES):
            self.assertIn(alert, tried)

    def test_rulesAndDashboardAskForWhatThereIs(self) -> None:
        """
        Each name is one of the interface.
        """
        names = re.compile(r"(?:tlstunnel|process)_[a-z_]+")
        self.assertEqual(set(names.findall(RULES)) - set(INTERFACE), set())
        for panel in json.loads(DASHBOARD)["panels"]:
            for target in panel["targets"]:
                self.assertEqual(set(names.findall(target["expr"])) - set(INTERFACE), set())
