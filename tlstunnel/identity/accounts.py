"""
The numbers of users and groups, which the system may have to ask a directory for (NSS).

Such a directory can be slow, or away for minutes, and everybody else is not to wait for it.  So it
is asked in a thread, each name once; whoever wants to know waits for a moment, and for a name that
is being waited for already not at all.
"""

from __future__ import annotations

import grp
import pwd
import time
from collections.abc import Callable, Mapping
from threading import Thread

#: Seconds that whoever asks waits, all names together.
PATIENCE_SECONDS = 0.25

#: Seconds that he waits while another name is being asked for: then the directory may be away.
IMPATIENCE_SECONDS = 0.02

#: Seconds for which an answer counts, be it that there is no such name.
KEPT_SECONDS = 60.0

#: Names that are being asked for at the same time, at most.
MOST_ASKED = 8

#: Names of which the answer is known, at most.
MOST_KEPT = 1000


def _user(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    return grp.getgrnam(name).gr_gid


#: How to ask for each kind of account.
SYSTEM: Mapping[str, Callable[[str], int]] = {"user": _user, "group": _group}


class Unanswered(Exception):
    """
    The directory has not said yet which number a name has.
    """


class _Question(Thread):
    """
    Asks for one name.

    @ivar number: what was found; C{None} if there is no such name.
    @ivar until: until when that counts.
    """

    number: int | None = None
    until = 0.0

    def __init__(self, lookUp: Callable[[str], int], account: str) -> None:
        super().__init__(daemon=True)
        self._lookUp = lookUp
        self._account = account

    def run(self) -> None:
        """
        Ask.
        """
        try:
            self.number = self._lookUp(self._account)
        except (KeyError, OSError, ValueError):
            # There is none, or nobody can tell.
            self.number = None
        finally:
            self.until = time.monotonic() + KEPT_SECONDS

    @property
    def isOver(self) -> bool:
        """
        Whether it has to be asked once more: what was answered is old, or nothing will be, as the
        thread is that of a process from which this one was forked.
        """
        return self.until < time.monotonic() if self.until else not self.is_alive()


class Accounts:
    """
    Knows the numbers of users and groups, or finds them out.
    """

    def __init__(self, lookUps: Mapping[str, Callable[[str], int]] = SYSTEM) -> None:
        """
        @param lookUps: how to find the number of a user and of a group, which may take its time.
        """
        self._lookUps = lookUps
        self._questions: dict[tuple[str, str], _Question] = {}

    def numberOf(self, kind: str, name: str, patience: float = PATIENCE_SECONDS) -> int | None:
        """
        Find the number of a user or a group.

        @param kind: C{user} or C{group}.
        @param patience: seconds to wait for it, at most.
        @return: C{None} if there is no such name.
        @raise Unanswered: that is not known yet.
        """
        question = self._questions.get((kind, name))
        if question is None or question.isOver:
            isSlow = any(not each.until and not each.isOver for each in self._questions.values())
            question = self._ask(kind, name)
            question.join(max(0.0, min(patience, IMPATIENCE_SECONDS) if isSlow else patience))
        if not question.until:
            raise Unanswered(name)
        return question.number

    def _ask(self, kind: str, name: str) -> _Question:
        known = {key: each for key, each in self._questions.items() if not each.isOver}
        running = sum(1 for each in known.values() if not each.until)
        if running >= MOST_ASKED:
            raise Unanswered(name)
        if len(known) >= MOST_KEPT:
            known = {key: each for key, each in known.items() if not each.until}
        self._questions = known
        question = known[kind, name] = _Question(self._lookUps[kind], name)
        question.start()
        return question


#: Those of this machine.
ACCOUNTS = Accounts()
