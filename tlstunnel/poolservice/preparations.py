"""
What handed connections are made with: read from the pool once for all that want the same of it, and
again when its files have changed.

Contexts of OpenSSL take milliseconds and memory, so that there are not many of them; those for
servers are read an identity a turn, as there may be many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pem import unexamined
from tlstunnel.identity.pool import Pool
from tlstunnel.poolservice.description import NAME
from tlstunnel.poolservice.trustwatch import TrustWatch, stampOf
from tlstunnel.poolservice.wanted import Demand, Wanted
from tlstunnel.tls.keycheck import keyChecksOf
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.settings import settingOf

#: How many sets of contexts are kept, each for the same user, role, identities and protocol.
SETS_KEPT = 128

#: How many contexts they have together, unless one set alone has more: some 40 KiB each, beside the
#: anchors, which are shared.
CONTEXTS_KEPT = 1000

#: Remote identities of clients that are kept with each.
REMOTES_KEPT = 1000

#: Who may come, where a client has to prove who it is, and nobody says whom it has to be.
ANYBODY = AccessList((Selector(None, "."), Selector("", ".")))


class _Kept:
    """
    One set.

    @ivar prepared: what connections are made with; for servers it is ready once C{waiting} is
        C{None}.
    @ivar waiting: who waits for that.
    @ivar remotes: the same for each server that a client connects to.
    @ivar contexts: how many contexts that takes.
    """

    def __init__(self, pool: Pool, ours: Iterable[Identity], trusted: int) -> None:
        """
        Look at the files, before they are read.

        @param trusted: which edition of whom we believe it is.
        @raise ConfigurationError: one of our identities is not there.
        """
        self.prepared: Prepared
        self.waiting: list[Deferred[Prepared]] | None = []
        self.remotes: OrderedDict[Identity, Prepared] = OrderedDict()
        self.contexts = 0
        self._own = [file for each in ours for file in pool.filesOf(each)]
        self._stamps = [stampOf(each) for each in self._own]
        self._trusted = trusted

    @property
    def keys(self) -> list[Path]:
        """
        Where our keys are.
        """
        return self._own[1::2]

    def isCurrent(self, trusted: int) -> bool:
        """
        Whether the files are as they were.
        """
        return trusted == self._trusted and [stampOf(each) for each in self._own] == self._stamps


class Preparations:
    """
    Those of one pool.
    """

    def __init__(self, reactor: Any, pool: Pool, limits: Limits) -> None:
        """
        @param limits: what the connections may take.
        """
        self._reactor = reactor
        self._pool = pool
        self._limits = limits
        self._kept: OrderedDict[object, _Kept] = OrderedDict()
        self._contexts = 0
        self._trust = TrustWatch(pool.path, reactor.seconds)

    def forClient(
        self, wanted: Wanted, local: Identity | None, uid: int
    ) -> Prepared | Deferred[Prepared]:
        """
        What a program that runs as C{uid} makes a connection to a server with.

        @param local: who we are.
        @return: as L{forServer}.
        @raise ConfigurationError: something in the pool is missing or wrong.
        """
        remote = wanted.remote
        assert isinstance(remote, Identity)
        # Sessions are resumed within one set alone: no user is to know of those of another.
        key = uid, local, wanted.dialect.name, wanted.alpn, wanted.minimum
        kept = self._find(key)
        if kept is None:
            kept = _Kept(self._pool, () if local is None else (local,), self._trust.edition)
            if any(map(unexamined, kept.keys)):
                examined = keyChecksOf(self._reactor).settle(kept.keys)
                return examined.addCallback(lambda _: self.forClient(wanted, local, uid))
            kept.prepared = Prepared(self._tunnel(Mode.CLIENT, wanted, local, remote))
            kept.waiting = None
            self._kept[key] = kept
            self._weigh(kept, 0)
        found = kept.remotes.get(remote)
        if found is None:
            found = _towards(kept.prepared, remote, uid)
            found.creatorFor(remote)
            kept.remotes[remote] = found
            if len(kept.remotes) > REMOTES_KEPT:
                kept.remotes.popitem(last=False)
            self._weigh(kept, kept.prepared.contexts)
        return found

    def forServer(
        self, wanted: Wanted, ours: tuple[Identity, ...]
    ) -> Prepared | Deferred[Prepared]:
        """
        What a program serves a client with.

        @param ours: who we may be: the one, or whoever of several is asked for by SNI.
        @return: at once where it is there, else when it has been read, which may have happened;
            that fails with L{ConfigurationError}.
        @raise ConfigurationError: something in the pool is missing or wrong.
        """
        protocol = wanted.dialect.name, wanted.alpn, wanted.minimum
        key = ours, wanted.remote, wanted.demand, *protocol
        kept = self._find(key)
        if kept is not None and kept.waiting is None:
            return kept.prepared
        ready: Deferred[Prepared] = Deferred()
        if kept is not None:
            assert kept.waiting is not None
            kept.waiting.append(ready)
            return ready
        kept = _Kept(self._pool, ours, self._trust.edition)
        kept.prepared = Prepared(self._serverTunnel(wanted, ours), read=False)
        kept.waiting = [ready]
        self._kept[key] = kept
        self._weigh(kept, len(ours))
        # Whoever has asked first may go before it is read, and others still wait for it.
        Deferred.fromCoroutine(self._read(key, kept))
        return ready

    async def _read(self, key: object, kept: _Kept) -> None:
        """
        Read certificates, one a turn, and tell who waits for them.
        """
        result: Prepared | Failure = kept.prepared
        try:
            for number, file in enumerate(kept.keys):
                if number:
                    await self._nextTurn()
                if unexamined(file) is not None:
                    await keyChecksOf(self._reactor).settle([file])
            for number, _ in enumerate(kept.prepared.steps()):
                if number:
                    await self._nextTurn()
        except Exception:  # noqa: BLE001 - whatever it is, nobody waits for ever
            result = Failure()
            if self._kept.get(key) is kept:
                self._forget(key)
        waiting, kept.waiting = kept.waiting or (), None
        for each in waiting:
            if not each.called:
                each.callback(result)

    def _nextTurn(self) -> Deferred[None]:
        turn: Deferred[None] = Deferred()
        self._reactor.callLater(0, turn.callback, None)
        return turn

    def _serverTunnel(self, wanted: Wanted, ours: tuple[Identity, ...]) -> Tunnel:
        remote: Identity | Selector | AccessList | None = None
        if wanted.demand is not Demand.IGNORE:
            remote = wanted.remote or ANYBODY
        return replace(
            self._tunnel(Mode.SERVER, wanted, ours[0], remote),
            otherIDs=ours[1:],
            requireSNI=len(ours) > 1,
            requestsOnly=wanted.demand is Demand.REQUEST,
        )

    def _tunnel(
        self,
        mode: Mode,
        wanted: Wanted,
        local: Identity | None,
        remote: Identity | Selector | AccessList | None,
    ) -> Tunnel:
        return Tunnel(
            mode=mode,
            local=(),
            remote=(),
            dialect=wanted.dialect,
            localID=local,
            remoteID=remote,
            pool=self._pool,
            alpn=wanted.alpn,
            minimum=wanted.minimum,
            limits=self._limits,
            name=NAME,
        )

    def _find(self, key: object) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if not kept.isCurrent(self._trust.edition):
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def _weigh(self, kept: _Kept, contexts: int) -> None:
        """
        C{kept}, which was used last, has so many contexts: forget those that were used longest ago,
        where that is too much.
        """
        self._contexts += contexts - kept.contexts
        kept.contexts = contexts
        while len(self._kept) > 1 and (
            len(self._kept) > SETS_KEPT or self._contexts > CONTEXTS_KEPT
        ):
            self._forget(next(iter(self._kept)))

    def _forget(self, key: object) -> None:
        self._contexts -= self._kept.pop(key).contexts


def _towards(prepared: Prepared, remote: Identity, uid: int) -> Prepared:
    """
    The same for a connection to C{remote}: contexts and sessions are common to all.  What a dialect
    has for each server is not begun with here: a program may name as many as it likes.
    """
    found = copy(prepared)
    found.tunnel = replace(prepared.tunnel, remoteID=remote)
    found.expected = remote
    setting = settingOf(found.tunnel, remote, prepared.setting.covers)
    found.setting = replace(setting, user=uid)
    return found
