"""
The lines that the log has of programs that did not get what they wanted, before a connection of
theirs could fail: those that fail later have a line of their own, as all connections have.

It is the administrator who can do something about most of them.
"""

from __future__ import annotations

from tlstunnel.errors import TunnelError
from tlstunnel.identity.caller import Caller
from tlstunnel.local.refusals import TooMany
from tlstunnel.poolservice.messages import prose
from tlstunnel.poolservice.refusals import BadPool, Gone, Leaving, NotConnected
from tlstunnel.tunnel.refusals import RefusalLines

# What happens to programs that do nothing wrong: the other end may leave at any time.
_COMMON = {Gone.reason, Leaving.reason, NotConnected.reason}


class ProgramRefusals(RefusalLines):
    """
    Those of one service: a user and a reason have a line a minute.
    """

    first = "a request of {name} is refused: {detail}"
    more = "refused to {name} since then: {count}; {detail}"
    others = "other users"
    urgent = frozenset((BadPool.reason, TooMany.reason))

    def add(self, caller: Caller | None, error: TunnelError) -> None:
        """
        A program was refused something.

        @param caller: which; C{None} if the system does not say it.
        """
        if error.reason in _COMMON:
            return
        detail = prose(str(error))
        if caller is None:
            self.note((None, "an unknown user"), error.reason, detail, "unix:", "")
        else:
            user = caller.uid, f"user {caller.uid}"
            process = f"process {caller.pid}"
            self.note(user, error.reason, detail, f"unix:uid={caller.uid}", process)
