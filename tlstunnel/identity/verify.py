"""
Does this certificate belong to that identity?

Only names are looked at here, and only those in the subject alternative name: never a common name.
Whether the certificate itself is to be believed is between OpenSSL and the anchors of the pool; the
authorities that it found above the certificate count here for what they constrain.

Everything fails closed: one name of the kind that counts that cannot be read spoils the whole
certificate, and whatever else goes wrong is a refusal too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from cryptography import x509
from service_identity import CertificateError

from tlstunnel.errors import IdentityRefused, quote
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.presented import Presented, Unreadable, alternativeNames

#: Names of somebody else's certificate that an error has.
NAMES_SHOWN = 20


def _quote(text: str) -> str:
    return quote(text.encode("utf-8", "backslashreplace"))


def namesIn(certificate: x509.Certificate) -> list[str]:
    """
    List what a certificate says of whom it is for, for people to read: names as they stand there,
    raw and untrusted.

    @raise Exception: whatever an unreadable certificate makes C{cryptography} raise.
    """
    names = alternativeNames(certificate)
    return [] if names is None else [str(getattr(name, "value", name)) for name in names]


def _whoIs(presented: Presented, expected: Identity | Selector | AccessList) -> Identity | None:
    """Whom a certificate is for among those expected."""
    if isinstance(expected, Identity):
        return expected if presented.proves(expected) else None
    if isinstance(expected, AccessList):
        return expected.first(presented.somebody(expected.kinds))
    return next(filter(expected.matches, presented.somebody({expected.kind})), None)


def _checkDenied(presented: Presented, expected: AccessList) -> None:
    """
    Look at every name of a certificate.

    @raise IdentityRefused: one of them is denied.
    """
    if not expected.denied:
        return
    identities, wild = presented.everybody()
    names = [(str(each), expected.denialOf(each)) for each in identities]
    names += [(f"*{parent}", expected.denialOfWildcard(parent)) for parent in wild]
    for name, denying in names:
        if denying is not None:
            raise IdentityRefused(
                f"the certificate is for {_quote(name)}, which {expected.placeOf(denying)} denies",
                cause="denied",
            )


def verifyIdentity(
    certificate: x509.Certificate,
    expected: Identity | Selector | AccessList,
    service: str | None = None,
    authorities: Sequence[x509.Certificate] = (),
) -> Identity:
    """
    Demand that a certificate belongs to whom we expect.

    A domain is a dNSName (RFC 9525); an address is an iPAddress; C{user@domain} is an rfc822Name.
    A wildcard stands for a domain only where C{authorities} permit that.  Where a service is given,
    a domain may be an SRVName for it (RFC 4985), unless an authority has name constraints, which do
    not bind such names.  Of a selector, any name of the certificate will do that it matches, but a
    wildcard is never that of anybody; of a list, the first selector that matches one counts.  Who
    is denied is refused, whatever other names the certificate has.  A workload is a SPIFFE ID.

    @param service: the service as in SRV records, without the underscore: C{xmpp-server}.
    @param authorities: those in the verified chain, up to and with the anchor.
    @return: who that is: C{expected}, or the first of those that a selector matches.
    @raise IdentityRefused: it does not belong there, or could not be read, or anything else.
    """
    found: Identity | None = None
    try:
        presented = Presented.by(certificate, authorities, service)
        if presented is None:
            raise IdentityRefused(
                "the certificate has no subject alternative name", cause="no name"
            )
        found = _whoIs(presented, expected)
        if found is not None and isinstance(expected, AccessList):
            _checkDenied(presented, expected)
        has = "" if found is not None else ", ".join(islice(namesIn(certificate), NAMES_SHOWN))
    except (IdentityRefused, KeyboardInterrupt, SystemExit):
        raise
    except (Unreadable, CertificateError) as error:
        raise IdentityRefused(f"the certificate has a bad name: {_quote(str(error))}") from None
    except BaseException as error:  # also the panics of cryptography's Rust, which are no Exception
        raise IdentityRefused(f"the certificate is unreadable: {_quote(str(error))}") from error
    if found is None:
        raise IdentityRefused(
            f"the certificate is for {_quote(has)}, and not for {expected}", cause="wrong name"
        )
    return found


def hostsIn(certificate: x509.Certificate) -> list[str]:
    """
    The domains, and wildcards, that our own certificate is for, in lower case.
    """
    names = alternativeNames(certificate)
    return [] if names is None else [n.lower() for n in names.get_values_for_type(x509.DNSName)]


@lru_cache(maxsize=256)
def coversName(certificate: x509.Certificate, hostname: str) -> bool:
    """
    Whether our own certificate is for the name that a client asks for with SNI (RFC 6066).

    This decides nothing but whether the client is served, and it will do its own verification.
    Addresses are not allowed in SNI, but some clients (lftp) send them.
    """
    asked = hostname.lower().removesuffix(".")
    names = alternativeNames(certificate)
    if names is None:
        return False
    ours = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    ours += map(str, names.get_values_for_type(x509.IPAddress))
    label, _, parent = asked.partition(".")
    return asked in ours or (bool(label) and f"*.{parent}" in ours)
