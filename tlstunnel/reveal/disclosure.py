"""
What the plaintext side is told of its peer, as the administrator said it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Disclosure:
    """
    What is told, and what it takes to be believed.

    @ivar proxyOut: the version of the PROXY protocol with which a connection begins, C{v1} or
        C{v2}; empty for none.
    @ivar toNetwork: whether that is for the network, before TLS, and not for the plain leg.
    @ivar proxyTLVs: what such a header has beside the addresses.
    @ivar words: the protocols in whose own words it is told; see L{tlstunnel.reveal.registry}.
    @ivar identityMap: says as whom an identity may log in; C{None} where all have their own names.
    @ivar loginAuthFile: says who we are to a backend that lets us log in for others.
    @ivar webircPasswordFile: has the password that an IRC server knows us by.
    @ivar ldapBindDN: who we are to an LDAP server; empty for nobody.
    @ivar ldapBindPasswordFile: has the password of that.
    @ivar httpHeaders: the names of fields in requests that are to have others, by their usual ones.
    """

    proxyOut: str = ""
    toNetwork: bool = False
    proxyTLVs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    identityMap: Path | None = None
    loginAuthFile: Path | None = None
    webircPasswordFile: Path | None = None
    ldapBindDN: str = ""
    ldapBindPasswordFile: Path | None = None
    httpHeaders: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, Path]:
        """
        The files that are read, by the keys that name them.
        """
        named = {
            "identity-map": self.identityMap,
            "login-auth-file": self.loginAuthFile,
            "webirc-password-file": self.webircPasswordFile,
            "ldap-bind-password-file": self.ldapBindPasswordFile,
        }
        return {key: path for key, path in named.items() if path is not None}
