"""
Tests for L{tlstunnel.tunnel.hints}: what the log advises where a connection has failed.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.errors import (
    BackendRefused,
    Closed,
    ConnectFailed,
    ForeignProtocol,
    IdentityRefused,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    Reset,
    TimedOut,
    TLSFailed,
    TooManyErrors,
    TunnelError,
)
from tlstunnel.identity.ocsp import ABSENT, BAD
from tlstunnel.identity.revocation import EARLY, MISSING, OLD, REVOKED
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.choosing import hintFor
from tlstunnel.tunnel.observers import Observers
from tlstunnel.tunnel.record import (
    CONNECTING,
    GREETING,
    HANDSHAKING,
    NEGOTIATING,
    POOL_SERVICE,
    RELAYING,
    Record,
    Stage,
)


class TableTests(SynchronousTestCase):
    """
    L{hintFor}, for what takes no tunnel to happen.
    """

    def hint(
        self,
        error: TunnelError | None,
        stage: Stage = NEGOTIATING,
        dialect: str = "smtp",
        mode: Mode = Mode.CLIENT,
        port: int = 1,
        tunnel: str = "",
        peer: int = 4711,
        isAnnounced: bool = False,
    ) -> str:
        """
        The hint where a connection ends with C{error} at C{stage}.
        """
        record = Record(Clock(), Observers([]), tunnel, mode, dialect, TCPAddress("::1", peer))
        record.backend = TCPAddress("::1", port)
        record.isAnnounced = isAnnounced
        record.advance(stage)
        record.end(error)
        return hintFor(record)

    def test_nothingToDo(self) -> None:
        """
        A clean end, and what befalls data connections need none.
        """
        self.assertEqual(self.hint(None, RELAYING), "")
        self.assertEqual(self.hint(Closed(), dialect="ftp-data"), "")

    def test_whoseTLSIsFirstInNATS(self) -> None:
        """
        That of a server, or of a client; and a backend has none.
        """
        option = "--dialect-option handshake-first"
        closed = Closed(cause="no INFO").by("the server")
        self.assertIn(option, self.hint(closed, dialect="nats"))
        clear = ForeignProtocol(cause="INFO in clear").by("the server")
        self.assertIn(f"no {option}", self.hint(clear, HANDSHAKING, dialect="nats"))
        early = PlaintextAfterStartTLS("x", b"\x16", cause="TLS before INFO").by("the client")
        self.assertIn(option, self.hint(early, dialect="nats", mode=Mode.SERVER))
        demanding = BackendRefused(cause="TLS in the backend").by("the backend")
        self.assertIn("allow_non_tls", self.hint(demanding, dialect="nats", mode=Mode.SERVER))
        self.assertNotIn("pop3", self.hint(Refused("x", b"-ERR 'no'"), dialect="nats"))
        self.assertIn("nats", self.hint(Malformed("x", b"INFO {}"), dialect="smtp"))

    def test_aClientOfNATSThatHasINFONeedsNoHintAboutThat(self) -> None:
        """
        A backend has said it, or a program.
        """
        for tunnel in "", POOL_SERVICE:
            late = TimedOut().by("the client")
            self.assertEqual(self.hint(late, HANDSHAKING, "nats", Mode.SERVER, tunnel=tunnel), "")

    def test_anOldPostgreSQLKnowsNoDirectTLS(self) -> None:
        """
        It ends the connection without a word.
        """
        failed = TLSFailed(cause="no direct TLS").by("the server")
        self.assertIn("option direct", self.hint(failed, HANDSHAKING, dialect="postgresql"))

    def test_aDataConnectionIsToResume(self) -> None:
        """
        Of those of FTP this is the one hint: the control connection does not know of it.
        """
        for cause, what in (
            ("no resumption", "somebody else"),
            ("no resumption as demanded", "--dialect-option require-resumption"),
        ):
            refused = IdentityRefused("x", cause=cause).by("the client")
            self.assertIn(what, self.hint(refused, HANDSHAKING, "ftp-data", Mode.SERVER))
        self.assertEqual(self.hint(TLSFailed("x"), HANDSHAKING, "ftp-data", Mode.SERVER), "")

    def test_aScreenHasAnotherLogin(self) -> None:
        """
        Than the options say.
        """
        for mode, error, who in (
            (Mode.CLIENT, NotOffered, "the server"),
            (Mode.SERVER, BackendRefused, "the backend"),
        ):
            lacking = error(cause="another VNC login").by(who)
            self.assertIn("--dialect-option", self.hint(lacking, dialect="vnc", mode=mode))
        left = Closed(cause="no VNC type in common").by("the client")
        self.assertIn("VeNCrypt", self.hint(left, dialect="vnc", mode=Mode.SERVER))
        secured = BackendRefused(cause="VNC with TLS").by("the backend")
        self.assertIn("without TLS", self.hint(secured, dialect="vnc", mode=Mode.SERVER))
        refused = BackendRefused(cause="VNC wants nobody").by("the backend")
        self.assertIn("Blacklist", self.hint(refused, dialect="vnc", mode=Mode.SERVER))

    def test_whoeverItWas(self) -> None:
        """
        An app that leaves says nothing about the server, and a client nothing about the backend.
        """
        self.assertEqual(self.hint(Closed().by("the app")), "")
        self.assertNotEqual(self.hint(Closed().by("the server")), "")
        gone = Closed().by("the client")
        self.assertEqual(self.hint(gone, GREETING, mode=Mode.SERVER), "")
        early = Malformed().by("the backend")
        hint = self.hint(early, dialect="mysql", mode=Mode.SERVER)
        self.assertIn("the backend speaks mysql in clear", hint)
        error = TLSFailed(cause="alert unknown_ca").by("the server")
        self.assertIn("the server does not know the CA", self.hint(error, HANDSHAKING))

    def test_aNameThatDoesNotResolve(self) -> None:
        """
        In any mode, it is the name or the resolver.
        """
        error = ConnectFailed("the name x.example could not be resolved", cause="unresolved")
        for mode in Mode:
            hint = self.hint(error, CONNECTING, mode=mode)
            self.assertIn("check the spelling of --remote", hint)

    def test_preSharedKeys(self) -> None:
        """
        Which end has to do something, and that it is the key.
        """
        for error, mode, word in (
            (IdentityRefused(cause="unknown name"), Mode.SERVER, "identity import --psk"),
            (IdentityRefused(cause="another key"), Mode.SERVER, "the same key"),
            (TLSFailed(cause="no key"), Mode.SERVER, "use a pre-shared key"),
            (TLSFailed(cause="key refused decrypt_error"), Mode.CLIENT, "--local-id"),
            (IdentityRefused(cause="certificate for a key"), Mode.CLIENT, "--trust psk"),
        ):
            self.assertIn(word, self.hint(error, HANDSHAKING, mode=mode))
        error = IdentityRefused(cause="unknown name").by("the client")
        self.assertIn("--client-id", self.hint(error, HANDSHAKING, mode=Mode.BRIDGE))

    def test_thePortHelps(self) -> None:
        """
        Where it is registered, it says which protocol is there.
        """
        for port, name in (389, "ldap"), (5432, "postgresql"), (587, "smtp"):
            for error in Closed(), TimedOut(), TLSFailed("the peer closed the connection"):
                hint = self.hint(error, HANDSHAKING, "none", port=port)
                self.assertIn(
                    f"servers at port {port} begin in clear: give --starttls {name}", hint
                )
        self.assertEqual(self.hint(Closed(), HANDSHAKING, "none", port=8443), "")

    def test_whatHasTheSameWordsIsNoOtherProtocol(self) -> None:
        """
        Those that greet alike are not told from each other.
        """
        for dialect in "smtp", "lmtp", "ftp":
            hint = self.hint(Closed("x", b"220-mx"), dialect=dialect)
            self.assertNotIn("seems to speak", hint, dialect)

    def test_theScriptIsNamed(self) -> None:
        """
        Who gave --chat has no --starttls to leave out.
        """
        self.assertIn("leave out --chat", self.hint(TimedOut(), dialect="chat"))
        self.assertIn("without --chat", self.hint(NotOffered(), dialect="chat"))

    def test_theBackend(self) -> None:
        """
        It has to speak in clear.
        """
        for error in TimedOut(), BackendRefused("x", b"554 no"), Malformed("x", b"\x15\x03\x03"):
            hint = self.hint(error, GREETING, mode=Mode.SERVER)
            self.assertIn("the backend speaks smtp in clear", hint)
        for said, whose in ((b"INFO {}", "nats"), (b"* OK IMAP4rev1", "imap")):
            hint = self.hint(Malformed("x", said), GREETING, mode=Mode.SERVER)
            self.assertIn(f"the backend seems to speak {whose}: check --remote", hint)
        hint = self.hint(TimedOut(), GREETING, "none", Mode.SERVER)
        self.assertIn("the backend speaks the protocol of --reveal in clear", hint)

    def test_aHeaderIsTheReasonOnlyWhereItMayBe(self) -> None:
        """
        Where one was sent, or where a backend that might await one says nothing: what says
        something else is another server, in whatever protocol.
        """
        for dialect in "smtp", "nats", "mysql", "munin", "nbd", "none":
            for stage in (NEGOTIATING, GREETING) if dialect in ("nats", "mysql") else (GREETING,):
                for error, isSent, isNamed in (
                    (Malformed("x", b"\0garbage"), False, False),
                    (BackendRefused("x", b"-ERR 'no room'"), False, False),
                    (Oversize("x"), False, False),
                    (Malformed("x", b"\0garbage"), True, True),
                    (BackendRefused("x", b"554 no"), True, True),
                    (TimedOut(), False, True),
                    (Closed(), False, True),
                    (Closed(), True, True),
                ):
                    error.by("the backend")
                    hint = self.hint(error, stage, dialect, Mode.SERVER, isAnnounced=isSent)
                    self.assertEqual("--proxy-out" in hint, isNamed, (dialect, error, hint))
                    self.assertIn("in clear there", hint)

    def test_everyErrorHasAHintOrNothingCanBeDone(self) -> None:
        """
        In the mode and the stage in which it is met most: those that are ends like others, and
        those that depend on who is there, are told from the rest.
        """
        none = {
            "closed",  # while bytes pass
            "farewell",  # the words are the server's
            "quit",
            "reset",
            "stopped",
            "truncated",  # many do so always
        }
        cases: dict[str, tuple[Stage, Mode]] = {
            "backend": (GREETING, Mode.SERVER),
            "forged": (RELAYING, Mode.SERVER),
            "malformed": (NEGOTIATING, Mode.SERVER),
            "too-many-errors": (NEGOTIATING, Mode.SERVER),
        }
        causes = {
            "identity": "wrong name",
            "program": "signal SIGSEGV",
            "tls": "alert internal_error",
        }
        kinds: list[type[TunnelError]] = [TunnelError, *TunnelError.__subclasses__()]
        seen = set()
        for kind in kinds:
            if not kind.__module__.endswith("errors"):
                continue
            reason = kind.reason
            seen.add(reason)
            stage, mode = cases.get(reason, (NEGOTIATING, Mode.CLIENT))
            if reason in none:
                stage = RELAYING
            hint = self.hint(kind("x", cause=causes.get(reason, "")), stage, mode=mode)
            self.assertEqual(not hint, reason in none, (reason, hint))
            self.assertNotIn("{", hint)
        self.assertLess(none, seen)

    def test_whoGoesOnWithoutTLSIsToldFromWhoSpeaksSomethingElse(self) -> None:
        """
        And both from who logs in as somebody else.
        """
        for error, stage, words in (
            (TooManyErrors("too many commands before STARTTLS"), NEGOTIATING, "use STARTTLS"),
            (TooManyErrors("x", cause="syntax"), NEGOTIATING, "clients that speak smtp"),
            (TooManyErrors("x"), GREETING, "--identity-map"),
            (PlaintextAfterStartTLS("x", b"NOOP"), NEGOTIATING, "an attack by somebody on the way"),
        ):
            hint = self.hint(error.by("the client"), stage, mode=Mode.SERVER)
            self.assertIn(words, hint)

    def test_theDirectory(self) -> None:
        """
        It has to let the tunnel in, and let it act for others.
        """
        for cause, text in (
            ("ldap bind", "--ldap-bind-password-file"),
            ("ldap proxied", "proxied authorisation (RFC 4370)"),
            ("ldap ignores", "proxied authorisation (RFC 4370)"),
            ("ldap other", "the backend speaks LDAP in clear"),
        ):
            error = BackendRefused("x", b"", cause)
            self.assertIn(text, self.hint(error, GREETING, "none", Mode.SERVER))

    def test_revocation(self) -> None:
        """
        Each way to be refused by it says what to do.
        """
        for cause, hint in (
            (REVOKED, "a new certificate"),
            (MISSING, "all need one"),
            (OLD, "the next revocation list"),
            (EARLY, "the clock"),
            (ABSENT, "--require-staple"),
            (BAD, "--require-staple"),
        ):
            error = IdentityRefused("x", cause=cause).by("the server")
            self.assertIn(hint, self.hint(error, HANDSHAKING))

    def test_whoHandsOverHasFieldsAndNoOptions(self) -> None:
        """
        Programs of the pool service do not know the options of tunnels.
        """
        unknown = "'tlstunnel identity trust SELECTOR FILE'"
        shaking, asking = (HANDSHAKING, "none"), (NEGOTIATING, "smtp")
        alert = "alert {}".format
        early = PlaintextAfterStartTLS(cause="TLS before INFO")
        for mode, (stage, dialect), error, hint in (
            (Mode.CLIENT, shaking, IdentityRefused(cause="wrong name"), "certificate with remote="),
            (
                Mode.SERVER,
                shaking,
                IdentityRefused(cause="wrong name"),
                "program say a remote= that",
            ),
            (Mode.CLIENT, shaking, IdentityRefused(cause="unknown CA"), unknown),
            (Mode.SERVER, shaking, IdentityRefused(cause="unknown issuer"), unknown),
            (Mode.SERVER, shaking, TLSFailed(cause="no certificate"), "leave out remote="),
            (Mode.SERVER, shaking, TLSFailed(cause="long handshake"), "let the client have fewer"),
            (Mode.CLIENT, shaking, TLSFailed(cause="long handshake"), "let the server have fewer"),
            (Mode.SERVER, shaking, TLSFailed(cause="wrong name"), "a name of our certificate"),
            (Mode.SERVER, shaking, TLSFailed(cause="no name asked"), "say which with local="),
            (Mode.SERVER, shaking, TLSFailed(cause="other name"), "the same name"),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("certificate_required")), "with local=;"),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("handshake_failure")), "from us (local=)"),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("unrecognized_name")), "check remote="),
            (Mode.CLIENT, shaking, TLSFailed(cause=alert("protocol_version")), "as minimum= wants"),
            (Mode.SERVER, shaking, TLSFailed(cause=alert("no_application_protocol")), "alpn="),
            (Mode.CLIENT, shaking, ForeignProtocol(cause="no TLS"), "needs starttls=smtp"),
            (Mode.SERVER, shaking, ForeignProtocol(cause="no TLS"), "has to say starttls="),
            (Mode.SERVER, asking, ForeignProtocol(cause="TLS"), "without starttls="),
            (Mode.SERVER, shaking, TimedOut(), "the program say starttls="),
            (Mode.CLIENT, shaking, TimedOut(), "give starttls=smtp"),
            (Mode.CLIENT, asking, TimedOut(), "leave out starttls=;"),
            (Mode.CLIENT, asking, Malformed(said=b"* OK IMAP4rev1"), "and starttls=smtp"),
            (Mode.CLIENT, asking, NotOffered(), "without starttls="),
            (Mode.SERVER, (GREETING, "smtp"), BackendRefused(), "speaks as a server of smtp"),
            (Mode.SERVER, (GREETING, "imap"), Reset(), "speaks as a server of imap"),
            (Mode.SERVER, (GREETING, "imap"), ForeignProtocol(), "speaks as a server of imap"),
            (Mode.SERVER, (NEGOTIATING, "nats"), early, "not begin with TLS"),
            (
                Mode.CLIENT,
                (NEGOTIATING, "nats"),
                Closed(cause="no INFO"),
                "without handshake_first",
            ),
        ):
            found = self.hint(error, stage, dialect, mode, tunnel=POOL_SERVICE, peer=25)
            self.assertIn(hint, found)
            self.assertNotIn("--", found)

    def test_aProgramIsABackendOrAnApp(self) -> None:
        """
        A hint about the other end would be beside the point.
        """
        for mode, error, hint in (
            (Mode.SERVER, TimedOut(), "check that the program speaks as a server of mysql"),
            (Mode.SERVER, Closed(), "check that the program speaks as a server of mysql"),
            (Mode.CLIENT, TimedOut(), ""),
            (Mode.CLIENT, Malformed(), ""),
        ):
            found = self.hint(
                error.by("the program"), NEGOTIATING, "mysql", mode, tunnel=POOL_SERVICE
            )
            self.assertTrue(found.startswith(hint) if hint else not found, found)

    def test_everyAlertHasAHint(self) -> None:
        """
        The one for all of them, if no other.
        """
        for alert, hint in (
            ("unknown_ca", "does not know the CA"),
            ("certificate_expired", "renew our certificate"),
            ("certificate_revoked", "was revoked"),
            ("certificate_required", "--local-id"),
            ("handshake_failure", "--local-id"),
            ("unrecognized_name", "--remote-id"),
            ("protocol_version", "--minimum-tls"),
            ("no_application_protocol", "--alpn"),
            ("unknown_ca_of_later", "the log of the peer"),
            ("internal_error", "the log of the peer"),
        ):
            self.assertIn(hint, self.hint(TLSFailed(cause=f"alert {alert}"), HANDSHAKING))
        for alert in "bad_certificate", "certificate_unknown":
            error = TLSFailed(cause=f"alert {alert}")
            self.assertIn("not trust our", self.hint(error, HANDSHAKING, mode=Mode.SERVER))
        self.assertEqual(self.hint(TLSFailed("bad record mac"), RELAYING), "")
