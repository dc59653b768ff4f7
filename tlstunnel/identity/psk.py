"""
Pre-shared keys: what both ends of a connection were given beforehand, instead of certificates.

A pool has one as C{POOL/ID/psk}: a line with the key in hexadecimal digits, and before it, with a
colon between them, what the identity is called within TLS, where that is not simply ID.  Such names
are bytes (RFC 4279, section 5); those that are no plain text are written as GnuTLS does it, with
C{#} and hexadecimal digits.

This module reads and writes such files; L{tlstunnel.tls.psk} uses what is in them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tlstunnel.errors import ConfigurationError, quote
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.files import makeDirectory, present, writeFile
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.pool import PSK_FILE, Pool

#: The fewest bytes of a key: less can be found out by trying, from one recorded handshake on.
SHORTEST_KEY = 16

#: The most, as OpenSSL has it.
LONGEST_KEY = 512

#: The bytes of keys that are made here.
KEY_BYTES = 32

#: The most bytes of the name of an identity within TLS, as OpenSSL has it.
LONGEST_NAME = 255

# Fewer different bytes than random keys of that length ever have.
_DIFFERENT = 8

_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_PLAIN = re.compile(rb"[\x21\x22\x24-\x7e][\x20-\x7e]*")

# More than the name, written as digits, and the key.
_LARGEST_BYTES = 4096


@dataclass(frozen=True)
class PresharedKey:
    """
    One key.

    @ivar identity: whose it is: that of the side that plays the TLS client.
    @ivar name: what this is called within TLS.
    @ivar key: the key itself.
    @ivar source: the file it is from, for messages.
    """

    identity: Identity
    name: bytes
    key: bytes = field(repr=False)
    source: str = field(default="", compare=False)

    @property
    def isMadeUp(self) -> bool:
        """
        Whether it looks like what people think of, which others can try.
        """
        return len(set(self.key)) < _DIFFERENT or all(0x20 <= byte < 0x7F for byte in self.key)


def checkName(name: bytes) -> bytes:
    """
    See that an identity can be called C{name} within TLS.

    @raise ValueError: it cannot; the message is a sentence for the user.
    """
    if not name:
        raise ValueError("the name of the identity is empty; write one before the colon")
    if len(name) > LONGEST_NAME:
        raise ValueError(
            f"the name of the identity has {len(name)} bytes; give one of {LONGEST_NAME} at most"
        )
    if _CONTROL.search(name):
        # It may be lines with other keys.
        raise ValueError(
            "the name of the identity has control characters; give one that is plain text"
        )
    return name


def checkKey(key: bytes) -> bytes:
    """
    See that C{key} has a length that does.

    @raise ValueError: it has not; the message is a sentence for the user.
    """
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        problem = "can be found out by trying" if len(key) < SHORTEST_KEY else "is too long"
        raise ValueError(
            f"the key has {len(key)} bytes, and {problem}; give one of {SHORTEST_KEY} to "
            f"{LONGEST_KEY}, such as the {KEY_BYTES} that 'tlstunnel identity create --psk' makes"
        )
    return key


def nameIn(text: bytes) -> bytes:
    """
    The name that stands before the colon of a line.

    @raise ValueError: there is none that can be used; the message is a sentence for the user.
    """
    if text.startswith(b"#") and _HEX.fullmatch(text[1:]):
        text = bytes.fromhex(text[1:].decode())
    return checkName(text)


def written(key: PresharedKey) -> bytes:
    """
    What the file of a key has in it.
    """
    digits = key.key.hex().encode() + b"\n"
    if key.name == str(key.identity).encode():
        return digits
    isPlain = _PLAIN.fullmatch(key.name) is not None
    return (key.name if isPlain else b"#" + key.name.hex().encode()) + b":" + digits


def readPSK(identity: Identity, content: bytes, source: str = "") -> PresharedKey:
    """
    Read what L{written} makes.

    @raise ValueError: it is broken; the message is a sentence for the user.
    """
    line = content.strip(b" \t\r\n")
    before, colon, digits = line.rpartition(b":")
    if not _HEX.fullmatch(digits) or b"\n" in line:
        # What it is instead may be half of a key, or several.
        raise ValueError(
            "is no key in hexadecimal digits, in one line; write it again, or run 'tlstunnel "
            "identity create --psk'"
        )
    name = nameIn(before) if colon else str(identity).encode()
    return PresharedKey(identity, name, checkKey(bytes.fromhex(digits.decode())), source)


def loadPSK(pool: Pool, identity: Identity) -> PresharedKey:
    """
    Read the key of C{identity}.

    @raise ConfigurationError: there is none, or something about it is wrong.
    """
    file = pool.existingDirectoryOf(identity) / PSK_FILE
    if not present(file):
        raise ConfigurationError(
            str(file),
            f"is not there: there is no pre-shared key of {identity}",
            f"run {pool.command('create', '--psk', str(identity))}, or import the key that the "
            "other side has",
        )
    content = readFile(file, private=True, largest=_LARGEST_BYTES)
    try:
        return readPSK(identity, content, str(file))
    except ValueError as error:
        raise ConfigurationError.of(str(file), error) from None


def keyed(pool: Pool) -> Iterator[Identity]:
    """
    Find all identities that have such a key, in the order of their names.

    @raise ConfigurationError: there is no pool.
    """
    return pool.identities(PSK_FILE)


def keysOf(pool: Pool, expected: Identity | Selector | AccessList) -> Iterator[PresharedKey]:
    """
    Read the keys of all whom C{expected} lets in.

    @raise ConfigurationError: something is wrong with one, or two have the same name within TLS.
    """
    found: dict[bytes, PresharedKey] = {}
    for identity in keyed(pool):
        if not isAmong(identity, expected):
            continue
        one = loadPSK(pool, identity)
        other = found.setdefault(one.name, one)
        if other is not one:
            raise ConfigurationError(
                one.source,
                f"has the name {quote(one.name)} for TLS, and so has {other.source}",
                "give one of them another, at both ends",
            )
        yield one


def isAmong(identity: Identity, expected: Identity | Selector | AccessList) -> bool:
    """
    Whether C{expected} lets C{identity} in.
    """
    if isinstance(expected, Identity):
        return identity == expected
    if isinstance(expected, Selector):
        return expected.matches(identity)
    return expected.first((identity,)) is not None and expected.denialOf(identity) is None


def keepPSK(pool: Pool, key: PresharedKey, replace: bool = False) -> str:
    """
    Put a key into a pool, which is made if it is not there.

    @param replace: whether one that may be there already is lost.
    @return: the file where it is.
    @raise ConfigurationError: there is one already, or there cannot be.
    """
    file = pool.directoryOf(key.identity) / PSK_FILE
    checkVacant(pool, key.identity, replace)
    makeDirectory(file.parent)
    writeFile(file, written(key), 0o600, replace)
    return str(file)


def checkVacant(pool: Pool, identity: Identity, replace: bool) -> None:
    """
    See that no key would be lost that somebody may need.

    @raise ConfigurationError: there is one, and it is not to be replaced.
    """
    file = pool.directoryOf(identity) / PSK_FILE
    if present(file) and not replace:
        raise ConfigurationError(
            str(file), "is there already", "give --force to replace it, which cannot be undone"
        )


def createPSK(pool: Pool, identity: Identity, replace: bool = False) -> str:
    """
    Make a key and put it into a pool.

    @return: the file where it is.
    @raise ConfigurationError: there is one already, or there cannot be.
    """
    try:
        name = checkName(str(identity).encode())
    except ValueError as error:
        raise ConfigurationError.of(str(identity), error) from None
    return keepPSK(pool, PresharedKey(identity, name, os.urandom(KEY_BYTES)), replace)


def inStunnelsForm(content: bytes, source: str) -> list[PresharedKey]:
    """
    Read a file of C{NAME:KEY}, a line each, as stunnel (PSKsecrets), GnuTLS (psktool) and mosquitto
    (psk_file) have it; the identity of each is called as its name.

    @param source: the file, for messages.
    @raise ConfigurationError: something is wrong with a line, or nothing is in it.
    """
    return [
        PresharedKey(identity, name, key, source)
        for name, key, place in lines(content, source)
        for identity in [_identityOf(name, place)]
    ]


def lines(content: bytes, source: str) -> Iterator[tuple[bytes, bytes, str]]:
    """
    Read the lines of such a file: the name, the key, and where that stands.

    @raise ConfigurationError: something is wrong with one, or there is none, or twice the same.
    """
    seen: set[bytes] = set()
    # Who edits it on another system may have a byte order mark in it.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        place = f"{source}, line {number}"
        line = line.strip(b" \t\r")
        if not line or _isComment(line):
            continue
        try:
            name, key = _split(line)
            name, key = nameIn(name), checkKey(key)
        except ValueError as error:
            raise ConfigurationError.of(place, error) from None
        if name in seen:
            raise ConfigurationError(place, f"has {quote(name)} once more", "remove one of them")
        seen.add(name)
        yield name, key, place
    if not seen:
        raise ConfigurationError(source, "has no keys", "give lines of NAME:KEY")


def _isComment(line: bytes) -> bool:
    """
    Whether a line says nothing; GnuTLS has names that begin so.
    """
    name = line[1:].partition(b":")[0]
    return line.startswith(b"#") and not _HEX.fullmatch(name)


def _split(line: bytes) -> tuple[bytes, bytes]:
    """
    Where the key is text and no digits, stunnel takes that, up to the first colon.

    @raise ValueError: there is no colon, or the key is before it.
    """
    name, colon, digits = line.rpartition(b":")
    if not colon:
        raise ValueError("has no colon; write NAME:KEY, with the key in hexadecimal digits")
    if _HEX.fullmatch(digits):
        return name, bytes.fromhex(digits.decode())
    name, _, text = line.partition(b":")
    if _HEX.fullmatch(name) and len(name) >= 2 * SHORTEST_KEY:
        # Names are told to everybody.
        raise ValueError("has the key before the colon; write NAME:KEY")
    return name, text


def _identityOf(name: bytes, place: str) -> Identity:
    with suppress(ValueError):
        return Identity.parse(name.decode())
    raise ConfigurationError(
        place,
        f"{quote(name)} is no name for an identity",
        "put this line into a file of its own, and import that with a name: ID --psk FILE",
    )
