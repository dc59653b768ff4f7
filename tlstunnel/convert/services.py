"""
One service of stunnel, converted into a tunnel, or left out with the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.convert.addresses import connecting, inside, listening
from tlstunnel.convert.certificates import Credentials, Known
from tlstunnel.convert.draft import Draft, LeftOut, sayOnce
from tlstunnel.convert.peers import Peer, Verification
from tlstunnel.convert.programs import startProgram
from tlstunnel.convert.proxies import goThrough
from tlstunnel.convert.psk import SUITES, KeyConversion
from tlstunnel.convert.settings import Settings, at, broken, optionOf, shown
from tlstunnel.convert.stunnelfile import Service, Setting
from tlstunnel.convert.stunneloptions import Fate
from tlstunnel.convert.tuning import (
    openSSLAdvice,
    quietness,
    sessions,
    socketAdvice,
    timeouts,
    versions,
)
from tlstunnel.net.remotes import ROUND_ROBIN

#: The dialect for each protocol that stunnel negotiates.
DIALECTS = {
    "smtp": "smtp",
    "imap": "imap",
    "pop3": "pop3",
    "nntp": "nntp",
    "ldap": "ldap",
    "pgsql": "postgresql",
}

# What to do instead about those that have none.
_NO_DIALECT = {
    "socks": "tlstunnel is no SOCKS server, and tells none where to connect to; each destination "
    "needs a tunnel of its own",
    "cifs": "Samba itself has dropped it: let SMB 3 encrypt",
    "capwin": "there is no such dialect",
    "capwinctrl": "there is no such dialect",
}


@dataclass
class Context:
    """
    What all services of a file have in common.

    @ivar path: the file.
    @ivar folder: where relative paths begin.
    @ivar chroot: where stunnel locks itself up; empty if it does not.
    @ivar credentials: who we are.
    @ivar inherited: the settings above all sections.
    """

    path: str
    folder: Path
    chroot: str
    credentials: Credentials
    inherited: tuple[Setting, ...]


class ServiceConversion:
    """
    The conversion of one service.

    @ivar draft: what the tunnel will be.
    @ivar lost: the protections that it will not have, a line each.
    @ivar reasons: why it cannot be converted.
    @ivar isClient: whether it is one of client mode.
    @ivar known: who we are, once that is found.
    """

    def __init__(self, service: Service, context: Context, name: str) -> None:
        self.service = service
        self.known: Known | None = None
        self.draft = Draft(name)
        self.lost: list[str] = []
        self.reasons: list[str] = []
        self._context = context
        self._settings = Settings(service.settings, context.inherited)
        self.isClient = self._settings.flag("client")
        self._local: list[TCPAddress | UNIXAddress] = []
        self._remote: list[TCPAddress | UNIXAddress] = []

    def convert(self) -> Draft | LeftOut:
        """
        Do it.

        @raise tlstunnel.convert.stunnelfile.BrokenFile: a value makes no sense.
        """
        self.draft.values["mode"] = "client" if self.isClient else "server"
        self._table()
        self._protocol()
        self._addresses()
        self._tuning()
        if not self.reasons:
            self._identities()
        return self.leftOut if self.reasons else self.draft

    @property
    def isSecondary(self) -> bool:
        """
        Whether it accepts nothing itself, but gets clients from others that have a name for it.
        """
        return not self.isClient and bool(self._settings.all("sni"))

    @property
    def certificate(self) -> str:
        """
        The file of what it shows; empty if it shows nothing.
        """
        return self._settings.text("cert")

    @property
    def leftOut(self) -> LeftOut:
        """
        What becomes of it where it cannot be converted.
        """
        original = [f"[{self.service.name}]", *map(shown, self.service.settings)]
        return LeftOut(self.service.name, str(self.service.place), self.reasons, original)

    def _tuning(self) -> None:
        versions(self._settings, self.draft.values, self._say)
        timeouts(self._settings, self.draft.values, self._say)
        sessions(self._settings, self.draft.values, self._say, self.isClient)
        quietness(self._settings, self.draft.values, self._say)
        for setting in self.service.settings:
            advice = openSSLAdvice(setting)
            if advice:
                self._note(setting, advice)
        isLocal = bool(self._local) and all(each.isLocal for each in self._local)
        for setting in self._settings.all("socket"):
            advice, isPossible = socketAdvice(setting.value, isLocal)
            if not isPossible:
                self.reasons.append(f"{setting}: {advice}")
            elif advice and setting in self.service.settings:
                self._note(setting, advice)

    def _table(self) -> None:
        """
        What the table says of options that are not converted.
        """
        for setting in self._settings.own:
            option = optionOf(setting)
            if option.fate in {Fate.SAID, Fate.LOST} and not _isHarmless(setting):
                isKeyed = bool(self._settings.text("PSKsecrets"))
                isOfSuites = isKeyed and option.name in ("ciphers", "ciphersuites")
                self._note(setting, SUITES if isOfSuites else option.advice)
                if option.fate is Fate.LOST:
                    self.lost.append(
                        f"{setting.place}: [{self.service.name}] {option.name}: {option.advice}"
                    )
        counting = {optionOf(each).name: each for each in self._settings.inherited}
        counting |= {optionOf(each).name: each for each in self._settings.own}
        for setting in counting.values():
            option = optionOf(setting)
            if option.fate is Fate.IMPOSSIBLE and not _isHarmless(setting):
                self.reasons.append(f"{shown(setting)}: {option.advice}")

    def _note(self, setting: Setting, advice: str) -> None:
        place = at(setting.place, self._context.path)
        self.draft.notes.append(sayOnce(self.draft.notes, f"{place}: {shown(setting)}", advice))

    def _say(self, name: str, advice: str) -> None:
        """
        Add a note about an option of the service itself; of others, it is said only once.
        """
        setting = self._settings.last(name)
        if setting is not None and setting in self._settings.own:
            self._note(setting, advice)

    def _addresses(self) -> None:
        self._local = self._parsed("accept", listening)
        # Where a name is to be proved, it is the one that stunnel means.
        host = "localhost" if self.isClient else "127.0.0.1"
        # Addresses to listen at are bound before stunnel locks itself up, others are used after.
        jail = self._context.chroot
        self._remote = self._parsed(
            "connect",
            lambda text: connecting(inside(jail, text) if text.startswith("/") else text, host),
        )
        if self._local:
            self.draft.values["local"] = list(map(str, self._local))
        elif not self._settings.all("sni") or self.isClient:
            self.reasons.append(
                "there is no accept: tlstunnel listens by itself, or at a socket of systemd, and "
                "is never started for one connection"
            )
        if self._isProxied:
            self._through()
        self.reasons += startProgram(
            self._settings, self.draft, self.isClient, self._context.chroot, self._say
        )
        if self._remote:
            self.draft.values["remote"] = list(map(str, self._remote))
        elif not (self.reasons or "remote" in self.draft.values):
            self.reasons.append("there is no connect, and so nowhere to forward to")
        isOne = len(self._remote) == 1 and self._remote[0].isLiteral
        if self._settings.text("failover").lower() == "rr" and not isOne:
            self.draft.values["balance"] = ROUND_ROBIN
        if self._settings.flag("delay"):
            self.draft.values["skip-resolve"] = True
        self._owner()

    @property
    def _isProxied(self) -> bool:
        """
        Whether C{connect} is a proxy, and C{protocolHost} where to go from there.
        """
        return self._settings.text("protocol").lower() == "connect"

    def _through(self) -> None:
        """
        Ask the proxy for a connection, as stunnel does in client mode.
        """
        if not self.isClient:
            self.reasons.append("protocol = connect: stunnel asks no proxy in server mode")
            return
        login = ""
        if self._settings.text("protocolUsername"):
            login = "user@"
            method = self._settings.text("protocolAuthentication").lower()
            if method not in {"", "basic"}:
                self.reasons.append(
                    f"protocolAuthentication = {method}: at a proxy we log in with Basic alone"
                )
        proxies, self._remote = (
            self._remote,
            self._parsed("protocolHost", lambda text: connecting(text, "localhost"))[-1:],
        )
        if len(proxies) != 1 or not self._remote:
            self.reasons.append(
                "protocol = connect: there has to be one connect, which is the proxy, and a "
                "protocolHost behind it"
            )
            return
        try:
            goThrough(self.draft, f"http://{login}{proxies[0]}")
        except ValueError as error:
            self.reasons.append(f"connect: {error}")

    def _parsed(
        self, name: str, parse: Callable[[str], TCPAddress | UNIXAddress]
    ) -> list[TCPAddress | UNIXAddress]:
        found = []
        for setting in self._settings.all(name):
            try:
                found.append(parse(setting.value))
            except ValueError as error:
                problem, _, remedy = str(error).rpartition("; ")
                broken(setting, f"is no address: {problem}", remedy)
        return found

    def _owner(self) -> None:
        isSocket = any(isinstance(each, UNIXAddress) for each in self._local)
        own = Settings(self.service.settings)
        for name, key in (("setuid", "socket-owner"), ("setgid", "socket-group")):
            if own.text(name):
                if isSocket:
                    self.draft.values[key] = own.text(name)
                else:
                    self._say(name, "is about UNIX sockets, and there is none in accept")

    def _protocol(self) -> None:
        protocol = self._settings.text("protocol").lower()
        if protocol in _NO_DIALECT:
            self.reasons.append(f"protocol = {protocol}: {_NO_DIALECT[protocol]}")
        elif protocol in DIALECTS:
            self.draft.values["starttls"] = DIALECTS[protocol]
        elif protocol == "proxy" and self.isClient:
            self.reasons.append("protocol = proxy: there is no such header in client mode")
        elif protocol == "proxy":
            self.draft.values["proxy-out"] = "v1"
        elif protocol and not self._isProxied:
            setting = self._settings.last("protocol")
            assert setting is not None
            broken(setting, "is no protocol that stunnel negotiates")
        if self._isProxied:
            return
        if self._settings.text("protocolUsername"):
            self.reasons.append(
                "protocolUsername: tlstunnel does not log in for a program; let the program do so"
            )
        self._say("protocolHost", "the domain of local-id is what the server is told")

    def _identities(self) -> None:
        if self._settings.text("PSKsecrets"):
            self._keys()
            return
        verification = Verification(
            self._settings, self._context.folder, self.isClient, self._context.chroot
        )
        peer = verification.ofClient(self._remote) if self.isClient else verification.ofServer()
        self.reasons += peer.reasons
        if not self.reasons:
            self._credentials()
            self._expect(peer)

    def _keys(self) -> None:
        """
        Who both sides are by the keys that they share.
        """
        conversion = KeyConversion(self._settings, self._context.folder, self.draft)
        if not conversion.reasons:
            if self.isClient:
                conversion.ofClient(self._remote)
            else:
                conversion.ofServer()
        self.reasons += conversion.reasons
        commands = self._context.credentials.commands
        if not self.reasons and conversion.command not in commands:
            commands.append(conversion.command)

    def _expect(self, peer: Peer) -> None:
        self.draft.notes += [*peer.notes, *peer.lost]
        self.lost += [f"{self.service.place}: [{self.service.name}] {each}" for each in peer.lost]
        if peer.remoteID:
            self.draft.values["remote-id"] = peer.remoteID
        if peer.trust:
            self.draft.values["trust"] = peer.trust

    def _credentials(self) -> None:
        certificate = self._settings.text("cert")
        key = self._settings.text("key")
        if certificate.lower().startswith("pkcs11:") or key.lower().startswith("pkcs11:"):
            self.reasons.append("the key is in a token, and tlstunnel reads keys from files")
            return
        if not certificate:
            if not self.isClient:
                self.reasons.append("there is no cert, and a server needs one")
            return
        hosts = [] if self.isClient else [each.host for each in self._local]
        self.known = known = self._context.credentials.find(
            certificate, "" if key == certificate else key, hosts, self.isClient
        )
        self.draft.notes += known.notes
        self.draft.values["local-id"] = known.name
        if known.pool:
            self.draft.values["pool"] = known.pool


def _isHarmless(setting: Setting) -> bool:
    return setting.value.lower() in optionOf(setting).harmless
