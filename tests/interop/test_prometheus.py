"""
The metrics, as Prometheus takes them, and the alerts and the dashboard that ask for them.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from twisted.internet.threads import deferToThread

from tests.interop.processes import Process, find, until
from tests.ports import freePort
from tests.status.stage import SeenTests

DOCS = Path(__file__).resolve().parents[2] / "docs"


class Prometheus(Process):
    """
    Debian's Prometheus, which scrapes one address.
    """

    def __init__(self, directory: Path, target: str) -> None:
        super().__init__(directory)
        self._program = find("prometheus", "prometheus")
        self._target = target
        self.port = freePort()

    @property
    def name(self) -> str:
        """
        What it is called in messages.
        """
        return "prometheus"

    def start(self) -> None:
        """
        With the rules of the documentation.
        """
        self.directory.mkdir(parents=True)
        configuration = self.directory / "prometheus.yml"
        configuration.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(DOCS / "prometheus" / "tlstunnel.rules.yml")],
                    "scrape_configs": [
                        {
                            "job_name": "tlstunnel",
                            "static_configs": [{"targets": [self._target]}],
                        }
                    ],
                }
            )
        )
        self.spawn(
            [
                self._program,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            [self.port],
        )
        until(self._isReady, "Prometheus is ready", 60)

    def _isReady(self) -> bool:
        """
        It listens before it has read what it had.
        """
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=20):
                return True
        except HTTPError:
            return False

    def ask(self, path: str) -> Any:
        """
        What its interface says.
        """
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        """
        The value of an expression, if it has one.
        """
        found = self.ask(f"query?query={quote(query)}")["result"]
        return float(found[0]["value"][1]) if found else None


class PrometheusTests(SeenTests):
    """
    The metrics, as Prometheus takes them.
    """

    async def test_promtoolAcceptsTheMetrics(self) -> None:
        """
        Their names, types and texts are as they should be.
        """
        promtool = find("promtool", "prometheus")
        backend = self.listen()
        service = self.before(backend)

        def script() -> None:
            self.connect(service).close()
            backend.accept()[0].close()
            with urllib.request.urlopen(f"{self.url}metrics", timeout=20) as answer:
                text = answer.read()
            done = subprocess.run(
                [promtool, "check", "metrics"], input=text, capture_output=True, check=False
            )
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

        await deferToThread(script)

    def test_promtoolAcceptsTheRules(self) -> None:
        """
        The alerts of the documentation are rules.
        """
        promtool = find("promtool", "prometheus")
        rules = DOCS / "prometheus" / "tlstunnel.rules.yml"
        done = subprocess.run(
            [promtool, "check", "rules", rules], capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_rulesFireWhenTheyShould(self) -> None:
        """
        Each alert in the documentation fires in the case that its test describes, and not before.
        """
        promtool = find("promtool", "prometheus")
        tests = DOCS / "prometheus" / "tlstunnel.rules.test.yml"
        done = subprocess.run(
            [promtool, "test", "rules", tests.name],
            cwd=tests.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    async def test_prometheusScrapes(self) -> None:
        """
        A real one has the number of connections, and evaluates every rule and every panel of the
        dashboard without complaint.
        """
        backend = self.listen()
        service = self.before(backend)
        prometheus = Prometheus(self.base / "prometheus", self.status.addresses[0])

        def script() -> None:
            client = self.connect(service)
            accepted, _ = backend.accept()
            prometheus.start()
            until(
                lambda: prometheus.value('tlstunnel_connections_open{tunnel="web"}') == 1.0,
                "Prometheus has the connection",
                60,
            )
            self.assertEqual(prometheus.value("up"), 1.0)
            until(
                lambda: all(
                    rule["health"] == "ok"
                    for group in prometheus.ask("rules")["groups"]
                    for rule in group["rules"]
                ),
                "all rules are evaluated",
                60,
            )
            dashboard = json.loads((DOCS / "prometheus" / "dashboard.json").read_text())
            for panel in dashboard["panels"]:
                for target in panel.get("targets", ()):
                    expression = target["expr"].replace("$__rate_interval", "1m")
                    prometheus.value(expression.replace("$tunnel", ".*"))
            accepted.close()
            client.close()

        self.addCleanup(deferToThread, prometheus.stop)
        await deferToThread(script)
