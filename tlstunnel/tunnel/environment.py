"""
What a program that serves a connection finds in its environment: who is there, by the names that
other servers have for it, and nothing else.

Only what is verified is there: a name that has nothing to say is not set, and none of ours is.  The
name that the client asked for is the only thing that is said by it alone, and it is there only if
it is one that a host can have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from tlstunnel.address import Address, TCPAddress
from tlstunnel.identity.distinguished import inOneLine
from tlstunnel.identity.names import Identity, Kind, normalDomain
from tlstunnel.reveal.facts import Facts
from tlstunnel.tunnel.programs import USUAL_PATH


def environmentOf(facts: Facts, local: Address | None) -> dict[str, str]:
    """
    The environment of a program.

    @param local: where the client has connected to.
    """
    return dict(_variables(facts, local))


def _variables(facts: Facts, local: Address | None) -> Iterator[tuple[str, str]]:
    yield "PATH", os.environ.get("PATH", USUAL_PATH)
    # As servers of UCSPI call them: s6-networking, and ucspi-ssl.
    yield "PROTO", "SSL"
    for where, address in (("REMOTE", facts.peer), ("LOCAL", local)):
        if isinstance(address, TCPAddress):
            for proto in ("TCP", "SSL"):
                yield f"{proto}{where}IP", address.host
                yield f"{proto}{where}PORT", str(address.port)
    if isinstance(facts.peer, TCPAddress):
        # As stunnel and CGI do.
        yield "REMOTE_HOST", facts.peer.host
        yield "REMOTE_PORT", str(facts.peer.port)
    for version, cipher in (("TLS_VERSION", "TLS_CIPHER"), ("SSL_PROTOCOL", "SSL_CIPHER")):
        yield version, facts.version
        yield cipher, facts.suite
    name = _hostName(facts.serverName)
    if name:
        yield "TLS_SNI", name
        yield "SSL_TLS_SNI_SERVERNAME", name
    if facts.identity is not None:
        yield from _identity(facts, facts.identity)


def _identity(facts: Facts, identity: Identity) -> Iterator[tuple[str, str]]:
    """
    Who the client has proved to be.
    """
    yield "TLS_IDENTITY", str(identity)
    if identity.kind is Kind.USER:
        yield "REMOTE_USER", str(identity)
    certificate = facts.certificate
    if certificate is not None and identity.kind is not Kind.KEY:
        # Where the key alone is known, whoever has it can write any name into a certificate.
        subject = inOneLine(certificate.subject)
        # stunnel has the first; Apache and ucspi-ssl have the second.
        yield "SSL_CLIENT_DN", subject
        yield "SSL_CLIENT_S_DN", subject
        yield "SSL_CLIENT_I_DN", inOneLine(certificate.issuer)


def _hostName(said: str) -> str:
    """
    The name of a host that a client has asked for; empty if it is none.
    """
    try:
        return normalDomain(said) if said.isascii() else ""
    except ValueError:
        return ""
