"""
What to do about connections that programs hand over to the pool service: what tunnels say by
options, these say by the fields of their request.
"""

from __future__ import annotations

import re

from tlstunnel.errors import (
    BackendRefused,
    Closed,
    ForeignProtocol,
    IdentityRefused,
    PlaintextAfterStartTLS,
    TimedOut,
    TLSFailed,
)
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.backends import SILENT, SPOKEN
from tlstunnel.tunnel.hints.hint import Hint
from tlstunnel.tunnel.record import GREETING, HANDSHAKING

# The fields that say what these options do.
_FIELDS = {
    "alpn": "alpn",
    "local-id": "local",
    "minimum-tls": "minimum",
    "remote-id": "remote",
    "starttls": "starttls",
}

_OPTION = re.compile(rf"--({'|'.join(_FIELDS)})\b(?: (?={{))?")

_UNKNOWN_CA = (
    "if you trust that CA, add its certificate with 'tlstunnel identity trust SELECTOR FILE'"
)

#: Of what is otherwise than with tunnels.
HANDED_HINTS = (
    Hint(
        (IdentityRefused,),
        "if this client is welcome, let the program say a --remote-id that matches a name of its "
        "certificate",
        Mode.SERVER,
        causes=("wrong name ",),
    ),
    Hint(
        (IdentityRefused,),
        "the peer may have to send its whole chain (fullchain.pem); " + _UNKNOWN_CA,
        causes=("unknown issuer ",),
    ),
    Hint((IdentityRefused,), _UNKNOWN_CA, causes=("unknown CA ",)),
    Hint(
        (TLSFailed,),
        "let the client show a certificate, or the program leave out --remote-id and say "
        "client=request",
        Mode.SERVER,
        causes=("no certificate ",),
    ),
    Hint(
        (TLSFailed,),
        "let the client ask for a name of our certificate",
        Mode.SERVER,
        causes=("wrong name ",),
    ),
    Hint(
        (TLSFailed,),
        "let the client ask for a name (SNI), or the program say which with --local-id",
        Mode.SERVER,
        causes=("no name asked ",),
    ),
    Hint(
        (TLSFailed,),
        "the server wants a certificate from us: let the program ask for one with --local-id; "
        "'tlstunnel identity disclose' shows whom the rules show to it",
        Mode.CLIENT,
        causes=("alert certificate_required ",),
    ),
    Hint(
        (ForeignProtocol,),
        "let the client speak TLS from the first byte; if it expects STARTTLS, the program has to "
        "say --starttls",
        Mode.SERVER,
        (HANDSHAKING,),
        ("no TLS ",),
        isImplicit=True,
    ),
    Hint(
        (TimedOut,),
        "a client that waits for a greeting expects STARTTLS: let it speak TLS from the first "
        "byte, or the program say --starttls",
        Mode.SERVER,
        (HANDSHAKING,),
        isImplicit=True,
    ),
    Hint(
        (PlaintextAfterStartTLS,),
        "let the client wait for INFO, and not begin with TLS",
        Mode.SERVER,
        causes=("TLS before INFO ",),
    ),
    Hint(
        (Closed,),
        "let the server say INFO before TLS, without handshake_first; else check that it speaks "
        "{dialect}",
        Mode.CLIENT,
        causes=("no INFO ",),
    ),
    Hint(
        (BackendRefused, *SPOKEN, *SILENT),
        "check that the program speaks as a server of {dialect} does, in clear",
        Mode.SERVER,
        (GREETING,),
    ),
)


def inFields(text: str) -> str:
    """
    A hint, with fields in the place of options.
    """
    text = text.replace("{upgrade}", "--starttls")
    return _OPTION.sub(lambda found: f"{_FIELDS[found[1]]}=", text)
