"""
What to do about a connection that failed: a hint for the log, from one table.

A hint says what is likely, in one line, to an administrator who knows the options.  Where nothing
is likely there is none; above all there is none for attacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

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
    Refused,
    Reset,
    Temporary,
    TimedOut,
    TLSFailed,
    TunnelError,
)
from tlstunnel.protocols.registry import STARTTLS_PORTS
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.record import (
    CONNECTING,
    GREETING,
    HANDSHAKING,
    NEGOTIATING,
    Record,
    Stage,
)
from tlstunnel.tunnel.viahints import PROXY, hintOfProxy

# Who is not the one that the hints of a stage are about.
_OTHERS = {("the app", NEGOTIATING), ("the app", HANDSHAKING), ("the client", GREETING)}

# What a server says first, or when it was spoken to in another language, and whose language it is.
_LANGUAGES = (
    (b"\x15\x03", "TLS"),
    (b"\x16\x03", "TLS"),
    (b"HTTP/1.", "http"),
    (b"<html", "http"),
    (b"SSH-", "SSH"),
    (b"* OK", "imap"),
    (b"* BYE", "imap"),
    (b"* PREAUTH", "imap"),
    (b"+OK", "pop3"),
    (b"-ERR", "pop3"),
    (b"220 ", "smtp or lmtp or ftp"),
    (b"220-", "smtp or lmtp or ftp"),
    (b"200 ", "nntp"),
    (b"201 ", "nntp"),
    (b'"IMPLEMENTATION"', "sieve"),
    (b"<?xml", "xmpp-client or xmpp-server"),
    (b"<stream:", "xmpp-client or xmpp-server"),
    (b"\xff\xfb", "telnet"),
    (b"\xff\xfd", "telnet"),
)


@dataclass(frozen=True)
class _Hint:
    """
    A row of the table: what a failure must be like, and what to do about it.

    @ivar errors: its class is one of them.
    @ivar text: the hint; in braces stand facts that L{hintFor} knows.
    @ivar mode: that of the tunnel.
    @ivar stages: the connection ended in one of them.
    @ivar causes: the cause is one of them, or says more behind one of them.
    @ivar isImplicit: whether the tunnel has TLS from the first byte.
    """

    errors: tuple[type[TunnelError], ...]
    text: str
    mode: Mode | None = None
    stages: tuple[Stage, ...] = ()
    causes: tuple[str, ...] = ()
    isImplicit: bool | None = None

    def fits(self, record: Record, stage: Stage, cause: str) -> bool:
        """
        Whether it is about such an error, with which a connection ended at C{stage}.
        """
        return (
            self.mode in (None, record.mode)
            and (not self.stages or stage in self.stages)
            and (not self.causes or f"{cause} ".startswith(self.causes))
            and self.isImplicit in (None, record.dialect == "none")
        )


_CLIENT, _SERVER = Mode.CLIENT, Mode.SERVER
_SPOKEN = (Malformed, Closed, Refused, TimedOut, Oversize, Reset)
_UNKNOWN_CA = (
    "if you trust that CA, add its certificate with --trust FILE; or, where --trust is not given, "
    "with 'tlstunnel identity trust SELECTOR FILE'"
)

# The first row that fits counts, so that the more special ones stand first.  A cause ends in a
# space where no more may follow.
_HINTS = (
    # There is nobody.
    _Hint(
        (ConnectFailed,),
        "no server listens there: check the host and the port in --remote",
        _CLIENT,
        causes=("ECONNREFUSED ",),
    ),
    _Hint(
        (ConnectFailed,),
        "start the backend, or check --remote",
        _SERVER,
        causes=("ECONNREFUSED ", "ENOENT "),
    ),
    _Hint(
        (ConnectFailed,),
        "check the host in --remote, and whether a firewall is in the way",
        causes=("ETIMEDOUT ", "EHOSTUNREACH ", "ENETUNREACH "),
    ),
    _Hint(
        (TimedOut,),
        "check the host in --remote, and in --via where that is given, and the network",
        stages=(CONNECTING,),
    ),
    # What DNS says of it is not known, or not enough.
    _Hint(
        (ConnectFailed,),
        "look into the log of the resolver: most often a signature is wrong or has expired",
        causes=("servfail ",),
    ),
    _Hint(
        (ConnectFailed,),
        "start the resolver, or check --dane-resolver",
        causes=("unreachable ",),
    ),
    _Hint(
        (IdentityRefused,),
        "if the domain is signed, the resolver does not validate: give it the root's key; else "
        "give further anchors beside --trust dane",
        causes=("insecure ",),
    ),
    _Hint(
        (IdentityRefused,),
        "the domain has to publish its certificate there; or give further anchors beside --trust "
        "dane",
        causes=("no records ", "unusable "),
    ),
    _Hint(
        (IdentityRefused,),
        "the domain has to publish the records of its new certificate before it shows that",
        causes=("no match ",),
    ),
    # One side has TLS from the first byte, and the other has not.
    _Hint(
        _SPOKEN,
        "the server speaks TLS from the first byte there: leave out {upgrade}",
        _CLIENT,
        (NEGOTIATING,),
        ("TLS ",),
    ),
    _Hint(
        (ForeignProtocol,),
        "a server that begins in clear needs --starttls {usual}",
        _CLIENT,
        (HANDSHAKING,),
        ("no TLS ",),
        isImplicit=True,
    ),
    _Hint(
        (ForeignProtocol,),
        "let clients use STARTTLS here, or serve those with TLS from the first byte at another "
        "port, without {upgrade}",
        _SERVER,
        causes=("TLS ",),
    ),
    _Hint(
        (ForeignProtocol,),
        "let the client speak TLS from the first byte; if it expects STARTTLS, --starttls is "
        "missing here",
        _SERVER,
        (HANDSHAKING,),
        ("no TLS ",),
        isImplicit=True,
    ),
    _Hint(
        (TimedOut,),
        "a client that waits for a greeting expects STARTTLS: let it speak TLS from the first "
        "byte, or give --starttls",
        _SERVER,
        (HANDSHAKING,),
        isImplicit=True,
    ),
    _Hint(
        (TimedOut, Closed, Reset, TLSFailed),
        "servers at port {port} begin in clear: give --starttls {usual}",
        _CLIENT,
        (HANDSHAKING,),
        ("clear port ",),
        isImplicit=True,
    ),
    # Another protocol.
    _Hint(
        (*_SPOKEN, ForeignProtocol),
        "that is what {speaks} sounds like: check the port, and --starttls {dialect}",
        _CLIENT,
        (NEGOTIATING,),
        ("speaks ",),
    ),
    _Hint(
        (TimedOut, Closed),
        "if that server speaks TLS from the first byte, leave out {upgrade}; else check that it "
        "speaks {dialect}",
        _CLIENT,
        (NEGOTIATING,),
    ),
    _Hint(
        (Malformed, Oversize, ForeignProtocol),
        "check that a server of {dialect} listens there",
        _CLIENT,
        (NEGOTIATING,),
    ),
    _Hint(
        (NotOffered, Refused, Temporary),
        "switch TLS on in the server; or if it has a port with TLS from the first byte, connect "
        "there without {upgrade}",
        _CLIENT,
        (NEGOTIATING,),
    ),
    _Hint(
        (Malformed, ForeignProtocol),
        "this port is for clients that speak {dialect}: check which port this one is set to",
        _SERVER,
        (NEGOTIATING,),
    ),
    _Hint(
        (TimedOut, Closed, Malformed, BackendRefused),
        "check that the backend speaks {dialect} in clear at this port",
        _SERVER,
        (GREETING,),
    ),
    # Certificates that we were shown, or were not.
    _Hint(
        (IdentityRefused,),
        "if this is the right server, give one of these names with --remote-id",
        _CLIENT,
        causes=("wrong name ",),
    ),
    _Hint(
        (IdentityRefused,),
        "if this client is welcome, one more --remote-id has to match one of these names",
        _SERVER,
        causes=("wrong name ",),
    ),
    _Hint(
        (IdentityRefused,),
        "if the server has a new key, give that with --pin",
        _CLIENT,
        causes=("other key ",),
    ),
    _Hint(
        (IdentityRefused,),
        "if this client is welcome, give its key with one more --pin",
        _SERVER,
        causes=("other key ",),
    ),
    _Hint(
        (IdentityRefused,),
        "it needs a new certificate, with its name there; common names never count",
        causes=("no name ",),
    ),
    _Hint(
        (IdentityRefused,),
        "the peer has to renew it, unless the clock of this host is wrong",
        causes=("expired ",),
    ),
    _Hint(
        (IdentityRefused,),
        "check the clock of this host",
        causes=("not yet valid ", "early CRL "),
    ),
    _Hint(
        (IdentityRefused,),
        "the peer may have to send its whole chain (fullchain.pem); " + _UNKNOWN_CA,
        causes=("unknown issuer ",),
    ),
    _Hint((IdentityRefused,), _UNKNOWN_CA, causes=("unknown CA ",)),
    _Hint(
        (IdentityRefused,),
        "the peer needs a new certificate, with a new key if the old one is known to others",
        causes=("revoked ",),
    ),
    _Hint(
        (IdentityRefused,),
        "where one CA of a chain has a revocation list here, all need one: put it beside the "
        "others (*.crl in the pool's trust/), or take all of that chain away",
        causes=("no CRL ",),
    ),
    _Hint(
        (IdentityRefused,),
        "get the next revocation list of that CA, in time, or from a cron job",
        causes=("old CRL ",),
    ),
    _Hint(
        (IdentityRefused,),
        "let the server staple a new response of OCSP, or leave out --require-staple",
        causes=("no staple ", "bad staple "),
    ),
    _Hint(
        (TLSFailed,),
        "let the client show a certificate (tlstunnel: --local-id), or leave out --remote-id",
        _SERVER,
        causes=("no certificate ",),
    ),
    _Hint(
        (TLSFailed,),
        "let the client ask for a name of our certificate, or give --any-name",
        _SERVER,
        causes=("wrong name ",),
    ),
    _Hint(
        (TLSFailed,),
        "let the client ask for a name (SNI), or leave out --require-sni",
        _SERVER,
        causes=("no name asked ",),
    ),
    _Hint(
        (TLSFailed,),
        "let the client ask for the same name before TLS and in it",
        _SERVER,
        causes=("other name ",),
    ),
    # Alerts that we were sent.
    _Hint(
        (TLSFailed,),
        "the server wants a certificate from us: give --local-id",
        _CLIENT,
        causes=("alert certificate_required ",),
    ),
    _Hint(
        (TLSFailed,),
        "the peer does not know the CA of our certificate: let it trust that one, or use a "
        "certificate from a CA that it knows",
        causes=("alert unknown_ca ",),
    ),
    _Hint(
        (TLSFailed,),
        "our certificate was revoked: get another one, with a new key",
        causes=("alert certificate_revoked ",),
    ),
    _Hint((TLSFailed,), "renew our certificate", causes=("alert certificate_expired ",)),
    _Hint(
        (TLSFailed,),
        "the server has no certificate for that name: check --remote-id",
        _CLIENT,
        causes=("alert unrecognized_name ",),
    ),
    _Hint(
        (TLSFailed,),
        "the peer does not speak TLS 1.2 or 1.3, or not as --minimum-tls wants it",
        causes=("alert protocol_version ", "old version "),
    ),
    _Hint(
        (TLSFailed,),
        "the peer speaks none of our application protocols: check --alpn",
        causes=("alert no_application_protocol ",),
    ),
    _Hint(
        (TLSFailed,),
        "the server may want a certificate from us (--local-id), or knows none of our cipher "
        "suites; its log should say",
        _CLIENT,
        causes=("alert handshake_failure ",),
    ),
    _Hint(
        (TLSFailed,),
        "the client may not trust our certificate, or want another name; its log should say",
        _SERVER,
        causes=("alert bad_certificate ", "alert certificate_unknown "),
    ),
    _Hint((TLSFailed,), "look into the log of the peer, which ended it", causes=("alert ",)),
)


@cache
def _hintsFor(kind: type[TunnelError]) -> tuple[_Hint, ...]:
    """
    The rows about errors of one class: most errors of a relay have none.
    """
    return tuple(hint for hint in _HINTS if issubclass(kind, hint.errors))


def hintFor(record: Record) -> str:
    """
    What to do about the end of a connection.

    @param record: of one that is over.
    @return: the hint; empty where there is none.
    """
    error = record.error
    if error is None or record.dialect.endswith("-data"):
        # Of data connections the control connection decides nearly everything.
        return ""
    if error.cause.startswith(PROXY):
        return hintOfProxy(error.cause)
    hints = _hintsFor(type(error))  # type: ignore[arg-type]
    if not hints:
        return ""
    stage = record.reached
    if (error.who, stage) in _OTHERS:
        return ""
    if (error.who, stage) == ("the backend", NEGOTIATING):
        # That of mysql greets before the client.
        stage = GREETING
    speaks = _language(error.said)
    port = record.backend.port if isinstance(record.backend, TCPAddress) else 0
    cause = error.cause
    if not cause and speaks == "TLS":
        cause = "TLS"
    elif not cause and speaks and record.dialect not in {"none", "chat", *speaks.split(" or ")}:
        cause = f"speaks {speaks}"
    elif not cause and port in STARTTLS_PORTS:
        cause = "clear port"
    for hint in hints:
        if hint.fits(record, stage, cause):
            text = hint.text.replace("the peer", error.who or "the peer")
            return text.format(
                dialect=record.dialect,
                upgrade="--chat" if record.dialect == "chat" else "--starttls",
                port=port,
                usual=STARTTLS_PORTS.get(port, "NAME (see --list-protocols)"),
                speaks=speaks,
            )
    return ""


def _language(said: bytes) -> str:
    """
    Whose language it is; empty if that is not obvious.
    """
    start = said.lstrip()
    return next((whose for first, whose in _LANGUAGES if start.startswith(first)), "")
