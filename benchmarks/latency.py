"""
Round trips, the only thing of the load that is timed.
"""

from __future__ import annotations

import contextlib
import select
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import wire
from benchmarks.load import PATIENCE_SECONDS, Broken, Client, ping


def latencies(client: Client, count: int) -> list[float]:
    """@return: seconds of C{count} round trips on one connection, one after the other."""
    times = []
    with client.connect() as connection:
        for _ in range(count):
            start = time.perf_counter()
            ping(connection)
            times.append(time.perf_counter() - start)
    return times


def pacedLatencies(client: Client, connections: int, count: int, rate: float) -> list[float]:
    """
    Round trips on many connections in turn, started at a steady rate whether or not the earlier
    ones are answered.

    @param rate: requests a second in all.
    @return: seconds of each.
    """
    times: list[float] = []
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(16) as pool:
        opened = list(pool.map(lambda _: client.connect(), range(connections)))
        for connection in opened:
            stack.enter_context(connection)
        byDescriptor = {connection.fileno(): connection for connection in opened}
        started: dict[int, list[float]] = {descriptor: [] for descriptor in byDescriptor}
        arrived = dict.fromkeys(byDescriptor, 0)
        poll = select.epoll()
        for connection in opened:
            connection.setblocking(False)
            poll.register(connection, select.EPOLLIN)
        begin = time.perf_counter()
        sent = 0
        while len(times) < count:
            now = time.perf_counter()
            while sent < count and begin + sent / rate <= now:
                connection = opened[sent % connections]
                started[connection.fileno()].append(time.perf_counter())
                connection.sendall(wire.message(wire.PING))
                sent += 1
            wait = max(begin + sent / rate - now, 0) if sent < count else 1.0
            for descriptor, _ in poll.poll(wait):
                with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
                    while data := byDescriptor[descriptor].recv(4096):
                        arrived[descriptor] += len(data)
                done, arrived[descriptor] = divmod(arrived[descriptor], wire.MESSAGE.size)
                for _ in range(done):
                    times.append(time.perf_counter() - started[descriptor].pop(0))
            if now - begin > PATIENCE_SECONDS:
                raise Broken("answers stay away")
        poll.close()
    return times
