"""
Servers that are in order, or nearly, and what is told of them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IResolutionReceiver
from twisted.names import dns as dns_
from twisted.trial.unittest import SkipTest
from zope.interface import implementer

from tests.certificates import alternative, dns, intermediate, ip, mail, root
from tests.ports import freePort
from tests.probe.servers import (
    NAME,
    ProbeTestCase,
    belowIntermediate,
    context,
    leaf,
    secure,
    silent,
    smtp,
)
from tests.resolvers import Resolver, answer, tlsa
from tests.revoked import makeAnswer
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadCertificates
from tlstunnel.identity.pins import keyOf
from tlstunnel.identity.pool import Pool
from tlstunnel.probe.document import document

reactor: Any = _reactor


@implementer(IHostnameResolver)
class _Names:
    """
    A resolver that knows what it is told, and does not answer about anything else.
    """

    def __init__(self, known: dict[str, list[IPv4Address | IPv6Address]]) -> None:
        self._known = known

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        for each in self._known.get(hostName, ()):
            resolutionReceiver.addressResolved(each)
        if hostName in self._known:
            resolutionReceiver.resolutionComplete()


class NamesMixin:
    """
    Lets tests say what names mean.
    """

    def know(self, **known: list[IPv4Address | IPv6Address]) -> None:
        """
        @param known: what the names of L{NAME}'s domain mean.
        """
        names = {f"{each}.example.org": addresses for each, addresses in known.items()}
        before = reactor.installNameResolver(_Names(names))
        self.addCleanup(reactor.installNameResolver, before)  # type: ignore[attr-defined]


def four(port: int, host: str = "127.0.0.1") -> IPv4Address:
    """An address of IPv4."""
    return IPv4Address("TCP", host, port)


def six(port: int, host: str = "::1") -> IPv6Address:
    """An address of IPv6."""
    return IPv6Address("TCP", host, port)


class GoodServerTests(ProbeTestCase):
    """
    What is told of a server that is in order.
    """

    async def test_theLastLineIsTheVerdict(self) -> None:
        port = self.serve(secure(context(belowIntermediate())))
        report, lines = await self.probe(f"127.0.0.1:{port}", "-R", NAME)
        self.assertEqual(lines[-1], f"good: {NAME} is there, with TLSv1.3")
        self.assertEqual(report.exit, 0)
        text = "\n".join(lines)
        for each in (
            "X25519MLKEM768 (post-quantum)",
            "certificate 0 CN=mail.example.org",
            "certificate 1 CN=Intermediate",
            "key EC secp256r1, sha256//",
            "days left",
            "anchors       CN=Root vouches for it (--trust ",
            f"identity      the certificate is for {NAME}",
            "ocsp          nothing is stapled",
            "resumption    2 tickets",
        ):
            self.assertIn(each, text)

    async def test_theDialogueIsToldToWhoWantsIt(self) -> None:
        port = self.serve(smtp(secure(context(leaf()))))
        words = (f"127.0.0.1:{port}", "-R", NAME, "--starttls", "smtp")
        _, brief = await self.probe(*words)
        _, long = await self.probe(*words, "-v")
        self.assertNotIn("    C: STARTTLS", brief)
        start = long.index("    S: 220 mail.example.org ESMTP")
        self.assertTrue(long[start + 1].startswith("    C: EHLO "))
        self.assertEqual(
            long[start + 2 : start + 8],
            [
                "    S: 250-mail.example.org",
                "    S: 250-PIPELINING",
                "    S: 250 STARTTLS",
                "    C: STARTTLS",
                "    S: 220 2.0.0 Ready to start TLS",
                "    == TLS ==",
            ],
        )
        self.assertIn("starttls      the upgrade is agreed to, in the list of the server", brief)

    async def test_nothingIsSentInsideTLS(self) -> None:
        heard: list[bytes] = []
        certificate = context(leaf())

        def script(sock: socket.socket) -> None:
            from tests.probe.servers import handshake

            connection = handshake(sock, certificate)
            while True:
                heard.append(connection.recv(4096))

        await self.probe(f"127.0.0.1:{self.serve(script)}", "-R", NAME)
        self.assertEqual(heard, [])

    async def test_nothingIsSentToWhomNobodyTrusts(self) -> None:
        heard: list[bytes] = []
        certificate = context(leaf(root("Other")))

        def script(sock: socket.socket) -> None:
            from tests.probe.servers import handshake

            connection = handshake(sock, certificate)
            while True:
                heard.append(connection.recv(4096))

        report, _ = await self.probe(f"127.0.0.1:{self.serve(script)}", "-R", NAME)
        self.assertEqual((report.exit, heard), (1, []))

    async def test_namesAreToldByTheirKinds(self) -> None:
        names = alternative(dns(NAME), dns("*.example.org"), ip("192.0.2.1"), mail("j@example.org"))
        port = self.serve(secure(context(leaf(san=names))))
        _, lines = await self.probe(f"127.0.0.1:{port}", "-R", "j@example.org")
        text = "\n".join(lines)
        self.assertIn("domain: mail.example.org, *.example.org", text)
        self.assertIn("address: 192.0.2.1", text)
        self.assertIn("user: j@example.org", text)
        self.assertIn("good: j@example.org is there", text)

    async def test_anAddressIsExpectedWhereNoNameIsGiven(self) -> None:
        port = self.serve(secure(context(leaf(san=alternative(ip("127.0.0.1"))))))
        report, lines = await self.probe(f"127.0.0.1:{port}")
        self.assertIn("expecting 127.0.0.1", lines[0])
        self.assertEqual(report.exit, 0)

    async def test_aPinnedKeyIsEnough(self) -> None:
        issued = leaf(root("Other"))
        port = self.serve(secure(context(issued)))
        pin = str(keyOf(issued.certificate))
        report, lines = await self.probe(f"127.0.0.1:{port}", "--trust", "pins", "--pin", pin)
        self.assertEqual(lines[-1], "good: the pinned key is there, with TLSv1.3")
        self.assertIn(f"anchors       {pin} vouches for it (the pinned keys)", lines)
        self.assertEqual(report.exit, 0)
        other = str(keyOf(root().certificate))
        report, lines = await self.probe(f"127.0.0.1:{port}", "--trust", "pins", "--pin", other)
        self.assertTrue(lines[-1].startswith(f"not trusted: the key of the certificate is {pin}"))
        self.assertIn("anchors       no anchor of the pinned keys vouches for it", lines)

    async def test_aGreetingInsideTLSIsShown(self) -> None:
        port = self.serve(secure(context(leaf()), b"220 mail.example.org ESMTP\r\n"))
        _, lines = await self.probe(f"127.0.0.1:{port}", "-R", NAME)
        greeting = '"220 mail.example.org ESMTP\\x0d\\x0a"'
        self.assertIn(f"inside TLS    the server says {greeting}", lines)

    async def test_whatAServerSaysCannotFoolATerminal(self) -> None:
        port = self.serve(secure(context(leaf(subject=((NameOID.COMMON_NAME, "\x1b[2Jroot"),)))))
        _, lines = await self.probe(f"127.0.0.1:{port}", "-R", NAME)
        self.assertNotIn("\x1b", "\n".join(lines))

    async def test_ourCertificateIsShownToWhomWeTrustAlone(self) -> None:
        pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(pool, Identity(None, "us.example.org"))
        shown: list[str] = []

        def note(_: Any, certificate: Any, *__: Any) -> bool:
            shown.append(certificate.get_subject().CN)
            return True

        from OpenSSL import SSL

        words = ("-R", NAME, "-L", "us.example.org", "--pool", str(pool.path))
        for issuer, code in ((root(), 0), (root("Other"), 1)):
            del shown[:]
            asking = context(leaf(issuer))
            asking.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, note)
            report, lines = await self.probe(f"127.0.0.1:{self.serve(secure(asking))}", *words)
            self.assertEqual(report.exit, code, "\n".join(lines))
            self.assertEqual(bool(shown), code == 0)
            self.assertTrue(report.chain)


class RevocationTests(ProbeTestCase):
    """
    What is stapled.
    """

    async def test_aGoodStaple(self) -> None:
        issued = belowIntermediate()
        serving = context(issued)
        der = makeAnswer(issued, intermediate())
        serving.set_ocsp_server_callback(lambda *_: der)
        report, lines = await self.probe(f"127.0.0.1:{self.serve(secure(serving))}", "-R", NAME)
        (told,) = (line for line in lines if line.startswith("ocsp "))
        self.assertRegex(told, "ocsp          stapled: good, [0-9]+ hours old, for [0-9]+ ")
        staple = document(report)["staple"]
        self.assertEqual((staple["status"], len(staple["next_update"])), ("good", 20))

    async def test_aStapleThatSaysNo(self) -> None:
        issued = belowIntermediate()
        serving = context(issued)
        der = makeAnswer(issued, intermediate(), status=ocsp.OCSPCertStatus.REVOKED)
        serving.set_ocsp_server_callback(lambda *_: der)
        report, lines = await self.probe(f"127.0.0.1:{self.serve(secure(serving))}", "-R", NAME)
        (told,) = (line for line in lines if line.startswith("ocsp "))
        self.assertIn("revoked", told)
        self.assertEqual(lines[-1], f"good: {NAME} is there, with TLSv1.3, with a problem")
        assert report.staple is not None
        self.assertIsNone(report.staple.end)


def _said(name: str, data: bytes, query: dns_.Message) -> list[bytes]:
    """What a resolver says of a name that has one record."""
    return [answer(query, tlsa(name, data))]


class DANETests(ProbeTestCase):
    """
    Servers that DNS vouches for.
    """

    async def test_recordsDecide(self) -> None:
        issued = leaf(root("Other"))
        port = self.serve(secure(context(issued)))
        digest = keyOf(issued.certificate).digest
        for data, code, words in (
            (b"\3\1\1" + digest, 0, "anchors       TLSA 3 1 1 "),
            (b"\3\1\1" + bytes(32), 1, "anchors       no anchor of TLSA records"),
        ):
            name = f"_{port}._tcp.{NAME}"
            said = partial(_said, name, data)
            resolver = Resolver(said)
            report, lines = await self.probe(
                f"127.0.0.1:{port}", "-R", NAME, "--trust", "dane",
                "--dane-resolver", str(resolver.address))  # fmt: skip
            await resolver.close()
            text = "\n".join(lines)
            self.assertEqual(report.exit, code, text)
            self.assertIn(words, text)


class AddressTests(NamesMixin, ProbeTestCase):
    """
    Names that have several addresses, or none.
    """

    async def test_whereIPv6IsBrokenIPv4Serves(self) -> None:
        port = self.serve(secure(context(leaf())))
        self.know(mail=[six(port), four(port)])
        report, lines = await self.probe(f"{NAME}:{port}")
        self.assertEqual(report.exit, 0)
        text = "\n".join(lines)
        self.assertIn(f"address       [::1]:{port} does not serve: ", text)
        self.assertIn(f"address       127.0.0.1:{port}", text)
        self.assertEqual(lines[-1], f"good: {NAME} is there, with TLSv1.3")

    async def test_anAddressThatSpeaksNoTLSIsPassedOver(self) -> None:
        port = self.serve(secure(context(leaf())))
        self.serve(silent, "127.0.0.2", port)
        self.know(mail=[four(port, "127.0.0.2"), four(port)])
        report, lines = await self.probe(f"{NAME}:{port}")
        self.assertEqual(report.exit, 0)
        self.assertIn(
            f"address       127.0.0.2:{port} does not serve: the TLS handshake took longer than "
            "0.7 s",
            lines,
        )

    async def test_everyAddressAndVersionIsLookedAtIfThatIsWanted(self) -> None:
        port = self.serve(secure(context(leaf())))
        self.serve(secure(context(leaf(start=timedelta(days=-9), end=timedelta(days=-3)))),
                   "127.0.0.2", port)  # fmt: skip
        self.know(mail=[four(port), four(port, "127.0.0.2")])
        report, lines = await self.probe(f"{NAME}:{port}", "--all")
        self.assertEqual(report.exit, 1)
        text = "\n".join(lines)
        self.assertIn(f"so            good: {NAME} is there", text)
        self.assertEqual(text.count("TLS 1.0       TLSv1, "), 2)
        self.assertEqual(text.count("which no tunnel would speak"), 4)
        self.assertEqual(text.count("TLS 1.3       TLSv1.3, "), 2)
        self.assertTrue(lines[-1].startswith("not trusted: the certificate has expired"))

    async def test_aServerThatIsDownIsNoConnection(self) -> None:
        port = freePort()
        report, lines = await self.probe(f"127.0.0.1:{port}", "-R", NAME)
        self.assertEqual(report.exit, 4)
        self.assertEqual(lines[-1], f"no connection: 127.0.0.1:{port}: Connection refused")
        self.assertIn("hint          no server listens there: check the host and the port", lines)

    async def test_aNameThatDoesNotResolveIsNoConnection(self) -> None:
        self.know(mail=[])
        report, lines = await self.probe(f"{NAME}:25")
        self.assertEqual(report.exit, 4)
        self.assertEqual(
            lines[-1], f"no connection: the name {NAME} does not resolve, or not in time"
        )

    async def test_aResolverThatIsDeadIsNotWaitedForLong(self) -> None:
        self.know()
        began = reactor.seconds()
        report, lines = await self.probe(f"{NAME}:25")
        self.assertLess(reactor.seconds() - began, 5)
        self.assertEqual(report.exit, 4)
        self.assertIn("does not resolve", lines[-1])

    async def test_aServerThatAcceptsNobodyIsNoConnection(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]
        # The system takes these, and no more.
        for _ in range(2):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
            self.addCleanup(waiting.close)
        report, lines = await self.probe(f"127.0.0.1:{port}")
        self.assertEqual(report.exit, 4, "\n".join(lines))
        self.assertEqual(lines[-1], f"no connection: 127.0.0.1:{port}: no answer")

    async def test_addressesWithoutAConnectionAreAllTold(self) -> None:
        port = freePort()
        self.know(mail=[four(port), four(port, "127.0.0.2")])
        _, lines = await self.probe(f"{NAME}:{port}")
        self.assertEqual(
            lines[-1],
            f"no connection: 127.0.0.1:{port}: Connection refused, 127.0.0.2:{port}: Connection "
            "refused",
        )

    async def test_aServerOfIPv6IsFound(self) -> None:
        try:
            port = self.serve(secure(context(leaf())), "::1")
        except OSError as error:
            raise SkipTest(f"NOT TESTED: this machine has no IPv6 ({error})") from None
        report, lines = await self.probe(f"[::1]:{port}", "-R", NAME)
        self.assertEqual(report.exit, 0, "\n".join(lines))


#: Every field of the document, and what it may be.
FIELDS: dict[str, tuple[type, ...]] = {
    "host": (str,),
    "port": (int,),
    "dialect": (str,),
    "address": (str, type(None)),
    "addresses": (list,),
    "starttls_offered": (bool, type(None)),
    "starttls_listed": (bool, type(None)),
    "dialogue": (list,),
    "version": (str, type(None)),
    "suite": (str, type(None)),
    "group": (str, type(None)),
    "post_quantum": (bool, type(None)),
    "alpn": (str, type(None)),
    "identity": (dict,),
    "chain": (list,),
    "problems": (list,),
    "refusals": (list,),
    "anchors": (str, type(None)),
    "anchor": (str, type(None)),
    "staple": (dict, type(None)),
    "client_certificate": (dict,),
    "tickets": (int,),
    "inside": (str,),
    "answers": (dict, type(None)),
    "second_look": (dict, type(None)),
    "versions": (dict,),
    "outcome": (str,),
    "hint": (str, type(None)),
    "verdict": (str,),
    "exit": (int,),
    "others": (list,),
}


class DocumentTests(ProbeTestCase):
    """
    The report as JSON.
    """

    async def _found(self, *words: str) -> dict[str, Any]:
        _, lines = await self.probe(*words, "--json")
        found: dict[str, Any] = json.loads("\n".join(lines))
        self.assertEqual(list(found), list(FIELDS))
        for name, kinds in FIELDS.items():
            self.assertIsInstance(found[name], kinds, name)
        return found

    async def test_aGoodServerHasEveryField(self) -> None:
        port = self.serve(smtp(secure(context(belowIntermediate()))))
        found = await self._found(f"127.0.0.1:{port}", "-R", NAME, "--starttls", "smtp")
        self.assertEqual((found["version"], found["exit"]), ("TLSv1.3", 0))
        self.assertEqual((found["starttls_offered"], found["starttls_listed"]), (True, True))
        self.assertTrue(found["post_quantum"])
        self.assertEqual(found["address"], f"127.0.0.1:{port}")
        self.assertEqual(
            found["identity"],
            {"expected": NAME, "matches": True, "names": [NAME], "reason": None},
        )
        self.assertEqual([each["subject"] for each in found["chain"]],
                         ["CN=mail.example.org", "CN=Intermediate"])  # fmt: skip
        self.assertEqual(found["chain"][0]["days_left"], 29)
        self.assertEqual(found["chain"][0]["names"], [{"name": NAME, "kind": "domain"}])
        self.assertEqual(found["client_certificate"], {"requested": False, "authorities": []})
        self.assertEqual(found["dialogue"][0]["from"], "server")
        self.assertEqual(found["verdict"], f"good: {NAME} is there, with TLSv1.3")

    async def test_aServerThatIsDownHasEveryField(self) -> None:
        found = await self._found(f"127.0.0.1:{freePort()}")
        self.assertEqual((found["exit"], found["outcome"]), (4, "connect"))

    async def test_everyFieldIsInTheDocumentation(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "debugging.md").read_text()
        for each in FIELDS:
            self.assertIn(f"`{each}`", page)

    async def test_theChainIsSaved(self) -> None:
        from tlstunnel.commands.probe import save

        issued = belowIntermediate()
        port = self.serve(secure(context(issued)))
        report, _ = await self.probe(f"127.0.0.1:{port}", "-R", NAME)
        file = Path(self.mktemp())
        save(report, file)
        self.assertEqual(loadCertificates(file), issued.chain)
        self.assertTrue(document(report))
