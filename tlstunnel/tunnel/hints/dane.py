"""
What to do where DNS does not say enough about a server, or another thing than it shows.
"""

from __future__ import annotations

from tlstunnel.errors import ConnectFailed, IdentityRefused
from tlstunnel.tunnel.hints.hint import Hint

#: Of TLSA records, and of the resolver that looks for them.
DANE_HINTS = (
    Hint(
        (ConnectFailed,),
        "look into the log of the resolver: most often a signature is wrong or has expired",
        causes=("servfail ",),
    ),
    Hint(
        (ConnectFailed,),
        "start the resolver, or check --dane-resolver",
        causes=("unreachable ",),
    ),
    Hint(
        (IdentityRefused,),
        "if the domain is signed, the resolver does not validate: give it the root's key; else "
        "give further anchors beside --trust dane",
        causes=("insecure ",),
    ),
    Hint(
        (IdentityRefused,),
        "the domain has to publish its certificate there; or give further anchors beside --trust "
        "dane",
        causes=("no records ", "unusable "),
    ),
    Hint(
        (IdentityRefused,),
        "the domain has to publish the records of its new certificate before it shows that",
        causes=("no match ",),
    ),
)
