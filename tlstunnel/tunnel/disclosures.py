"""
Whether what a tunnel tells its plaintext side makes sense, and what its connections need for that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Kind, Selector
from tlstunnel.reveal import registry
from tlstunnel.reveal.proxyout import ProxyOut
from tlstunnel.reveal.tlvs import BEFORE_TLS
from tlstunnel.reveal.word import Word
from tlstunnel.tunnel.access import whoMayCome
from tlstunnel.tunnel.description import Mode, Tunnel

# Which words each of these settings is for.
_NEEDED_BY = {
    "identity-map": ("login", "xmpp", "postgresql", "mysql"),
    "login-auth-file": ("login", "xmpp"),
    "webirc-password-file": ("irc",),
    "ldap-bind-password-file": ("ldap",),
}

# Those for which a user may be known by what is before the @.
_SHORT_NAMES = ("postgresql", "mysql")

# Those that tell the backend of users alone.
_OF_USERS = ("login", "ldap")


def checkDisclosure(tunnel: Tunnel) -> None:
    """
    See that the plaintext side can be told what it is to be told.

    @raise ConfigurationError: it cannot.
    """
    told = tunnel.disclosure
    _checkProxy(tunnel)
    _checkProxyFrom(tunnel)
    for name in told.words:
        _checkWord(tunnel, registry.find(name))
    if {"smtp", "xforward"} <= set(told.words):
        raise ConfigurationError(
            "`reveal` xforward",
            "is what smtp does too, where that is all that the backend takes",
            "leave one of them out",
        )
    for key in told.files:
        _checkNeeded(key, told.words)
    if told.ldapBindDN and "ldap" not in told.words:
        _checkNeeded("ldap-bind-dn", told.words)
    if told.httpHeaders and "http" not in told.words:
        _checkNeeded("http-header", told.words)
    _checkProtocol(tunnel)


def _checkNeeded(key: str, words: Sequence[str]) -> None:
    wanted = _NEEDED_BY.get(key, (key.partition("-")[0],))
    if not any(each in words for each in wanted):
        raise ConfigurationError(
            f"`{key}`",
            f"is for `reveal` {' or '.join(wanted)}, which is not there",
            "give that too, or leave this out",
        )


def _checkProxy(tunnel: Tunnel) -> None:
    """
    The same of the header of the PROXY protocol.
    """
    told = tunnel.disclosure
    isClient = tunnel.mode is Mode.CLIENT
    if not told.proxyOut:
        for key, given in (("proxy-tlv", told.proxyTLVs), ("proxy-out-to", told.toNetwork)):
            if given:
                raise ConfigurationError(
                    f"`{key}`", "is about a header that is not sent", "give `proxy-out` too"
                )
    elif isClient and not told.toNetwork:
        raise ConfigurationError(
            f"`proxy-out` {told.proxyOut}",
            "would tell the network in clear who connects here",
            "leave it out, or say `proxy-out-to` network, where a load balancer awaits it",
        )
    elif told.toNetwork and not isClient:
        raise ConfigurationError(
            "`proxy-out-to` network",
            "means nothing with `server`, where the network connects to us",
            "leave it out",
        )
    elif told.proxyTLVs and told.proxyOut == "v1":
        raise ConfigurationError(
            f"`proxy-tlv` {told.proxyTLVs[0]}",
            "has no room in a header of version 1, which is addresses alone",
            "give `proxy-out` v2",
        )
    late = [each for each in told.proxyTLVs if each not in BEFORE_TLS]
    if late and (isClient or tunnel.dialect.dialsEarly(tunnel.options)):
        when = f"`starttls` {tunnel.dialect.name} connects to the backend"
        if isClient:
            when = "the network is told"
        raise ConfigurationError(
            f"`proxy-tlv` {late[0]}",
            f"is not known before TLS, which is when {when}",
            f"leave it out; only {' and '.join(sorted(BEFORE_TLS))} are known then",
        )


def _checkProxyFrom(tunnel: Tunnel) -> None:
    """
    The same of headers that come.
    """
    isAsked = tunnel.proxyFrom or tunnel.proxyFromUNIX
    if isAsked and tunnel.dialect.opensChannels:
        raise ConfigurationError(
            "`proxy-from`",
            f"is not for {tunnel.dialect.name}: nobody could tell whose data connections come from "
            "the same sender",
            "leave it out, and let clients of that connect to us",
        )


def _checkWord(tunnel: Tunnel, word: Word) -> None:
    """
    The same of one word.
    """
    dialect = tunnel.dialect.name
    if dialect != "none" and dialect not in word.dialects:
        raise ConfigurationError(
            f"`reveal` {word.name}",
            f"is not for {dialect}",
            f"leave it out; it is for {', '.join(word.dialects)}, and TLS from the first byte",
        )
    for protocols in (tunnel.alpn, *(each.alpn for each in tunnel.names)):
        _checkProtocols(word, protocols or ())
    if word.needsIdentity and tunnel.isOpen:
        raise ConfigurationError(
            f"`reveal` {word.name}",
            "tells who a client has proved to be, and nobody has to prove anything",
            "say with `remote-id` who may come, as @. for all users",
        )
    anybody = [each.name for each in tunnel.names if each.anybody]
    if word.needsIdentity and anybody:
        raise ConfigurationError(
            f"`reveal` {word.name}",
            f"tells who a client has proved to be, and for the name {anybody[0]} nobody has to "
            "prove anything",
            "let `remote-id` of that name say who may come",
        )


def _checkUsers(tunnel: Tunnel) -> None:
    """
    See that users may come where the backend is told of nobody else.
    """
    found = [name for name in tunnel.disclosure.words if name in _OF_USERS]
    selectors = list(_selectors(tunnel))
    if found and selectors and not any(each.kind is Kind.USER for each in selectors):
        raise ConfigurationError(
            f"`reveal` {found[0]}",
            f"is about users, and {selectors[0]} is none, nor is anybody else who may come",
            "let `remote-id` name users, as @example.org or john@example.org",
        )


def _checkOwnNames(tunnel: Tunnel) -> None:
    """
    See that nobody has the name of somebody else where users have the part before the C{@}.
    """
    short = [name for name in tunnel.disclosure.words if name in _SHORT_NAMES]
    if not short:
        return
    selectors = list(_selectors(tunnel))
    domains = {each.domain for each in selectors if each.kind is Kind.USER}
    hosts = [each for each in selectors if each.kind is Kind.DOMAIN]
    if len(domains) > 1 or any(each.startswith(".") for each in domains):
        raise ConfigurationError(
            f"`reveal` {short[0]}",
            "would take users of several domains for one another, by what is before the @",
            "say with `identity-map` who is who, or let users of one domain alone come",
        )
    if domains and hosts:
        raise ConfigurationError(
            f"`reveal` {short[0]}",
            f"would take a user for a host of {hosts[0]} who has such a name before the @",
            "say with `identity-map` who is who, or let either users or hosts come",
        )


def _selectors(tunnel: Tunnel) -> Iterator[Identity | Selector]:
    """
    All that say who may come, whatever name a client asks for.
    """
    for expected in (whoMayCome(tunnel), *(each.remoteID for each in tunnel.names)):
        if isinstance(expected, AccessList):
            yield from expected.selectors
        elif expected is not None:
            yield expected


def _checkProtocols(word: Word, protocols: Sequence[bytes]) -> None:
    """
    The same of what may be agreed on by ALPN.
    """
    for each in protocols:
        if word.alpn and each not in word.alpn:
            name = os.fsdecode(each)
            raise ConfigurationError(
                f"`alpn` {name}",
                f"cannot be spoken with `reveal` {word.name}, which cannot read it",
                f"give {' or '.join(map(os.fsdecode, word.alpn))}, or leave it out",
            )


def alpnOf(tunnel: Tunnel) -> tuple[bytes, ...]:
    """
    What clients may choose from where nobody says so, as nothing else can be read.
    """
    found = (registry.find(name).alpn for name in tunnel.disclosure.words)
    return next(filter(None, found), ())


def _checkProtocol(tunnel: Tunnel) -> None:
    """
    See that the words are about one protocol, where no dialect says which.
    """
    if tunnel.dialect.name != "none":
        return
    common: set[str] | None = None
    for name in tunnel.disclosure.words:
        dialects = registry.find(name).dialects
        common = set(dialects) if common is None else common.intersection(dialects)
        if not common:
            raise ConfigurationError(
                f"`reveal` {name}",
                f"is for {', '.join(dialects)}, and another word that is given is not",
                "give the words of one protocol",
            )
    if "login" in tunnel.disclosure.words and len(common or ()) > 1:
        raise ConfigurationError(
            "`reveal` login",
            "cannot know the protocol, as TLS is there from the first byte",
            "give the word of the protocol too: `reveal` imap, pop3 or sieve",
        )


def preparedWords(tunnel: Tunnel) -> list[tuple[Word, Any]]:
    """
    The words of a tunnel, each with what it needs.

    @raise ConfigurationError: something that it needs is missing or wrong.
    """
    found = [registry.find(name) for name in tunnel.disclosure.words]
    if not found:
        # Lists of clients are for others to read then.
        return []
    _checkUsers(tunnel)
    if tunnel.disclosure.identityMap is None:
        _checkOwnNames(tunnel)
    return [(word, word.prepare(tunnel.disclosure)) for word in found]


def preparedHeader(tunnel: Tunnel) -> ProxyOut | None:
    """
    What makes the headers of the PROXY protocol that a tunnel sends; C{None} if it sends none.
    """
    told = tunnel.disclosure
    if not told.proxyOut:
        return None
    return ProxyOut(told.proxyOut, told.proxyTLVs, not tunnel.believesPins)
