"""
A fleet that comes, changes and goes in the directory, while tunnels and the pool service serve
others from the same pools.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.interop.following import FollowingTunnel
from tests.interop.harness import until
from tests.interop.poolprocess import PoolProcess
from tests.interop.replicas import PullTestCase, entry, removed, replaced
from tlstunnel.client import asServer
from tlstunnel.identity.issuer import keep
from tlstunnel.identity.names import Identity

#: Identities of the fleet.
MANY = 500

#: Who is always there, with a certificate that does not come from the directory.
STEADY = "steady.example.test"

#: Seconds that all of them may take, and that one handshake may.
PATIENCE, LONGEST = 120.0, 5.0


class Visitor:
    """
    Meets somebody again and again.

    @ivar count: how often.
    @ivar longest: seconds that it took at most.
    @ivar error: what went wrong first.
    """

    def __init__(self, meet: Callable[[], object]) -> None:
        self.count, self.longest = 0, 0.0
        self.error: Exception | None = None
        self._meet = meet
        self._isOver = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._isOver.wait(0.02):
            began = time.monotonic()
            try:
                self._meet()
            except Exception as error:  # noqa: BLE001 - the test shows it
                self.error = error
                return
            self.count += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def leave(self) -> None:
        self._isOver.set()
        self._thread.join()


class LoadTests(PullTestCase):
    """
    Two replicas with keys of their own: a tunnel that follows the directory itself, and a pool
    service beside a puller.
    """

    def setUp(self) -> None:
        super().setUp()
        self.slapd.start()
        self.names = [f"host{number}.example.test" for number in range(MANY)]
        self.replicas = [self.replica(), self.replica()]
        for replica in self.replicas:
            for name in self.names:
                replica.request(name)
            steady = Identity.parse(STEADY)
            keep(replica.pool, replica.authority.issue(steady, datetime.now(UTC)))
        first, second = self.replicas
        self.tunnel_ = FollowingTunnel(
            self.stage.directory("tunnel"), first, STEADY, *self.names, tunnel="quiet = true"
        )
        second.start()
        self.service = PoolProcess(self.stage.directory("service"), second.path)
        for each in (self.tunnel_, self.service):
            self.stage.started.append(each)
            each.start()
            self.addCleanup(each.stop)
        until(lambda: second.says("up to date"), "it is up to date")

    def meetTunnel(self, name: str) -> object:
        """
        The certificate that the tunnel shows.
        """
        return self.tunnel_.shown(name, self.files.anchors)

    def meetService(self) -> None:
        """
        A program serves the steady one.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(LONGEST)
            client = threading.Thread(target=partial(self._greet, theirs))
            client.start()
            asServer(ours, STEADY, client="ignore", path=str(self.service.socket)).close()
            client.join()

    def _greet(self, sock: socket.socket) -> None:
        self.tunnel_.context(self.files.anchors).wrap_socket(sock, server_hostname=STEADY).close()

    def memory(self) -> int:
        """
        That of the process of the tunnel, in bytes.
        """
        return int(Path(f"/proc/{self.tunnel_.pid}/statm").read_text().split()[1]) * 4096

    def test_aFleetComesChangesAndGoesAndNobodyElseNotices(self) -> None:
        """
        No handshake for others fails or waits for long, and memory does not grow.
        """
        visitors = [
            Visitor(partial(self.meetTunnel, STEADY)),
            Visitor(self.meetService),
        ]
        for each in visitors:
            self.addCleanup(each.leave)
        used = []
        for round_ in range(2):
            self.comesOrChanges(10 * round_)
            used.append(self.memory())
        self.slapd.change("".join(map(removed, self.names)))
        until(lambda: not any(map(self.replicas[1].has, self.names)), "all are gone", PATIENCE)
        until(lambda: self.meetTunnel(self.names[-1]) is None, "none is served", PATIENCE)
        until(lambda: all(self.isGone(each) for each in self.names[::50]), "none is", PATIENCE)
        for each in visitors:
            each.leave()
            self.assertIsNone(each.error)
            self.assertGreater(each.count, 10)
            print(f"{each.count} handshakes of others, the longest {each.longest:.2f} s")
        print(f"memory: {', '.join(f'{each >> 20} MiB' for each in used)}")
        self.assertLess(max(each.longest for each in visitors), LONGEST)
        self.assertLess(used[-1], used[0] + (64 << 20))
        self.assertEqual(self.tunnel_.log.count("Traceback"), 0)

    def isGone(self, name: str) -> bool:
        return self.meetTunnel(name) is None

    def comesOrChanges(self, age: int) -> None:
        """
        All of them get new certificates.
        """
        issued = {
            name: [each.certificate(name, after=age) for each in self.replicas]
            for name in self.names
        }
        how = replaced if age else entry
        self.slapd.change("".join(how(name, several) for name, several in issued.items()))
        written = time.monotonic()
        before = self.tunnel_.log.count("took up")
        for name in (self.names[-1], *self.names[::50]):
            expected = issued[name][0]
            until(partial(self.isShown, name, expected), "it is shown", PATIENCE)
        last = partial(self.replicas[1].shows, self.names[-1], issued[self.names[-1]][1])
        until(last, "it is there", PATIENCE)
        taken, reloads = time.monotonic() - written, self.tunnel_.log.count("took up") - before
        print(f"{MANY} were served {taken:.2f} s after the last was written, in {reloads} reloads")

    def isShown(self, name: str, certificate: object) -> bool:
        return self.meetTunnel(name) == certificate
