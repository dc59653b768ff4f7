"""
Keys by which programs name their connections in the TLS Pool's protocol V2, and whose those are.

A connection is attached to the control connection that it was handed over on, and ends with that,
unless the program has said otherwise (FORK), or it is detached.  A key is no secret, as the library
makes it up from the time: it means something for its own user alone, and others cannot even learn
that it is there.
"""

from __future__ import annotations

from collections.abc import Hashable

from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.v2errors import Code, V2Error
from tlstunnel.poolservice.v2frames import NO_CTLKEY


class Controlled:
    """
    One connection.

    @ivar uid: whose it is.
    @ivar ctlkey: its key.
    @ivar owner: the control connection that it is attached to, if it is.
    @ivar outlives: whether it goes on when that is closed.
    @ivar handOver: it, once its program has been answered.
    """

    def __init__(self, uid: int, ctlkey: bytes, owner: Hashable, outlives: bool) -> None:
        self.uid = uid
        self.ctlkey = ctlkey
        self.owner: Hashable | None = owner
        self.outlives = outlives
        self.handOver: HandOver | None = None


class ControlKeys:
    """
    All keys of a service.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], Controlled] = {}
        self._owned: dict[Hashable, set[Controlled]] = {}

    def __len__(self) -> int:
        """
        How many connections have one.
        """
        return len(self._known)

    def add(self, uid: int, ctlkey: bytes, owner: Hashable, outlives: bool) -> Controlled:
        """
        Take note of a connection that begins.

        @raise V2Error: if its key is that of another.
        """
        added = Controlled(uid, ctlkey, owner, outlives)
        if ctlkey != NO_CTLKEY:
            if (uid, ctlkey) in self._known:
                raise V2Error(Code.CTLKEY_TAKEN, "another connection has that ctlkey")
            self._known[uid, ctlkey] = added
        self._attach(added, owner)
        return added

    def remove(self, controlled: Controlled) -> None:
        """
        Forget one, as it is over.
        """
        self.letGo(controlled)
        if self._known.get((controlled.uid, controlled.ctlkey)) is controlled:
            del self._known[controlled.uid, controlled.ctlkey]

    def find(self, uid: int, ctlkey: bytes) -> HandOver:
        """
        The connection that a program of that user means.

        @raise V2Error: if there is none.
        """
        found = self._find(uid, ctlkey).handOver
        assert found is not None
        return found

    def detach(self, uid: int, ctlkey: bytes, owner: Hashable) -> None:
        """
        Let it go on, whatever becomes of the control connection C{owner}.

        @raise V2Error: if it is not attached to that.
        """
        found = self._find(uid, ctlkey)
        if found.owner is None:
            raise V2Error(Code.DETACHED_ALREADY, "the connection is detached already")
        if found.owner is not owner:
            raise V2Error(Code.NOT_YOURS, "the connection is attached to another control socket")
        self.letGo(found)

    def reattach(self, uid: int, ctlkey: bytes, owner: Hashable) -> None:
        """
        Let it end with the control connection C{owner}, unless it goes on by itself.

        @raise V2Error: if it is attached.
        """
        found = self._find(uid, ctlkey)
        if found.owner is not None:
            raise V2Error(Code.ATTACHED_ALREADY, "the connection is attached already")
        self._attach(found, owner)

    def letGo(self, controlled: Controlled) -> None:
        """
        Detach it, if it is not.
        """
        owner, controlled.owner = controlled.owner, None
        if owner is None:
            return
        owned = self._owned[owner]
        owned.discard(controlled)
        if not owned:
            del self._owned[owner]

    def closed(self, owner: Hashable) -> list[Controlled]:
        """
        Detach all of a control connection that is closed.

        @return: those that are to end.
        """
        owned = list(self._owned.get(owner, ()))
        for each in owned:
            self.letGo(each)
        return [each for each in owned if not each.outlives]

    def _find(self, uid: int, ctlkey: bytes) -> Controlled:
        found = self._known.get((uid, ctlkey))
        if found is None or found.handOver is None:
            raise V2Error(Code.CTLKEY_UNKNOWN, "there is no connection of yours with that ctlkey")
        return found

    def _attach(self, controlled: Controlled, owner: Hashable) -> None:
        controlled.owner = owner
        self._owned.setdefault(owner, set()).add(controlled)
