"""
What the directory has of a pool, kept up by what it tells (RFC 4533, section 3).

A refresh is collected, and counts as a whole once it is over; what is told after it counts at once.
Nothing here knows files or connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tlstunnel.errors import Malformed, Oversize
from tlstunnel.provisioning.cookies import merged
from tlstunnel.provisioning.errors import Withheld
from tlstunnel.provisioning.messages import Entry
from tlstunnel.provisioning.sync import EntryState, Info, State

#: Entries, and bytes of them, at most.
MAX_ENTRIES, MAX_BYTES = 20000, 64 << 20

#: So many entries may go at once in any case; of more, half of all.
FEW = 3


class Content:
    """
    The entries.

    @ivar entries: by their entryUUID.
    @ivar cookie: where the server is with them; empty before the first refresh has ended.
    @ivar isFresh: whether the refresh of this search is over.
    @ivar mayRemove: whether the next refresh may remove as much as it likes.
    """

    def __init__(
        self, entries: Mapping[bytes, Entry], cookie: bytes, mayRemove: bool = False
    ) -> None:
        self.entries = dict(entries)
        self.cookie = cookie
        self.mayRemove = mayRemove
        self.isFresh = False
        self._bytes = 0
        self._coming: dict[bytes, Entry] = {}
        self._named: set[bytes] = set()
        self._isWhole = False
        self._comingCookie = b""
        self.begin()

    def begin(self) -> None:
        """
        A search begins, which was given our cookie.
        """
        self.isFresh = False
        self._coming = dict(self.entries)
        self._named = set()
        self._bytes = sum(each.weight for each in self.entries.values())
        # Who is asked without a cookie tells all there is.
        self._isWhole = not self.cookie
        self._comingCookie = b""

    def forgetCookie(self) -> None:
        """
        Ask for everything the next time.
        """
        self.cookie = b""

    def changed(self, state: EntryState, entry: Entry | None) -> None:
        """
        Something became of an entry.

        @param entry: as it is now, where it was added or modified.
        @raise Malformed: if it does not come with what it needs.
        @raise Oversize: if there are too many.
        @raise Withheld: if that would remove more than it may.
        """
        if state.state in (State.ADD, State.MODIFY):
            if entry is None:
                raise Malformed("an entry that was changed, and is not told")
            self._put(state.uuid, entry)
        elif state.state is State.PRESENT:
            self._name((state.uuid,))
        else:
            self._drop((state.uuid,))
        self._keep(state.cookie)

    def told(self, info: Info) -> None:
        """
        Something was said between entries.

        @raise Withheld: if that would remove more than it may.
        """
        self._name(info.present)
        self._drop(info.gone)
        if not self.isFresh and info.endsPresent:
            self._isWhole = True
        self._keep(info.cookie)
        if not self.isFresh and info.endsRefresh:
            self._finish()

    def _name(self, uuids: Iterable[bytes]) -> None:
        """
        Some are there: of interest to a refresh alone.
        """
        if self.isFresh:
            return
        self._named.update(uuids)
        if len(self._named) > MAX_ENTRIES:
            raise Oversize(f"more than {MAX_ENTRIES} entries")

    def _put(self, uuid: bytes, entry: Entry) -> None:
        entries = self.entries if self.isFresh else self._coming
        before = entries.get(uuid)
        self._bytes += entry.weight - (0 if before is None else before.weight)
        self._name((uuid,))
        if self._bytes > MAX_BYTES or len(entries) + (before is None) > MAX_ENTRIES:
            raise Oversize(f"more than {MAX_ENTRIES} entries, or {MAX_BYTES} bytes of them")
        entries[uuid] = entry

    def _drop(self, gone: Iterable[bytes]) -> None:
        if self.isFresh:
            self._guard([each for each in gone if each in self.entries])
        entries = self.entries if self.isFresh else self._coming
        for each in gone:
            before = entries.pop(each, None)
            self._bytes -= 0 if before is None else before.weight
            self._named.discard(each)

    def _guard(self, gone: Iterable[bytes]) -> None:
        """
        @raise Withheld: if so many may not go.
        """
        count, total = len(list(gone)), len(self.entries)
        if count > FEW and 2 * count > total and not self.mayRemove:
            raise Withheld(
                f"{count} of {total} entries would be removed, so nothing is: if that is meant, "
                "start once with --allow-removal, else see whether we may still read them"
            )

    def _keep(self, cookie: bytes) -> None:
        if not cookie:
            return
        if self.isFresh:
            self.cookie = merged(self.cookie, cookie)
        else:
            self._comingCookie = cookie

    def _finish(self) -> None:
        """
        The refresh is over.
        """
        if self._isWhole:
            self._coming = {
                uuid: entry for uuid, entry in self._coming.items() if uuid in self._named
            }
        self._guard(self.entries.keys() - self._coming.keys())
        self.mayRemove = False
        self.entries, self._coming = self._coming, {}
        self._named = set()
        # Where none has come, nothing was changed.
        self.cookie = self._comingCookie or self.cookie
        self._bytes = sum(each.weight for each in self.entries.values())
        self.isFresh = True
