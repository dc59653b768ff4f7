"""
C{login}: a client certificate is the login, for programs that know passwords only.

The client logs in as it always does, with whatever password, and the backend is told by us who it
is: by SASL EXTERNAL, with the name as the authorisation identity; or, where C{login-auth-file} says
who we are to it, by PLAIN with that name, our own and our password (Dovecot's master users, the
C{proxyservers} of Cyrus).  A backend that has no EXTERNAL, and of which we know no password, is
given PLAIN with the name alone: whoever asks nobody but us for it may let everybody in.

The name is the client's whole identity, C{user@domain}, or one that C{identity-map} allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlstunnel.errors import BackendRefused
from tlstunnel.identity.names import Identity, Kind
from tlstunnel.protocols.base import ServerRole
from tlstunnel.protocols.imap import IMAPServer
from tlstunnel.protocols.pop3 import POP3Server
from tlstunnel.protocols.sieve import SieveServer
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.identitymap import Names, namesFor
from tlstunnel.reveal.imaplogin import IMAPLogin
from tlstunnel.reveal.logindialogue import LoginDialogue
from tlstunnel.reveal.pop3login import POP3Login
from tlstunnel.reveal.secrets import readUser
from tlstunnel.reveal.sievelogin import SieveLogin
from tlstunnel.reveal.word import Introduction, Word

_DIALOGUES: dict[str, type[LoginDialogue]] = {
    "imap": IMAPLogin,
    "pop3": POP3Login,
    "sieve": SieveLogin,
}

# Which of them is meant where the role of a dialect has begun.
_ROLES: dict[type[ServerRole], str] = {
    IMAPServer: "imap",
    POP3Server: "pop3",
    SieveServer: "sieve",
}


@dataclass(frozen=True)
class Terms:
    """
    On which terms clients are logged in.

    @ivar protocol: the one that C{reveal} has beside; empty where the dialect says it.
    @ivar names: as whom they may be; C{None} for their own identities alone.
    @ivar account: who we are to the backend, and our password there; C{None} for nobody.
    """

    protocol: str
    names: Names | None
    account: tuple[str, str] | None

    @classmethod
    def of(cls, disclosure: Disclosure) -> Terms:
        """
        @raise ConfigurationError: a file is wrong.
        """
        protocols = [word for word in disclosure.words if word in _DIALOGUES]
        path = disclosure.loginAuthFile
        return cls(
            protocols[0] if protocols else "",
            namesFor(disclosure, "login") if disclosure.identityMap is not None else None,
            readUser(path) if path is not None else None,
        )

    def nameFor(self, identity: Identity | None, given: Sequence[bytes]) -> str | None:
        """
        As whom somebody is logged in who has given these names; C{None} for nobody.

        What is before the C{@} stands for the identity, and is no name at the backend: it may be
        that of others from elsewhere.
        """
        if identity is None or identity.kind is not Kind.USER:
            return None
        wanted = None
        for name in given:
            text = name.decode("utf-8", "replace")
            if text and self.names is not None and self.names.allows(identity, text):
                wanted = text
            elif text and text != identity.user and not _isWhole(text, identity):
                return None
            elif text:
                wanted = None
        if wanted is not None:
            return wanted
        if self.names is None:
            return str(identity)
        return next(iter(self.names.names(identity)), None)


def _isWhole(text: str, identity: Identity) -> bool:
    """
    Whether C{text} is how somebody may write C{identity}.
    """
    try:
        return Identity.parse(text) == identity
    except ValueError:
        return False


class Login(Introduction):
    """
    Logs the client in.
    """

    async def introduce(self) -> None:
        """
        Hear what the backend offers, unless it is known what it has to take.
        """
        terms, client = self._terms, self.client
        assert isinstance(client, ServerRole)
        protocol = terms.protocol or _ROLES[type(client)]
        self._dialogue = _DIALOGUES[protocol](client, self.backend, self.isGreeted)
        mechanisms = await self._dialogue.meet(terms.account is None)
        self._isExternal = terms.account is None and b"EXTERNAL" in mechanisms

    async def converse(self) -> None:
        """
        Until the client is logged in, it speaks to us alone.
        """
        dialogue = self._dialogue
        await dialogue.greet()
        name = None
        while name is None:
            given = await dialogue.hear()
            name = self._terms.nameFor(self.facts.identity, given)
            if name is None:
                dialogue.refuse("the certificate is not of that user")
        mechanism, response = self._response(name)
        self.heard = self.backend
        if not await dialogue.enter(mechanism, response.encode()):
            raise BackendRefused(f"no login for {name!r}", dialogue.answer, cause="no login")
        # Whoever is logged in is offered no TLS any more, and nothing is left to be hidden.
        dialogue.client.toPlain.clear()
        dialogue.client.toNetwork.clear()

    @property
    def _terms(self) -> Terms:
        terms: Terms = self.known
        return terms

    def _response(self, name: str) -> tuple[bytes, str]:
        """
        What logs somebody in, and by which mechanism.
        """
        if self._terms.account is not None:
            return b"PLAIN", "\0".join((name, *self._terms.account))
        if self._isExternal:
            return b"EXTERNAL", name
        return b"PLAIN", f"\0{name}\0"


login = Word(
    name="login",
    summary="the client certificate is the login: imap, pop3, sieve",
    dialects=("imap", "pop3", "sieve"),
    introduction=Login,
    needsIdentity=True,
    prepare=Terms.of,
)
