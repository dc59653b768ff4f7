"""
The services of stunnel that others hand clients over to, by the names that these ask for (C{sni}):
what they become are tables of names of a tunnel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tlstunnel.convert.draft import Draft, LeftOut, NameDraft
from tlstunnel.convert.peers import Peer, Verification
from tlstunnel.convert.services import Context, ServiceConversion
from tlstunnel.convert.settings import shown
from tlstunnel.convert.stunnelfile import Service, Setting
from tlstunnel.convert.writing import written
from tlstunnel.tunnel.servedname import normalName

#: What is written elsewhere, or is nothing of its own.
_ELSEWHERE = frozenset({"mode", "remote", "starttls", "minimum-tls", "balance", "skip-resolve"})


@dataclass
class Primary:
    """
    A service that others can be reached by.

    @ivar conversion: how it was converted.
    @ivar tunnel: what has become of it.
    @ivar patterns: what was handed over so far, each with the service that it went to.
    """

    conversion: ServiceConversion
    tunnel: Draft | LeftOut
    patterns: dict[str, str] = field(default_factory=dict)

    def whoTakes(self, pattern: str) -> str:
        """
        The service that stunnel hands all clients to that ask for what C{pattern} stands for, as
        its pattern is an earlier one; empty if there is none.  Its asterisk is any text.
        """
        for earlier, service in self.patterns.items():
            isWild = earlier.startswith("*")
            if earlier == pattern or (isWild and pattern.lstrip("*").endswith(earlier[1:])):
                return service
        return ""


class SecondaryConversion(ServiceConversion):
    """
    The conversion of a service with C{sni}, in server mode.
    """

    def __init__(self, service: Service, context: Context, primaries: dict[str, Primary]) -> None:
        """
        @param primaries: the services above this one, by their names.
        """
        super().__init__(service, context, service.name)
        self._primaries = primaries

    def convertNames(self) -> LeftOut | None:
        """
        Add tables to the tunnels of its primary services.

        @return: what could not be.
        @raise tlstunnel.convert.stunnelfile.BrokenFile: a value makes no sense.
        """
        self._table()
        self._protocol()
        self._addresses()
        if self._local:
            self.reasons.append("it has both accept and sni, and stunnel takes one of them")
        self._tuning()
        peer = Peer()
        if not self.reasons:
            peer = Verification(
                self._settings, self._context.folder, False, self._context.chroot
            ).ofServer()
            self.reasons += peer.reasons
        isPossible = not self.reasons
        for setting in self._settings.all("sni"):
            try:
                self._serve(setting, peer, isPossible)
            except ValueError as error:
                self.reasons.append(f"{shown(setting)}: {error}")
        return self.leftOut if self.reasons else None

    def _serve(self, setting: Setting, peer: Peer, isPossible: bool) -> None:
        """
        Add the table of one name.

        @raise ValueError: there can be none; the message is a sentence for the user.
        """
        whose, _, pattern = (part.strip() for part in setting.value.partition(":"))
        primary = self._primaries.get(whose)
        if primary is None or not pattern:
            raise ValueError(
                f"there is no service {whose} above this one that has an accept; write sni = "
                "SERVICE:NAME"
                if primary is None
                else "there is no name behind the colon"
            )
        taken = primary.whoTakes(pattern.lower())
        primary.patterns.setdefault(pattern.lower(), self.service.name)
        if taken:
            raise ValueError(
                f"stunnel has never come to it, as [{taken}] above has taken this name; remove it, "
                f"or put it above that"
            )
        if isinstance(primary.tunnel, LeftOut):
            raise ValueError(f"[{whose}], which accepts the connections, is left out")
        name = self._nameOf(pattern)
        if not isPossible:
            return
        self._checkAgreement(primary, peer)
        draft = NameDraft(name, notes=[f"[{self.service.name}] of stunnel"])
        draft.notes += self._certificate(name, primary)
        self._fill(draft, primary.tunnel, whose, peer)
        primary.tunnel.names.append(draft)
        self.lost += [f"{self.service.place}: [{self.service.name}] {each}" for each in peer.lost]

    def _nameOf(self, pattern: str) -> str:
        try:
            return normalName(pattern)
        except ValueError:
            raise ValueError(
                "it has no name that a tunnel can have, which is a domain, or *.DOMAIN for all one "
                "label below; name those that clients ask for"
            ) from None

    def _checkAgreement(self, primary: Primary, peer: Peer) -> None:
        """
        What holds for a whole tunnel has to be the same.

        @raise ValueError: it is not.
        """
        assert isinstance(primary.tunnel, Draft)
        values, whose = primary.tunnel.values, primary.conversion.service.name
        if self.draft.values.get("starttls") != values.get("starttls"):
            raise ValueError(
                f"[{whose}] has another protocol, which is spoken before the client says which "
                "name it wants; give both the same"
            )
        isFree = "remote-id" not in values and "trust" not in values
        if peer.trust and not isFree and values.get("trust") != peer.trust:
            raise ValueError(
                f"it believes {', '.join(peer.trust)} about clients, and all names of a tunnel "
                "believe the same; give all services of this accept one CAfile, or this one an "
                "accept of its own"
            )

    def _certificate(self, name: str, primary: Primary) -> list[str]:
        certificate, key = self._settings.text("cert"), self._settings.text("key")
        if certificate.lower().startswith("pkcs11:") or key.lower().startswith("pkcs11:"):
            raise ValueError("the key is in a token, and tlstunnel reads keys from files")
        if not certificate:
            raise ValueError("there is no cert, and a server needs one")
        conversion = primary.conversion
        assert conversion.known is not None
        return [
            *self._context.credentials.showUnder(
                name,
                certificate,
                "" if key == certificate else key,
                conversion.known,
                conversion.certificate,
            )
        ]

    def _fill(self, draft: NameDraft, tunnel: Draft, whose: str, peer: Peer) -> None:
        """
        All but the certificate, with what is to be said about it.
        """
        own, values = self.draft.values, tunnel.values
        if "starttls" in values:
            draft.notes.append(
                f"Clients go where those of [{whose}] go: with protocol, stunnel connects before "
                "it knows the name, and does not use this connect."
            )
        else:
            draft.values["remote"] = own["remote"]
            remote = values["remote"]
            if "balance" in own and isinstance(remote, list) and len(remote) == 1:
                values.setdefault("balance", own["balance"])
        if own.get("skip-resolve"):
            values["skip-resolve"] = True
        if str(own.get("minimum-tls", "")) > str(values.get("minimum-tls", "1.2")):
            draft.values["minimum-tls"] = own["minimum-tls"]
        if peer.trust:
            values["trust"] = peer.trust
        if peer.remoteID or "remote-id" in values:
            draft.values["remote-id"] = peer.remoteID
        if draft.name.startswith("*."):
            draft.notes.append(
                "An asterisk stands for one label; that of stunnel stood for any number of them."
            )
        if values["local-id"] == draft.name:
            draft.notes.append(
                f"Clients that ask for no name are served so too, as {draft.name} is what the "
                "tunnel is called."
            )
        draft.notes += [*self.draft.notes, *peer.notes, *peer.lost]
        for key in sorted(own.keys() | values.keys()):
            if key in own.keys() - _ELSEWHERE and own[key] != values.get(key):
                setting = f"{key} = {written(own[key])}"
                draft.notes.append(f"{setting}: is of a whole tunnel; here it is as for [{whose}].")
