"""
What XCLIENT and XFORWARD tell a mail server of a client, by the names of their attributes
(U{https://www.postfix.org/XCLIENT_README.html}, and XFORWARD_README beside it).

A value that is not known is told as such where ours would stay otherwise.  The name of the client's
host is never known: that somebody wrote it into the DNS of an address is no proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tlstunnel.address import Address
from tlstunnel.errors import BackendRefused
from tlstunnel.identity.names import Kind
from tlstunnel.reveal.facts import Facts, hostAndPort

#: What is not known.
UNAVAILABLE = "[UNAVAILABLE]"

#: The most bytes of a value, as it is written, that Postfix takes.
LONGEST_VALUE = 255

# Of what is printed, these two have a meaning of their own (RFC 3461, section 4).
_XCHARS = frozenset(range(33, 127)) - frozenset(b"+=")

_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")

# The protocol in which a client says hello.
_PROTOCOLS = {b"HELO": "SMTP", b"EHLO": "ESMTP", b"LHLO": "LMTP"}


def xtext(value: bytes) -> bytes:
    """
    A value as it may stand in a command (RFC 3461, section 4).
    """
    return b"".join(b"%c" % each if each in _XCHARS else b"+%02X" % each for each in value)


def place(address: Address | None) -> tuple[str, str]:
    """
    An address as both commands have it, and its port.
    """
    host, port = hostAndPort(address) or (UNAVAILABLE, UNAVAILABLE)
    return f"IPV6:{host}" if ":" in host else host, port


def clientAttributes(facts: Facts) -> dict[str, str]:
    """
    What XCLIENT tells, where all of it is taken.

    PROTO and HELO are not among it: the server is back at its greeting afterwards, and the client
    tells both in its own hello.
    """
    told = {"NAME": UNAVAILABLE, "REVERSE_NAME": UNAVAILABLE}
    told["ADDR"], told["PORT"] = place(facts.peer)
    told["DESTADDR"], told["DESTPORT"] = place(facts.local)
    identity = facts.identity
    if identity is not None and identity.kind is Kind.USER:
        told["LOGIN"] = str(identity)
    # Both are Dovecot's.
    told["CLIENT-TRANSPORT"] = "TLS"
    if _HOST.fullmatch(facts.serverName):
        told["DESTNAME"] = facts.serverName
    return told


def forwardAttributes(facts: Facts, hello: bytes, name: bytes) -> dict[str, str]:
    """
    What XFORWARD tells, where all of it is taken.

    @param hello: the command, in upper case, in which the client said hello; empty if it did not.
    @param name: what it called itself.
    """
    told = {"NAME": UNAVAILABLE, "PROTO": _PROTOCOLS.get(hello, "SMTP"), "SOURCE": "REMOTE"}
    told["ADDR"], told["PORT"] = place(facts.peer)
    if 0 < len(xtext(name)) <= LONGEST_VALUE:
        told["HELO"] = name.decode("latin-1")
    return told


def command(verb: bytes, attributes: Mapping[str, str], taken: Sequence[str]) -> bytes:
    """
    The command, without its end: one has room for all (RFC 5321, section 4.5.3.1.4).

    @param taken: the attributes that the server takes.
    @raise BackendRefused: a value is longer than it takes; cut it would be another one.
    """
    words = [verb]
    for name, value in attributes.items():
        if name not in taken:
            continue
        written = value if value == UNAVAILABLE else xtext(value.encode("latin-1")).decode()
        if len(written) > LONGEST_VALUE:
            raise BackendRefused(f"{name} has more than the {LONGEST_VALUE} bytes that it takes")
        words.append(f"{name}={written}".encode())
    return b" ".join(words)
