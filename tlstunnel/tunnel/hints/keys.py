"""
What to do where a pre-shared key is missing at one end, or another one there.
"""

from __future__ import annotations

from tlstunnel.errors import IdentityRefused, TLSFailed
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint

#: Of tunnels with C{--trust psk}.
KEY_HINTS = (
    Hint(
        (IdentityRefused,),
        "if this client is welcome, put its key into the pool ('tlstunnel identity import --psk "
        "FILE'), see that a --remote-id matches it, and reload",
        Mode.SERVER,
        causes=("unknown name ",),
    ),
    Hint(
        (IdentityRefused,),
        "give both ends the same key; if it was replaced, the client may still have the old one",
        Mode.SERVER,
        causes=("another key ",),
    ),
    Hint(
        (TLSFailed,),
        "let the client use a pre-shared key, with TLS 1.3 or ECDHE-PSK-CHACHA20-POLY1305, and "
        "with SHA-256",
        Mode.SERVER,
        causes=("no key ",),
    ),
    Hint(
        (TLSFailed,),
        "the server may not know the key of --local-id, or have another one, or no pre-shared keys "
        "with SHA-256 and ECDHE; its log should say",
        Mode.CLIENT,
        causes=("key refused ",),
    ),
    Hint(
        (IdentityRefused,),
        "the server does not know the key of --local-id, or no pre-shared keys at all: give it the "
        "key, or leave out --trust psk",
        Mode.CLIENT,
        causes=("certificate for a key ",),
    ),
)
