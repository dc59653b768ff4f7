"""
The recordings of the TLS Pool's protocol V2, frame by frame.
"""

from __future__ import annotations

import socket

from tests.poolservice.tlspool import RECORDINGS, recording
from tests.poolservice.v2stage import ALICE, V2Tests
from tests.tls.test_clienthello import HELLO
from tlstunnel.identity.names import Identity


class RecordingTests(V2Tests):
    """
    Each is replayed, and every byte of ours is as recorded.
    """

    def replay(self, name: str, local: Identity | None = ALICE) -> None:
        """What the program says is sent; what the pool says has to be said."""
        for each in recording(name):
            if not each.isOurs:
                said = self.tlspool.receive()
                if each.note == "the first 12 bytes":
                    self.assertEqual(said[:12], each.frame[:12])
                    self.assertNotEqual(said[12:].strip(b"\0"), b"")
                else:
                    self.assertEqual(said, each.frame)
                continue
            handed: list[socket.socket] = []
            if each.note:
                ours, peer = self.pair()
                peer.send(HELLO)
                handed.append(ours)
            before = len(self.handOvers.begun)
            self.say(each.frame, *handed)
            if len(self.handOvers.begun) > before:
                wanted = self.handOver.wanted
                remote = wanted.remote if isinstance(wanted.remote, Identity) else None
                self.handOver.verify(local if wanted.isClient else wanted.local, remote)
        self.hearNothing()

    def test_everyRecordingIsReplayed(self) -> None:
        """Those that there are, and no others."""
        for each in sorted(RECORDINGS.glob("*.txt")):
            self.replay(each.stem)
            self.reconnect()

    def reconnect(self) -> None:
        """Begin anew, as another process."""
        self.tlspool.close()
        self.reactor.settle()
        self.tlspool = self.connect()

    def test_whatIsRecordedOfTheLibraryIsThere(self) -> None:
        """The exchange as a client has the bytes that were measured."""
        client = recording("client")
        self.assertEqual([each.isOurs for each in client], [True, False] * 4)
        self.assertEqual(client[0].frame[276:292].hex(), "5b05d12c9589db4b4f75554cc1c21d32")
        self.assertEqual(client[-1].frame[8:12].hex(), "0f506bba")
