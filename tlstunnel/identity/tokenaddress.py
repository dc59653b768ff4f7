"""
Where a key is in a token, taken apart: the C{pkcs11:} address (RFC 7512) that a user gives, and
the one that his pool keeps.

Knows no token; whether there is such a key is found out by L{tlstunnel.identity.token}.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from tlstunnel.identity.keyreference import checkURI

# What can say which token it is, and which key; all else would be passed over.
_OF_TOKENS = ("token", "serial", "manufacturer", "model")
_KNOWN = frozenset({*_OF_TOKENS, "object", "id"})
_PIN_SOURCE = "pin-source"


@dataclass(frozen=True)
class TokenAddress:
    """
    The address of a private key.

    @ivar token: what the token must be called; C{None}: as it likes, and so below.
    @ivar label: what the key is called.
    @ivar identifier: the number that the key shares with its public half (CKA_ID).
    @ivar pinSource: where the PIN of the token is.
    """

    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    label: str | None = None
    identifier: bytes | None = None
    pinSource: str | None = None

    @classmethod
    def parse(cls, text: str) -> TokenAddress:
        """
        Read an address.

        @raise ValueError: it is none, or not one of a private key; the message completes "it ..."
            and has behind a semicolon what to do.  No PIN is in it.
        """
        checkURI(text)
        path, _, query = text.partition(":")[2].partition("?")
        given, asked = dict(_pairs(path.split(";"))), dict(_pairs(query.split("&")))
        if "pin-value" in asked:
            raise ValueError(
                "has a PIN in it, which others can read there; "
                "write that into a file of yours, and give pin-source=file:/FILE"
            )
        given = {name: value for name, value in given.items() if name != "type" and value}
        unknown = set(given) - _KNOWN
        if unknown:
            raise ValueError(f"has {min(unknown)}, which decides nothing here; leave it out")
        identifier = given.pop("id", None)
        try:
            words = {name: value.decode() for name, value in (given | asked).items() if value}
        except UnicodeDecodeError:
            raise ValueError("has text in it that is no UTF-8; see what the token says") from None
        return cls(
            **{name: words.get(name) for name in _OF_TOKENS},
            label=words.get("object"),
            identifier=identifier,
            pinSource=words.get(_PIN_SOURCE),
        )

    def __str__(self) -> str:
        """As it is written into a pool."""
        words = [(name, getattr(self, name)) for name in _OF_TOKENS] + [("object", self.label)]
        parts = [f"{name}={quote(word, safe='')}" for name, word in words if word is not None]
        if self.identifier is not None:
            parts.append("id=" + "".join(f"%{byte:02X}" for byte in self.identifier))
        source = self.pinSource
        query = "" if source is None else f"?{_PIN_SOURCE}={quote(source, safe='/:')}"
        return f"pkcs11:{';'.join([*parts, 'type=private'])}{query}"


def _pairs(attributes: list[str]) -> list[tuple[str, bytes]]:
    pairs = (each.partition("=") for each in attributes if each)
    return [(name, unquote_to_bytes(value)) for name, _, value in pairs]
