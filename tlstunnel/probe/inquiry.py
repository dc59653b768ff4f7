"""
The probe: from a question to a report.
"""

from __future__ import annotations

from typing import Any

from tlstunnel.address import Address, TCPAddress
from tlstunnel.errors import TLSFailed
from tlstunnel.net.dial import Dialler
from tlstunnel.probe.answers import Looks, elsewise
from tlstunnel.probe.course import Course, Ground, Outcome
from tlstunnel.probe.findings import interpret
from tlstunnel.probe.question import Question
from tlstunnel.probe.reach import Notes, addressesOf, dialler
from tlstunnel.probe.report import Report
from tlstunnel.probe.verdict import conclude
from tlstunnel.tls.creators import Creator
from tlstunnel.tunnel.pair import ATTACKS
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.record import HANDSHAKING, NEGOTIATING

#: Addresses of one name that are tried.
MOST_TRIED = 8

# Errors behind which something else may be there than what was expected.
_UNANSWERED = ("closed", "timeout", "malformed", "oversize", "reset", "foreign-protocol")

# What it means that a server wants no name that it has not.
_OTHER_NAME = "alert unrecognized_name"


class Inquiry:
    """
    One probe.
    """

    def __init__(self, question: Question, reactor: Any) -> None:
        """
        @raise ConfigurationError: nobody can be believed, or something else is missing or wrong.
        """
        self._question = question
        self._prepared = Prepared(question.tunnel)
        self._ground = Ground.of(reactor)
        self._looks = Looks(self._ground, question)
        self._tlsa: Any = None

    async def run(self) -> Report:
        """
        Find out.
        """
        try:
            return await self._run()
        finally:
            self._ground.leave()

    async def _run(self) -> Report:
        question, limits = self._question, self._question.tunnel.limits
        addresses = await addressesOf(self._ground, question.address, limits)
        if not addresses:
            report = Report(question)
            conclude(report)
            return report
        if not question.isThorough:
            return await self._probe(question.address, addresses)
        first, *others = [await self._probe(each, addresses) for each in addresses[:MOST_TRIED]]
        # What is in order says less than what is not, and a server is as good as its worst address.
        reports = sorted([first, *others], key=lambda each: each.exit, reverse=True)
        worst = reports[0]
        worst.others = reports[1:]
        return worst

    async def _probe(self, address: TCPAddress, addresses: list[TCPAddress]) -> Report:
        """
        Look at C{address}, or at the first of what it means that serves.
        """
        notes = Notes(self._ground)
        limits = self._question.tunnel.limits
        reaching = dialler(self._ground, address, limits, notes)
        outcome = _best(await self._try(reaching, notes))
        report = Report(self._question, addresses, notes.problems, outcome)
        if outcome.address is not None:
            report.unreached = {k: v for k, v in notes.problems.items() if k != outcome.address}
        interpret(report, self._prepared)
        await self._lookAgain(report, outcome)
        if self._question.isThorough and outcome.address is not None:
            report.versions = await self._looks.versionsAt(outcome.address)
        conclude(report)
        return report

    async def _try(self, reaching: Dialler, notes: Notes) -> list[Outcome]:
        """
        Go to one address after the other, until one serves.
        """
        search = reaching.search()
        outcomes: list[Outcome] = []
        while len(outcomes) < MOST_TRIED:
            # What looks on has a context of its own each time.
            self._prepared = Prepared(self._question.tunnel)
            outcome = await Course(self._ground, self._prepared, search, self._creatorFor).run()
            outcomes.append(outcome)
            error = outcome.error
            if error is None or isinstance(error, ATTACKS):
                break
            if outcome.address is not None:
                notes.problems[outcome.address] = error
            if not search.failed(error):
                break
        search.end()
        return outcomes

    async def _creatorFor(self, server: Address) -> Creator:
        """
        What makes TLS to a server that was connected to.
        """
        tunnel, expected = self._question.tunnel, self._prepared.expected
        assert expected is not None
        if tunnel.daneResolver is None:
            return self._prepared.creatorFor(expected)
        if self._tlsa is None:
            from tlstunnel.net.dnssec import ValidatingResolver
            from tlstunnel.tunnel.dane import TLSALookup

            resolver = ValidatingResolver(self._ground.reactor, tunnel.daneResolver)
            self._tlsa = TLSALookup(resolver, self._ground.reactor)
        creator: Creator = await self._tlsa.creatorFor(self._prepared, expected, server)
        return creator

    async def _lookAgain(self, report: Report, outcome: Outcome) -> None:
        """
        Find out what is there instead of what was expected, where that is in question.
        """
        error, address = outcome.error, outcome.address
        if error is None or address is None or isinstance(error, ATTACKS):
            return
        dialect = outcome.record.dialect
        if isinstance(error, TLSFailed) and not outcome.sight.chain:
            report.second = await self._looks.atTLS(address, dialect)
            if error.cause == _OTHER_NAME:
                report.unnamed = await self._looks.atTLS(address, dialect, named=False)
            elif not (report.second.sight.version or error.cause.startswith("alert ")):
                report.answer = await elsewise(self._looks, outcome)
        elif error.reason in _UNANSWERED and outcome.stage in (NEGOTIATING, HANDSHAKING):
            report.answer = await elsewise(self._looks, outcome)


def _best(outcomes: list[Outcome]) -> Outcome:
    """
    The one that has come farthest.
    """

    def distance(outcome: Outcome) -> tuple[bool, bool, bool]:
        return (outcome.error is None, bool(outcome.sight.version), outcome.address is not None)

    return max(outcomes, key=distance)
