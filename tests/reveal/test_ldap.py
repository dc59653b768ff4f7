"""
Tests for L{tlstunnel.reveal.ldap}: how an LDAP server is told for whom each request is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.ldaprequests import (
    ALICE,
    AUTHZ_ID,
    DENIED,
    DN,
    INAPPROPRIATE,
    INVALID,
    NOBODY,
    NOT_CRITICAL,
    OTHER_METHOD,
    PROTOCOL_ERROR,
    SEARCH,
    SUCCESS,
    UNWILLING,
    WHO,
    acting,
    bindRequest,
    canonical,
    codes,
    control,
    external,
    message,
    number,
    response,
    string,
)
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity, KeyIdentity
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.ldap import START_TLS
from tlstunnel.protocols.ldap import ldap as dialect
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.ldap import Account, ldap, readAccount
from tlstunnel.reveal.ldapcontrols import (
    PROXIED_AUTHORIZATION,
)
from tlstunnel.testing.dialogues import split
from tlstunnel.testing.memory import Driver

ACCOUNT = Account("cn=tunnel,dc=example,dc=org", "secret")

UPGRADE = canonical(message((0x77, [string(START_TLS, 0x80)]), messageID=1))

BINDING = bindRequest(1, ACCOUNT.name.encode(), (0x80, ACCOUNT.password.encode()))
BOUND = response(1, 0x61, SUCCESS)
AS_NOBODY = acting(WHO, NOBODY, messageID=2)
IS_NOBODY = response(2, 0x78, SUCCESS)
AS_ALICE = acting(WHO, AUTHZ_ID, messageID=3)
IS_ALICE = response(3, 0x78, SUCCESS, string(DN, 0x8B))


def begin(identity: Identity | None = ALICE, isImplicit: bool = True) -> Driver:
    """
    A connection whose TLS is up.
    """
    driver = Driver(
        implicit if isImplicit else dialect, "server", words=[(ldap, ACCOUNT)], identity=identity
    )
    if not isImplicit:
        driver.feed("C", UPGRADE)
    driver.handshake()
    driver.network.takeWritten()
    return driver


def introduced(
    identity: Identity | None = ALICE, isImplicit: bool = True, last: bytes = IS_ALICE
) -> Driver:
    """
    A connection whose client has been introduced.
    """
    driver = begin(identity, isImplicit)
    dialogue = [("T", BINDING), ("B", BOUND), ("T", AS_NOBODY), ("B", IS_NOBODY)]
    if identity == ALICE:
        dialogue += [("T", AS_ALICE), ("B", last)]
    driver.play(dialogue)
    assert driver.stage == "relay", driver.error
    return driver


class IntroductionTests(SynchronousTestCase):
    """
    What is said before the client is heard.
    """

    def test_theTunnelBindsAndAsksWhoIsThere(self) -> None:
        """
        With STARTTLS, and with TLS from the first byte.
        """
        for isImplicit in (True, False):
            driver = introduced(isImplicit=isImplicit)
            self.assertEqual((driver.network.written, driver.plain.written), (b"", b""))

    def test_whoIsNoUserIsNotAskedFor(self) -> None:
        """
        No certificate, that of a host, a workload, or a key.
        """
        for identity in (
            None,
            Identity.parse("host.example.org"),
            Identity.parse("spiffe://example.org/x"),
            KeyIdentity.of(bytes(32)),
        ):
            driver = introduced(identity)
            driver.feed("C", external())
            self.assertEqual(codes(driver.network.takeWritten()), [(7, INAPPROPRIATE)])

    def test_aServerThatRefusesUsIsNamed(self) -> None:
        """
        With its code and its words.
        """
        driver = begin()
        driver.play([("T", BINDING), ("B", response(1, 0x61, INVALID, words=b"no such luck"))])
        self.assertIn("invalidCredentials (49)", str(driver.error))
        self.assertIn("no such luck", str(driver.error))
        assert driver.error is not None
        self.assertEqual((driver.error.reason, driver.error.cause), ("backend", "ldap bind"))
        self.assertEqual(driver.network.written, b"")

    def test_aServerThatDoesNotKnowTheControlIsNotUsed(self) -> None:
        """
        It refuses what is critical.
        """
        for code in (PROTOCOL_ERROR, NOT_CRITICAL, DENIED):
            driver = begin()
            driver.play([("T", BINDING), ("B", BOUND), ("T", AS_NOBODY)])
            driver.feed("B", response(2, 0x78, code))
            assert driver.error is not None
            self.assertEqual(driver.error.cause, "ldap proxied")

    def test_aServerThatIgnoresTheControlIsNotUsed(self) -> None:
        """
        It says that we are ourselves.
        """
        driver = begin()
        driver.play([("T", BINDING), ("B", BOUND), ("T", AS_NOBODY)])
        driver.feed("B", response(2, 0x78, SUCCESS, string(b"dn:cn=tunnel", 0x8B)))
        assert driver.error is not None
        self.assertEqual(driver.error.cause, "ldap ignores")

    def test_aServerThatSaysSomethingElseIsNotUsed(self) -> None:
        """
        Another message, another protocol, or nothing.
        """
        for said in (
            response(0, 0x78, 52, string(b"1.3.6.1.4.1.1466.20036", 0x8A)),
            response(2, 0x61, SUCCESS),
            response(1, 0x65, SUCCESS),
            b"220 mail.example.org ESMTP\r\n",
            b"\x30\x80",
            b"\x30\x84\xff\xff\xff\xff",
        ):
            driver = begin()
            driver.play([("T", BINDING), ("B", said)])
            assert driver.error is not None, said
            self.assertIn(driver.error.reason, ("backend", "malformed", "oversize"))
            self.assertEqual(driver.network.written, b"")

    def test_theAnswersAreReadWhereverTheyAreCut(self) -> None:
        """
        And what the server says behind the last of them is for the client.
        """
        notice = response(0, 0x78, 52)
        for pieces in split(IS_ALICE + notice):
            driver = begin()
            driver.play([("T", BINDING), ("B", BOUND), ("T", AS_NOBODY), ("B", IS_NOBODY)])
            driver.play([("T", AS_ALICE)])
            for piece in pieces:
                driver.feed("B", piece)
            self.assertEqual((driver.stage, driver.network.written), ("relay", notice))

    def test_whatAClientSaysEarlyWaits(self) -> None:
        """
        It is judged as what comes later.
        """
        driver = begin()
        driver.feed("C", external() + canonical(message(SEARCH)))
        driver.play([("T", BINDING), ("B", BOUND), ("T", AS_NOBODY), ("B", IS_NOBODY)])
        driver.play([("T", AS_ALICE), ("B", IS_ALICE), ("T", acting(SEARCH, AUTHZ_ID))])
        self.assertEqual(codes(driver.network.takeWritten()), [(7, SUCCESS)])


class LoginTests(SynchronousTestCase):
    """
    Binds, which do not pass.
    """

    def bind(self, driver: Driver, request: bytes) -> int:
        """
        @return: the result code.
        """
        driver.network.takeWritten()
        driver.feed("C", request)
        ((messageID, code),) = codes(driver.network.takeWritten())
        self.assertEqual((messageID, driver.plain.written), (7, b""))
        return code

    def whoIsIt(self, driver: Driver) -> bytes:
        """
        For whom the server takes the next request to be.
        """
        driver.feed("C", canonical(message(WHO)))
        written = driver.plain.takeWritten()
        for who in (AUTHZ_ID, NOBODY):
            if written == acting(WHO, who):
                return who
        raise AssertionError(written)

    def test_whoHasNotBoundIsNobody(self) -> None:
        """
        Also with a certificate.
        """
        self.assertEqual(self.whoIsIt(introduced()), NOBODY)

    def test_withEXTERNALAClientIsWhoItIs(self) -> None:
        """
        With its name or without; the mechanism in any case.
        """
        for request in (
            external(),
            external(authzID=b""),
            external(authzID=AUTHZ_ID),
            external(authzID=b"u:alice@EXAMPLE.org."),
            external(authzID=DN),
            external(authzID=DN.upper()),
            external(mechanism=b"external"),
            bindRequest(name=b"cn=ignored", method=(0xA3, [string(b"EXTERNAL")])),
        ):
            driver = introduced()
            self.assertEqual(self.bind(driver, request), SUCCESS)
            self.assertEqual(self.whoIsIt(driver), AUTHZ_ID)

    def test_whatIsRefusedLeavesAClientAnonymous(self) -> None:
        """
        Also one that had been somebody (RFC 4513, section 4).
        """
        for request, code in (
            (external(authzID=b"u:bob@example.org"), INVALID),
            (external(authzID=b"u:Alice@example.org"), INVALID),
            (external(authzID=b"u:alice@example.com"), INVALID),
            (external(authzID=b"u:alice"), INVALID),
            (external(authzID=b"u:alice@example.org\0"), INVALID),
            (external(authzID=b"u:alice@example.org "), INVALID),
            (external(authzID=b"u:\xff@example.org"), INVALID),
            (external(authzID=b"u:"), INVALID),
            (external(authzID=b"dn:"), INVALID),
            (external(authzID=b"dn:cn=tunnel,dc=example,dc=org"), INVALID),
            (external(authzID=b"alice@example.org"), INVALID),
            (external(mechanism=b"PLAIN", authzID=b"\0alice\0x"), OTHER_METHOD),
            (external(mechanism=b"GSS-SPNEGO"), OTHER_METHOD),
            (external(mechanism=b"EXTERNAL\0"), OTHER_METHOD),
            (external(mechanism=b""), OTHER_METHOD),
            (bindRequest(name=b"cn=admin", method=(0x80, b"secret")), OTHER_METHOD),
            (bindRequest(method=(0x80, b"secret")), OTHER_METHOD),
            (bindRequest(name=b"cn=admin"), UNWILLING),
            (bindRequest(method=(0x81, b"")), OTHER_METHOD),
            (bindRequest(version=2), PROTOCOL_ERROR),
            (bindRequest(controls=(control(b"1.2.3", True),)), NOT_CRITICAL),
            (bindRequest(controls=(control(PROXIED_AUTHORIZATION),)), DENIED),
        ):
            driver = introduced()
            self.bind(driver, external())
            self.assertEqual(self.bind(driver, request), code, request)
            self.assertEqual(self.whoIsIt(driver), NOBODY)

    def test_aClientMayBecomeNobodyAgain(self) -> None:
        """
        By an anonymous Bind.
        """
        driver = introduced()
        self.bind(driver, external())
        self.assertEqual(self.bind(driver, bindRequest()), SUCCESS)
        self.assertEqual(self.whoIsIt(driver), NOBODY)
        self.assertEqual(self.bind(driver, external()), SUCCESS)
        self.assertEqual(self.whoIsIt(driver), AUTHZ_ID)

    def test_whomTheServerDoesNotKnowIsRefused(self) -> None:
        """
        With the words of the server; or if it makes nobody of him.
        """
        for last in (response(3, 0x78, DENIED, words=b"not authorized"), response(3, 0x78, 0)):
            driver = introduced(last=last)
            self.assertEqual(self.bind(driver, external()), INVALID)
            self.assertEqual(self.whoIsIt(driver), NOBODY)

    def test_aBindThatIsNoneEndsTheConnection(self) -> None:
        """
        Nobody knows what it would be to others.
        """
        version, name, simple = number(3), string(b""), (0x80, b"")
        sasl = (0xA3, [string(b"EXTERNAL")])
        for fields in (
            [],
            [version],
            [version, name],
            [name, version, simple],
            [version, name, simple, simple],
            [version, name, sasl, sasl],
            [version, name, (0xA3, [])],
            [version, name, (0xA3, [string(b"EXTERNAL"), string(b""), string(b"")])],
            [version, name, (0xA3, [number(1)])],
        ):
            driver = introduced()
            driver.feed("C", canonical(message((0x60, list(fields)))))
            assert driver.error is not None, fields
            self.assertEqual(driver.error.reason, "malformed")


class RelayTests(SynchronousTestCase):
    """
    Both directions, joined.
    """

    def test_anAnswerComesThoughTheServerIsSilent(self) -> None:
        """
        And its half message is not cut by it.
        """
        driver = introduced()
        driver.feed("C", external(5))
        self.assertEqual(codes(driver.network.takeWritten()), [(5, SUCCESS)])
        driver.feed("B", b"\x30\x04ab")
        driver.feed("C", bindRequest(6))
        self.assertEqual(driver.network.takeWritten(), b"\x30\x04ab")
        driver.feed("B", b"cd")
        said = driver.network.takeWritten()
        self.assertTrue(said.startswith(b"cd"))
        self.assertEqual(codes(said[2:]), [(6, SUCCESS)])

    def test_aClientThatDoesNotReadItsAnswersIsCutOff(self) -> None:
        """
        Before they fill the memory.
        """
        driver = introduced()
        driver.network.capacity = 1000
        for _ in range(200):
            driver.feed("C", bindRequest(method=(0x80, b"x")) * 100)
            if driver.error is not None:
                break
        assert driver.error is not None
        self.assertEqual(driver.error.reason, "too-many-errors")

    def test_theEndsArePassedOn(self) -> None:
        """
        Of the client behind its Unbind, and of the server.
        """
        driver = introduced()
        driver.feed("C", canonical(message((0x42, b""))))
        driver.network.end()
        driver.plain.end()
        driver.settle()
        self.assertTrue(driver.ended)
        self.assertIsNone(driver.error)


class AccountTests(SynchronousTestCase):
    """
    L{readAccount}.
    """

    def write(self, text: str) -> Path:
        """
        A file with the password.
        """
        path = Path(self.mktemp())
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def test_both(self) -> None:
        """
        The name and the password.
        """
        told = Disclosure(
            words=("ldap",),
            ldapBindDN=ACCOUNT.name,
            ldapBindPasswordFile=self.write("secret\n"),
        )
        self.assertEqual(readAccount(told), ACCOUNT)
        for without in (replace(told, ldapBindDN=""), replace(told, ldapBindPasswordFile=None)):
            error = self.assertRaises(ConfigurationError, readAccount, without)
            self.assertEqual(error.key, "reveal")
