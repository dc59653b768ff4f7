"""
Tests for L{tlstunnel.tls.checkup} and L{tlstunnel.tls.credentials}: whether OpenSSL takes our
credentials, in the way that they will be used.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, authorityRecipe, dns, forPSS, make, root
from tests.loopback import SERVER, Encrypted, Plain, TunnelTests
from tests.revoked import entry, makeList, pem
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.issuer import authorityOf, createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadKey
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.trust import Anchors, Trust
from tlstunnel.protocols.registry import find
from tlstunnel.tls.checkup import checkUsable, problemsOf, refusalOf
from tlstunnel.tls.credentials import _pssKey
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared

NAME = Identity.parse("server.example.org")
TRUST = Trust(Anchors((root().certificate,), False, "test"))


def credentials(issued: Issued) -> Credentials:
    """Credentials for C{NAME}."""
    return Credentials(NAME, issued.chain, issued.key, "/pool/cert.pem")


def issue(issuer: Issued | None = None, **recipe: object) -> Issued:
    """A certificate for C{NAME}."""
    changes = {"san": alternative(dns(str(NAME))), **recipe}
    return make(Recipe(**changes), issuer or root())  # type: ignore[arg-type]


class UsableTests(SynchronousTestCase):
    """L{checkUsable}"""

    def test_commonKeys(self) -> None:
        """What everybody has is taken, whatever the certificate says and whoever issued it."""
        for key in ("ec", "rsa2048", "ed25519"):
            checkUsable(credentials(issue(key=key, end=timedelta(minutes=-1))))
            checkUsable(credentials(issue(key=key)), "1.3")

    def test_whatOpenSSLRefuses(self) -> None:
        """
        Short keys, a curve that TLS has no signature for, a CA with a short key: one line with the
        file, OpenSSL's words, and what to do.
        """
        weak = make(authorityRecipe("Weak", key="rsa1024"), root())
        for issued, words in (
            (issue(key="rsa1024"), "ee key too small"),
            (issue(key="secp256k1"), "no (shared cipher|suitable signature algorithm)"),
            (issue(weak), "too small|too weak"),
        ):
            error = self.assertRaises(ConfigurationError, checkUsable, credentials(issued))
            self.assertTrue(str(error).startswith("/pool/cert.pem: OpenSSL does not take"))
            self.assertRegex(str(error), words)
            self.assertTrue(str(error).isprintable())

    def test_anotherKey(self) -> None:
        """A key that does not fit is no key at all."""
        issued = Issued(issue().certificate, issue(key="rsa2048").key, issue().chain)
        self.assertRaises(ConfigurationError, checkUsable, credentials(issued))
        issued = Issued(forPSS(issue(key="rsa2048"), root()).certificate, issue().key)
        bad = Credentials(NAME, (issued.certificate,), issued.key)
        self.assertRaises(ConfigurationError, checkUsable, bad)

    def test_atTheStart(self) -> None:
        """A tunnel of either mode does not start with what OpenSSL refuses, nor is it reloaded."""
        issued = issue(key="secp256k1")
        pool = Pool(Path(self.mktemp()))
        directory = pool.path / str(NAME)
        directory.mkdir(parents=True)
        (directory / "fullchain.pem").write_bytes(issued.chainPEM())
        (directory / "privkey.pem").write_bytes(issued.keyPEM())
        (directory / "privkey.pem").chmod(0o600)
        for mode in Mode:
            tunnel = Tunnel(
                mode=mode,
                local=(TCPAddress("127.0.0.1", 0),),
                remote=(TCPAddress("127.0.0.1", 1),),
                dialect=find("none"),
                localID=NAME,
                remoteID=Identity.parse("a.b") if mode is Mode.CLIENT else None,
                pool=pool,
            )
            error = self.assertRaises(ConfigurationError, Prepared, tunnel)
            self.assertIn(f"{directory}/fullchain.pem: OpenSSL does not", str(error))


class RefusalTests(SynchronousTestCase):
    """L{refusalOf}"""

    def test_believed(self) -> None:
        """What a peer believes is fine."""
        self.assertIsNone(refusalOf(credentials(issue()), TRUST))

    def test_refused(self) -> None:
        """What a peer refuses is refused in the words that its log would have."""
        said = str(refusalOf(credentials(issue(root("Unknown"))), TRUST))
        self.assertIn('"CN=Unknown" is not among the anchors of test', said)
        other = make(Recipe(san=alternative(dns("other.example"))), root())
        self.assertIn("not for server.example.org", str(refusalOf(credentials(other), TRUST)))


class RevokedTests(SynchronousTestCase):
    """What 'tlstunnel identity check' says of lists in the pool."""

    def test_revoked(self) -> None:
        """Peers with such a list would refuse us."""
        pool, who = Pool(Path(self.mktemp())), NAME
        ours = createIdentity(pool, who)
        place = pool.path / "trust"
        place.mkdir()
        authority = authorityOf(pool)
        issuer = Issued(authority.certificate, authority.key)
        for revoked, isProblem in ((), False), ((entry(ours.certificates[0].serial_number),), True):
            lists = makeList(*revoked, issuer=issuer, number=len(revoked))
            (place / "ours.crl").write_bytes(pem(lists))
            problems = " ".join(problemsOf(pool, who, datetime.now(UTC)))
            self.assertEqual("was revoked" in problems, isProblem)
            self.assertEqual(bool(problems), isProblem)


class PSSTests(TunnelTests):
    """Keys for RSASSA-PSS alone (RFC 4055; RFC 8446, section 4.2.3)."""

    def test_usable(self) -> None:
        """They are shown as what they are, by servers and by clients."""
        issued = credentials(forPSS(issue(key="rsa2048"), root()))
        for minimum in ("1.2", "1.3"):
            checkUsable(issued, minimum)
        self.assertIsNone(refusalOf(issued, TRUST))

    def test_files(self) -> None:
        """The key may stand in its file as one for PSS, or as one for RSA."""
        issued = forPSS(issue(key="rsa2048"), root())
        key = _pssKey(credentials(issued))
        content = crypto.dump_privatekey(crypto.FILETYPE_PEM, key)
        self.assertNotEqual(content, issued.keyPEM())
        file = Path(self.mktemp())
        file.write_bytes(content)
        loaded = loadKey(file, private=False)
        self.assertEqual(loaded.public_key(), issued.key.public_key())  # type: ignore[union-attr]  # it is in the file
        checkUsable(Credentials(NAME, issued.chain, loaded))

    async def test_throughATunnel(self) -> None:
        """Data passes, in both versions."""
        issued = forPSS(issue(key="rsa2048"), root())
        directory = self.pool.path / str(SERVER)
        (directory / "fullchain.pem").write_bytes(issued.chainPEM())
        (directory / "privkey.pem").write_bytes(issued.keyPEM())
        anchors = self.pool.path / "root.pem"
        anchors.write_bytes(
            Issued(root().certificate, root().key, (root().certificate,)).chainPEM()
        )
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.load_verify_locations(str(anchors))
            context.set_verify(SSL.VERIFY_PEER)
            context.set_max_proto_version(version)
            self.patch(self, "context", lambda isClient, made=context: made)

            def script(network: Encrypted, plain: Plain) -> None:
                network.write(b"x")
                self.assertEqual(plain.read(1), b"x")

            await self.through(script)
