"""
What to do where somebody is refused because nobody says that the certificate is still good.
"""

from __future__ import annotations

from tlstunnel.errors import IdentityRefused
from tlstunnel.tunnel.hints.hint import Hint

#: Of revocation lists and staples.
REVOCATION_HINTS = (
    Hint(
        (IdentityRefused,),
        "the peer needs a new certificate, with a new key if the old one is known to others",
        causes=("revoked ",),
    ),
    Hint(
        (IdentityRefused,),
        "where one CA of a chain has a revocation list here, all need one: put it beside the "
        "others (*.crl in the pool's trust/), or take all of that chain away",
        causes=("no CRL ",),
    ),
    Hint(
        (IdentityRefused,),
        "get the next revocation list of that CA, in time, or from a cron job",
        causes=("old CRL ",),
    ),
    Hint(
        (IdentityRefused,),
        "let the server staple a new response of OCSP, or leave out --require-staple",
        causes=("no staple ", "bad staple "),
    ),
)
