"""
What may be written down of what is said in clear: nothing that could be a password.

A client that does not know better logs in before TLS.  So what clients say is shown as a whole only
where it is known to be harmless; of what is known to be a command its verb is shown, and of all
else how long it is: lines of a login that go on, binary messages, what nobody understands.
"""

from __future__ import annotations

import re

from tlstunnel.errors import quote
from tlstunnel.protocols.conversation import HIDDEN

# Lines without a secret, as a whole: what leads up to TLS, in all protocols of lines.
_HARMLESS = re.compile(
    rb"(?:"
    rb"(?:EHLO|HELO|LHLO)(?: [!-~]{1,255})?"
    rb"|STARTTLS|STLS|CAPA|CAPABILITIES|CAPABILITY|NOOP|QUIT|RSET|FEAT|HELP|SYST|LOGOUT|MODE READER"
    rb"|AUTH (?:TLS|SSL)(?:-[CP])?|PBSZ [0-9]{1,10}|PROT [CSEP]"
    rb"|VER|PROTVER|NETVER|DETACH|RFB [0-9]{3}\.[0-9]{3}"
    rb"|CAP (?:LS|LIST|REQ|END|ACK)(?: [ -~]{0,100})?"
    # IMAP has a tag before them.
    rb"|[A-Z0-9.]{1,16} (?:CAPABILITY|STARTTLS|NOOP|LOGOUT)"
    # HTTP asks with any request; its target, and most fields, may have secrets.
    rb"|OPTIONS \* HTTP/1\.[01]"
    rb"|(?:HOST|CONNECTION|UPGRADE|CONTENT-LENGTH):[ -~]{0,100}"
    rb")[ \t]*(?:\r?\n)?",
    re.IGNORECASE,
)

# What may begin with a secret behind it: the verb is shown.
_VERB = re.compile(
    rb"(?:[A-Z0-9.]{1,16} (?=(?:LOGIN|AUTHENTICATE|ID|SELECT|LIST|ENABLE)\b))?"
    rb"(?:AUTHINFO (?:USER|PASS|SASL)|AUTHENTICATE|AUTHINFO|AUTH|LOGIN|PASS(?:WORD)?|USER(?:NAME)?"
    rb"|APOP|ACCT|OPER|NICK|WEBIRC|SERVICE|SERVER|JOIN|PRIVMSG|NOTICE|PING|PONG|XCLIENT|XFORWARD|MAIL|RCPT|DATA|BDAT"
    rb"|VRFY|EXPN|ETRN|ID|SELECT|LIST|ENABLE|STAT|RETR|GROUP|ARTICLE|HOST|OPTS|CLNT|REIN"
    rb"|GET|HEAD|POST|PUT|DELETE|CONNECT|PATCH|TRACE|OPTIONS|PRI|AUTHORIZATION|PROXY-AUTHORIZATION"
    rb"|COOKIE|USER-AGENT|ACCEPT)(?=[\s:]|$)",
    re.IGNORECASE,
)

# The part of a stream of XMPP that leads up to TLS, cut anywhere: tags of these names, and no text.
_STREAM = re.compile(
    rb"(?:\s|<\?xml [^<>]{0,200}\?>|</?stream:(?:stream|features|error)\b[^<>]{0,500}>"
    rb"|</?starttls\b[^<>]{0,200}>)*(?:<(?:stream:stream|starttls)\b[^<>]{0,500}\Z)?"
)

# Binary requests for TLS: those of PostgreSQL ("SSLRequest", "GSSENCRequest" in its manual), LDAP
# (RFC 4511, section 4.14), NBD (flags, and NBD_OPT_STARTTLS), VNC (VeNCrypt, its version, and its
# subtypes), and TELNET (commands, and START_TLS).
_REQUESTS = re.compile(
    rb"\0\0\0\x08\x04\xd2\x16[\x2f\x30]"
    rb"|0.{1,5}\x02.{2,5}w.{1,5}\x80\x161\.3\.6\.1\.4\.1\.1466\.20037"
    rb"|(?:\0\0\0[\0-\3])?IHAVEOPT\0\0\0\x05\0\0\0\0"
    rb"|\x13|\0\x02|\0\0\x01[\0-\x08]"
    rb"|(?:\xff[\xfb-\xfe].|\xff\xfa\x2e\x01\xff\xf0)+",
    re.DOTALL,
)

# Protocols whose lines end in LF alone.
_BARE = frozenset(("nut", "munin", "vnc"))

# What a server's answer begins with, in protocols of lines.
_ANSWER = re.compile(rb"[0-9]{3}(?=[ -])|[+]OK\b|-ERR\b|\* (?:OK|NO|BAD|BYE)\b", re.IGNORECASE)


class Discretion:
    """
    What is shown of one conversation, whose lines come in pieces.
    """

    def __init__(self, dialect: str, isServer: bool) -> None:
        """
        @param isServer: whether we play the server, so that what we hear is a client's.
        """
        self._isXML = dialect.startswith("xmpp")
        # Of a script of somebody nothing is known, and what we send may be echoed.
        self._isUnknown = dialect == "chat"
        self._isServer = isServer
        self._lineEnd = b"\n" if dialect in _BARE else b"\r\n"
        # Whether the line is still to end that was said last, by whether it is ours.
        self._goesOn = {True: False, False: False}

    def shown(self, isOurs: bool, words: bytes) -> str:
        """
        What may be shown of C{words}, which are a line or a part of one.
        """
        goesOn = self._goesOn[isOurs]
        self._goesOn[not isOurs] = False
        self._goesOn[isOurs] = not words.endswith(b"\n")
        isClients = isOurs is not self._isServer
        if words == HIDDEN and isOurs:
            return "something that is secret"
        if not isClients and not self._isUnknown:
            return self._quoted(words)
        if goesOn:
            return _sized(words, " more")
        return self._cut(words, isClients)

    def _cut(self, words: bytes, isClients: bool) -> str:
        if not isClients:
            return _begun(words, _ANSWER.match(words))
        if self._isXML:
            return _begun(words, _STREAM.match(words))
        if _HARMLESS.fullmatch(words) or _REQUESTS.fullmatch(words):
            return self._quoted(words)
        return _begun(words, _VERB.match(words))

    def _quoted(self, words: bytes) -> str:
        """
        Words without the end of a line, where that is the usual one.
        """
        return quote(words.removesuffix(self._lineEnd))


def _begun(words: bytes, found: re.Match[bytes] | None) -> str:
    """
    The part that was found, and how much follows.
    """
    if not found or not found[0]:
        return _sized(words)
    rest = words[found.end() :]
    return quote(found[0]) + (f" and {_sized(rest, ' more')}" if rest.strip() else "")


def _sized(words: bytes, more: str = "") -> str:
    return f"{len(words)}{more} byte{'s' if len(words) != 1 else ''}"
