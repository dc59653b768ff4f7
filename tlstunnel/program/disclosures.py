"""
The settings that say what the plaintext side is told of its peer: rows of the table in
L{tlstunnel.program.options}.
"""

from __future__ import annotations

from tlstunnel.program.addressvalues import proxySource
from tlstunnel.program.option import Option, Section
from tlstunnel.program.values import choice, headerName, inFolder, text
from tlstunnel.reveal.registry import WORDS
from tlstunnel.reveal.tlvs import TLVS
from tlstunnel.tunnel.description import Mode


def _file(name: str, help: str, more: str = "") -> Option:
    return Option(
        name,
        Section.WHO,
        help,
        more,
        argument="FILE",
        parse=text,
        default=None,
        place=inFolder,
        mode=Mode.SERVER,
        inBridge=False,
    )


DISCLOSURES = (
    Option(
        "proxy-out",
        Section.WHO,
        "tell `remote` the addresses of whoever connects to us, in a header of the PROXY protocol",
        "It comes before all else. v2 can have more, see `proxy-tlv`. What connects to us must not "
        "be able to reach `remote` itself.",
        argument="v1|v2",
        parse=choice("v1", "v2"),
        default=None,
        inBridge=False,
    ),
    Option(
        "proxy-out-to",
        Section.WHO,
        "where that goes: with `server` to the plaintext side; with `client` to the network, in "
        "clear before TLS, which has to be said",
        argument="plain|network",
        parse=choice("plain", "network"),
        default="plain",
        inBridge=False,
    ),
    Option(
        "proxy-tlv",
        Section.WHO,
        "what else the header has, with v2: " + ", ".join(TLVS),
        "Repeatable. ssl stands for ssl-version, ssl-cn, ssl-cipher, ssl-sig-alg, ssl-key-alg and "
        "ssl-group; ssl-client-cert is the whole certificate, for which some have no room.",
        argument="NAME",
        parse=choice(*TLVS),
        default=(),
        isRepeatable=True,
        inBridge=False,
    ),
    Option(
        "proxy-from",
        Section.WHO,
        "what connects from this network or address, or by a UNIX socket (unix), begins with such "
        "a header, which says who is there",
        "Repeatable. From there a header is required; one from elsewhere is not believed. The "
        "address in it counts everywhere: in the log, for `allow`, `deny` and `max-per-address`, "
        "and in `proxy-out`.",
        argument="NET|unix",
        parse=proxySource,
        default=(),
        isRepeatable=True,
    ),
    Option(
        "reveal",
        Section.WHO,
        "tell the plaintext side who is there in the words of its protocol: " + ", ".join(WORDS),
        "Repeatable. What a client says itself of that kind is refused, or replaced. See "
        "docs/who-is-there.md.",
        argument="WORD",
        parse=text,
        default=(),
        isRepeatable=True,
        mode=Mode.SERVER,
        inBridge=False,
    ),
    _file(
        "identity-map",
        "as whom an identity may log in there, in lines MAP IDENTITY NAME (pg_ident.conf)",
        "Without it, by its own name: the whole of it, or what is before the @.",
    ),
    _file(
        "login-auth-file",
        "how we log in for others with `reveal` login: a file with one line user:password, which "
        "nobody else can read",
        "Without it the backend has to believe SASL EXTERNAL of us. With `reveal` xmpp it is "
        "jwt:KEY, which signs tokens (ejabberd).",
    ),
    _file(
        "webirc-password-file",
        "what an IRC server knows us by, with `reveal` irc: a file with one line, which nobody "
        "else can read",
    ),
    Option(
        "ldap-bind-dn",
        Section.WHO,
        "who we are to an LDAP server, with `reveal` ldap; it must let us act for others",
        argument="DN",
        parse=text,
        default=None,
        mode=Mode.SERVER,
        inBridge=False,
    ),
    _file(
        "ldap-bind-password-file",
        "the password of that: a file with one line, which nobody else can read",
    ),
    Option(
        "http-header",
        Section.WHO,
        "another name for a field that `reveal` http adds, as X-Forwarded-For=X-Real-IP; none at "
        "all behind the = to leave it out",
        "Repeatable.",
        argument="NAME=OTHER",
        parse=headerName,
        default=(),
        isRepeatable=True,
        mode=Mode.SERVER,
        inBridge=False,
    ),
)
