"""
When certificates of ours are of use, and who is told of the end before it comes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509

from tlstunnel.identity.credentials import Credentials

#: So long before the end of a certificate there is a warning, and a last third of its life at most:
#: those that live for a few days are renewed when few are left.
WARNINGS = timedelta(days=30), timedelta(days=7), timedelta(days=1)


def isDue(certificate: x509.Certificate, now: datetime, since: datetime | None = None) -> bool:
    """
    Whether it is time to renew a certificate.

    @param since: given, whether it is time for another warning of it, the last having been then.
    """
    end = certificate.not_valid_after_utc
    third = (end - certificate.not_valid_before_utc) / 3
    moments = [end - min(before, third) for before in WARNINGS]
    return any(moment <= now and (since is None or since < moment) for moment in moments)


def warningsOf(credentials: Credentials, now: datetime, since: datetime | None = None) -> list[str]:
    """
    Say what is wrong with the time for which a certificate of ours is valid, or soon will be.

    @param since: given, warnings that were due then are not repeated, as long as it is valid.
    @return: sentences for the log, or none.
    """
    source = credentials.source or str(credentials.identity)
    return warningsAbout(credentials.certificates[0], source, now, since)


def warningsAbout(
    leaf: x509.Certificate, source: str, now: datetime, since: datetime | None = None
) -> list[str]:
    """
    The same of a certificate without its key.

    @param source: where it comes from.
    """
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    who = f"{source}: the certificate"
    if now < start:
        return [f"{who} is not valid before {start:%Y-%m-%d %H:%M} UTC; check the clock"]
    if end < now:
        return [f"{who} expired on {end:%Y-%m-%d %H:%M} UTC; renew it"]
    if isDue(leaf, now, since):
        return [f"{who} expires in {inWords(end - now)}, on {end:%Y-%m-%d %H:%M} UTC; renew it"]
    return []


def inWords(left: timedelta) -> str:
    """A duration, as precisely as anybody wants it."""
    if left < timedelta(days=2):
        return f"{left // timedelta(hours=1)} hours"
    return f"{left.days} days"
