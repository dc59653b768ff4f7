"""
What to do where a server of IRC or XMPP does not take it from us who its clients are.
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint

#: Of what the words irc and xmpp say.
CHAT_HINTS = (
    Hint(
        (BackendRefused,),
        "let the server know the tunnel as a WEBIRC gateway, by its address and by the password in "
        "--webirc-password-file",
        Mode.SERVER,
        causes=("gateway ",),
    ),
    Hint(
        (BackendRefused,),
        "let the server believe the tunnel: Prosody by mod_tlstunnel at that port and address, "
        "ejabberd by the key in --login-auth-file",
        Mode.SERVER,
        causes=("vouching ",),
    ),
)
