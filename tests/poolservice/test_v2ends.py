"""
How connections of programs end that speak the TLS Pool's protocol V2, over real sockets.
"""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

from tests.loopback import SERVER, Encrypted, Plain, Reset, wait
from tests.poolservice.tlspool import CONTROL, Library
from tests.poolservice.v2tls import IGNORING, IS_CLIENT, KEY, V2TLSTests


class EndTests(V2TLSTests):
    """
    What ends with what.
    """

    def ready(self, flags: int = IS_CLIENT) -> tuple[Library, Plain, Encrypted]:
        """A connection; in a thread."""
        library = self.program()
        _, plain, peer = self.meet(library, flags, remoteid=str(SERVER).encode(), ctlkey=KEY)
        return library, plain, peer

    async def test_itEndsWithItsControlConnection(self) -> None:
        def story() -> Any:
            library, plain, peer = self.ready()
            library.close()
            return plain.read(1), peer.read(1)

        found = await self.run_(story)
        self.assertIn(found[0], (b"", Reset))
        self.assertIn(found[1], (b"", Reset))

    async def test_withForkItDoesNot(self) -> None:
        def story() -> Any:
            library, plain, peer = self.ready(IS_CLIENT | 0x4000)
            library.close()
            self.talk(plain, peer)

        await self.run_(story)

    async def test_detachedItDoesNotAndAttachedItDoes(self) -> None:
        def story() -> Any:
            library, plain, peer = self.ready()
            assert library.ask(CONTROL, cmd=0x100, ctlkey=KEY)["cmd"] == 0
            library.close()
            plain.write(b"x")
            assert peer.read(1) == b"x"
            other = self.program()
            assert other.ask(CONTROL, cmd=0x101, ctlkey=KEY)["cmd"] == 0
            other.close()
            return plain.read(1)

        self.assertIn(await self.run_(story), (b"", Reset))

    async def test_aStopEndsTheControlConnectionAndWaitsForTLS(self) -> None:
        library, plain, peer = await self.run_(self.ready)
        self.port.close()

        def story() -> None:
            assert library.receive() == b""
            self.talk(plain, peer)

        await self.run_(story)

    async def test_programsThatDieAtAnyMomentLeaveNothing(self) -> None:
        """Each at another one: what it does takes a few milliseconds."""

        def once() -> None:
            library, plain, peer = self.ready(IS_CLIENT | 0x4000)
            library.close()
            self.talk(plain, peer)
            plain.close()
            peer.close()

        await self.run_(once)
        await wait(lambda: not self.handOvers.open)
        await wait(lambda: not self.port.programs)
        before = self._descriptors()

        def story() -> None:
            for each in range(100):
                flags = (IS_CLIENT, IGNORING, IGNORING | 0x10000)[each % 3]
                self._die(flags, each / 100 * 0.012)

        await self.run_(story)
        await wait(lambda: not (self.handOvers.open or self.port.programs))
        await wait(lambda: len(self.handOvers.linger) == 0)
        await wait(lambda: len(self._descriptors() - before) == 0)
        self.assertEqual((len(self.port.keys), len(self.port.quotas)), (0, 0))

    def _descriptors(self) -> set[str]:
        found = set()
        for each in Path("/proc/self/fd").iterdir():
            try:
                found.add(f"{each.name} {each.readlink()}")
            except OSError:
                continue
        return found

    def _die(self, flags: int, seconds: float) -> None:
        """Begin as a program does, and be gone after some time."""
        library = Library.connect(self.path)
        sock, theirs = socket.socketpair()
        theirs.settimeout(5)
        peer = self.peer(theirs, not flags & 1)
        opened: list[socket.socket] = []

        def speak() -> None:
            try:
                peer.handshake()
                peer.read(1)
            except Exception:  # noqa: BLE001 - it is cut anywhere
                pass

        def begin() -> None:
            try:
                remote = str(SERVER).encode() if flags & 1 else b""
                opened.append(library.startTLS(sock, flags=flags, remoteid=remote)[1])
            except Exception:  # noqa: BLE001 - it is cut anywhere
                pass

        threads = [threading.Thread(target=each) for each in (speak, begin)]
        for each in threads:
            each.start()
        time.sleep(seconds)
        library.sock.shutdown(socket.SHUT_RDWR)
        for each in threads:
            each.join()
        for one in (library.sock, sock, theirs, *opened):
            one.close()
