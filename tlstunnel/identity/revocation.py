"""
Which certificates were revoked, as the lists say that are kept here.

As soon as there is a list of any authority in a chain, each certificate below the anchor needs one
that its issuer has signed, and that is neither too old nor from the future.  Chains of authorities
none of which has a list here are not looked at.  The newest list of an issuer counts, and once one
has been seen, this process does not go back to an older one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding

from tlstunnel.errors import IdentityRefused, quote
from tlstunnel.identity.crl import Canonical, RevocationList, Subject, canonical
from tlstunnel.identity.expiry import inWords

#: What L{TunnelError.cause} says where a chain is refused because of lists.
REVOKED, MISSING, OLD, EARLY = "revoked", "no CRL", "old CRL", "early CRL"

#: So long before the end of a list there is a warning, and in these last parts of its time at most.
WARNINGS = (timedelta(days=7), 4), (timedelta(days=1), 8)

# How far a chain goes on above its anchor.
_MOST_ABOVE = 10


class Revocations:
    """
    All lists that count for a tunnel.

    @ivar places: the directories where they were read.
    @ivar lists: themselves, the newest of each issuer before older ones.
    @ivar notices: a sentence for everything that should be said of them.
    """

    def __init__(
        self,
        lists: Iterable[RevocationList] = (),
        notices: Iterable[str] = (),
        places: tuple[Path, ...] = (),
    ) -> None:
        self.places = places
        self.lists = tuple(
            sorted(dict.fromkeys(lists), key=lambda each: each.edition, reverse=True)
        )
        self.notices = tuple(dict.fromkeys(notices))
        self._byIssuer: dict[Canonical, list[RevocationList]] = {}
        for each in self.lists:
            self._byIssuer.setdefault(canonical(each.issuer), []).append(each)

    def __bool__(self) -> bool:
        return bool(self.lists)

    def newest(self) -> dict[Subject, RevocationList]:
        """
        The newest edition of each list.
        """
        found: dict[Subject, RevocationList] = {}
        for each in self.lists:
            found.setdefault(each.subject, each)
        return found

    def judge(
        self,
        chain: Sequence[x509.Certificate],
        now: float,
        anchors: Iterable[x509.Certificate] = (),
    ) -> float:
        """
        Demand that no certificate of a chain was revoked.

        @param chain: a verified one: the peer's certificate first, the anchor last.
        @param now: in seconds since 1970.
        @param anchors: all of them: a list of the issuer of an anchor counts too, where that is
            another anchor.
        @return: until when this can be said, in seconds since 1970.
        @raise IdentityRefused: one was revoked, or it cannot be known.
        """
        whole = [*chain, *_above(chain[-1], tuple(anchors))]
        top = whole[-1]
        isChecked = any(canonical(each.subject) in self._byIssuer for each in whole[1:])
        until = inf
        for depth, (certificate, issuer) in enumerate(zip(whole, [*whole[1:], top], strict=True)):
            lists = self._about(certificate, issuer)
            isNeeded = isChecked and certificate is not top
            until = min(until, _judge(certificate, depth, lists, now, isNeeded))
        return until

    def _about(
        self, certificate: x509.Certificate, issuer: x509.Certificate
    ) -> list[RevocationList]:
        """
        The lists of an issuer that are about a certificate.
        """
        return [
            each
            for each in self._byIssuer.get(canonical(certificate.issuer), ())
            if each.isAbout(certificate) and each.isSignedBy(issuer)
        ]

    def warnings(self, now: datetime, since: datetime | None = None) -> list[str]:
        """
        Say which lists are too old, or soon will be.

        @param since: given, what was said then is not repeated, as long as a list is good.
        @return: sentences for the log, or none.
        """
        found = [] if since is not None else list(self.notices)
        for each in self.newest().values():
            end = datetime.fromtimestamp(each.end, UTC)
            about = f"the revocation list of {nameOf(each)}"
            if end < now:
                found.append(
                    f"{about} expired on {end:%Y-%m-%d %H:%M} UTC: all its certificates are "
                    "refused until there is a new one"
                )
            elif each.start > now.timestamp():
                found.append(f"{about} is from the future; check the clock")
            elif _isDue(each, now, since):
                found.append(
                    f"{about} expires in {inWords(end - now)}, on {end:%Y-%m-%d %H:%M} UTC; get "
                    "the next one"
                )
        return found


def _judge(
    certificate: x509.Certificate,
    depth: int,
    lists: Sequence[RevocationList],
    now: float,
    isNeeded: bool,
) -> float:
    """
    What lists say of one certificate.

    @param lists: those about it, the newest first.
    @return: until when it can be said that it was not revoked.
    @raise IdentityRefused: it was, or that cannot be known, and has to be.
    """
    current: list[RevocationList] = []
    newest: dict[bytes, tuple[float, int]] = {}
    until = inf
    for each in lists:
        if each.start > now:
            until = min(until, each.start)
        # Of two that nobody can tell apart by their age both count.
        elif newest.setdefault(each.scope, each.edition) == each.edition:
            current.append(each)
    for each in current:
        revoked = each.revocationOf(certificate)
        if revoked:
            raise IdentityRefused(
                f"the certificate was revoked on {revoked} (at depth {depth})", cause=REVOKED
            )
    whole = [each for each in current if each.isAll(certificate)]
    good = [each for each in whole if now <= each.end]
    if good or not isNeeded:
        return min(until, *(each.end for each in good)) if good else until
    name = quote(certificate.issuer.rfc4514_string().encode())
    where = f"(at depth {depth})"
    if whole:
        end = datetime.fromtimestamp(max(each.end for each in whole), UTC)
        raise IdentityRefused(
            f"the revocation list of {name} expired on {end:%Y-%m-%d %H:%M} UTC {where}", cause=OLD
        )
    if any(each.start > now for each in lists):
        raise IdentityRefused(
            f"the revocation list of {name} is from the future {where}", cause=EARLY
        )
    raise IdentityRefused(
        f"there is no revocation list that {name} has signed, and there are such of its chain "
        f"{where}",
        cause=MISSING,
    )


def _above(
    anchor: x509.Certificate, anchors: Sequence[x509.Certificate]
) -> Iterator[x509.Certificate]:
    """
    What leads on from an anchor that is no root, as far as there are other anchors.
    """
    for _ in range(_MOST_ABOVE):
        if _hasIssued(anchor, anchor):
            return
        issuer = next((each for each in anchors if _hasIssued(each, anchor)), None)
        if issuer is None:
            return
        yield issuer
        anchor = issuer


def _hasIssued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if canonical(issuer.subject) != canonical(certificate.issuer):
        return False
    key, signature = issuer.public_key(), certificate.signature
    signed, digest = certificate.tbs_certificate_bytes, certificate.signature_hash_algorithm
    try:
        # Certificate.verify_directly_issued_by() takes names to be others that are written in
        # another way.
        means = certificate.signature_algorithm_parameters
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(means, ec.ECDSA):
            key.verify(signature, signed, means)
        elif isinstance(key, rsa.RSAPublicKey) and isinstance(means, AsymmetricPadding) and digest:
            key.verify(signature, signed, means, digest)
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def nameOf(found: RevocationList) -> str:
    """
    Whose list it is, for people to read.
    """
    return quote(found.issuer.rfc4514_string().encode())


def _isDue(found: RevocationList, now: datetime, since: datetime | None) -> bool:
    """
    Whether it is time for a warning of the end of a list.
    """
    end = datetime.fromtimestamp(found.end, UTC)
    life = timedelta(seconds=found.end - found.start)
    moments = [end - min(before, life / part) for before, part in WARNINGS]
    return any(moment <= now and (since is None or since < moment) for moment in moments)
