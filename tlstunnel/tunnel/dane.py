"""
DANE: servers that are believed by the TLSA records of the name that they are expected to have.

The name is the configured one, and never one that was learnt from DNS: records only say which
certificate it has.  They stand at C{_PORT._tcp.NAME} (RFC 6698, section 3), with the port that was
connected to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from tlstunnel.address import Address, Remote, TCPAddress
from tlstunnel.errors import ConnectFailed, IdentityRefused
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.tlsa import TLSA, TLSARecords, counting
from tlstunnel.net.dnsmessages import Answer, LookupFailed
from tlstunnel.net.dnssec import ValidatingResolver
from tlstunnel.tls.creators import Creator
from tlstunnel.tls.keycheck import whenExamined
from tlstunnel.tunnel.prepared import Prepared

#: The type of the records (RFC 6698, section 7.1).
TLSA_TYPE = 52

#: Names of which it is remembered what they have.
NAMES_KEPT = 1000


@dataclass(frozen=True)
class _Finding:
    """
    What DNS says of one name.

    @ivar records: those that count; C{None} for none.
    @ivar problem: why there are none, or why that is not known.
    @ivar cause: see L{tlstunnel.errors.TunnelError.cause}.
    @ivar isKnown: whether that is what there is; else it could not be found out.
    """

    records: TLSARecords | None
    problem: str = ""
    cause: str = ""
    isKnown: bool = True


class TLSALookup:
    """
    Looks up the records of servers: once at a time for each name, and not while it is known.

    @ivar address: that of the resolver.
    """

    def __init__(self, resolver: ValidatingResolver, clock: IReactorTime) -> None:
        self.address = resolver.address
        self._resolver = resolver
        self._clock = clock
        # Since when, and until when, each counts.
        self._kept: dict[str, tuple[float, float, _Finding]] = {}
        self._waiting: dict[str, list[Deferred[_Finding]]] = {}

    def begin(self, expected: Identity | Selector, servers: Iterable[Remote]) -> None:
        """
        Look up what will be needed, while a server is being connected to.
        """
        if isinstance(expected, Identity) and expected.isHost:
            for each in servers:
                if isinstance(each, TCPAddress):
                    name = _nameOf(expected, each.port)
                    if self._known(name) is None and name not in self._waiting:
                        self._start(name)

    async def creatorFor(
        self, prepared: Prepared, expected: Identity | Selector, server: Address
    ) -> Creator:
        """
        What makes TLS to a server that must be C{expected}.

        @param server: was connected to.
        @raise ConnectFailed: it is not known which records there are.
        @raise IdentityRefused: there are none, and nobody else is believed.
        """
        assert isinstance(expected, Identity)
        if not expected.isHost or not isinstance(server, TCPAddress):
            raise IdentityRefused(f"{expected} at {server} can have no TLSA records")
        finding = await self._find(_nameOf(expected, server.port))
        if not finding.isKnown:
            raise ConnectFailed(finding.problem, cause=finding.cause)
        if finding.records is not None:
            records = finding.records
            return await whenExamined(
                self._clock, lambda: prepared.creatorByTLSA(expected, records)
            )
        if not prepared.believesOthers:
            raise IdentityRefused(finding.problem, cause=finding.cause)
        return await whenExamined(self._clock, lambda: prepared.creatorFor(expected))

    def _known(self, name: str) -> _Finding | None:
        """
        What was found, while it counts.
        """
        since, until, finding = self._kept.get(name, (0.0, 0.0, None))
        return finding if since <= self._clock.seconds() < until else None

    async def _find(self, name: str) -> _Finding:
        known = self._known(name)
        if known is not None:
            return known
        isFirst = name not in self._waiting
        mine: Deferred[_Finding] = Deferred()
        self._waiting.setdefault(name, []).append(mine)
        if isFirst:
            self._start(name)
        return await mine

    def _start(self, name: str) -> None:
        self._waiting.setdefault(name, [])
        looking = Deferred.fromCoroutine(self._lookUp(name))
        looking.addErrback(
            lambda failure: _Finding(None, f"looking up {name}: {failure.value!r}", isKnown=False)
        )
        looking.addCallback(self._tell, name)

    def _tell(self, finding: _Finding, name: str) -> None:
        """
        Tell those who still wait.
        """
        for each in self._waiting.pop(name):
            if not each.called:
                each.callback(finding)

    async def _lookUp(self, name: str) -> _Finding:
        try:
            answer = await self._resolver.ask(name, TLSA_TYPE)
            finding = _read(name, answer)
        except LookupFailed as failed:
            problem = f"the TLSA records of the server could not be looked up: {failed}"
            return _Finding(None, problem, failed.cause, isKnown=False)
        if len(self._kept) >= NAMES_KEPT:
            self._kept.clear()
        now = self._clock.seconds()
        self._kept[name] = now, now + answer.seconds, finding
        return finding


def _nameOf(expected: Identity, port: int) -> str:
    return f"_{port}._tcp.{expected.domain}"


def _read(name: str, answer: Answer) -> _Finding:
    """
    What the answer comes to.

    @raise LookupFailed: a record cannot be read.
    """
    if not answer.isSecure:
        return _Finding(
            None, f"the answer about the TLSA records {name} is not validated", "insecure"
        )
    if not answer.records:
        return _Finding(None, f"there are no TLSA records {name}", "no records")
    try:
        records = [TLSA.parse(each) for each in answer.records]
    except ValueError as error:
        raise LookupFailed(f"{name}: {error}") from None
    usable = counting(records)
    if usable:
        return _Finding(TLSARecords(name, usable))
    kinds = ", ".join(dict.fromkeys(map(str, records)))
    return _Finding(None, f"none of the TLSA records {name} is usable ({kinds})", "unusable")
