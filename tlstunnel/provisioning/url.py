"""
Where a directory is: an LDAP URL (RFC 4516) with the name of the entry below which a pool is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from tlstunnel.address import TCPAddress, UNIXAddress, parseAddress
from tlstunnel.provisioning.names import normal

_FORM = re.compile(r"(ldap|ldaps|ldapi)://([^/?#]*)/([^?#]*)", re.IGNORECASE)
_PORTS = {"ldap": 389, "ldaps": 636}
_EXAMPLE = "give one such as ldap://ldap.example.org/ou=pool,dc=example,dc=org"


@dataclass(frozen=True)
class LDAPURL:
    """
    A directory, and a place in it.

    @ivar address: where it listens.
    @ivar base: the entry below which everything is.
    @ivar isImplicit: whether TLS begins at once, and not by StartTLS.
    """

    address: TCPAddress | UNIXAddress
    base: str
    isImplicit: bool = False

    @classmethod
    def parse(cls, text: str) -> LDAPURL:
        """
        Read C{ldap://HOST[:PORT]/BASE}, C{ldaps://...}, or C{ldapi://%2FPATH/BASE}.

        @raise ValueError: it is none of these; the message is a sentence for the user.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no LDAP URL of a base; {_EXAMPLE}")
        scheme, place, base = found[1].lower(), found[2], unquote(found[3])
        if not (unquote(place) + base).isprintable():
            raise ValueError(f"{text!r} has characters that cannot be printed; {_EXAMPLE}")
        if not normal(base):
            raise ValueError(f"{text!r} names no base; {_EXAMPLE}")
        if scheme == "ldapi":
            path = unquote(place)
            if not path.startswith("/"):
                raise ValueError(
                    f"{text!r} names no socket; write ldapi://%2Frun%2Fslapd%2Fldapi/{base}"
                )
            return cls(parseAddress(path), base)
        if "@" in place or place.startswith(":") or not place:
            raise ValueError(f"{text!r} names no host; {_EXAMPLE}")
        address = parseAddress(place, _PORTS[scheme])
        assert isinstance(address, TCPAddress)
        return cls(address, base, scheme == "ldaps")

    def __str__(self) -> str:
        if isinstance(self.address, UNIXAddress):
            return f"ldapi://{self.address.path.replace('/', '%2F')}/{self.base}"
        return f"ldap{'s' if self.isImplicit else ''}://{self.address}/{self.base}"
