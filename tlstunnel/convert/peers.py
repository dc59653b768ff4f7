"""
Who must be at the other end of a stunnel service, and whom to believe about it.

stunnel verifies nothing unless it is told to, and tlstunnel always verifies a server: what comes
out of here is never weaker than what was there, or it is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.convert.addresses import inside
from tlstunnel.convert.certificatenames import Named, identity, namesIn
from tlstunnel.convert.certificates import trustIn
from tlstunnel.convert.settings import Settings, broken
from tlstunnel.convert.stunnelfile import Setting
from tlstunnel.identity.names import Identity, Kind, Selector

_CHECKS = ("checkHost", "checkIP", "checkEmail")

#: Everybody with a certificate for a domain, and everybody with one for a user.
ANYBODY = [".", "@."]

#: What that means for clients of others.
LET_IN = (
    "Every client with a certificate for a domain, or for a user, is let in; a common name alone "
    "does not count."
)

# The levels of the option that verifyChain and verifyPeer have replaced, and what each verifies.
_LEVELS = {"0": "", "1": "chain", "2": "chain", "3": "chain peer", "4": "peer", "default": ""}


@dataclass
class Peer:
    """
    What a conversion finds out about the other end.

    @ivar remoteID: values of C{remote-id}.
    @ivar trust: values of C{trust}.
    @ivar notes: what the reader should know.
    @ivar lost: the protections that are there no more.
    @ivar reasons: why the service cannot be converted.
    """

    remoteID: list[str] = field(default_factory=list)
    trust: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Policy:
    """
    What stunnel verified.
    """

    chain: bool
    peer: bool

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """
        Read it from the options, old and new.

        @raise BrokenFile: a value of them makes no sense.
        """
        words = ""
        level = settings.last("verify")
        if level is not None:
            if level.value.lower() not in _LEVELS:
                broken(level, "is no level of verification")
            words = _LEVELS[level.value.lower()]
        return cls(
            "chain" in words or settings.flag("verifyChain"),
            "peer" in words or settings.flag("verifyPeer"),
        )

    def __bool__(self) -> bool:
        return self.chain or self.peer


def _checkedName(setting: Setting) -> str:
    """
    The identity that an option checks: a user, an address, or else a host.

    @raise ValueError: it has another kind of value; the message is a sentence for the user.
    """
    who = Identity.parse(setting.value)
    isRight, wanted = {
        "checkemail": (who.kind is Kind.USER, "give user@domain"),
        "checkip": (who.address is not None, "give an address"),
        "checkhost": (who.kind is Kind.DOMAIN, "give a host, or use checkEmail"),
    }[setting.name.lower()]
    if not isRight:
        raise ValueError(f"no certificate has {setting.value!r} for that; {wanted}")
    return str(who)


def _checkedNames(setting: Setting) -> str:
    """
    The selector for an option that checks names of clients.

    A selector can stand for more than OpenSSL lets pass: of patterns it knows only domains below.

    @raise ValueError: as above.
    """
    selector = Selector.parse(setting.value)
    isBelow = selector.domain.startswith(".") and selector.domain != "."
    if isBelow and selector.kind is Kind.DOMAIN and setting.name.lower() == "checkhost":
        return str(selector)
    return _checkedName(setting)


class Verification:
    """
    The conversion of all options about the other end, for one service.
    """

    def __init__(self, settings: Settings, folder: Path, isClient: bool, chroot: str) -> None:
        """
        @param folder: where relative paths begin.
        @param chroot: where stunnel locks itself up; empty if it does not.
        """
        self._settings = settings
        self._folder = folder
        self._policy = Policy.of(settings)
        self._chroot = chroot
        self._checks = [each for name in _CHECKS for each in settings.all(name)]
        self._peer = Peer()
        self._isClient = isClient

    def ofClient(self, remote: Sequence[TCPAddress | UNIXAddress]) -> Peer:
        """
        What a client service has to know of the server.
        """
        peer = self._peer
        peer.trust = self._anchors()
        if not self._policy:
            whom = "the system's store" if peer.trust == ["system"] else ", ".join(peer.trust)
            peer.notes.append(
                f"stunnel did not verify the server; tlstunnel does, by {whom} and by the name. If "
                "it has made its certificate itself, put that into trust, and its name into "
                "remote-id."
            )
        hosts = list(dict.fromkeys(each.host for each in remote if isinstance(each, TCPAddress)))
        name = self._checked(remote) or self._fromPeerFile(hosts) or self._fromSNI()
        if name:
            self._compareSNI(name)
            isDefault = not any(each.isLiteral for each in remote) and name != "localhost"
            if not isDefault or [each.rstrip(".") for each in hosts] != [name]:
                peer.remoteID = [name]
        elif not self._checks:
            self._fromHosts(remote, hosts)
        self._pinServer()
        return peer

    def ofServer(self) -> Peer:
        """
        What a server service has to know of its clients.
        """
        peer = self._peer
        if not self._policy:
            if self._checks:
                peer.reasons.append(
                    f"{self._checks[0].name} has no effect in stunnel without verifyChain: add "
                    "verifyChain = yes if clients are to be verified, else remove it"
                )
            elif self._settings.flag("requireCert"):
                peer.reasons.append(
                    "a certificate is required and not verified, which proves nothing: add "
                    "verifyChain = yes if clients are to be verified, else remove requireCert"
                )
            return peer
        peer.trust = self._anchors()
        peer.remoteID = list(self._selectors())
        if self._policy.peer and not self._checks:
            self._pinClients()
        if self._isOptional:
            peer.notes.append(
                "stunnel let in clients without a certificate too: here every client needs one. "
                "For those without, make another tunnel without remote-id."
            )
        return peer

    @property
    def _isOptional(self) -> bool:
        """
        Whether a client could come without a certificate; the last word on it counts.
        """
        isOptional = False
        for setting in self._settings.all("verify", "verifyChain", "verifyPeer", "requireCert"):
            value = setting.value.lower()
            match setting.name.lower():
                case "verify":
                    isOptional = value in {"0", "1"}
                case "requirecert":
                    isOptional = value == "no"
                case _ if value == "yes":
                    isOptional = False
        return isOptional

    def _anchors(self) -> list[str]:
        files = self._settings.last("CAfile")
        folder = self._settings.last("CApath")
        found = [trustIn(files.value)] if files is not None and files.value else []
        if folder is not None and folder.value:
            found.append(trustIn(inside(self._chroot, folder.value)))
        if not found:
            if self._policy:
                self._peer.notes.append(
                    "There is neither CAfile nor CApath, without which stunnel does not start: "
                    "the system's store is believed."
                )
            found.append("system")
        return list(dict.fromkeys(found))

    def _checked(self, remote: Sequence[TCPAddress | UNIXAddress]) -> str:
        """
        The one name that a server must have, from the options that check names.
        """
        names = []
        for setting in self._checks:
            try:
                names.append(_checkedName(setting))
            except ValueError as error:
                self._peer.reasons.append(f"{setting.name}: {error}")
        if not names:
            return ""
        hosts = {each.host.rstrip(".") for each in remote if isinstance(each, TCPAddress)}
        name = next((each for each in names if each in hosts), names[0])
        if len(names) > 1:
            self._peer.notes.append(
                f"stunnel took any of {', '.join(names)}; a tunnel expects one name."
            )
        return name

    def _fromPeerFile(self, hosts: Sequence[str]) -> str:
        """
        With verifyPeer, the name of the only certificate that the server may have; of several that
        by which it is known already.
        """
        if not self._policy.peer:
            return ""
        certificates = [each for each in self._trusted() if each.all]
        if len(certificates) != 1:
            return ""
        self._peer.notes.append("The name is that of the certificate in CAfile.")
        known = [identity(self._settings.text("sni")), *map(identity, hosts)]
        names = certificates[0].all
        return next((each for each in known if each in names), names[0])

    def _trusted(self) -> list[Named]:
        path = self._settings.text("CAfile")
        return namesIn(self._folder / path) if path else []

    def _fromSNI(self) -> str:
        setting = self._settings.last("sni")
        name = identity(setting.value) if setting is not None and not self._checks else ""
        if name:
            self._peer.notes.append("The name is that of sni: who is asked for has to be there.")
        return name

    def _compareSNI(self, name: str) -> None:
        setting = self._settings.last("sni")
        if setting is not None and identity(setting.value) != name:
            self._peer.notes.append(
                f"sni = {setting.value}: the server is asked for {name}, which it has to prove."
            )

    def _fromHosts(self, remote: Sequence[TCPAddress | UNIXAddress], hosts: Sequence[str]) -> None:
        if not hosts or len(hosts) != len({each.host for each in remote}):
            self._peer.reasons.append(
                "the server has no name that it could prove: add checkHost with the name in its "
                "certificate"
            )
        elif len(hosts) > 1:
            self._peer.reasons.append(
                f"the servers have several names ({', '.join(hosts)}): add checkHost with the one "
                "that all of them prove"
            )
        elif remote[0].isLiteral or hosts[0] == "localhost":
            self._peer.remoteID = [hosts[0].rstrip(".")]
            self._peer.notes.append(
                f"The server has to prove {hosts[0]}: if its certificate has another name, put "
                "that into remote-id."
            )

    def _selectors(self) -> Iterator[str]:
        for setting in self._checks:
            try:
                yield _checkedNames(setting)
            except ValueError as error:
                self._peer.reasons.append(f"{setting.name}: {error}")
        if not self._checks:
            # Of users, the public authorities know nothing.
            isPublic = self._peer.trust == ["system"]
            yield from ANYBODY[:1] if isPublic else ANYBODY
            self._peer.notes.append(LET_IN)

    def _pinServer(self) -> None:
        """
        Say it where another certificate than the one that was pinned could be good.
        """
        if not self._policy.peer:
            return
        named = self._trusted()
        # The only one in the file could issue others with its own key alone.
        isSame = len(named) == 1 or (named and not any(each.isAuthority for each in named))
        if not isSame:
            self._peer.lost.append(
                f"verifyPeer: stunnel took only a server whose own certificate is in "
                f"{self._where}; here also one with the same name that was issued by one in there. "
                "See that none of them is that of an authority."
            )

    @property
    def _where(self) -> str:
        return self._settings.text("CAfile") or self._peer.trust[-1]

    def _pinClients(self) -> None:
        """
        Let nobody in by a certificate that was issued by one in the file, instead of being there.
        """
        named = self._trusted()
        where = self._where
        if not named:
            self._peer.lost.append(
                f"verifyPeer: stunnel let in only those whose own certificate is in {where}; here "
                "also whoever has one that was issued by one in there. See that none of them is "
                "that of an authority, or name each client in remote-id."
            )
        elif any(each.isAuthority for each in named):
            clients = [name for each in named for name in each.all]
            if clients:
                self._peer.remoteID = list(dict.fromkeys(clients))
                self._peer.notes.clear()
                self._peer.notes.append(
                    f"verifyPeer: as {where} has certificates in it that could issue others, "
                    "those whom they are for are named. Another one that is issued there for the "
                    "same name counts too."
                )
            else:
                self._peer.reasons.append(
                    f"verifyPeer: {where} has certificates in it that could issue others, and "
                    "none with a name, so that whoever has one issued by them would be let in: "
                    "have those of the clients issued again, with names"
                )
