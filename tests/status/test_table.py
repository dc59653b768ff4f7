"""
Tests for L{tlstunnel.status.table}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.status.examples import NOW, backend, connection, snapshot, tunnel
from tlstunnel.status.combine import combine
from tlstunnel.status.document import Document
from tlstunnel.status.facts import Gathered
from tlstunnel.status.table import lines


def of(name: str) -> Document:
    """
    A process with one tunnel.
    """
    found = snapshot(tunnels=[tunnel(name=name)], connections=[connection(tunnel=name)])
    return combine(Gathered((found,)), NOW)


class TableTests(SynchronousTestCase):
    """
    L{lines}.
    """

    def test_aLongNameTakesNoOtherColumnAway(self) -> None:
        """
        On a narrow terminal it is cut, so that the numbers behind it can be seen.
        """
        name = "imap-" * 12
        shown = [line[:100] for line in lines(of(name), 100)]
        (line,) = (each for each in shown if each.startswith("imap"))
        for each in ("imap-imap-..", "up", "server", "smtp", "10", "2.0 KiB", "1000 B"):
            self.assertIn(each, line)

    def test_hasHowManyWereRefused(self) -> None:
        """
        For whatever reason.
        """
        titles, row = (
            each.split() for each in lines(of("web")) if each.startswith(("TUNNEL", "web "))
        )
        self.assertEqual(row[titles.index("REFUSED")], "5")

    def test_aBackendIsShownIfThereAreOthersOrItIsDown(self) -> None:
        """
        Of one that is alone and well there is nothing more to say.
        """
        one, other = "192.0.2.1:1", "192.0.2.2:1"
        for backends, rows in (
            ({one: backend()}, []),
            ({one: backend(up=False)}, [f"{one}  down      2           10       1  web"]),
            (
                {one: backend(), other: backend(up=False, open=0)},
                [
                    f"{one}  up        2           10       1  web",
                    f"{other}  down      0           10       1  web",
                ],
            ),
        ):
            found = snapshot(tunnels=[tunnel(backends=backends)], connections=[])
            shown = list(lines(combine(Gathered((found,)), NOW)))
            self.assertEqual([each for each in shown if each.startswith("192.0.2")], rows)

    def test_whoIsWithdrawnIsShownFirst(self) -> None:
        """
        Among our identities.
        """
        found = snapshot(tunnels=[tunnel(withdrawn=["gone.example"])], connections=[])
        shown = list(lines(combine(Gathered((found,)), NOW)))
        (row,) = (each for each in shown if each.startswith("gone.example"))
        self.assertEqual(row.split(), ["gone.example", "withdrawn", "-", "web"])

    def test_whereThereIsRoomNothingIsCut(self) -> None:
        """
        As in a file.
        """
        name = "imap-" * 12
        shown = "\n".join(lines(of(name)))
        self.assertEqual(shown.count(name), 3)
        self.assertNotIn("..", shown)
