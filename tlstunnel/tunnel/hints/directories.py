"""
What to do where an LDAP server does not let us act for others.
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint
from tlstunnel.tunnel.record import GREETING

#: Of what C{reveal} ldap meets; see L{tlstunnel.reveal.ldap}.
DIRECTORY_HINTS = (
    Hint(
        (BackendRefused,),
        "check --ldap-bind-dn and the file of --ldap-bind-password-file; the server has to take a "
        "simple Bind in clear from this host",
        Mode.SERVER,
        (GREETING,),
        ("ldap bind ",),
    ),
    Hint(
        (BackendRefused,),
        "the server has to support proxied authorisation (RFC 4370) and Who am I (RFC 4532); "
        "without that leave out --reveal ldap",
        Mode.SERVER,
        (GREETING,),
        ("ldap proxied ", "ldap ignores "),
    ),
    Hint(
        (BackendRefused,),
        "check that the backend speaks LDAP in clear at this port",
        Mode.SERVER,
        (GREETING,),
        ("ldap other ",),
    ),
)
