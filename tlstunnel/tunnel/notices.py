"""
What an administrator is warned of about a tunnel that is prepared: certificates and lists that end
soon, anchors that could not be read, identities that are withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

from tlstunnel.identity.expiry import warningsOf
from tlstunnel.identity.ocsp import demandsStaple
from tlstunnel.identity.withdrawal import withdrawnWarnings
from tlstunnel.tunnel.access import doubts
from tlstunnel.tunnel.bridge import OF_ACCEPTED, OF_CONNECTED, ofSide
from tlstunnel.tunnel.prepared import Prepared

_SEVERAL = "`resumption` is on, but nothing is resumed at an address with several names"


def noticesOf(prepared: Prepared, now: datetime, since: datetime | None = None) -> list[str]:
    """
    All of them, a sentence each.

    @param since: given, what was said then is not repeated.
    """
    found = _ofOneSide(prepared, now, since)
    if prepared.onward is None:
        return found
    sentences = [ofSide(each, OF_ACCEPTED) for each in found]
    sentences += (ofSide(each, OF_CONNECTED) for each in noticesOf(prepared.onward, now, since))
    return list(dict.fromkeys(sentences))


def _ofOneSide(prepared: Prepared, now: datetime, since: datetime | None) -> list[str]:
    tunnel = prepared.tunnel
    found = []
    if since is None and tunnel.resumes and tunnel.mode.acceptsTLS:
        found += [_SEVERAL] if tunnel.names or tunnel.otherIDs else []
    # Of what an agent gives, it is told when it does not.
    for each in prepared.ownCredentials if tunnel.agent is None else ():
        found += warningsOf(each, now, since)
    if since is None:
        skipped = (each.all.skipped for each in prepared.trusts)
        found += dict.fromkeys(chain.from_iterable(skipped))
        found += doubts(prepared.expected)
        found += prepared.showing.doubts(prepared.expected)
        found += () if prepared.names is None else prepared.names.doubts
    found += prepared.revocations.warnings(now, since)
    if since is None:
        found += _missingStaples(prepared)
        found += withdrawnWarnings(prepared.ownWithdrawn)
    return found


def _missingStaples(prepared: Prepared) -> Iterator[str]:
    """
    What should be said of certificates with which nothing can be stapled, or has to be.
    """
    for staple in prepared.staples:
        if staple.problem:
            yield f"{staple.source}: the certificate {staple.problem}"
    isSilent = prepared.tunnel.mode.acceptsTLS and not prepared.staples
    for ours in prepared.ownCredentials if isSilent else ():
        if demandsStaple(ours.certificates[0]):
            yield (
                f"{ours.source}: the certificate demands a staple (must-staple), so that clients "
                "may refuse it: switch on stapling of OCSP"
            )
