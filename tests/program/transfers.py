"""
Transfers that go on while something else is done: clients that send numbered pieces through TLS,
check what comes back, and say what went wrong, all in a thread of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

#: Seconds between the pieces of one transfer.
PACE_SECONDS = 1.0

#: Seconds after which a step of a transfer has failed.
PATIENCE_SECONDS = 30.0

#: The longest piece.
PIECE_BYTES = 20000


@dataclass
class Transfer:
    """
    One of them.

    @ivar port: where the tunnel listens.
    @ivar error: what went wrong, if anything did.
    @ivar count: the bytes that were sent, and came back.
    """

    port: int
    error: str = ""
    count: int = 0
    sent: Any = field(default_factory=hashlib.sha256)
    came: Any = field(default_factory=hashlib.sha256)

    async def run(self, context: ssl.SSLContext, name: str, over: asyncio.Event) -> None:
        """
        Send and check until it is over, then end in order.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=context, server_hostname=name
                )
                await reader.readexactly(1)
            chosen = random.Random(self.port)
            while not over.is_set():
                piece = chosen.randbytes(chosen.randint(1, PIECE_BYTES))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    writer.write(piece)
                    await writer.drain()
                    back = await reader.readexactly(len(piece))
                self.sent.update(piece)
                self.came.update(back)
                self.count += len(back)
                await asyncio.sleep(PACE_SECONDS)
            writer.close()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError) as error:
            self.error = self.error or f"{type(error).__name__}: {error} after {self.count} bytes"
        if self.sent.digest() != self.came.digest():
            self.error = self.error or "what came back is not what was sent"


class Peers:
    """
    Backends that say one byte about themselves and then give back what they get, and the transfers
    through tunnels before them.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._over = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self._servers: list[asyncio.Server] = []
        self._thread.start()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(2 * PATIENCE_SECONDS)

    def backend(self, tag: bytes) -> int:
        """
        Start a backend.

        @param tag: what it says first.
        @return: its port.
        """

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                writer.write(tag)
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            except OSError:
                pass
            writer.close()

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=500)

        server: asyncio.Server = self._do(listen())
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def begin(self, transfers: list[Transfer], context: ssl.SSLContext, name: str) -> None:
        """
        Start C{transfers}, and return when every one has got something back.
        """

        async def start() -> None:
            self._running += [
                asyncio.create_task(each.run(context, name, self._over)) for each in transfers
            ]
            while not all(each.count or each.error for each in transfers):
                await asyncio.sleep(0.05)

        self._do(start())

    def end(self) -> None:
        """
        Let all transfers end, and wait for them.
        """

        async def finish() -> None:
            self._over.set()
            await asyncio.gather(*self._running)

        self._do(finish())

    def close(self) -> None:
        """
        Leave nothing behind.
        """

        async def stop() -> None:
            self._over.set()
            for each in (*self._running, *asyncio.all_tasks() - {asyncio.current_task()}):
                if each is not None:
                    each.cancel()
            for server in self._servers:
                server.close()
            await asyncio.sleep(0)

        self._do(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()
