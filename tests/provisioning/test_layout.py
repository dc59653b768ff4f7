"""
What the entries of a directory make of a pool.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, dns, intermediate, make, root
from tests.provisioning.examples import BASE, entry, entryContent, uuid
from tlstunnel.identity.issuer import Authority
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.provisioning import certificates
from tlstunnel.provisioning import layout as module
from tlstunnel.provisioning.certificates import MOST_TWINS, publicKeyOf
from tlstunnel.provisioning.keys import Keys, OwnKey
from tlstunnel.provisioning.layout import LONGEST_CN, LONGEST_DN, Layout, Server, layOut
from tlstunnel.provisioning.messages import Entry
from tlstunnel.provisioning.names import escaped, normal
from tlstunnel.provisioning.url import LDAPURL

NOW = datetime.now(UTC)
WWW = Identity.parse("www.example.test")
LDAP = Identity.parse("ldap.example.test")

AUTHORITY = Authority.make(NOW)
POOL = Pool(Path("/pool"))
HAS_ISSUED = certificates._hasIssued


def issue(identity: Identity, minutes: int = 0) -> tuple[x509.Certificate, OwnKey]:
    """
    A certificate, and the key that it is for.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = AUTHORITY.issue(identity, NOW + timedelta(minutes=minutes), key).certificates[0]
    return certificate, OwnKey(identity.fileName, publicKeyOf(certificate), None)


def der(certificate: x509.Certificate) -> bytes:
    """As attributes have it."""
    return certificate.public_bytes(Encoding.DER)


def pem(certificate: x509.Certificate) -> bytes:
    """As files have it."""
    return certificate.public_bytes(Encoding.PEM)


