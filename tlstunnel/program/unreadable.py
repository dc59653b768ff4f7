"""
What keeps other processes of the same user from the keys in our memory.

Linux lets a process be read, and dumped, by every other one of its user, unless it says that it is
not to be (prctl(2), PR_SET_DUMPABLE).  Then only root may, who needs no such leave.  What we do
with ourselves stays as it was, also in /proc/self.  Elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def beUnreadable() -> None:
    """
    Let nobody but root read our memory, follow us step by step, or get a core dump of us; unless
    Python runs in its development mode, as then somebody wants to look.

    A process that is executed begins anew, and the system decides anew where the user changes: this
    has to be called again after both.
    """
    if sys.platform == "linux" and not sys.flags.dev_mode:
        # It cannot fail; and where it did, as under some emulations, all would be as before.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0))
