"""
Private keys that we do not have: a key file may say instead where the key is.

It has one of the forms in which providers of OpenSSL take them:

  - C{PKCS#11 PROVIDER URI} (pkcs11-provider): the address of a key in a token (RFC 7512), in DER as
    SEQUENCE { VisibleString "PKCS#11 Provider URI v1.0", UTF8String }.
  - C{TSS2 PRIVATE KEY} (tpm2-openssl): a key that only the TPM which has made it can open.

The bare address in a line of its own is good as well.  Nothing here knows OpenSSL: whether there is
such a key, and which algorithm it has, is found out where it is used.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import ItemsView, Iterator
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote, unquote_to_bytes

_SCHEME = "pkcs11:"
_VERSION = b"PKCS#11 Provider URI v1.0"

# Tags of DER (X.690).
_SEQUENCE, _VISIBLE_STRING, _UTF8_STRING = 0x30, 0x1A, 0x0C

_URI_LABEL = b"PKCS#11 PROVIDER URI"
_TPM_LABEL = b"TSS2 PRIVATE KEY"
_BEGUN = re.compile(rb"-----BEGIN (PKCS#11 PROVIDER URI|TSS2 PRIVATE KEY)-----")
_BLOCK = re.compile(
    rb"^-----BEGIN (?P<label>[A-Z0-9# ]+)-----[ \t]*\r?\n(?P<body>[A-Za-z0-9+/=\s]+?)"
    rb"^-----END (?P=label)-----[ \t]*\r?$",
    re.MULTILINE,
)
_ANY_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")

_Parts = ItemsView[str, str]

#: More than any address has; that of a key with all its attributes is a fifth of this.
LONGEST_URI = 4096

# What stands in an address as it is (RFC 7512, section 2.3), and an attribute of it.
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_-]+=(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|&]|%[0-9A-Fa-f]{2})*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_OF_KEY = frozenset({"object", "id", "type"})
_OF_TOKEN = frozenset(
    {
        *("token", "serial", "manufacturer", "model"),
        *("slot-id", "slot-description", "slot-manufacturer"),
        *("library-description", "library-manufacturer", "library-version"),
    }
)
_IN_PATH = _OF_KEY | _OF_TOKEN
_OF_PIN = frozenset({"pin-source", "pin-value"})
_OF_MODULE = frozenset({"module-name", "module-path"})
_IN_QUERY = _OF_PIN | _OF_MODULE


class ReferenceKind(Enum):
    """Where a key is that we do not have."""

    PKCS11 = "PKCS#11"
    TPM = "TPM"


@dataclass(frozen=True)
class KeyReference:
    """
    Where a private key is.

    @ivar content: what OpenSSL is given, as PEM.
    @ivar uri: the address in a token, as it stands there; empty for the key of a TPM.
    """

    kind: ReferenceKind
    content: bytes = field(repr=False)
    uri: str = field(default="", repr=False)

    def __str__(self) -> str:
        if self.kind is ReferenceKind.TPM:
            return "a key in the TPM"
        return f"a key in a token, {withoutPIN(self.uri)}"

    @property
    def token(self) -> frozenset[tuple[str, bytes]]:
        """What the address says of the token."""
        path = self.uri.removeprefix(_SCHEME).partition("?")[0]
        parts = (part.partition("=") for part in path.split(";"))
        return frozenset(
            (name, unquote_to_bytes(value)) for name, _, value in parts if name in _OF_TOKEN
        )

    @property
    def pinValue(self) -> str | None:
        """The PIN of the token, with its escapes, where it stands in the address: a secret."""
        return _query(self.uri).get("pin-value")

    @property
    def pinSource(self) -> str | None:
        """Where the PIN of the token is read from, if anything says so."""
        found = _query(self.uri).get("pin-source")
        return None if found is None else unquote_to_bytes(found).decode("utf-8", "replace")

    def withPIN(self, pin: bytes | None) -> bytes:
        """
        What OpenSSL is given.  Of a pair of keys it is the private one that is meant; providers
        take what they find first.

        @param pin: that of the token, if there is one.
        """
        if self.kind is ReferenceKind.TPM:
            return self.content
        path = self.uri.partition("?")[0]
        if not re.search("[:;]type=", path):
            path += ";type=private"
        query = "" if pin is None else f"?pin-value={quote(pin, safe='')}"
        return _written(path + query)


def readReference(content: bytes) -> KeyReference | None:
    """
    Read what a key file has in it.

    @return: nothing, where that is no reference at all.
    @raise ValueError: it is one, and a broken one; the message completes "the file ...".
    """
    bare = content.strip()
    if bare[: len(_SCHEME)].lower() == _SCHEME.encode():
        return _of(_text(bare))
    begun = _BEGUN.findall(content)
    if not begun:
        return None
    found = [each for each in _BLOCK.finditer(content) if each["label"] in (_URI_LABEL, _TPM_LABEL)]
    if len(begun) > 1 or _ANY_KEY.search(content.replace(_TPM_LABEL, b"")):
        raise ValueError("has more than one key in it")
    if len(found) != 1:
        raise ValueError("is cut or broken")
    try:
        inside = base64.b64decode(b"".join(found[0]["body"].split()), validate=True)
    except binascii.Error:
        raise ValueError("is broken (what is between its lines is not Base64)") from None
    if found[0]["label"] == _TPM_LABEL:
        if len(_elements(inside, "TSS2 PRIVATE KEY")) != 1 or inside[0] != _SEQUENCE:
            raise ValueError("is broken (its DER is no SEQUENCE)")
        return KeyReference(ReferenceKind.TPM, _pem(_TPM_LABEL, inside))
    return _of(_uriIn(inside))


def isSecret(content: bytes) -> bool:
    """Whether what a key file has in it is for nobody else: all but an address without a PIN."""
    try:
        found = readReference(content)
    except ValueError:
        return True
    return found is None or found.kind is ReferenceKind.TPM or found.pinValue is not None


def writeReference(uri: str) -> bytes:
    """
    The key file for a key in a token.

    @param uri: its address.
    @raise ValueError: that is none.
    """
    checkURI(uri)
    return _written(uri)


def _written(uri: str) -> bytes:
    inside = _element(_VISIBLE_STRING, _VERSION) + _element(_UTF8_STRING, uri.encode())
    return _pem(_URI_LABEL, _element(_SEQUENCE, inside))


def checkURI(uri: str) -> None:
    """
    Make sure that something can be the address of a key in a token (RFC 7512, section 2.3).

    @raise ValueError: it cannot; the message completes "it ...".
    """
    if len(uri) > LONGEST_URI:
        raise ValueError(f"has more than {LONGEST_URI} characters")
    if not uri.startswith(_SCHEME):
        raise ValueError(f"does not begin with {_SCHEME}")
    path, _, query = uri.removeprefix(_SCHEME).partition("?")
    # An attribute without a value says nothing.
    seen = {name for name, value in _parts(path, ";", _IN_PATH, _IN_QUERY) if value}
    seen |= {name for name, value in _parts(query, "&", _IN_QUERY, _IN_PATH) if value}
    for name in sorted(seen & _OF_MODULE):
        # Whoever writes the file would choose what is loaded.
        raise ValueError(f"names a module, by {name}, and none is loaded for that: leave it out")
    if not seen & {"token", "serial"}:
        # A PIN would be tried at each.
        raise ValueError("names no token: give token=, or serial=")
    if not seen & {"object", "id"}:
        raise ValueError("names no key: give object=, or id=")
    if seen >= _OF_PIN:
        raise ValueError("has both pin-value and pin-source")


def _parts(text: str, mark: str, known: frozenset[str], others: frozenset[str]) -> _Parts:
    """
    The attributes on one side of the question mark of an address.

    @param known: which there are.
    @param others: which there are on the other side.
    @raise ValueError: they are not, or twice, or written wrongly; see L{checkURI}.
    """
    found: dict[str, str] = {}
    for attribute in text.split(mark) if text else ():
        name, _, value = attribute.partition("=")
        if not _ATTRIBUTE.fullmatch(attribute):
            # What follows may be a PIN.
            shown = name if _NAME.fullmatch(name) else "an attribute"
            raise ValueError(f"is no address of RFC 7512 ({shown} is wrong)")
        if name in found:
            raise ValueError(f"has {name} twice")
        if name in others:
            raise ValueError(f"has {name} on the wrong side of its question mark")
        if name not in known:
            raise ValueError(f"has {name} in it, which we do not know")
        if name == "type" and value != "private":
            raise ValueError("is of no private key: leave type= out")
        found[name] = value
    return found.items()


def withoutPIN(uri: str) -> str:
    """An address for messages: all of it but the PIN."""
    path, sign, query = uri.partition("?")
    return path if "pin-value" in _query(uri) else path + sign + query


def _query(uri: str) -> dict[str, str]:
    parts = (part.partition("=") for part in uri.partition("?")[2].split("&") if part)
    return {name: value for name, _, value in parts}


def _of(uri: str) -> KeyReference:
    try:
        return KeyReference(ReferenceKind.PKCS11, writeReference(uri), uri)
    except ValueError as error:
        raise ValueError(f"has the address of a key in it that {error}") from None


def _text(content: bytes) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("has the address of a key in it that is no ASCII") from None


def _uriIn(inside: bytes) -> str:
    what = "PKCS#11 PROVIDER URI"
    outer = _elements(inside, what)
    if [tag for tag, _ in outer] != [_SEQUENCE]:
        raise ValueError("is broken (its DER is no SEQUENCE)")
    parts = _elements(outer[0][1], what)
    if [tag for tag, _ in parts] != [_VISIBLE_STRING, _UTF8_STRING]:
        raise ValueError("is broken (its DER is not that of an address)")
    if parts[0][1] != _VERSION:
        raise ValueError(f"is of a version that we do not know, other than '{_VERSION.decode()}'")
    return _text(parts[1][1])


def _elements(der: bytes, what: str) -> list[tuple[int, bytes]]:
    """
    The elements of DER (X.690) one behind the other, whose tags have one byte: tags and contents.

    @raise ValueError: it is none, as lengths in it are wrong or too long ways to write them.
    """
    return list(_each(der, ValueError(f"is broken (the DER in {what} is cut or none)")))


def _each(der: bytes, broken: ValueError) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(der):
        header = der[at : at + 2]
        if len(header) < 2:
            raise broken
        start, length = at + 2, header[1]
        if length & 0x80:
            start += length & 0x7F
            written = der[at + 2 : start]
            length = int.from_bytes(written)
            if _length(length)[1:] != written:
                raise broken
        if start + length > len(der):
            raise broken
        yield header[0], der[start : start + length]
        at = start + length


def _element(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + _length(len(content)) + content


def _length(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    digits = number.to_bytes((number.bit_length() + 7) // 8)
    return bytes([0x80 | len(digits)]) + digits


def _pem(label: bytes, der: bytes) -> bytes:
    digits = base64.b64encode(der)
    lines = [digits[at : at + 64] for at in range(0, len(digits), 64)]
    return b"\n".join([b"-----BEGIN %s-----" % label, *lines, b"-----END %s-----" % label, b""])
