"""
The matrix of certificates: each odd one, whom it is shown as, and what must come of it where
a server shows it to a client, and where a client shows it to a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.certificates import (
    CLIENT,
    OTHER_USE,
    SERVER,
    SRV_NAME,
    XMPP_ADDRESS,
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    constraints,
    der,
    dns,
    intermediate,
    ip,
    mail,
    make,
    named,
    other,
    root,
    srv,
    uri,
)

HOST = "srv.example.org"
USER = "john@example.org"
LONG = ".".join(["a" * 60] * 3)

#: Accepted.
OK = "accepted"
#: Refused for its names, whatever its chain.
NAME = "refused for its names"
#: Refused by OpenSSL, although the names are right.
CHAIN = "refused for its chain"


@dataclass(frozen=True)
class Row:
    """
    One certificate.

    @ivar name: what is odd about it.
    @ivar make: makes it.
    @ivar expected: who is expected.
    @ivar server: the outcome where a server shows it.
    @ivar client: the outcome where a client shows it.
    @ivar because: what the reason of a refusal says (a regular expression).
    @ivar service: the service, for SRVNames.
    """

    name: str
    make: Callable[[], Issued]
    expected: str
    server: str
    client: str
    because: str
    service: str | None

    @property
    def testName(self) -> str:
        """The name as that of a test."""
        first, *rest = re.findall(r"[A-Za-z0-9]+", self.name)
        return f"test_{first}" + "".join(word[0].upper() + word[1:] for word in rest)


def row(
    name: str,
    san: bytes | Callable[[], Issued] | None,
    outcome: str,
    because: str = "",
    *,
    expected: str = HOST,
    asClient: str | None = None,
    service: str | None = None,
    issuer: Callable[[], Issued] = root,
    **recipe: Any,
) -> Row:
    """
    A row whose certificate is issued by a proper root, unless it says otherwise.

    @param san: the subject alternative name, or what makes the whole certificate.
    @param asClient: the outcome where a client shows it, if that is another.
    @param recipe: what else is odd, for L{Recipe}.
    """
    if callable(san):
        maker = san
    else:
        odd = Recipe(san=san, **recipe)

        def maker() -> Issued:
            return make(odd, issuer())

    return Row(name, maker, expected, outcome, asClient or outcome, because, service)


GOOD = alternative(dns(HOST))
OTHER = alternative(dns("other.example.net"))


WILD = alternative(dns("*.example.org"))
SERVICE = alternative(srv("_xmpp-server." + HOST))
SRV = x509.DNSName(HOST)
WORKLOAD = "spiffe://example.org/ns/api"
SVID = alternative(uri(WORKLOAD))
URI = x509.UniformResourceIdentifier


def below(
    san: bytes = GOOD, above: Callable[[], Issued] = root, **changes: Any
) -> Callable[[], Issued]:
    """A good certificate whose issuer is an intermediate authority with C{changes}."""

    def maker() -> Issued:
        return make(Recipe(san=san), make(authorityRecipe("Odd", **changes), above()))

    return maker


def constrained(*subtrees: Any) -> Callable[[], Issued]:
    """An authority with name constraints."""

    def maker() -> Issued:
        return make(authorityRecipe("Constrained", extra=constraints(*subtrees)), root())

    return maker


def without(maker: Callable[[], Issued], index: int) -> Issued:
    """What C{maker} makes, with one certificate of its chain forgotten."""
    issued = maker()
    chain = issued.chain[:index] + issued.chain[index + 1 :]
    return Issued(issued.certificate, issued.key, chain)


def selfSigned() -> Issued:
    """A certificate that is its own issuer, and claims to be no authority."""
    return make(Recipe(san=GOOD, subject=named(HOST)))


def issuedByLeaf() -> Issued:
    """A good certificate that the owner of another good certificate issued."""
    return make(Recipe(san=GOOD), make(Recipe(san=OTHER, subject=named("Leaf")), root()))


def tooLong() -> Issued:
    """A good certificate, two authorities below one that allows none below itself."""
    first = make(authorityRecipe("Last", pathLength=0), root())
    second = make(authorityRecipe("One Too Many"), first)
    return make(Recipe(san=GOOD), second)


def impostor() -> Issued:
    """A good certificate from an authority that took the name of our root, but has another key."""
    return make(Recipe(san=GOOD), make(authorityRecipe("Root")))


def tampered() -> Issued:
    """A certificate in which a name was replaced after it had been signed."""
    issued = make(Recipe(san=alternative(dns("srx.example.org"))), root())
    raw = issued.certificate.public_bytes(Encoding.DER).replace(b"srx.example", b"srv.example")
    certificate = x509.load_der_x509_certificate(raw)
    return Issued(certificate, issued.key, (certificate,))


BAD_NAME = "has a bad name"
UNREADABLE = "is unreadable"
NOBODY = "has no subject alternative name"
NOT_FOR = "is for .* and not for"

EMAIL = NameOID.EMAIL_ADDRESS
unknownExtension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

ROWS: Sequence[Row] = [
    # Domains.
    row("right name", GOOD, OK),
    row("right name among others", alternative(dns("a.example"), dns(HOST)), OK),
    row("right name in other case", alternative(dns("SRV.Example.ORG")), OK),
    row("right name, critical extension", GOOD, OK, sanCritical=True),
    row("right name, hundreds of others",
        alternative(*(dns(f"host-{n}.some.where.example") for n in range(1500)), dns(HOST)), OK),
    row("international name", alternative(dns("xn--bcher-kva.example")), OK,
        expected="b\u00fccher.example"),
    row("international name not as A-label", alternative(dns("b\u00fccher.example")), NAME,
        BAD_NAME, expected="b\u00fccher.example"),
    row("wrong name", OTHER, NAME, NOT_FOR),
    row("wrong name, fitting common name", OTHER, NAME, NOT_FOR, subject=named(HOST)),
    row("no alternative name, fitting common name", None, NAME, NOBODY, subject=named(HOST)),
    row("no alternative name, no subject", None, NAME, NOBODY),
    row("name with something before", alternative(dns("evil" + HOST)), NAME, NOT_FOR),
    row("name with something behind", alternative(dns(HOST + ".evil.test")), NAME, NOT_FOR),
    row("parent domain", alternative(dns("example.org")), NAME, NOT_FOR),
    # Wildcards: hosts may share a certificate, but they do not name who a client is.
    row("wildcard in the left-most label", alternative(dns("*.example.org")), OK, NOT_FOR,
        asClient=NAME),
    row("wildcard in other case", alternative(dns("*.EXAMPLE.org")), OK, NOT_FOR, asClient=NAME),
    row("deeper wildcard", alternative(dns("*.example.org")), NAME, NOT_FOR,
        expected="a.srv.example.org"),
    row("wildcard for its parent", alternative(dns("*.example.org")), NAME, NOT_FOR,
        expected="example.org"),
    row("wildcard for an international label", alternative(dns("*.example.org")), OK, NOT_FOR,
        expected="b\u00fccher.example.org", asClient=NAME),
    row("wildcard below a private top-level domain", alternative(dns("*.lan")), OK, NOT_FOR,
        expected="nas.lan", asClient=NAME),
    row("right name beside a wildcard of a top-level domain", alternative(dns("*.lan"), dns(HOST)),
        OK),
    row("wildcard for all of a top-level domain", alternative(dns("*.org")), OK, NOT_FOR,
        expected="example.org", asClient=NAME),
    row("wildcard for a name without domain", alternative(dns("*.lan")), NAME, NOT_FOR,
        expected="lan"),
    row("wildcard in the middle", alternative(dns("srv.*.org")), NAME, BAD_NAME),
    row("wildcard as part of a label", alternative(dns("s*.example.org")), NAME, BAD_NAME),
    row("wildcard within a label", alternative(dns("s*v.example.org")), NAME, BAD_NAME),
    row("two wildcards", alternative(dns("*.*.org")), NAME, BAD_NAME),
    row("doubled wildcard", alternative(dns("**.example.org")), NAME, BAD_NAME),
    row("bare wildcard", alternative(dns("*")), NAME, BAD_NAME),
    # Malformed domains.
    row("embedded NUL", alternative(dns(HOST + "\0.evil.test")), NAME, BAD_NAME),
    row("NUL at the end", alternative(dns(HOST + "\0")), NAME, BAD_NAME),
    row("space before the name", alternative(dns(" " + HOST)), NAME, BAD_NAME),
    row("line end behind the name", alternative(dns(HOST + "\n")), NAME, BAD_NAME),
    row("dot behind the name", alternative(dns(HOST + ".")), NAME, BAD_NAME),
    row("dot before the name", alternative(dns("." + HOST)), NAME, BAD_NAME),
    row("empty label", alternative(dns("srv..example.org")), NAME, BAD_NAME),
    row("empty name", alternative(dns("")), NAME, BAD_NAME),
    row("name with a port", alternative(dns(HOST + ":443")), NAME, BAD_NAME),
    row("name as a URL", alternative(dns("https://" + HOST)), NAME, BAD_NAME),
    row("two names in one", alternative(dns(f"{HOST},a.example")), NAME, BAD_NAME),
    row("name in UTF-16", alternative(dns(HOST.encode("utf-16-be"))), NAME, BAD_NAME),
    row("name in Latin-1", alternative(dns(b"srv.ex\xe4mple.org")), NAME, UNREADABLE),
    row("right name beside a malformed one", alternative(dns(HOST), dns("a\0b")), NAME, BAD_NAME),
    row("escape sequence", alternative(dns("\x1b]0;x\x07")), NAME, r"\\\\?x1b"),
    # Malformed extensions.
    row("no names", alternative(), NAME, NOT_FOR),
    row("no bytes", b"", NAME, UNREADABLE),
    row("truncated", GOOD[:-1], NAME, UNREADABLE),
    row("bytes behind", GOOD + b"\0", NAME, UNREADABLE),
    row("name longer than the extension", b"\x30\x03\x82\x05a.", NAME, UNREADABLE),
    row("other type than a sequence", der(0x04, dns(HOST)), NAME, UNREADABLE),
    row("text instead of DER", HOST.encode(), NAME, UNREADABLE),
    row("indefinite length", b"\x30\x80" + dns(HOST) + b"\0\0", NAME, UNREADABLE),
    row("length not minimal", b"\x30\x81" + GOOD[1:], NAME, UNREADABLE),
    row("unknown kind of name", alternative(dns(HOST), der(0x89, b"x")), NAME, UNREADABLE),
    row("constructed name", alternative(der(0xA2, dns(HOST))), NAME, UNREADABLE),
    row("two extensions, the first right", GOOD, NAME, UNREADABLE, sanAgain=OTHER),
    row("two extensions, the last right", OTHER, NAME, UNREADABLE, sanAgain=GOOD),
    row("null byte as extension", b"\0", NAME, UNREADABLE),
    # Other kinds of names.
    row("directory name beside it", alternative(der(0xA4, b"\x30\x00"), dns(HOST)), OK),
    row("registered ID beside it", alternative(der(0x88, b"\x2a\x03\x04"), dns(HOST)), OK),
    row("URI with a port beside it", alternative(uri("https://a.example:1/"), dns(HOST)), OK),
    row("unknown other name beside it", alternative(other("1.2.3.4", b"\x05\0"), dns(HOST)), OK),
    row("XMPP address beside it", alternative(other(XMPP_ADDRESS, der(0x0C, b"x@y")), dns(HOST)),
        OK),
    row("X.400 address beside it", alternative(der(0xA3, b"\x30\0"), dns(HOST)), NAME, UNREADABLE),
    row("EDI party beside it", alternative(der(0xA5, b"\xa1\x03\x0c\x01x"), dns(HOST)), NAME,
        UNREADABLE),
    row("URI only", alternative(uri("https://" + HOST)), NAME, NOT_FOR),
    row("e-mail only", alternative(mail("x@" + HOST)), NAME, NOT_FOR),
    row("domain as e-mail", alternative(mail(HOST)), NAME, NOT_FOR),
    # Addresses.
    row("IPv4 address", alternative(ip("192.0.2.1")), OK, expected="192.0.2.1"),
    row("IPv6 address", alternative(ip("2001:db8::1")), OK, expected="[2001:DB8::1]"),
    row("address as domain", alternative(dns("192.0.2.1")), NAME, "bad name|" + NOT_FOR,
        expected="192.0.2.1"),
    row("IPv6 address as domain", alternative(dns("2001:db8::1")), NAME, NOT_FOR + "|bad name",
        expected="2001:db8::1"),
    row("address as common name", None, NAME, NOBODY, expected="192.0.2.1",
        subject=named("192.0.2.1")),
    row("domain as address", alternative(ip("192.0.2.1")), NAME, NOT_FOR),
    row("domain as bytes of an address", alternative(ip(b"srv.")), NAME, NOT_FOR, expected="srv"),
    row("other address", alternative(ip("192.0.2.2")), NAME, NOT_FOR, expected="192.0.2.1"),
    row("mapped address", alternative(ip("::ffff:192.0.2.1")), NAME, NOT_FOR,
        expected="192.0.2.1"),
    row("address of five bytes", alternative(ip(b"\xc0\0\2\1\0")), NAME, UNREADABLE,
        expected="192.0.2.1"),
    row("address as text", alternative(ip(b"192.0.2.1")), NAME, UNREADABLE, expected="192.0.2.1"),
    row("address with a mask", alternative(ip(b"\xc0\0\2\1\xff\xff\xff\xff")), NAME, BAD_NAME,
        expected="192.0.2.1"),
    row("wildcard of an address", alternative(dns("*.0.2.1")), NAME, NOT_FOR + "|bad name",
        expected="192.0.2.1"),
    # Services.
    row("service", alternative(srv("_xmpp-server." + HOST)), OK, service="xmpp-server"),
    row("service in other case", alternative(srv("_XMPP-Server.Srv.example.org")), OK,
        service="xmpp-server"),
    row("other service", alternative(srv("_xmpp-client." + HOST)), NAME, NOT_FOR,
        service="xmpp-server"),
    row("other service, right name", alternative(srv("_imap." + HOST), dns(HOST)), OK,
        service="xmpp-server"),
    row("service of another domain", alternative(srv("_xmpp-server.a.example")), NAME, NOT_FOR,
        service="xmpp-server"),
    row("service where none is asked for", alternative(srv("_xmpp-server." + HOST)), NAME, NOT_FOR),
    row("service with a long name", alternative(srv(f"_xmpp-server.{LONG}")), OK, expected=LONG,
        service="xmpp-server"),
    row("service longer than any name", alternative(srv("_x." + "a." * 200 + "a")), NAME,
        NOT_FOR, service="xmpp-server"),
    row("service with a length that lies",
        alternative(other(SRV_NAME, b"\x16\x1e_xmpp-server.srv.example.org.")), NAME, UNREADABLE,
        service="xmpp-server"),
    row("service with a length that is not minimal",
        alternative(other(SRV_NAME, b"\x16\x81\x1d_xmpp-server.srv.example.org")), NAME, UNREADABLE,
        service="xmpp-server"),
    row("service without bytes", alternative(other(SRV_NAME, b"")), NAME, UNREADABLE,
        service="xmpp-server"),
    row("service with a wildcard", alternative(srv("_xmpp-server.*.example.org")), NAME, BAD_NAME,
        service="xmpp-server"),
    row("service without its underscore", alternative(srv("xmpp-server." + HOST)), NAME,
        BAD_NAME, service="xmpp-server"),
    row("service as UTF-8", alternative(other(SRV_NAME, der(0x0C, b"_x.a"))), NAME,
        BAD_NAME, service="xmpp-server"),
    row("service as domain", alternative(dns("_xmpp-server." + HOST)), NAME, NOT_FOR,
        service="xmpp-server"),
    # Users.
    row("right user", alternative(mail(USER)), OK, expected=USER),
    row("right user among others", alternative(dns(HOST), mail("a@b"), mail(USER)), OK,
        expected=USER),
    row("right user, other case in the domain", alternative(mail("john@EXAMPLE.Org")), OK,
        expected=USER),
    row("right user, other case in what is expected", alternative(mail(USER)), OK,
        expected="john@EXAMPLE.ORG"),
    row("user in other case", alternative(mail("John@example.org")), NAME, NOT_FOR, expected=USER),
    row("other user", alternative(mail("jane@example.org")), NAME, NOT_FOR, expected=USER),
    row("other domain", alternative(mail("john@example.net")), NAME, NOT_FOR, expected=USER),
    row("user below the domain", alternative(mail("john@a.example.org")), NAME, NOT_FOR,
        expected=USER),
    row("user with a suffix", alternative(mail("john+x@example.org")), NAME, NOT_FOR,
        expected=USER),
    row("user in the subject only", None, NAME, NOBODY, expected=USER, subject=((EMAIL, USER),)),
    row("user in the subject, another in the name", alternative(mail("a@b")), NAME, NOT_FOR,
        expected=USER, subject=((EMAIL, USER),)),
    row("domain of the user", alternative(dns("example.org")), NAME, NOT_FOR, expected=USER),
    row("user for a domain", alternative(mail(USER)), NAME, NOT_FOR, expected="example.org"),
    row("user as domain", alternative(dns(USER)), NAME, NOT_FOR, expected=USER),
    row("user as URI", alternative(uri("mailto:" + USER)), NAME, NOT_FOR, expected=USER),
    row("user as XMPP address", alternative(other(XMPP_ADDRESS, der(0x0C, USER.encode()))), NAME,
        NOT_FOR, expected=USER),
    row("user as internationalised mailbox",
        alternative(other("1.3.6.1.5.5.7.8.9", der(0x0C, USER.encode()))), NAME, NOT_FOR,
        expected=USER),
    row("any user, as a pattern", alternative(mail("*@example.org")), NAME, NOT_FOR, expected=USER),
    row("wildcard behind the user", alternative(mail("john@*.org")), NAME, BAD_NAME, expected=USER),
    row("only the domain in the mailbox", alternative(mail("@example.org")), NAME, BAD_NAME,
        expected=USER),
    row("mailbox without at", alternative(mail("john")), NAME, BAD_NAME, expected=USER),
    row("mailbox with a display name", alternative(mail(f"John <{USER}>")), NAME, BAD_NAME,
        expected=USER),
    row("mailbox in quotes", alternative(mail('"john"@example.org')), NAME, BAD_NAME,
        expected=USER),
    row("mailbox with two ats", alternative(mail("john@example.org@evil.test")), NAME, BAD_NAME,
        expected=USER),
    row("mailbox with NUL", alternative(mail("john@example.org\0.evil.test")), NAME, BAD_NAME,
        expected=USER),
    row("mailbox with NUL in the user", alternative(mail("john\0x@example.org")), NAME, BAD_NAME,
        expected=USER),
    row("mailbox with a space", alternative(mail(USER + " ")), NAME, BAD_NAME, expected=USER),
    row("mailbox with a dot behind", alternative(mail(USER + ".")), NAME, BAD_NAME, expected=USER),
    row("mailbox with a comment", alternative(mail("john(x)@example.org")), NAME, BAD_NAME,
        expected=USER),
    row("mailbox at an address", alternative(mail("john@192.0.2.1")), NAME, UNREADABLE,
        expected=USER),
    row("mailbox beyond ASCII", alternative(mail("j\u00f6hn@example.org")), NAME, BAD_NAME,
        expected=USER),
    row("right mailbox beside a malformed one", alternative(mail(USER), mail("x")), NAME, BAD_NAME,
        expected=USER),
    # Dates, keys and purposes.
    row("expired", GOOD, CHAIN, "expired", start=timedelta(days=-9), end=timedelta(hours=-2)),
    row("not yet valid", GOOD, CHAIN, "not yet valid", start=timedelta(hours=2)),
    row("no key usage", GOOD, OK, usage=None),
    row("wrong key usage", GOOD, CHAIN, "purpose", usage=("crl_sign",)),
    row("no extended key usage", GOOD, OK, purposes=None),
    row("wrong extended key usage", GOOD, CHAIN, "purpose", purposes=(OTHER_USE,)),
    row("any extended key usage, which TLS does not take", GOOD, CHAIN, "purpose",
        purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    row("for servers only", GOOD, OK, "purpose", asClient=CHAIN, purposes=(SERVER,)),
    row("for clients only", GOOD, CHAIN, "purpose", asClient=OK, purposes=(CLIENT,)),
    row("RSA key", GOOD, OK, key="rsa2048"),
    row("RSA key that is too short", GOOD, CHAIN, "too (small|weak)|66", key="rsa1024"),
    row("Edwards curve", GOOD, OK, key="ed25519"),
    row("unknown extension", GOOD, OK, extra=((unknownExtension, False),)),
    row("unknown critical extension", GOOD, CHAIN, "critical|34",
        extra=((unknownExtension, True),)),
    # Chains.
    row("intermediate", GOOD, OK, issuer=intermediate),
    row("missing intermediate", partial(without, below(), 1), CHAIN, "issuer"),
    row("self-signed", selfSigned, CHAIN, "self-signed"),
    row("unknown CA", GOOD, CHAIN, "issuer|unknown", issuer=partial(root, "Unknown")),
    row("unknown CA under the name of ours", impostor, CHAIN, "signature|issuer"),
    row("name replaced after signing", tampered, CHAIN, "signature"),
    row("user from an unknown CA", alternative(mail(USER)), CHAIN, "issuer|unknown", expected=USER,
        issuer=partial(root, "Unknown")),
    row("CA without basicConstraints", below(isAuthority=None), CHAIN, "not a CA"),
    row("CA that says it is none", below(isAuthority=False), CHAIN, "not a CA"),
    row("CA that may not sign certificates", below(usage=("crl_sign",)), CHAIN,
        "not a CA|sign|32"),
    row("issued by a leaf", issuedByLeaf, CHAIN, "not a CA"),
    row("path length", tooLong, CHAIN, "longer|path"),
    row("path length kept", below(pathLength=0), OK),
    row("expired CA", below(start=timedelta(days=-9), end=timedelta(hours=-2)), CHAIN, "expired"),
    row("CA not yet valid", below(start=timedelta(hours=2)), CHAIN, "not yet valid"),
    row("CA for clients only", below(purposes=(CLIENT,)), CHAIN, "purpose|not a CA", asClient=OK),
    row("CA for servers only", below(purposes=(SERVER,)), OK, "purpose|not a CA", asClient=CHAIN),
    row("name constraints kept", below(extra=constraints([x509.DNSName("example.org")])), OK),
    row("name constraints broken", below(extra=constraints([x509.DNSName("example.net")])), CHAIN,
        "permitted|constraint|47"),
    row("name excluded", below(extra=constraints(None, [x509.DNSName("example.org")])), CHAIN,
        "excluded|constraint|48"),
    row("name constraints broken by another name",
        below(alternative(dns(HOST), dns("a.example.net")),
              extra=constraints([x509.DNSName("example.org")])), CHAIN, "permitted|constraint|47"),
    row("name constraints for users kept",
        below(alternative(mail(USER)), extra=constraints([x509.RFC822Name("example.org")])), OK,
        expected=USER),
    row("name constraints for users broken",
        below(alternative(mail(USER)), extra=constraints([x509.RFC822Name("example.net")])), CHAIN,
        "permitted|constraint|47", expected=USER),
    row("wildcard for a name that is excluded", below(WILD, extra=constraints(None, [SRV])), CHAIN,
        NOT_FOR, asClient=NAME),
    row("wildcard for a name that is excluded further up",
        below(WILD, above=constrained(None, [SRV])), CHAIN, NOT_FOR, asClient=NAME),
    row("wildcard for a name that is not permitted",
        below(WILD, extra=constraints([x509.DNSName("bar.example.org")])), CHAIN,
        NOT_FOR + "|not permitted", asClient=NAME),
    row("wildcard beside what is excluded",
        below(WILD, extra=constraints(None, [x509.DNSName("bar.example.org")])), OK, NOT_FOR,
        asClient=NAME),
    row("wildcard for what is permitted",
        below(WILD, extra=constraints([x509.DNSName("example.org")])), OK, NOT_FOR,
        asClient=NAME),
    row("service by an intermediate", below(SERVICE), OK, service="xmpp-server"),
    row("service below a CA with constraints",
        below(SERVICE, extra=constraints([x509.DNSName("example.net")])), CHAIN, NOT_FOR,
        service="xmpp-server"),
    row("service below a CA with constraints of another kind",
        below(SERVICE, extra=constraints([x509.RFC822Name("example.net")])), CHAIN, NOT_FOR,
        service="xmpp-server"),
    row("service two steps below a CA with constraints",
        below(SERVICE, above=constrained([x509.DNSName("example.net")])), CHAIN, NOT_FOR,
        service="xmpp-server"),
    row("address constraints broken",
        below(alternative(ip("192.0.2.1")),
              extra=constraints([x509.IPAddress(ip_network("198.51.100.0/24"))])), CHAIN,
        "permitted|constraint|47", expected="192.0.2.1"),
    # Workloads: the rules of X509-SVID.md of SPIFFE.
    row("workload", SVID, OK, expected=WORKLOAD),
    row("workload with a domain", alternative(uri(WORKLOAD), dns("a.example")), OK,
        expected=WORKLOAD),
    row("workload of another path", alternative(uri(f"{WORKLOAD}2")), NAME, NOT_FOR,
        expected=WORKLOAD),
    row("workload in other case", alternative(uri(WORKLOAD.upper())), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload of another trust domain", alternative(uri("spiffe://example.net/ns/api")), NAME,
        NOT_FOR, expected=WORKLOAD),
    row("workload whose ID is a domain too", alternative(uri(WORKLOAD)), NAME, NOT_FOR,
        expected="example.org"),
    row("workload as a domain", alternative(dns("example.org")), NAME, NOT_FOR, expected=WORKLOAD),
    row("workload as a common name", None, NAME, NOBODY, expected=WORKLOAD,
        subject=named(WORKLOAD)),
    row("workload and another URI", alternative(uri(WORKLOAD), uri("https://example.org/")), NAME,
        BAD_NAME, expected=WORKLOAD),
    row("another URI and a workload", alternative(uri("urn:x:y"), uri(WORKLOAD)), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload twice", alternative(uri(WORKLOAD), uri(WORKLOAD)), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload with a slash behind", alternative(uri(f"{WORKLOAD}/")), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("trust domain as a workload", alternative(uri("spiffe://example.org")), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload with a query", alternative(uri(f"{WORKLOAD}?x")), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload with a port", alternative(uri("spiffe://example.org:1/ns/api")), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload with a user", alternative(uri("spiffe://x@example.org/ns/api")), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload with an escape", alternative(uri("spiffe://example.org/ns/%61pi")), NAME,
        BAD_NAME, expected=WORKLOAD),
    row("workload with a NUL", alternative(uri(f"{WORKLOAD}\0")), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("workload that is not ASCII", alternative(uri(f"{WORKLOAD}\u00fc")), NAME, BAD_NAME,
        expected=WORKLOAD),
    row("URI of another scheme alone", alternative(uri("https://example.org/ns/api")), NAME,
        NOT_FOR, expected=WORKLOAD),
    row("workload that is an authority", SVID, NAME, BAD_NAME, expected=WORKLOAD,
        isAuthority=True, usage=("digital_signature",)),
    row("workload that signs certificates", SVID, NAME, BAD_NAME, expected=WORKLOAD,
        usage=("digital_signature", "key_cert_sign")),
    row("workload that signs revocations", SVID, NAME, BAD_NAME, expected=WORKLOAD,
        usage=("digital_signature", "crl_sign")),
    row("workload without key usage", SVID, NAME, BAD_NAME, expected=WORKLOAD, usage=None),
    row("workload without basicConstraints", SVID, OK, expected=WORKLOAD, isAuthority=None),
    row("workload by an intermediate", below(SVID), OK, expected=WORKLOAD),
    row("workload for servers only", SVID, OK, "purpose", expected=WORKLOAD, purposes=(SERVER,),
        asClient=CHAIN),
    row("URI constraints kept", below(SVID, extra=constraints([URI("example.org")])), OK,
        expected=WORKLOAD),
    row("URI constraints broken", below(SVID, extra=constraints([URI("example.net")])), CHAIN,
        NOT_FOR, expected=WORKLOAD),
    row("URI constraints are of a host alone",
        below(alternative(uri("spiffe://a.example.org/ns/api")),
              extra=constraints([URI("example.org")])),
        CHAIN, NOT_FOR, expected="spiffe://a.example.org/ns/api"),
    row("URI constraints of all below",
        below(alternative(uri("spiffe://a.example.org/ns/api")),
              extra=constraints([URI(".example.org")])),
        OK, expected="spiffe://a.example.org/ns/api"),
    row("URI excluded", below(SVID, extra=constraints(None, [URI("example.org")])), CHAIN,
        NOT_FOR, expected=WORKLOAD),
    row("URI excluded further up", below(SVID, above=constrained(None, [URI("example.org")])),
        CHAIN, NOT_FOR, expected=WORKLOAD),
    row("other URI excluded", below(SVID, extra=constraints(None, [URI("example.net")])), OK,
        expected=WORKLOAD),
    row("URI excluded as nobody can read it",
        below(SVID, extra=constraints(None, [URI("spiffe://example.org")])), CHAIN,
        UNREADABLE, expected=WORKLOAD),
    row("URI permitted as nobody can read it",
        below(SVID, extra=constraints([URI("spiffe://example.org")])), CHAIN,
        UNREADABLE, expected=WORKLOAD),
    row("workload below constraints of another kind",
        below(SVID, extra=constraints([x509.DNSName("example.net")])), OK, expected=WORKLOAD),
]  # fmt: skip