class LayoutTests(SynchronousTestCase):
    """
    Entries below L{BASE}.
    """

    def layOut(
        self, *entries: Entry, keys: Keys | None = None, server: Server | None = None
    ) -> Layout:
        numbered = {uuid(number): each for number, each in enumerate(entries)}
        return layOut(POOL, BASE, numbered, keys or {}, server or Server())

    def test_theNewestCertificateForOurKeyIsTaken(self) -> None:
        """
        Of those for other keys, and broken ones, nothing comes.
        """
        old, key = issue(WWW)
        newer = AUTHORITY.issue(WWW, NOW, None).certificates[0]
        other, _ = issue(WWW, 60)
        values = (der(old), der(newer), der(other), b"broken")
        layout = self.layOut(
            entry("identities", str(WWW), userCertificate=values), keys={WWW: (key,)}
        )
        self.assertEqual(layout.files, {"www.example.test/fullchain.pem": pem(old)})
        self.assertEqual(len(layout.notes), 1)
        self.assertIn("broken", layout.notes[0])

    def test_ofSeveralKeysTheOneIsUsedThatHasTheNewestCertificate(self) -> None:
        """
        And none without a certificate.
        """
        (first, one), (second, two), (_, three) = (issue(WWW, each) for each in (0, 5, 9))
        numbered = [
            OwnKey(f".keys/{WWW}/{number}", each.public, number)
            for number, each in enumerate((one, two, three), 1)
        ]
        values = (der(second), der(first))
        layout = self.layOut(
            entry("identities", str(WWW), userCertificate=values), keys={WWW: tuple(numbered)}
        )
        self.assertEqual(layout.files, {f".keys/{WWW}/2/fullchain.pem": pem(second)})
        self.assertEqual(layout.links, {WWW: f".keys/{WWW}/2"})

    def test_ofTwoCertificatesOfOneSecondThatOfTheNewerKeyIsUsed(self) -> None:
        """
        Whatever their serial numbers are, and whichever way round the directory has them.
        """
        issued = [issue(WWW) for _ in range(8)]
        numbered = [OwnKey(f".keys/{WWW}/{n}", key.public, n) for n, (_, key) in enumerate(issued)]
        several = entry("identities", str(WWW), userCertificate=[der(each) for each, _ in issued])
        layout = self.layOut(several, keys={WWW: tuple(numbered)})
        self.assertEqual(layout.links, {WWW: f".keys/{WWW}/7"})

    def test_oneThatIsValidIsUsedRatherThanANewerOne(self) -> None:
        """
        That begins tomorrow, or has ended; where none is valid, the newest is as good as any.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        early, late = (
            AUTHORITY.issue(WWW, NOW + timedelta(days=each), key).certificates[0] for each in (0, 5)
        )
        ours = (OwnKey(str(WWW), publicKeyOf(early), None),)
        several = entry("identities", str(WWW), userCertificate=(der(early), der(late)))
        for days, used in (1, early), (6, late), (-30, late), (9999, late):
            now = NOW + timedelta(days=days)
            layout = layOut(POOL, BASE, {uuid(1): several}, {WWW: ours}, Server(), now)
            self.assertEqual(layout.files, {f"{WWW}/fullchain.pem": pem(used)})

    def test_whatOpenSSLRefusesIsIgnored(self) -> None:
        """
        Whoever took it up could take up nothing else: short keys, of the host itself, or of an
        authority above.
        """
        good, ours = issue(WWW)
        signer = rsa.generate_private_key(65537, 2048)
        late = NOW + timedelta(minutes=5)
        short = rsa.generate_private_key(65537, 1024)
        long = AUTHORITY.issue(WWW, late, short).certificates[0]
        keys = ours, OwnKey(f".keys/{WWW}/2", publicKeyOf(long), 2)
        above = x509.CertificateBuilder(
            good.subject, good.issuer, short.public_key(), 6, NOW, late
        ).sign(signer, SHA256())
        for others, authorities in (([long], []), ([], [above])):
            layout = self.layOut(
                entry(
                    "identities",
                    str(WWW),
                    userCertificate=tuple(map(der, [good, *others])),
                    cACertificate=tuple(map(der, authorities)),
                ),
                keys={WWW: keys},
            )
            self.assertEqual(layout.files, {f"{WWW}/fullchain.pem": pem(good)})
            (note,) = layout.notes
            self.assertIn("OpenSSL refuses it (ee key too small)", note)

    def test_aThousandAuthoritiesOfOneNameAreNotAllTried(self) -> None:
        """
        Nor those with keys that take their time.
        """
        leaf, ours = issue(WWW)
        subject = tuple((each.oid, str(each.value)) for each in leaf.issuer)
        twin = Recipe(subject=subject, isAuthority=True)
        twins = [der(make(twin).certificate) for _ in range(MOST_TWINS + 5)]
        tried = []

        def hasIssued(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
            tried.append(issuer)
            return False

        self.patch(certificates, "_hasIssued", hasIssued)
        self.layOut(
            entry("identities", str(WWW), userCertificate=[der(leaf)], cACertificate=twins),
            keys={WWW: (ours,)},
        )
        self.assertEqual(len(tried), MOST_TWINS)
        self.patch(certificates, "LARGEST_RSA", 1024)
        huge = make(Recipe(key="rsa2048", isAuthority=True))
        self.assertFalse(HAS_ISSUED(huge.certificate, huge.certificate))

    def test_whatDoesNotFitIntoAFileIsNoFile(self) -> None:
        """
        Whoever reads it would refuse it; of anchors, nobody is believed.
        """
        self.patch(module, "LARGEST_FILE", 100)
        leaf, ours = issue(WWW)
        layout = self.layOut(
            entry("identities", str(WWW), userCertificate=[der(leaf)]),
            entry("trust", "a.test", cACertificate=[der(leaf)]),
            keys={WWW: (ours,)},
        )
        self.assertEqual(list(layout.files), ["trust/a.test.pem"])
        self.assertNotIn(b"CERTIFICATE", layout.files["trust/a.test.pem"])
        self.assertEqual(len(layout.notes), 2)

    def test_nothingIsKeptOfAnEntryThatIsGone(self) -> None:
        """
        However often it changes.
        """
        leaf, ours = issue(WWW)
        several = [der(leaf), b"broken" * 9]
        before = [sys.getrefcount(each) for each in several]
        for place, name in ("identities", str(WWW)), ("trust", "a.test"), ("disclose", "b.test"):
            values = {"userCertificate": several, "cACertificate": several}
            found = Entry(
                f"cn={name},ou={place},{BASE}",
                {"cn": (name.encode(),), **{k.lower(): tuple(v) for k, v in values.items()}},
                b"",
            )
            self.layOut(found, keys={WWW: (ours,)})
            del found, values
        self.assertEqual([sys.getrefcount(each) for each in several], before)

    def test_namesOfAnyLengthAreIgnored(self) -> None:
        """
        Without reading all of them.
        """
        layout = self.layOut(
            entry("identities", "a" * (LONGEST_CN + 1)),
            Entry(f"cn=x,{'ou=y,' * LONGEST_DN}{BASE}", {}, b""),
        )
        self.assertEqual((len(layout.notes), layout.files), (2, {}))

    def test_aCertificateForSomebodyElseIsRefused(self) -> None:
        """
        Although it is for our key; the wildcard above is one for us.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        other = AUTHORITY.issue(Identity.parse("other.test"), NOW, key).certificates[0]
        ours = OwnKey(str(WWW), publicKeyOf(other), None)
        layout = self.layOut(
            entry("identities", str(WWW), userCertificate=(der(other),)), keys={WWW: (ours,)}
        )
        self.assertEqual(layout.files, {})
        self.assertIn("a certificate for our key is not for www.example.test", layout.notes[0])

    def test_intermediatesAreBroughtIntoOrder(self) -> None:
        """
        The root is left out, and so is what has nothing to do with it.
        """
        top, middle = root(), intermediate()
        leaf = make(Recipe(alternative(dns(str(WWW)))), middle)
        key = OwnKey(str(WWW), publicKeyOf(leaf.certificate), None)
        stranger = AUTHORITY.certificate
        authorities = tuple(der(each) for each in (stranger, top.certificate, middle.certificate))
        layout = self.layOut(
            entry(
                "identities",
                str(WWW),
                userCertificate=(der(leaf.certificate),),
                cACertificate=authorities,
            ),
            keys={WWW: (key,)},
        )
        (content,) = layout.files.values()
        self.assertEqual(content, pem(leaf.certificate) + pem(middle.certificate))

    def test_onlyCanonicalNamesBecomePaths(self) -> None:
        """
        Whatever the distinguished name is.
        """
        _, key = issue(WWW)
        for cn in ("..", "../x", "/etc", "WWW.example.test", "ca", "trust", "disclose", "x/y", ""):
            for place in "identities", "trust", "disclose":
                with self.subTest(cn, place=place):
                    layout = self.layOut(entry(place, cn), keys={WWW: (key,)})
                    self.assertEqual(layout.files, {})
                    self.assertEqual(len(layout.notes), 1)

    @given(st.sampled_from(["identities", "trust", "disclose"]), st.text(max_size=300))
    def test_noNameLeavesThePool(self, place: str, cn: str) -> None:
        """
        Every path has two parts, and neither is above.
        """
        content = entryContent(
            f"cn=x,ou={place},{BASE}", {"cn": [cn.encode("utf-8", "surrogatepass")]}
        )
        for path in self.layOut(Entry.read(content)).files:
            directory, name = path.split("/")
            self.assertIn(directory, ("trust", "disclose"))
            self.assertLessEqual(len(name), 255)
            self.assertNotIn("\0", name)

    def test_entriesInOtherPlacesMeanNothing(self) -> None:
        """
        The base and its places themselves, and what is below or beside them.
        """
        for name in (
            BASE,
            f"ou=trust,{BASE}",
            f"cn=a.test,cn=b.test,ou=trust,{BASE}",
            f"cn=a.test,ou=other,{BASE}",
            "cn=a.test,ou=trust,dc=elsewhere",
            f"cn=a.test,{BASE}",
        ):
            layout = self.layOut(Entry.read(entryContent(name, {"cn": [b"a.test"]})))
            self.assertEqual((layout.files, layout.notes), ({}, []))

    def test_nobodyIsBelievedWhereThereIsNoCertificate(self) -> None:
        """
        Nor where all are broken: that is no reason to believe others.
        """
        for values in (), (b"broken",):
            layout = self.layOut(entry("trust", ".shop.test", cACertificate=values))
            (content,) = layout.files.values()
            self.assertEqual(list(layout.files), ["trust/.shop.test.pem"])
            self.assertNotIn(b"BEGIN", content)

    def test_anchorsAreForAllOthers(self) -> None:
        """
        And are in an order that does not change.
        """
        values = tuple(map(der, (AUTHORITY.certificate, root().certificate)))
        one = self.layOut(entry("trust", "anchors", cACertificate=values))
        two = self.layOut(entry("trust", "anchors", cACertificate=values[::-1]))
        self.assertEqual(one.files, two.files)
        self.assertEqual(list(one.files), ["trust/anchors.pem"])
        self.assertEqual(one.files["trust/anchors.pem"].count(b"BEGIN"), 2)

    def test_theDirectorySaysNothingAboutItself(self) -> None:
        """
        What would decide about it is ignored, unless the pool has an anchor for exactly it.
        """
        for selector, isKnown, isTaken in (
            ("ldap.example.test", False, False),
            ("ldap.example.test", True, False),
            (".example.test", False, False),
            (".example.test", True, True),
            (".", False, False),
            ("anchors", False, False),
            ("anchors", True, True),
            (".other.test", False, True),
            ("@example.test", False, True),
            ("www.example.test", False, True),
        ):
            server = Server(LDAP, isKnown)
            layout = self.layOut(entry("trust", selector), server=server)
            self.assertEqual(bool(layout.files), isTaken, selector)
            if selector != "anchors":
                layout = self.layOut(entry("disclose", selector), server=server)
                self.assertEqual(bool(layout.files), isTaken, selector)

    def test_rulesAreInTheOrderOfTheirNumbers(self) -> None:
        """
        As the values of an attribute have none.
        """
        rules = (b"20 -", b"3 alice@example.org", b"10 @chat.test")
        layout = self.layOut(entry("disclose", ".shop.test", description=rules))
        (content,) = layout.files.values()
        self.assertEqual(
            content.decode().splitlines()[1:], ["alice@example.org", "@chat.test", "-"]
        )

    def test_aRuleThatCannotBeReadShowsNobody(self) -> None:
        """
        Those below it would be promoted.
        """
        for broken in (
            b"alice@example.org",
            b"1 Alice@EXAMPLE.org",
            b"1 ../x",
            b"1 a b",
            b"\xff",
            b"1 -\n2 x",
            b"10 bob@example.org",
        ):
            rules = (broken, b"10 alice@example.org")
            layout = self.layOut(entry("disclose", ".shop.test", description=rules))
            (content,) = layout.files.values()
            self.assertEqual(content.decode().splitlines()[1:], ["-"], broken)

    def test_ofTwoEntriesWithOneNameTheFirstCounts(self) -> None:
        """
        Always the same one.
        """
        one = entry("disclose", "a.test", description=(b"1 x@y.test",))
        two = entry("disclose", "a.test", description=(b"1 z@y.test",))
        layout = self.layOut(one, two)
        self.assertIn(b"x@y.test", layout.files["disclose/a.test.txt"])
        self.assertIn("another entry has the same name", layout.notes[0])


