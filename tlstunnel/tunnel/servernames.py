"""
What a server tunnel is to clients that ask for its names: the certificate, the demands and the
backends of each.

Names that show the same certificate and demand a certificate by the same anchors have one context,
as each takes its time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.lease import untilOf
from tlstunnel.identity.names import Identity, Kind, Selector
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.identity.verify import hostsIn
from tlstunnel.identity.withdrawal import WithdrawnIdentity
from tlstunnel.tls import belonging
from tlstunnel.tls.binding import CLIENTS
from tlstunnel.tls.context import SSLContext, answerClients, bareContext, serverContext
from tlstunnel.tls.creators import ServerCreator
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.keylog import KeyLog
from tlstunnel.tls.session import Session
from tlstunnel.tls.staple import Staple, offer
from tlstunnel.tls.verification import Verifier
from tlstunnel.tunnel.access import whoMayCome
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.judges import Judges
from tlstunnel.tunnel.owncredentials import OwnCredentials
from tlstunnel.tunnel.servedname import Addresses, ServedName

# What a name says of who may come.
_Policy = tuple[Identity | Selector | AccessList | None, tuple[Selector, ...], bool]

# What contexts differ in.
_ContextKey = tuple[Identity, Anchors | None, bool]

_LIKE_THE_TUNNEL = ServedName("")


@dataclass(frozen=True)
class Backends:
    """
    Where the connections of one name go to, if that is not where all go.

    @ivar remote: all of them; empty for the remote addresses of the tunnel.
    @ivar remotes: instead, those with one of these protocols.
    """

    remote: Addresses = ()
    remotes: tuple[tuple[bytes, Addresses], ...] = ()

    def of(self, alpn: bytes) -> Addresses:
        """
        Where a connection goes on which C{alpn} was agreed.
        """
        for protocol, remote in self.remotes:
            if protocol == alpn:
                return remote or self.remote
        return self.remote


class ServerNames:
    """
    All of them.

    @ivar believed: whose word counts about clients of the tunnel; C{None} where all may come.
    @ivar doubts: what an administrator should look at once more, a sentence each.
    """

    faces: Faces

    def __init__(
        self,
        tunnel: Tunnel,
        alpn: tuple[bytes, ...],
        judges: Judges,
        keyLog: KeyLog | None = None,
    ) -> None:
        """
        @param alpn: what the tunnel selects from.
        @param keyLog: writes down the secrets of TLS.
        """
        self._own = OwnCredentials(tunnel)
        self.believed: Trust | None = None
        self.doubts: list[str] = []
        self._tunnel = tunnel
        self._alpn = alpn
        self._judges = judges
        self._keyLog = keyLog
        self._judged: dict[_Policy, tuple[Trust, Verifier] | None] = {}
        self._contexts: dict[_ContextKey, SSLContext] = {}
        self._backends: dict[Face, Backends] = {}
        self._made: dict[tuple[str, Identity], Face] = {}
        # Those in whose place we come, until we are there.
        self._before: ServerNames | None = None
        self._staples: dict[Identity, Staple] = {}

    def prepare(self) -> Iterator[None]:
        """
        Read all that is needed, a certificate a step; then C{faces} is there.

        @raise ConfigurationError: something is missing or wrong.
        """
        tunnel = self._tunnel
        checkNames(tunnel)
        for identity in tunnel.localIDs:
            with suppress(WithdrawnIdentity):
                self._own.of(identity)
            yield
        given: dict[str, Face] = {}
        certified: dict[str, Face] = {}
        for name in tunnel.names:
            given[name.name] = self._face(partial(self._own.under, name), name)
            yield
        judged = self._judgeOf(_LIKE_THE_TUNNEL)
        if judged is not None and tunnel.believesAnchors:
            self.believed = judged[0]
        faces = []
        for identity in tunnel.localIDs:
            face = self._face(partial(self._own.of, identity))
            faces.append(face)
            if identity.isHost:
                given.setdefault(identity.domain, face)
            for host in () if face.certificate is None else hostsIn(face.certificate):
                certified.setdefault(host, face)
            yield
        first = tunnel.localIDs[0]
        default = given[first.domain] if first.isHost else faces[0]
        self._before = None
        self.faces = Faces(
            default,
            given,
            certified,
            # The certificate of a user, or a workload, covers no name that could be asked for.
            tunnel.anyName or first.kind is not Kind.DOMAIN,
            tunnel.requireSNI,
        )

    def judgeAs(self, before: ServerNames) -> None:
        """
        Judge clients as C{before} does, whatever has become of the files that say how; to those who
        belong to a connection of that time, be what comes in its place.
        """
        self._judged = before._judged
        self._before = before

    def _stapleOf(self, credentials: Credentials) -> Staple:
        found = self._staples.get(credentials.identity)
        if found is None:
            found = self._staples[credentials.identity] = Staple(credentials)
        return found

    @property
    def staples(self) -> list[Staple]:
        """
        What our certificates are shown with, where that was asked for.
        """
        return list(self._staples.values())

    @property
    def credentials(self) -> Iterable[Credentials]:
        """
        All that we show to anybody.
        """
        return self._own.known.values()

    @property
    def remotes(self) -> set[Addresses]:
        """
        All that L{remote} may give.
        """
        found = {each.remote for each in self._backends.values()}
        found |= {remote for each in self._backends.values() for _, remote in each.remotes}
        return found - {()}

    @property
    def trusts(self) -> list[Trust]:
        """
        Whom we believe about our clients.
        """
        return [each[0] for each in self._judged.values() if each is not None]

    def remote(self, session: Session) -> Addresses:
        """
        Where a connection goes whose handshake is complete; nowhere in particular where that is
        where all go.
        """
        backends = self._backends.get(session.face) if session.face is not None else None
        return () if backends is None else backends.of(session.alpn)

    @property
    def withdrawn(self) -> Collection[Identity]:
        """
        Those of our identities that should be served, and are withdrawn.
        """
        return self._own.withdrawn

    def withdraw(self, several: Mapping[Identity, WithdrawnIdentity]) -> None:
        """
        Serve nobody under C{several} any more.
        """
        for each in self._made.values():
            each.isWithdrawn = each.isWithdrawn or each.ours in several
        self._own.withdraw(several)

    def _face(self, find: Callable[[], Credentials], served: ServedName = _LIKE_THE_TUNNEL) -> Face:
        """
        @param find: finds what is shown.
        """
        try:
            return self._faceShowing(find(), served)
        except WithdrawnIdentity as why:
            context = bareContext(self._own.minimum, isClient=False)
            answerClients(context, selects=False)
            return Face(context, name=served.name, ours=why.identity, isWithdrawn=True)

    def _faceShowing(self, credentials: Credentials, served: ServedName) -> Face:
        tunnel = self._tunnel
        trust, verifier = self._judgeOf(served) or (None, None)
        alpn = self._alpn if served.alpn is None else served.alpn
        context = self._contextOf(credentials, trust, bool(alpn))
        minimum = served.minimum or tunnel.minimum
        face = Face(
            context,
            verifier,
            alpn,
            minimum,
            served.name,
            credentials.certificates[0],
            untilOf(credentials),
            credentials.identity,
        )
        key = served.name, credentials.identity
        self._made[key] = face
        if self._before is not None and key in self._before._made:
            face.succeed(self._before._made[key])
        if served.remote or served.remotes:
            self._backends[face] = Backends(served.remote, served.remotes)
        return face

    def _judgeOf(self, served: ServedName) -> tuple[Trust, Verifier] | None:
        """
        Who judges the clients that come for a name, and by whose word; C{None} if all may come.
        """
        key = served.remoteID, served.denyID, served.anybody
        if key not in self._judged:
            self._judged[key] = self._judgeMade(served)
        return self._judged[key]

    def _judgeMade(self, served: ServedName) -> tuple[Trust, Verifier] | None:
        tunnel = replace(self._tunnel, denyID=(*self._tunnel.denyID, *served.denyID))
        if served.remoteID is not None:
            tunnel = replace(tunnel, remoteID=served.remoteID, remoteIDFiles=())
        if served.anybody or tunnel.isOpen:
            return None
        expected = whoMayCome(tunnel) if tunnel.isNamed else tunnel.pins[0]
        assert expected is not None
        trust = self._judges.trustIn(expected)
        return trust, self._judges.judge(expected, trust, CLIENTS, tunnel.isNamed)

    @property
    def creator(self) -> ServerCreator:
        """
        What makes connections under all of these names.
        """
        return ServerCreator(
            self.faces,
            self._tunnel.requireALPN,
            tickets=self._resumes,
            hasBeside=self._hasBeside,
        )

    @property
    def _resumes(self) -> bool:
        """
        Whether later connections may resume the session of an earlier one.  A ticket is good for
        whatever the first context is changed into: with several names, nothing is resumed.
        """
        return self._tunnel.resumes and not (self._tunnel.names or self._tunnel.otherIDs)

    @property
    def _hasBeside(self) -> bool:
        """
        Whether connections may have others that belong to them, and resume their session.  A key
        that is shared proves that each time.
        """
        return self._tunnel.dialect.opensChannels and not self._tunnel.sharesKeys

    def _contextOf(
        self, credentials: Credentials, trust: Trust | None, selects: bool
    ) -> SSLContext:
        key = credentials.identity, None if trust is None else trust.all, selects
        context = self._contexts.get(key) or self._kept(key, credentials)
        if context is None:
            context = serverContext(
                credentials,
                trust,
                self._own.minimum,
                selects,
                self._resumes,
                self._tunnel.requestsOnly,
            )
            if self._hasBeside:
                belonging.allow(context)
            if trust is not None:
                self._judges.prepare(context)
            if self._keyLog is not None:
                self._keyLog.use(context)
            if self._tunnel.ocspStapling:
                offer(context, self._stapleOf(credentials))
        self._contexts[key] = context
        return context

    def _kept(self, key: _ContextKey, credentials: Credentials) -> SSLContext | None:
        """
        That of those before us, if they have shown the same: of hundreds, some are new.
        """
        before = self._before
        if before is None or before._own.known.get(credentials.identity) is not credentials:
            return None
        staple = before._staples.get(credentials.identity)
        if staple is not None:
            self._staples[credentials.identity] = staple
        return before._contexts.get(key)


def checkNames(tunnel: Tunnel) -> None:
    """
    A backend that is connected to before TLS cannot be chosen within it, and nobody is denied
    anything who is not asked who he is.

    @raise ConfigurationError: a name has one or the other.
    """
    for each in tunnel.names:
        if each.denyID and (each.anybody or (each.remoteID is None and tunnel.isOpen)):
            raise ConfigurationError(
                f"`deny-id` of the name {each.name}",
                "has no effect, as without `remote-id` clients are not asked who they are",
                "say with `remote-id` who may come, as . for all domains and @. for all users",
            )
    for each in tunnel.names if tunnel.dialect.dialsEarly(tunnel.options) else ():
        if each.remote or any(remote for _, remote in each.remotes):
            raise ConfigurationError(
                f"`remote` of the name {each.name}",
                f"cannot be chosen with {tunnel.dialect.name}, which connects to the backend "
                "before the client says which name it wants",
                "leave it out, or serve the name at an address of its own",
            )
