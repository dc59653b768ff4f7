"""
Tests for L{tlstunnel.tunnel.environment}: what a program is told, and by whom it was said.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, make, named
from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.identity.names import Identity, KeyIdentity
from tlstunnel.tunnel.environment import environmentOf

LOCAL = TCPAddress("2001:db8::2", 993)


def facts(**known: Any) -> Any:
    """
    What is known of a connection.
    """
    usual = {
        "peer": TCPAddress("2001:db8::1", 40000),
        "serverName": "",
        "version": "TLSv1.3",
        "suite": "TLS_AES_128_GCM_SHA256",
        "identity": None,
        "certificate": None,
    }
    return SimpleNamespace(**(usual | known))


class EnvironmentTests(SynchronousTestCase):
    """
    L{environmentOf}.
    """

    def test_addressesHaveNoBrackets(self) -> None:
        """
        As programs have them.
        """
        found = environmentOf(facts(), LOCAL)
        self.assertEqual(found["REMOTE_HOST"], "2001:db8::1")
        self.assertEqual(found["TCPREMOTEIP"], "2001:db8::1")
        self.assertEqual((found["TCPLOCALIP"], found["TCPLOCALPORT"]), ("2001:db8::2", "993"))

    def test_aUNIXSocketHasNoAddress(self) -> None:
        """
        On either side.
        """
        found = environmentOf(facts(peer=UNIXAddress("")), UNIXAddress("/s"))
        self.assertEqual([each for each in found if "REMOTE" in each or "LOCAL" in each], [])

    def test_onlyAUserIsARemoteUser(self) -> None:
        """
        Neither a host, nor a workload, nor a key.
        """
        for identity, isUser in (
            (Identity.parse("john@example.org"), True),
            (Identity.parse("host.example.org"), False),
            (Identity.parse("spiffe://example.org/john"), False),
            (KeyIdentity.of(b"x" * 32), False),
        ):
            found = environmentOf(facts(identity=identity), LOCAL)
            self.assertEqual(found["TLS_IDENTITY"], str(identity))
            self.assertEqual("REMOTE_USER" in found, isUser, str(identity))

    def test_whatOnlyAKeyVouchesForIsNotTold(self) -> None:
        """
        Whoever has it can write any name into a certificate.
        """
        certificate = make(Recipe(subject=named("john"))).certificate
        for identity, isTold in (
            (Identity.parse("john@example.org"), True),
            (KeyIdentity.of(b"x" * 32), False),
        ):
            found = environmentOf(facts(identity=identity, certificate=certificate), LOCAL)
            self.assertEqual("SSL_CLIENT_S_DN" in found, isTold)
            self.assertEqual("SSL_CLIENT_I_DN" in found, isTold)

    @given(st.text(st.characters(max_codepoint=255), max_size=20))
    def test_aNameThatIsNoneIsNotTold(self, said: str) -> None:
        """
        Whatever a client asks for.
        """
        found = environmentOf(facts(serverName=said), LOCAL)
        name = found.get("TLS_SNI", "a")
        self.assertTrue(name.replace("-", "").replace(".", "").replace("_", "").isalnum(), name)

    def test_aNameIsTold(self) -> None:
        """
        In its one form.
        """
        self.assertEqual(
            environmentOf(facts(serverName="Mail.Example.org"), LOCAL)["TLS_SNI"],
            "mail.example.org",
        )
