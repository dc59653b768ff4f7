"""
What is wrong with a configuration beyond its words: with the identities, the anchors, the users and
the groups that it names.

All is read as it will be when the tunnels start; nothing is listened at, connected to, or looked
up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError, IdentityRefused
from tlstunnel.identity.access import AccessList, readList
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.expiry import warningsOf
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import certifiedAs
from tlstunnel.identity.psk import loadPSK
from tlstunnel.identity.trust import loadAnchors
from tlstunnel.identity.verify import coversName, verifyIdentity
from tlstunnel.identity.withdrawal import WithdrawnIdentity, withdrawnWarnings
from tlstunnel.net.via import readLogin
from tlstunnel.program.configuration import Configuration
from tlstunnel.program.exposure import ofPool
from tlstunnel.program.mistakes import mistakes
from tlstunnel.program.nametables import tableOfName
from tlstunnel.program.poolcheck import checkPoolPull, checkPoolService
from tlstunnel.program.problems import Problem
from tlstunnel.program.reflections import reflected
from tlstunnel.program.risks import ofAddresses, ofDialect, ofKeyLog
from tlstunnel.program.splicing import farPorts, listeningPorts, splicedIn
from tlstunnel.program.tunneltables import tableName
from tlstunnel.tls.checkup import problemsOf
from tlstunnel.tls.notes import Notes
from tlstunnel.tunnel.bridge import OF_ACCEPTED, OF_CONNECTED, errorOf
from tlstunnel.tunnel.description import DANE, PINS, PSK, Mode, Tunnel, checkRisk
from tlstunnel.tunnel.disclosures import preparedWords
from tlstunnel.tunnel.expected import identityOfRemote
from tlstunnel.tunnel.notices import noticesOf
from tlstunnel.tunnel.owncredentials import OwnCredentials
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.programs import launches
from tlstunnel.tunnel.servedname import ServedName

# What a warning about a setting begins with.
_MENTION = re.compile("`([a-z0-9-]+)`")


def check(configuration: Configuration, now: datetime) -> list[Problem]:
    """
    Find everything that is wrong with what C{configuration} describes, and what is worth a warning.
    """
    # The ports of the file may well be served now; of these it is known who has which certificate.
    elsewhere = listeningPorts().difference(*map(farPorts, configuration.tunnels))
    # What many tunnels have from C{defaults} is wrong once.
    return configuration.inOrder(
        chain(
            checkPoolService(configuration, now),
            checkPoolPull(configuration),
            *(
                _TunnelCheck(configuration, tunnel, now, elsewhere).all()
                for tunnel in configuration.tunnels
            ),
        )
    )


class _TunnelCheck:
    """
    The check of one tunnel.
    """

    def __init__(
        self,
        configuration: Configuration,
        tunnel: Tunnel,
        now: datetime,
        elsewhere: Set[int],
        keys: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """
        @param elsewhere: the ports at which others listen.
        @param keys: what settings are called, if C{tunnel} is one side of a bridge.
        """
        self._configuration = configuration
        self._tunnel = tunnel
        # What keys are called here.
        self._keys = keys if tunnel.onward is None else OF_ACCEPTED
        self._now = now
        self._elsewhere = elsewhere
        self._own = OwnCredentials(tunnel)

    def all(self) -> Iterator[Problem]:
        """
        Everything that is wrong, and then what is only worth a warning.
        """
        errors = list(self._errors())
        onward = self._tunnel.onward
        if onward is not None:
            connected = _TunnelCheck(
                self._configuration, onward, self._now, self._elsewhere, OF_CONNECTED
            )
            errors += connected._errors()
        # What both sides have is wrong once.
        errors = list(dict.fromkeys(errors))
        yield from errors
        if not errors:
            yield from self._wholeAndWarnings()

    def _problem(
        self,
        error: ConfigurationError,
        key: str = "",
        index: int | None = None,
        name: str = "",
    ) -> Problem:
        """
        @param name: the name whose table has the key.
        """
        tunnel = self._tunnel.name
        table = tableOfName(tunnel, name) if name else tableName(tunnel)
        return self._configuration.problemOf(table, error, key, index)

    def _warning(self, sentence: str, key: str = "", name: str = "") -> Problem:
        """
        @param sentence: what is wrong, and perhaps behind a semicolon what to do.
        """
        error = ConfigurationError.of("", ValueError(sentence))
        return replace(self._problem(error, key, name=name), isWarning=True)

    def _errors(self) -> Iterator[Problem]:
        """
        What is wrong with one thing alone.
        """
        tunnel = self._tunnel
        yield from self._failure(partial(checkRisk, tunnel))
        for key in ("owner", "group"):
            yield from self._failure(replace(tunnel.access, **{key: None}).numbers)
        if tunnel.via is not None and tunnel.viaAuthFile is not None:
            look = partial(readLogin, tunnel.viaAuthFile, tunnel.via)
            yield from self._failure(look, "via-auth-file")
        yield from self._failure(partial(launches, tunnel), "remote")
        yield from self._failure(partial(preparedWords, tunnel), "reveal")
        yield from self._unwritable()
        for number, identity in enumerate(tunnel.localIDs):
            yield from self._failure(partial(self._checkOurs, identity), "local-id", number)
        for number, where in enumerate(tunnel.trust):
            if where not in (DANE, PINS, PSK):
                yield from self._failure(partial(loadAnchors, where), "trust", number)
        for key, files in (
            ("remote-id-file", tunnel.remoteIDFiles),
            ("deny-id-file", tunnel.denyIDFiles),
        ):
            for number, file in enumerate(files):
                yield from self._failure(partial(readList, Path(file)), key, number)
        if not tunnel.trust:
            for number, remote in enumerate(self._expected()):
                yield from self._failure(partial(tunnel.pool.trustFor, remote), self._whom, number)
        for each in tunnel.names:
            yield from self._failure(partial(self._checkName, each), name=each.name)
            for number, remote in enumerate(_several(each.remoteID) if not tunnel.trust else ()):
                believe = partial(tunnel.pool.trustFor, remote)
                yield from self._failure(believe, "remote-id", number, each.name)

    def _unwritable(self) -> Iterator[Problem]:
        """
        What is wrong with the files that are written to.
        """
        for key, path in (("trace", self._tunnel.trace), ("key-log", self._tunnel.keyLog)):
            if path is not None:
                yield from self._failure(Notes(path, key).check, key)

    def _failure(
        self,
        look: Callable[[], object],
        key: str = "",
        index: int | None = None,
        name: str = "",
    ) -> Iterator[Problem]:
        """
        What C{look} finds to be wrong.
        """
        try:
            look()
        except WithdrawnIdentity:
            # It is not used, and the rest is served.
            return
        except ConfigurationError as error:
            yield self._problem(errorOf(error, self._keys), self._keys.get(key, key), index, name)

    @property
    def _whom(self) -> str:
        """
        The key that says who is at the other end.
        """
        if self._tunnel.remoteID is not None:
            return "remote-id"
        return "remote-id-file" if self._tunnel.remoteIDFiles else "remote"

    def _expected(self) -> Sequence[Identity | Selector]:
        """
        Who may be at the other end, where that is known.
        """
        tunnel = self._tunnel
        expected = tunnel.remoteID
        if expected is None and tunnel.mode is Mode.CLIENT and not tunnel.dialect.learnsPeer:
            expected = identityOfRemote(tunnel.remote)
        return _several(expected)

    def _checkOurs(self, identity: Identity) -> None:
        """
        @raise ConfigurationError: nobody would take us for C{identity}.
        """
        if self._tunnel.sharesKeys:
            if self._tunnel.mode is Mode.CLIENT:
                loadPSK(self._tunnel.pool, identity)
            return
        credentials = self._own.of(identity)
        self._checkTime(credentials)
        leaf = credentials.certificates[0]
        named = certifiedAs(identity)
        if named is None or coversName(leaf, identity.domain):
            named = identity
        try:
            verifyIdentity(leaf, named, self._tunnel.dialect.srvService)
        except IdentityRefused as refused:
            remedy = "be who it is for, or get another one"
            raise ConfigurationError(credentials.source, refused.detail, remedy) from None

    def _checkName(self, served: ServedName) -> None:
        """
        @raise ConfigurationError: there is no certificate for a name, or not now.
        """
        self._checkTime(self._own.under(served))

    def _checkTime(self, credentials: Credentials) -> None:
        leaf = credentials.certificates[0]
        if not leaf.not_valid_before_utc <= self._now <= leaf.not_valid_after_utc:
            (sentence,) = warningsOf(credentials, self._now)
            raise ConfigurationError.of("", ValueError(sentence))

    def _wholeAndWarnings(self) -> Iterator[Problem]:
        """
        What is wrong with all of it together, and what is worth a warning.
        """
        tunnel = self._tunnel
        try:
            prepared = Prepared(tunnel)
        except ConfigurationError as error:
            yield self._problem(error, self._believed)
            return
        for mistake in mistakes(tunnel):
            yield replace(self._problem(mistake), isWarning=True)
        yield from self._risks()
        problems = withdrawnWarnings(prepared.withdrawn)
        for each in prepared.withdrawn:
            (sentence,) = withdrawnWarnings([each])
            yield self._warning(sentence, *self._placeOf(each))
        for ours in prepared.certificates if tunnel.agent is None else ():
            found = problemsOf(tunnel.pool, ours, self._now)
            problems += found
            for sentence in found:
                yield self._warning(sentence, *self._placeOf(ours))
        for sentence in noticesOf(prepared, self._now):
            if sentence not in problems:
                yield self._warning(sentence, self._about(sentence))

    def _risks(self) -> Iterator[Problem]:
        """
        What is dangerous about its settings.
        """
        tunnel = self._tunnel
        local = [each for each in tunnel.local if isinstance(each, TCPAddress | UNIXAddress)]
        for sentence in ofKeyLog(tunnel):
            yield self._warning(sentence, "key-log")
        for sentence in ofPool(tunnel):
            yield self._warning(sentence, "pool")
        for sentence in ofDialect(tunnel):
            upgrade = "chat" if tunnel.dialect.name == "chat" else "starttls"
            yield self._warning(sentence, self._keys.get(upgrade, upgrade))
        for sentence in ofAddresses(tunnel, local, self._elsewhere):
            yield self._warning(sentence, "local")
        for sentence in splicedIn(tunnel, self._configuration.tunnels):
            yield self._warning(sentence, "local")
        for sentence in reflected(tunnel, self._configuration.tunnels):
            yield self._warning(sentence, "remote-as" if tunnel.onward else "local-id")

    def _placeOf(self, ours: Identity) -> tuple[str, str]:
        """
        The key, and the name in whose table it is, that makes us one of our identities.
        """
        names = {each.identity: each.name for each in reversed(self._tunnel.names)}
        if ours in self._tunnel.localIDs:
            return "local-id", ""
        if ours in names:
            return "", names[ours]
        return "local-id" if self._tunnel.byRules else "remote-as", ""

    def _about(self, sentence: str) -> str:
        """
        The key of what a warning is about: one that it begins with, or our own certificates where
        it begins with the file of one.
        """
        found = _MENTION.match(sentence)
        if found is not None:
            return found[1]
        if any(sentence.startswith(each.source) for each in self._own.known.values()):
            return "local-id"
        return self._believed

    @property
    def _believed(self) -> str:
        """
        The key that says whom to believe.
        """
        key = "trust" if self._tunnel.trust else self._whom
        return self._keys.get(key, key)


def _several(remote: Identity | Selector | AccessList | None) -> Sequence[Identity | Selector]:
    if isinstance(remote, AccessList):
        return remote.selectors
    return () if remote is None else (remote,)
