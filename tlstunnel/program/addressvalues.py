"""
How an address in a setting is read: where to listen, what to connect to, and networks.

As in L{tlstunnel.program.values}, C{ValueError} has a sentence for the user.
"""

from __future__ import annotations

import shlex

from tlstunnel.address import (
    PROGRAM,
    SERVICE,
    ExecAddress,
    Listening,
    Remote,
    TCPAddress,
    UNIXAddress,
    parseAddress,
    parseListening,
    parseService,
)
from tlstunnel.net.networks import Network, parseNetwork
from tlstunnel.net.via import Via, parseVia
from tlstunnel.program.values import shown, text

#: Where a resolver listens (RFC 1035, section 4.2).
DNS_PORT = 53


def listening(value: object) -> Listening:
    """
    Where to listen.
    """
    return parseListening(text(value))


def target(value: object) -> Remote:
    """
    Where to connect to: a place, a service, or a program to start.
    """
    if isinstance(value, list):
        return _programOf(value)
    words = text(value)
    if words.startswith(PROGRAM):
        return _program(words)
    return parseService(words) if words.startswith(SERVICE) else place(words)


def _program(value: str) -> ExecAddress:
    """
    A program and its arguments, in words as a shell has them.
    """
    try:
        words = shlex.split(value.removeprefix(PROGRAM))
    except ValueError as error:
        problem = str(error).rstrip(".").lower()
        raise ValueError(
            f"{shown(value)} has {problem}; write it as in a shell, with quotation marks in pairs"
        ) from None
    return _ofWords(value, words)


def _programOf(value: list[object]) -> ExecAddress:
    """
    The same in a file, in an array of its own, of which each word is text.
    """
    words = [text(each) for each in value]
    if not (words and words[0].startswith(PROGRAM)):
        raise ValueError(
            f"is an array in an array, which only a program is; begin it with {PROGRAM}PROGRAM"
        )
    return _ofWords(words[0], [words[0].removeprefix(PROGRAM), *words[1:]])


def _ofWords(value: str, words: list[str]) -> ExecAddress:
    if not (words and words[0]):
        raise ValueError(f"{shown(value)} names no program; write {PROGRAM}PROGRAM ARGUMENTS")
    for each in words:
        if not each.isprintable():
            raise ValueError(
                f"{shown(each)} cannot be printed; put it into a script, and name that"
            )
    return ExecAddress(tuple(words))


def place(value: object) -> TCPAddress | UNIXAddress:
    """
    One place to connect to.
    """
    address = parseAddress(text(value))
    if isinstance(address, TCPAddress) and not (address.host and address.port):
        raise ValueError(
            f"{shown(value)} names no place to connect to; give a host and a port above 0"
        )
    return address


def proxy(value: object) -> Via:
    """
    Through which proxy to connect.
    """
    return parseVia(text(value))


def address(value: object) -> TCPAddress | UNIXAddress:
    """
    Where to listen, and no socket of somebody else's.
    """
    return parseAddress(text(value))


def network(value: object) -> Network:
    """
    Addresses that begin with the same bits, or a single one.
    """
    return parseNetwork(text(value))


def proxySource(value: object) -> Network | None:
    """
    From where headers of the PROXY protocol come: C{None} stands for UNIX sockets.
    """
    return None if value == "unix" else network(value)


def resolver(value: object) -> TCPAddress:
    """
    A resolver of this host, by default at the port of DNS.
    """
    given = text(value)
    isBare = given.count(":") > 1 and not given.startswith("[")
    address = parseAddress(f"[{given}]" if isBare else given, DNS_PORT)
    if not (isinstance(address, TCPAddress) and address.isLiteral and address.isLocal):
        raise ValueError(
            f"{shown(value)} is not a loopback address, and what comes from elsewhere can be "
            "forged on the way; give 127.0.0.1 or ::1, where a resolver validates"
        )
    if not address.port:
        raise ValueError(f"{shown(value)} has no port above 0; give one, or none for {DNS_PORT}")
    return address
