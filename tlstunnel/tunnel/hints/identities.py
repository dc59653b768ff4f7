"""
What to do where somebody is refused for the names, the key or the issuer of a certificate.
"""

from __future__ import annotations

from tlstunnel.errors import IdentityRefused, Withdrawn
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint

_UNKNOWN_CA = (
    "if you trust that CA, add its certificate with --trust FILE or 'tlstunnel identity trust "
    "SELECTOR FILE'"
)

#: Of certificates that we were shown.
IDENTITY_HINTS = (
    Hint(
        (Withdrawn,),
        "if it is still to be used, put a certificate for its key into the directory that the pool "
        "follows, or into the pool",
    ),
    Hint(
        (IdentityRefused,),
        "a client that cannot do so needs a tunnel without --dialect-option require-resumption",
        Mode.SERVER,
        causes=("no resumption as demanded ",),
    ),
    Hint(
        (IdentityRefused,),
        "somebody else has tried to take the place of a client; or this client does not resume the "
        "session each time (docs/protocols/ftp.md)",
        Mode.SERVER,
        causes=("no resumption ",),
    ),
    Hint(
        (IdentityRefused,),
        "let the app ask for that domain, or leave out --remote-id, so that the one which it asks "
        "for counts",
        Mode.CLIENT,
        causes=("other domain ",),
    ),
    Hint(
        (IdentityRefused,),
        "if this is the right server, give a name of its certificate with --remote-id",
        Mode.CLIENT,
        causes=("wrong name ",),
    ),
    Hint(
        (IdentityRefused,),
        "if this client is welcome, add a --remote-id that matches a name of its certificate",
        Mode.SERVER,
        causes=("wrong name ",),
    ),
    Hint(
        (IdentityRefused,),
        "see whether the agent of --agent runs, and what its log and the lines above say",
        causes=("ended lease ",),
    ),
    Hint(
        (IdentityRefused,),
        "if the server has a new key, give that with --pin",
        Mode.CLIENT,
        causes=("other key ",),
    ),
    Hint(
        (IdentityRefused,),
        "if this client is welcome, give its key with one more --pin",
        Mode.SERVER,
        causes=("other key ",),
    ),
    Hint(
        (IdentityRefused,),
        "the peer needs a certificate with its name as a subject alternative name; a common name "
        "does not count",
        causes=("no name ",),
    ),
    Hint(
        (IdentityRefused,),
        "the peer has to renew it, unless the clock of this host is wrong",
        causes=("expired ",),
    ),
    Hint(
        (IdentityRefused,),
        "check the clock of this host",
        causes=("not yet valid ", "early CRL "),
    ),
    Hint(
        (IdentityRefused,),
        "the peer may have to send its whole chain (fullchain.pem); " + _UNKNOWN_CA,
        causes=("unknown issuer ",),
    ),
    Hint((IdentityRefused,), _UNKNOWN_CA, causes=("unknown CA ",)),
)
