"""
Whether what a tunnel tells its plaintext side makes sense, and what its connections need for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.reveal import registry
from tlstunnel.reveal.proxyout import ProxyOut
from tlstunnel.reveal.tlvs import BEFORE_TLS
from tlstunnel.reveal.word import Word
from tlstunnel.tunnel.description import Mode, Tunnel

# Which words each of these settings is for.
_NEEDED_BY = {
    "identity-map": ("login", "xmpp", "postgresql", "mysql"),
    "login-auth-file": ("login",),
    "webirc-password-file": ("irc",),
    "ldap-bind-password-file": ("ldap",),
}


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
    for key in told.files:
        _checkNeeded(key, told.words)
    if told.ldapBindDN and "ldap" not in told.words:
        _checkNeeded("ldap-bind-dn", told.words)
    if told.httpHeaders and "http" not in told.words:
        _checkNeeded("http-header", told.words)


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
    if late and (isClient or tunnel.dialect.earlyDial):
        when = f"with `starttls` {tunnel.dialect.name} the backend is dialled"
        if isClient:
            when = "the network is told"
        raise ConfigurationError(
            f"`proxy-tlv` {late[0]}",
            f"is not known yet when {when}, which is before TLS",
            f"leave it out; {' and '.join(sorted(BEFORE_TLS))} are known",
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
    if word.needsIdentity and tunnel.isOpen:
        raise ConfigurationError(
            f"`reveal` {word.name}",
            "tells who a client has proved to be, and nobody has to prove anything",
            "say with `remote-id` who may come, as @. for all users",
        )


def preparedWords(tunnel: Tunnel) -> list[tuple[Word, Any]]:
    """
    The words of a tunnel, each with what it needs.

    @raise ConfigurationError: something that it needs is missing or wrong.
    """
    found = [registry.find(name) for name in tunnel.disclosure.words]
    return [(word, word.prepare(tunnel.disclosure)) for word in found]


def preparedHeader(tunnel: Tunnel) -> ProxyOut | None:
    """
    What makes the headers of the PROXY protocol that a tunnel sends; C{None} if it sends none.
    """
    told = tunnel.disclosure
    if not told.proxyOut:
        return None
    return ProxyOut(told.proxyOut, told.proxyTLVs, not tunnel.believesPins)
