"""
Tests for L{tlstunnel.status.page}, without a browser: what is in it, that all is escaped, and that
making it takes little at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.template import flattenString

from tests.status.examples import NOW, backend, connection, failure, identity, snapshot, tunnel
from tlstunnel.net.spreading import atOnce
from tlstunnel.status.combine import combine
from tlstunnel.status.facts import Gathered
from tlstunnel.status.page import ROWS_PER_TURN, SITE, Page
from tlstunnel.status.tiles import tilesOf

#: Attributes by which a page says that something is to be done.
_ACTIVE = ("style", "href", "src", "srcset", "action", "formaction", "xlink:href")


class _Parts(HTMLParser):
    """
    What a browser makes of a page.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.active: list[tuple[str, str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.active += [
            (tag, name, said) for name, said in attrs if name.startswith("on") or name in _ACTIVE
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


class PageTests(SynchronousTestCase):
    """
    L{Page}.
    """

    def setUp(self) -> None:
        """
        What is to be done in later turns.
        """
        self.turns: list[Callable[[], Any]] = []

    def parts(self, **facts: Any) -> _Parts:
        """
        The page of one process.
        """
        document = combine(Gathered((snapshot(**facts),)), NOW)
        page = Page(document, atOnce(tilesOf(document)), self.turns.append)
        made = flattenString(None, page)
        self.taken = 0
        while self.turns:
            # What is not due yet has not been made.
            self.assertNoResult(made)
            self.turns.pop(0)()
            self.taken += 1
        parts = _Parts()
        parts.feed(self.successResultOf(made).decode())
        return parts

    def test_hasAllThatIsKnownOfAConnection(self) -> None:
        """
        Peer, identity, version, suite, group, bytes, age, dialect, backend.
        """
        text = self.parts().text
        for each in (
            "192.0.2.1:50000",
            "client@example.org",
            "TLSv1.3",
            "TLSv1.3, X25519",
            "TLS_AES_256_GCM_SHA384, h2",
            "2.0 KiB",
            "1000 B",
            "1 min",
            "smtp",
            "127.0.0.1:80",
        ):
            self.assertIn(each, text)

    def test_saysHowManyWereRefused(self) -> None:
        """
        For each reason, if any were.
        """
        self.assertIn("refused: 4 denied, 1 rate", self.parts().text)
        none = dict.fromkeys(("denied", "per-address", "rate"), 0)
        self.assertNotIn("refused:", self.parts(tunnels=[tunnel(refused=none)]).text)

    def test_hasTheHintOfEachGroupOfFailures(self) -> None:
        """
        With how many there were.
        """
        text = self.parts(failures=[failure(), failure(time=NOW - 90)]).text
        for each in ("tls", "2 \u00d7", "let it speak TLS 1.2", "last 5 s ago", "no shared cipher"):
            self.assertIn(each, text)

    def test_hasWhatReloadsChanged(self) -> None:
        """
        And why one failed.
        """
        reloads = [
            {"time": NOW, "result": "applied", "changes": ["tunnel a: added"], "problems": []},
            {"time": NOW, "result": "failed", "changes": [], "problems": ["x:3: no such key"]},
        ]
        text = self.parts(reloads=reloads).text
        self.assertIn("tunnel a: added", text)
        self.assertIn("x:3: no such key", text)

    def test_showsBackendsIfThereAreSeveralOrOneIsDown(self) -> None:
        """
        Of one that is alone and well there is nothing more to say.
        """
        one, other = "192.0.2.1:80", "192.0.2.2:80"
        for backends, lines in (
            ({one: backend()}, []),
            ({one: backend(up=False)}, [one]),
            ({one: backend(), other: backend(up=False, open=0)}, [one, other]),
        ):
            text = self.parts(tunnels=[tunnel(backends=backends)]).text
            for each in one, other:
                self.assertEqual(f"{each}: " in text, each in lines)
        self.assertIn("192.0.2.2:80: 0 open, 1 failed", text)

    def test_saysWhatThereIsNot(self) -> None:
        """
        An empty table is none.
        """
        text = self.parts(tunnels=[tunnel(identities=[], open=0)], connections=[], failures=[]).text
        for each in (
            "There are none.",
            "No connection has failed.",
            "No tunnel shows a certificate",
        ):
            self.assertIn(each, text)

    def test_whoIsWithdrawnIsShown(self) -> None:
        """
        As our other identities are.
        """
        text = self.parts(tunnels=[tunnel(identities=[], withdrawn=["gone.example"])]).text
        self.assertIn("gone.example", text)
        self.assertIn("not in use", text)

    @given(
        st.text(min_size=1, max_size=60) | st.sampled_from(["<script>", '"><b x="', "]]>", "<!--"])
    )
    @settings(max_examples=60, deadline=None)
    def test_whateverPeersAndFilesSayIsText(self, said: str) -> None:
        """
        No element, no address and no style comes from it.
        """
        usual = self.parts(tunnels=[tunnel(withdrawn=["other"])])
        parts = self.parts(
            tunnels=[
                tunnel(
                    name=said,
                    expected=said,
                    local=[said],
                    remote=[said],
                    identities=[identity(identity=said)],
                    withdrawn=[f"other {said}"],
                )
            ],
            connections=[
                connection(peer=said, identity=said, tunnel=said, backend=said, alpn=said)
            ],
            failures=[failure(peer=said, detail=said, tunnel=said)],
        )
        self.assertEqual(parts.tags, usual.tags)
        self.assertEqual(parts.active, usual.active)

    def test_nothingComesFromElsewhere(self) -> None:
        """
        All that the page loads is its own.
        """
        loaded = {(tag, said) for tag, _, said in self.parts().active}
        self.assertEqual(
            loaded,
            {
                ("link", "icon.svg"),
                ("link", "status.css"),
                ("script", "status.js"),
                ("img", "icon.svg"),
                ("a", "status.json"),
                ("a", "metrics"),
            },
        )
        for name in ("status.css", "status.js"):
            self.assertNotIn("http", (SITE / name).read_text())

    def test_aLongPageTakesManyTurns(self) -> None:
        """
        No connection waits for the whole of it.
        """
        self.parts(connections=[connection() for _ in range(200)])
        self.assertGreaterEqual(self.taken, 200 // ROWS_PER_TURN)
