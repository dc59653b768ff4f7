"""
The lines that the log has of following a directory: what becomes of the pool, or why nothing does.

Nothing is said twice while it stays as it is, and of thousands of changes a few are named.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.logger import Logger, LogLevel

from tlstunnel.errors import ConfigurationError
from tlstunnel.provisioning.errors import ResultRefused, Withheld
from tlstunnel.provisioning.files import Outcome
from tlstunnel.provisioning.sync import REFRESH_REQUIRED
from tlstunnel.provisioning.upkeep import Report

#: Sentences about one change that are logged at most; and a failure is told again after so many.
MOST_NOTES, REPEATS = 20, 20

#: The result by which a server refuses what it could do (RFC 4511, appendix A.2).
UNWILLING = 53

_SIZE_LIMIT, _METHOD_UNKNOWN, _CONTROL_UNKNOWN, _NO_SUCH_OBJECT = 4, 7, 12, 32

_ADVICE = {
    _SIZE_LIMIT: "nothing is applied: it has a limit for us, which has to go, in slapd as "
    "'limits dn.base=\"WHO WE ARE\" size=unlimited'",
    _METHOD_UNKNOWN: "it has asked for no certificate, or cannot verify ours; in slapd see "
    "TLSVerifyClient and TLSCACertificateFile",
    _CONTROL_UNKNOWN: "it has no content synchronization, in slapd 'overlay syncprov', there",
    _NO_SUCH_OBJECT: "nothing changes: the base is not there, or we may not read it",
    UNWILLING: "it may have been restored from an old copy",
    REFRESH_REQUIRED: "it does not know any more where we were",
}


class PullLog:
    """
    Those of one directory.

    @ivar failure: why the pool is not as the directory has it now; empty if that is not known, or
        it is.
    """

    _log = Logger()

    def __init__(self, url: str) -> None:
        """
        @param url: that of the directory.
        """
        self.failure = ""
        self._url = url
        self._failures = 0
        self._said: set[str] = set()
        self._trouble = ""

    def begun(self, entries: int) -> None:
        """
        The pool is as the directory has it.

        @param entries: how many that has.
        """
        self.failure, self._failures = "", 0
        self._log.info(
            "{place}: up to date with {count} entries",
            event="provisioned",
            place=self._url,
            change="refreshed",
            count=entries,
        )

    def failed(self, error: Exception, consequence: str = "") -> None:
        """
        Following it has not come to the end, or has come to one.

        @param consequence: what is done about it besides trying again.
        """
        level, text = LogLevel.warn, str(error)
        if isinstance(error, ResultRefused):
            advice = _ADVICE.get(error.code, "")
            text = f"{text}; {advice}" if advice else text
            level = LogLevel.error
        elif isinstance(error, Withheld):
            level = LogLevel.error
        if consequence:
            text = f"{text}; {consequence}"
        isNews = text != self.failure
        self._failures = 0 if isNews else self._failures + 1
        self.failure = text
        if self._failures % REPEATS == 0:
            notice = f"{self._url}: {text}; the pool stays as it is, and it is tried again"
            self._log.emit(level, "{notice}", event="notice", notice=notice)

    def troubled(self, error: ConfigurationError) -> None:
        """
        The pool could not be looked at.
        """
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._tell([self._trouble], LogLevel.error)

    def untroubled(self) -> None:
        """
        It was looked at again.
        """
        self._trouble = ""

    def report(self, report: Report) -> None:
        """
        Something was done in the pool, or could not be.
        """
        self._say(report.outcome)
        problems = [str(each) for each in report.outcome.problems]
        self._tell(report.notes, LogLevel.warn)
        self._tell(problems, LogLevel.error)
        if report.isArranged:
            self._said = {*report.notes, *problems}

    def _say(self, outcome: Outcome) -> None:
        told = {"event": "provisioned"}
        for change, paths in (
            ("written", outcome.written),
            ("removed", outcome.removed),
            ("withdrawn", outcome.withdrawn),
        ):
            for path in paths[:MOST_NOTES]:
                self._log.info("{path}: {change}", path=path, change=change, **told)
            if len(paths) > MOST_NOTES:
                count = len(paths) - MOST_NOTES
                self._log.info("and {count} more {change}", count=count, change=change, **told)

    def _tell(self, sentences: Iterable[str], level: Any) -> None:
        """
        Say what was not said before.
        """
        news = [each for each in dict.fromkeys(sentences) if each not in self._said]
        for each in news[:MOST_NOTES]:
            self._log.emit(level, "{notice}", event="notice", notice=each)
        if len(news) > MOST_NOTES:
            more = f"and {len(news) - MOST_NOTES} more of that kind"
            self._log.emit(level, "{notice}", event="notice", notice=more)
