"""
Tests for L{tlstunnel.reveal.proxyout} and L{tlstunnel.reveal.certificates}: what a header of the
PROXY protocol says.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import Address, TCPAddress
from tlstunnel.errors import Oversize
from tlstunnel.identity.names import Identity
from tlstunnel.net.proxyheader import parse
from tlstunnel.reveal import proxyout
from tlstunnel.reveal.certificates import commonNameOf, keyOf, signatureOf
from tlstunnel.reveal.proxyout import ProxyOut
from tlstunnel.reveal.tlvs import BEFORE_TLS, IDENTITY, SSL_PARTS, TLVS

HERE = TCPAddress("192.0.2.1", 1)


def certificate(
    key: Any, algorithm: Any = None, names: tuple[str, ...] = ("reader",)
) -> x509.Certificate:
    """
    One that is signed by itself.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(1).not_valid_before(now)
    return builder.not_valid_after(now + timedelta(days=1)).sign(key, algorithm)


class _Facts:
    """
    What is known of a connection.
    """

    def __init__(self, **known: Any) -> None:
        self.peer: Address = HERE
        self.local: Address | None = HERE
        self.serverName, self.alpn = "www.example.org", b"h2"
        self.version, self.suite, self.group = "TLSv1.3", "SUITE", "GROUP"
        self.isResumed = False
        self.identity: Identity | None = None
        self.certificate: x509.Certificate | None = None
        self.chain: tuple[x509.Certificate, ...] = ()
        self.uniqueID = b""
        for name, value in known.items():
            setattr(self, name, value)


class _Face:
    certificate = None


class _Proof:
    leaf = b"print"


class _Session:
    """
    What is known of its TLS.
    """

    face: Any = _Face()
    proof: Any = None
    claim: Any = None


class CertificatesTests(SynchronousTestCase):
    """
    In the words of OpenSSL.
    """

    def test_keysAndSignatures(self) -> None:
        """
        As HAProxy has them.
        """
        for key, algorithm, name, signature in (
            (rsa.generate_private_key(65537, 2048), hashes.SHA384(), "RSA2048", "RSA-SHA384"),
            (
                ec.generate_private_key(ec.SECP384R1()),
                hashes.SHA256(),
                "EC384",
                "ecdsa-with-SHA256",
            ),
            (ed25519.Ed25519PrivateKey.generate(), None, "ED25519", "ED25519"),
            (ed448.Ed448PrivateKey.generate(), None, "ED448", "ED448"),
            (
                dsa.generate_private_key(2048),
                hashes.SHA256(),
                "DSA2048",
                "2.16.840.1.101.3.4.3.2",
            ),
        ):
            made = certificate(key, algorithm)
            self.assertEqual(keyOf(made), name)
            self.assertEqual(signatureOf(made), signature)

    def test_theCommonName(self) -> None:
        """
        One that is one, and can be printed: others are nobody's name.
        """
        key = ed25519.Ed25519PrivateKey.generate()
        for names, expected in (
            (("reader",), "reader"),
            (("Łukasz",), "Łukasz"),
            ((), ""),
            (("reader", "root"), ""),
            (("root\nreader",), ""),
            (("root\0",), ""),
        ):
            self.assertEqual(commonNameOf(certificate(key, None, names)), expected)


class ProxyOutTests(SynchronousTestCase):
    """
    L{ProxyOut}.
    """

    def tlvs(self, names: tuple[str, ...], session: Any = _Session(), **known: Any) -> Any:  # noqa: B008
        """
        What else a header says.
        """
        facts: Any = _Facts(**known)
        return parse(ProxyOut("v2", names).header(facts, HERE, session)).tlvs

    def test_allNamesAreKnown(self) -> None:
        """
        To this module as to that of the names.
        """
        self.assertLessEqual({*SSL_PARTS.values(), *BEFORE_TLS}, {*TLVS})
        self.assertIn(IDENTITY, range(0xE0, 0xF0))

    def test_beforeTLSNothingOfItIsTold(self) -> None:
        """
        As of a connection that needs none.
        """
        self.assertEqual(self.tlvs(("alpn", "authority", "ssl", "identity"), None), ())

    def test_aNameThatIsNoneIsNotPassedOn(self) -> None:
        """
        Clients may ask for anything, and receivers write it into their logs.
        """
        for name in "", "a\nb", "\xff", "a b\x7f":
            self.assertEqual(self.tlvs(("authority",), serverName=name), ())

    def test_anIdIsGivenOnceAndKept(self) -> None:
        """
        Another backend that is tried has the same; another connection has not.
        """
        out, facts = ProxyOut("v2", ("unique-id",)), _Facts()
        session: Any = _Session()
        first = out.header(facts, HERE, session)
        self.assertEqual(out.header(facts, HERE, session), first)
        self.assertEqual(parse(first).value(0x05), facts.uniqueID)
        self.assertNotEqual(out.header(_Facts(), HERE, session), first)

    def test_whatIsKnownOfOneIsNotToldOfAnother(self) -> None:
        """
        What was written is kept for connections alone that are the same in all of it.
        """
        out, session = ProxyOut("v2", TLVS), _Session()
        session.proof = _Proof()
        somebody: Any = Identity("reader", "example.org")
        seen = set()
        told: Any = session
        for known in (
            {},
            {"identity": somebody},
            {"identity": Identity("writer", "example.org")},
            {"identity": somebody, "isResumed": True},
            {"serverName": "other"},
            {"alpn": b""},
            {"version": "TLSv1.2"},
            {"suite": "OTHER"},
            {"group": "OTHER"},
        ):
            seen.add(out.header(_Facts(uniqueID=b"id", **known), HERE, told))
        other: Any = _Session()
        other.proof = None
        seen.add(out.header(_Facts(uniqueID=b"id", serverName="other", alpn=b""), HERE, other))
        self.assertEqual(len(seen), 10)

    def test_whoeverHasAPreSharedKeyHasShownNoCertificate(self) -> None:
        """
        The identity is told, and no flag that is about one.
        """
        session: Any = _Session()
        facts = _Facts(identity=Identity("reader", "example.org"))
        found = []
        for claim in None, object():
            session.claim = claim
            header = parse(ProxyOut("v2", ("ssl", "identity")).header(facts, HERE, session))
            self.assertEqual(header.value(IDENTITY), b"reader@example.org")
            told = header.value(0x20)
            assert told is not None
            found.append((told[0], told[1:5] == bytes(4)))
        self.assertEqual(found, [(7, True), (1, False)])

    def test_whatIsKeptIsBounded(self) -> None:
        """
        However many names clients ask for.
        """
        out, session = ProxyOut("v2", ("authority",)), _Session()
        told: Any = session
        for number in range(2 * proxyout.KINDS_KEPT):
            out.header(_Facts(serverName=f"{number}.example"), HERE, told)
        self.assertLessEqual(len(out._known), proxyout.KINDS_KEPT)

    def test_tooLong(self) -> None:
        """
        It is an error, and nothing is cut.
        """
        self.assertRaises(Oversize, self.tlvs, ("authority",), serverName="x" * 70000)
        self.assertRaises(Oversize, self.tlvs, ("authority",), serverName="x" * 65530)
