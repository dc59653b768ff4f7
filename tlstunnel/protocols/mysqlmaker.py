"""
Makes RSA keys in a thread, one after the other: each takes a tenth of a second and more, which is
too long for a turn of the reactor, and many at once would take the processor from all others.

Keys that somebody waits for come first, one for each user in turn, so that who wants a thousand
makes nobody else wait for them.  The others are made when nobody waits.  What nobody wants any more
when its turn has come is not made.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition, Thread
from typing import NamedTuple, TypeAlias
from weakref import ref

from cryptography.hazmat.primitives.asymmetric import rsa

#: What makes a key.
Make: TypeAlias = Callable[[], rsa.RSAPrivateKey]

#: A key, once it is made.
Made: TypeAlias = "Future[rsa.RSAPrivateKey]"


class _Order(NamedTuple):
    """
    A key that is to be made, as long as somebody keeps its future.
    """

    made: ref[Made]
    make: Make


class _Orders:
    """
    Those of one process.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._awaited: OrderedDict[int | None, deque[_Order]] = OrderedDict()
        self._ahead: deque[_Order] = deque()

    def putAhead(self, order: _Order) -> None:
        """
        Nobody waits for it yet.
        """
        with self._changed:
            self._ahead.append(order)
            self._changed.notify()

    def putAwaited(self, order: _Order, user: int | None) -> None:
        """
        C{user} waits for it.
        """
        with self._changed:
            self._awaited.setdefault(user, deque()).append(order)
            self._changed.notify()

    def take(self) -> _Order:
        """
        Wait for the next one.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._awaited or self._ahead)
            if not self._awaited:
                return self._ahead.popleft()
            user, orders = self._awaited.popitem(last=False)
            order = orders.popleft()
            if orders:
                # Behind all other users.
                self._awaited[user] = orders
            return order


class Maker:
    """
    The thread of this process that makes keys, from when the first is wanted.
    """

    def __init__(self) -> None:
        self._orders = _Orders()
        self._process = 0
        self._isRunning = False

    def begin(self, make: Make) -> Made:
        """
        Have C{make} called when nobody waits for anything else.

        @return: its result; who lets go of that does not want it any more.
        """
        made: Made = Future()
        self._open().putAhead(_Order(ref(made), make))
        return made

    def hurry(self, made: Made, make: Make, user: int | None) -> None:
        """
        C{user} waits for what L{begin} has returned.

        @param make: as given to that.
        """
        self._open().putAwaited(_Order(ref(made), make), user)

    def _open(self) -> _Orders:
        # A process that was forked has no thread of its parent, and perhaps a lock that it held.
        if self._process != os.getpid():
            self._process = os.getpid()
            self._orders = _Orders()
            self._isRunning = False
        if not self._isRunning:
            thread = Thread(target=self._work, args=(self._orders,), daemon=True)
            # Where the system has no room for a thread, what is wanted waits until it has.
            with suppress(RuntimeError):
                thread.start()
                self._isRunning = True
        return self._orders

    @staticmethod
    def _work(orders: _Orders) -> None:
        while True:
            _makeNext(orders)


def _makeNext(orders: _Orders) -> None:
    """
    Wait for an order, and do it; nothing of it is kept.
    """
    order = orders.take()
    made = order.made()
    if made is None or made.done():
        return
    try:
        made.set_result(order.make())
    except Exception as error:  # noqa: BLE001 - whoever needs the key is told
        made.set_exception(error)
