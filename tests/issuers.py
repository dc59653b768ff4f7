"""
An intermediate with name constraints, and what an agent with it answers, for tests.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import crypto

from tlstunnel.agent.allowance import Allowance, Allowances
from tlstunnel.agent.issuing import Issuing
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.intermediate import Intermediate, makeIntermediate, subtreeOf
from tlstunnel.identity.issuer import authorityOf
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import quietly
from tlstunnel.identity.pool import Pool

PERMITTED = ("example.org", "@example.org", "192.0.2.0/24", "spiffe://example.org/")

#: Who asks in tests.
CALLER = Caller(4711, frozenset({4712}), 1)


def intermediateIn(base: Path, *permitted: str) -> Intermediate:
    """
    Make one in C{base}/issuer, by the authority of the pool in C{base}/pool.
    """
    subtrees = [subtreeOf(each) for each in permitted or PERMITTED]
    return makeIntermediate(Pool(base / "pool"), base / "issuer", subtrees)


def issuingBy(intermediate: Intermediate, *allowed: str, lifetime: float = 600) -> Issuing:
    """
    What an agent with it answers.
    """
    allowances = Allowances([Allowance.parse(each) for each in allowed])
    return Issuing(intermediate, allowances, timedelta(seconds=lifetime))


def rootOf(base: Path) -> x509.Certificate:
    """
    The authority of the pool in C{base}/pool.
    """
    return authorityOf(Pool(base / "pool")).certificate


@cache
def someKey() -> ec.EllipticCurvePrivateKey:
    """
    A key of somebody.
    """
    return ec.generate_private_key(ec.SECP256R1())


def chainFor(intermediate: Intermediate, name: str) -> tuple[x509.Certificate, ...]:
    """
    What it issues for an identity, whether its constraints permit that or not.
    """
    now = datetime.now(UTC)
    key = someKey().public_key()
    return intermediate.issue(Identity.parse(name), key, now, timedelta(minutes=10))


def verdictOf(chain: tuple[x509.Certificate, ...], root: x509.Certificate) -> int:
    """
    What OpenSSL says of a chain, by the root alone: 0 if that is good.
    """
    with quietly():
        store = crypto.X509Store()
        store.add_cert(crypto.X509.from_cryptography(root))
        leaf, *above = map(crypto.X509.from_cryptography, chain)
        try:
            crypto.X509StoreContext(store, leaf, above).verify_certificate()
        except crypto.X509StoreContextError as error:
            return int(error.errors[0])
    return 0