class NameTests(SynchronousTestCase):
    """
    Distinguished names, and URLs with them.
    """

    def test_namesThatMeanTheSame(self) -> None:
        """
        However they are written.
        """
        for one, other in (
            ("ou=Pool, dc=Example", "OU=pool,DC=example"),
            (r"cn=a\,b,dc=x", r"cn=a\2Cb,dc=x"),
            ("cn=a+ou=b", "ou=B+cn=A"),
            (r"cn=\ x", "cn=x"),
        ):
            self.assertEqual(normal(one), normal(other))
        self.assertNotEqual(normal("cn=a,cn=b"), normal(r"cn=a\,cn=b"))

    def test_whatIsNone(self) -> None:
        """
        Nothing without a sign, or with something else before it.
        """
        for text in "x", "cn=a,", "=x", "c n=x", ",":
            self.assertRaises(ValueError, normal, text)

    @given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), min_size=1, max_size=30))
    def test_aValueIsOneValueWhateverIsInIt(self, value: str) -> None:
        """
        As it is escaped.
        """
        ((relative,), base) = normal(f"cn={escaped(value)},dc=x")
        self.assertEqual(relative, ("cn", " ".join(value.casefold().split())))
        self.assertEqual(base, (("dc", "x"),))

    def test_urls(self) -> None:
        """
        With their default ports.
        """
        for text, address, isImplicit in (
            ("ldap://ldap.example.org/dc=x", "ldap.example.org:389", False),
            ("LDAPS://ldap.example.org/dc=x", "ldap.example.org:636", True),
            ("ldap://[2001:db8::1]:3389/dc=x", "[2001:db8::1]:3389", False),
            ("ldapi://%2Frun%2Fldapi/dc=x", "/run/ldapi", False),
        ):
            url = LDAPURL.parse(text)
            self.assertEqual(
                (str(url.address), url.isImplicit, url.base), (address, isImplicit, "dc=x")
            )
            self.assertEqual(LDAPURL.parse(str(url)), url)
        self.assertEqual(LDAPURL.parse("ldap://h/ou=my%20pool,dc=x").base, "ou=my pool,dc=x")

    def test_urlsThatSayTooLittleOrTooMuch(self) -> None:
        """
        What is not understood is not ignored.
        """
        for text in (
            "ldap://h",
            "ldap://h/",
            "ldap:///dc=x",
            "http://h/dc=x",
            "ldap://me@h/dc=x",
            "ldap://h/dc=x?cn",
            "ldap://h/x",
            "ldapi://run/dc=x",
            f"ldapi://%2F{'a' * 200}/dc=x",
            "ldapi://%2Fa%00b/dc=x",
            "ldap://:389/dc=x",
            "ldap://h/dc=a%0Ab",
            "ldap://h/dc=\udcff",
        ):
            self.assertRaises(ValueError, LDAPURL.parse, text)
