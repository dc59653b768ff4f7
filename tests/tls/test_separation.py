"""
Tests for L{tlstunnel.tls.separation}: what does not go together in one process.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, make
from tests.keyfiles import refer
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.keyprovider import KeyProvider
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.poolservice.description import PoolDescription
from tlstunnel.poolservice.inventory import Inventory
from tlstunnel.protocols import registry
from tlstunnel.provisioning.connection import Place
from tlstunnel.provisioning.url import LDAPURL
from tlstunnel.tls import openssl, separation
from tlstunnel.tls.context import clientContext
from tlstunnel.tls.separation import Separation
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import ServedName
from tlstunnel.tunnel.verifying import verifying

HOST = Identity.parse("mail.example.org")
OTHER = Identity.parse("file.example.org")
LOCAL = (TCPAddress("127.0.0.1", 1),)


class SeparationTests(SynchronousTestCase):
    """
    What a process does first counts.
    """

    def setUp(self) -> None:
        """
        A pool with a key in a token, and this process as if it had done nothing yet.
        """
        self.pool = Pool(Path(self.mktemp()).resolve())
        self.file = refer(self.pool, HOST)
        createIdentity(self.pool, OTHER)
        self.separation = Separation()
        self.patch(separation, "process", self.separation)
        self.referred = self.pool.credentials(HOST)
        self.own = self.pool.credentials(OTHER)

    def tunnel(self, mode: Mode = Mode.SERVER, **more: object) -> Tunnel:
        """
        A tunnel of this pool.
        """
        dialect = registry.find("none")
        tunnel = Tunnel(mode, LOCAL, LOCAL, dialect, localID=HOST, pool=self.pool)
        return replace(tunnel, **more)  # type: ignore[arg-type]

    def test_aProcessThatVerifiesUsesNoToken(self) -> None:
        """
        Whatever it verifies, and for as long as it lives.
        """
        self.separation.verifies("`remote-id`")
        error = self.assertRaises(ConfigurationError, self.separation.signs, self.referred)
        self.assertEqual(error.subject, str(self.file))
        self.assertIn("verifies others (--remote-id)", str(error))
        self.assertEqual(self.separation.token, "")

    def test_aProcessWithATokenVerifiesNobody(self) -> None:
        """
        No context for that can be made any more.
        """
        self.separation.signs(self.referred)
        trust = self.pool.trustFor(OTHER)
        error = self.assertRaises(ConfigurationError, clientContext, trust)
        self.assertIn(str(self.file), str(error))

    def test_keysOfTheSameAlgorithmAreWithTheTokenOrWithUs(self) -> None:
        """
        In either order; others do not matter.
        """
        self.separation.signs(self.referred)
        error = self.assertRaises(ConfigurationError, self.separation.signs, self.own)
        self.assertIn("the same algorithm", str(error))
        rsa = make(Recipe(key="rsa2048"))
        self.separation.signs(Credentials(OTHER, (rsa.certificate,), rsa.key))
        self.patch(separation, "process", Separation())
        separation.process.signs(self.own)
        error = self.assertRaises(ConfigurationError, separation.process.signs, self.referred)
        self.assertIn("the same algorithm", str(error))

    def test_whatIsTriedIsNotUsed(self) -> None:
        """
        The check of credentials is no use of them; that of a token is remembered.
        """
        with self.separation.trying():
            self.separation.verifies("`remote-id`")
            self.separation.signs(self.own)
        self.separation.signs(self.referred)
        with self.separation.trying():
            self.separation.verifies("`remote-id`")
            self.separation.signs(self.own)
        self.assertEqual(self.separation.token, str(self.file))

    def test_aKeyThatIsNotThereIsNotUsed(self) -> None:
        """
        What a reload has tried in vain stands in nobody's way.
        """
        self.assertRaises(ConfigurationError, Prepared, self.tunnel())
        self.assertEqual(self.separation.token, "")
        self.separation.signs(self.own)
        self.separation.verifies("`remote-id`")

    def test_everythingThatVerifiesSaysSo(self) -> None:
        """
        By the settings that ask for it.
        """
        everybody = Selector(None, ".")
        name = ServedName("a.example.org", remoteID=AccessList((everybody,)))
        for changed, expected in (
            (self.tunnel(), []),
            (self.tunnel(Mode.CLIENT), ["`client`"]),
            (self.tunnel(Mode.CLIENT, trust=("dane",)), ["`client`"]),
            (self.tunnel(Mode.CLIENT, trust=("pins",)), ["`client`"]),
            (self.tunnel(Mode.CLIENT, trust=("psk",)), []),
            (self.tunnel(Mode.CLIENT, negotiatesOnly=True), []),
            (self.tunnel(Mode.BRIDGE), ["`bridge`"]),
            (self.tunnel(Mode.BRIDGE, remoteID=everybody), ["`bridge`", "`remote-id`"]),
            (self.tunnel(remoteID=everybody), ["`remote-id`"]),
            (self.tunnel(remoteID=everybody, requestsOnly=True), ["`remote-id`"]),
            (self.tunnel(remoteIDFiles=("list",)), ["`remote-id`"]),
            (self.tunnel(trust=("pins",)), ["`pin`"]),
            (self.tunnel(trust=("psk",)), []),
            (self.tunnel(names=(name,)), ["`remote-id`"]),
            (self.tunnel(ocspStapling=True), ["`ocsp-stapling`"]),
            (self.tunnel(agent=Path("/agent")), ["`agent` /agent"]),
        ):
            self.assertEqual(list(verifying(changed)), expected)

    def test_aTunnelThatVerifiesDoesNotTouchTheToken(self) -> None:
        """
        It is refused before.
        """
        for tunnel in (
            self.tunnel(remoteID=Selector(None, ".")),
            self.tunnel(ocspStapling=True),
            self.tunnel(Mode.CLIENT, remoteID=OTHER),
        ):
            self.patch(separation, "process", Separation())
            error = self.assertRaises(ConfigurationError, Prepared, tunnel)
            self.assertIn("cannot be used in a process that verifies", str(error))

    def test_aDirectoryIsNotFollowedBesideAToken(self) -> None:
        """
        As it has a certificate; and it is named, whichever came first.
        """
        place = Place(LDAPURL.parse("ldap://ldap.example.org/dc=example"), self.pool)
        self.separation.signs(self.referred)
        error = self.assertRaises(ConfigurationError, place.prepare)
        self.assertIn("the directory ldap://ldap.example.org", error.subject)
        self.patch(separation, "process", Separation())
        place.prepare()
        error = self.assertRaises(ConfigurationError, separation.process.signs, self.referred)
        self.assertIn("(the directory ldap://ldap.example.org", str(error))

    def test_thePoolServiceLeavesTokensAlone(self) -> None:
        """
        As it verifies others; and it is not where a token is used.
        """
        inventory = Inventory(PoolDescription(self.pool))
        for _ in inventory.steps():
            pass
        self.assertEqual(list(inventory.certificates), [OTHER])
        self.assertIn("refers to a key in a token", inventory.notices[0])
        self.patch(separation, "process", Separation())
        separation.process.signs(self.referred)
        self.assertRaises(ConfigurationError, list, Inventory(PoolDescription(self.pool)).steps())


class TPMTests(SynchronousTestCase):
    """
    A process with the provider of a TPM, which is asked for all signatures.
    """

    def setUp(self) -> None:
        """
        As if it were loaded.
        """
        provider = KeyProvider(Path("/usr/lib/tpm2.so"))
        self.patch(openssl, "keyProvider", lambda: provider)
        self.separation = Separation()

    def credentials(self, kind: str) -> Credentials:
        """
        Those of a key in a file.
        """
        issued = make(Recipe(key=kind))
        return Credentials(HOST, (issued.certificate,), issued.key)

    def test_keysInFilesAreRefused(self) -> None:
        """
        Whatever their algorithm, but that which no TPM knows.
        """
        for kind in "ec", "rsa2048":
            with self.assertRaises(ConfigurationError) as caught:
                self.separation.signs(self.credentials(kind))
            self.assertIn("(/usr/lib/tpm2.so) signs with all keys", str(caught.exception))
        self.separation.signs(self.credentials("ed25519"))

    def test_nobodyIsVerified(self) -> None:
        """
        Also before the key of the TPM is used.
        """
        with self.assertRaises(ConfigurationError) as caught:
            self.separation.verifies("`remote-id`")
        self.assertIn("the provider of a TPM", str(caught.exception))
