"""
The proxy through which a tunnel goes out: how it is given, and how we log in there.

What is said to it is in L{tlstunnel.net.viahttp} and L{tlstunnel.net.viasocks}, and who says it in
L{tlstunnel.net.viadial}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from tlstunnel.address import TCPAddress, parseAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.pem import readFile

#: More than any line C{user:password} has; some passwords are tokens of a kilobyte.
LARGEST_LOGIN = 4096

#: The most bytes that SOCKS has for a user, and for a password (RFC 1929, section 2).
LONGEST_SOCKS_WORD = 255

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)/?")

# What else proxies are called, and what to do.
_OTHERS = {
    "https": "TLS to the proxy itself is not spoken; write http:// if it takes CONNECT in clear",
    "socks": "write socks5://",
    "socks5h": "write socks5://, by which the proxy always resolves the name",
    "socks4": "that is SOCKS 4, which is not spoken; write socks5:// if the proxy speaks it too",
    "socks4a": "that is SOCKS 4, which is not spoken; write socks5:// if the proxy speaks it too",
}


@dataclass(frozen=True)
class Via:
    """
    A proxy.

    @ivar scheme: C{http}, to be asked with CONNECT (RFC 9110, section 9.3.6), or C{socks5} (RFC
        1928).
    @ivar address: where it is.
    @ivar user: who we are there, if that is said; the password is in a file.
    """

    scheme: str
    address: TCPAddress
    user: str = ""

    def __str__(self) -> str:
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"{self.scheme}://{user}{self.address}"


@dataclass(frozen=True)
class Login:
    """
    How we log in at a proxy.

    @ivar user: as the file has it.
    @ivar password: likewise; never shown.
    """

    user: bytes
    password: bytes = field(repr=False)


def parseVia(text: str) -> Via:
    """
    Read C{http://HOST:PORT}, or C{socks5://HOST:PORT}, in which C{user@} may stand before the host.

    @raise ValueError: it is none of these; the message is a sentence for the user, and has no
        password in it.
    """
    # First of all, as every other message quotes what was given.
    login, at, place = (text.partition("://")[2] or text).rpartition("@")
    if ":" in login:
        raise ValueError(
            f"has a password before @{place}, where every user of this host can read it (ps); "
            "put a line user:password into a file and give `via-auth-file`, and remove it here"
        )
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no URL of a proxy; write http://HOST:PORT")
    scheme = found[1].lower()
    if scheme not in {"http", "socks5"}:
        remedy = _OTHERS.get(scheme, "write http://HOST:PORT or socks5://HOST:PORT")
        raise ValueError(f"{text!r} is no proxy that we can speak to; {remedy}")
    user, at, place = found[2].rpartition("@")
    if at and not user:
        raise ValueError(f"{text!r} has no user before the @; write one, or leave it out")
    try:
        name = unquote_to_bytes(user).decode()
    except UnicodeDecodeError:
        name = "\0"
    if not name.isprintable() or ":" in name:
        raise ValueError(f"{text!r} has a user that cannot log in; use another one")
    address = parseAddress(place) if place else None
    if not (isinstance(address, TCPAddress) and address.host and address.port):
        raise ValueError(f"{text!r} names no place to connect to; give a host and a port above 0")
    return Via(scheme, address, name)


def readLogin(path: Path, via: Via) -> Login:
    """
    Read the file that says how to log in at C{via}: one line C{user:password}, for nobody else to
    read.

    @raise ConfigurationError: it cannot be read, or can be by too many, or has something else.
    """
    content = readFile(path, private=True)
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    user, colon, password = line.partition(b":")
    if not (user and colon) or len(line) > LARGEST_LOGIN or _hasControls(line):
        raise ConfigurationError(
            str(path),
            "does not have one line user:password, of printable characters, and nothing else",
            "write that line into it",
        )
    if via.user and via.user.encode() != user:
        raise ConfigurationError(
            str(path),
            f"is about another user than `via` {via}",
            "write the user into one of them alone: the file has to have one",
        )
    if via.scheme == "socks5" and not (
        len(user) <= LONGEST_SOCKS_WORD and 0 < len(password) <= LONGEST_SOCKS_WORD
    ):
        raise ConfigurationError(
            str(path),
            f"has no user and password of 1 to {LONGEST_SOCKS_WORD} bytes each, as SOCKS wants "
            "them (RFC 1929)",
            "give shorter ones, and no empty password",
        )
    return Login(user, password)


def _hasControls(line: bytes) -> bool:
    """
    Whether there are control characters, which no login may have (RFC 7617, section 2).
    """
    return any(byte < 0x20 or byte == 0x7F for byte in line)
