"""
C{[pool-pull]}: tunnels whose pool follows OpenLDAP slapd.
"""

from __future__ import annotations

import socket
import time
from statistics import median
from typing import Any

from tests.interop.following import FollowingTunnel
from tests.interop.harness import until
from tests.interop.replicas import PullTestCase, Replica, entry, removed, replaced

WWW, MAIL = "www.example.test", "mail.example.test"


class TunnelTests(PullTestCase):
    """
    A server tunnel with two names, and nothing in its pool before it starts.
    """

    def setUp(self) -> None:
        super().setUp()
        self.slapd.start()
        self.host: Replica = self.replica()
        for name in (WWW, MAIL):
            self.host.request(name)

    def follow(self, **settings: Any) -> FollowingTunnel:
        """
        Start one.
        """
        made = FollowingTunnel(self.stage.directory("tunnel"), self.host, WWW, MAIL, **settings)
        self.stage.started.append(made)
        made.start()
        self.addCleanup(made.stop)
        return made

    def isServed(self, tunnel: FollowingTunnel, name: str) -> bool:
        """
        Whether clients come to TLS.
        """
        return tunnel.shown(name, self.files.anchors) is not None

    def test_aHostThatIsNewIsServedAsSoonAsItHasCertificates(self) -> None:
        """
        It starts without any, and the next handshake has each that comes.
        """
        tunnel = self.follow()
        self.assertFalse(self.isServed(tunnel, WWW))
        self.assertSays(f"{WWW} is withdrawn", tunnel)
        times = []
        for age in range(4):
            certificate = self.host.certificate(WWW, after=5 * age)
            change = (replaced if age else entry)(WWW, [certificate])
            self.slapd.change(change)
            began = time.monotonic()
            until(lambda: tunnel.shown(WWW, self.files.anchors) == certificate, "it is shown")  # noqa: B023
            times.append(time.monotonic() - began)
        print(f"from the end of the write to the handshake: {1000 * median(times):.0f} ms")
        self.assertFalse(self.isServed(tunnel, MAIL))
        document: Any = tunnel.document()
        self.assertEqual(document["tunnels"][0]["withdrawn"], [MAIL])
        self.assertTrue(document["pool_pull"]["fresh"])
        self.assertTrue(document["healthy"])
        self.aBurstIsTakenUpInFewReloads(tunnel)

    def aBurstIsTakenUpInFewReloads(self, tunnel: FollowingTunnel) -> None:
        """
        And whatever comes last is what counts.
        """
        before = tunnel.log.count("took up")
        several = [self.host.certificate(WWW, after=each % 40) for each in range(200)]
        self.slapd.change("".join(replaced(WWW, [each]) for each in several))
        until(lambda: tunnel.shown(WWW, self.files.anchors) == several[-1], "the last is shown")
        reloads = tunnel.log.count("took up") - before
        print(f"{len(several)} changes were taken up in {reloads} reloads")
        self.assertLess(reloads, 20)

    def test_soItIsWithWorkers(self) -> None:
        """
        Their parent follows; all of them take up what has changed.
        """
        tunnel = self.follow(process="workers = 2")
        until(lambda: "serving" in tunnel.log or "up" in tunnel.log, "it is up")
        for age in range(2):
            certificate = self.host.certificate(WWW, after=5 * age)
            self.slapd.change((replaced if age else entry)(WWW, [certificate]))
            until(
                lambda: all(
                    tunnel.shown(WWW, self.files.anchors) == certificate  # noqa: B023
                    for _ in range(8)
                ),
                "all show it",
            )
        # Where nothing else can be taken up, nobody is kept who is withdrawn.
        (self.host.path / MAIL / "fullchain.pem").write_text("broken")
        self.slapd.change(removed(WWW))
        until(
            lambda: not any(self.isServed(tunnel, WWW) for _ in range(8)),
            "nobody serves it any more",
        )

    def test_whoIsWithdrawnIsServedNoMore(self) -> None:
        """
        All others are, without a pause; also after a start; and it comes back.
        """
        backend = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(backend.close)
        certificates = {name: self.host.certificate(name) for name in (WWW, MAIL)}
        self.slapd.change("".join(entry(name, [each]) for name, each in certificates.items()))
        tunnel = FollowingTunnel(
            self.stage.directory("tunnel"), self.host, WWW, MAIL, tunnel="close-withdrawn = true"
        )
        port = backend.getsockname()[1]
        lines = tunnel.text.splitlines()
        tunnel.text = "\n".join(
            f'remote = "127.0.0.1:{port}"' if each.startswith("remote =") else each
            for each in lines
        )
        self.stage.started.append(tunnel)
        tunnel.start()
        self.addCleanup(tunnel.stop)
        until(lambda: self.isServed(tunnel, WWW) and self.isServed(tunnel, MAIL), "both are")
        with (
            tunnel.connected(WWW, self.files.anchors) as www,
            tunnel.connected(MAIL, self.files.anchors) as mail,
        ):
            began = time.monotonic()
            self.slapd.change(removed(WWW))
            until(lambda: not self.isServed(tunnel, WWW), "it is not served any more")
            print(f"from the withdrawal to the refusal: {1000 * (time.monotonic() - began):.0f} ms")
            # Its own connection has ended in order, and that of the other goes on.
            self.assertEqual(www.recv(1), b"")
            mail.settimeout(0.2)
            self.assertRaises(TimeoutError, mail.recv, 1)
        self.assertTrue(self.isServed(tunnel, MAIL))
        self.assertSays("withdrawn", tunnel)
        tunnel.stop()
        tunnel.start()
        self.assertFalse(self.isServed(tunnel, WWW))
        self.assertTrue(self.isServed(tunnel, MAIL))
        self.slapd.change(entry(WWW, [certificates[WWW]]))
        until(lambda: self.isServed(tunnel, WWW), "it is served again")
