"""
Tests for L{tlstunnel.identity.pooltrust} and L{tlstunnel.identity.trust}: whom a pool
lets us believe about whom.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certificates import Recipe, intermediate, make, root
from tests.identity.pools import HOST, USER, PoolTestCase
from tlstunnel.identity import pooltrust, trust
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pem import loadReadable
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.trust import Anchors, eitherTrust, loadAnchors


class AnchorsTestCase(PoolTestCase):
    """A test with anchors in a pool."""

    def anchor(self, name: str, *authorities: str) -> Path:
        """Write a file of anchors."""
        names = authorities or (name,)
        content = [root(each).certificate.public_bytes(Encoding.PEM) for each in names]
        return self.write(name, b"".join(content), 0o644)

    def assertAnchors(self, remote: str, source: str, *authorities: str) -> None:
        """These are the anchors for somebody, from that file."""
        for kind in (Identity, Selector):
            try:
                who = kind.parse(remote)
            except ValueError:
                continue
            found = self.pool.anchorsFor(who)
            certificates = tuple(root(each).certificate for each in authorities or (source,))
            own = " (the pool's own CA)" if source == "ca/cert.pem" else ""
            self.assertEqual(
                found, Anchors(certificates, system=False, source=f"{self.path / source}{own}")
            )


class AnchorsTests(AnchorsTestCase):
    """Whom a pool believes."""

    def test_mostConcreteSelectorFirst(self) -> None:
        """Of the files that match, the most concrete alone decides."""
        order = ["john@example.org", "@example.org", "john@.org", "@.org", "john@.", "@."]
        self.anchor("trust/anchors.pem")
        for selector in reversed(order):
            self.anchor(f"trust/{selector}.pem")
            self.assertAnchors("john@example.org", f"trust/{selector}.pem")
        self.assertAnchors("jane@example.org", "trust/@example.org.pem")
        self.assertAnchors("john@example.net", "trust/john@..pem")
        self.assertAnchors("jane@example.net", "trust/@..pem")
        self.assertAnchors("example.org", "trust/anchors.pem")

    def test_domains(self) -> None:
        """The same for domains; a domain above is not matched by what is for those below."""
        self.anchor("trust/anchors.pem")
        self.anchor("trust/.org.pem")
        self.assertAnchors("example.org", "trust/.org.pem")
        self.assertAnchors("org", "trust/anchors.pem")
        self.assertAnchors("john@example.org", "trust/anchors.pem")
        self.anchor("trust/..pem")
        self.assertAnchors("example.org", "trust/.org.pem")
        self.assertAnchors("org", "trust/..pem")
        self.assertAnchors("192.0.2.1", "trust/anchors.pem")
        self.anchor("trust/192.0.2.1.pem")
        self.assertAnchors("192.0.2.1", "trust/192.0.2.1.pem")

    def test_selectors(self) -> None:
        """For a selector, only what is for all whom it matches decides."""
        self.anchor("trust/anchors.pem")
        self.anchor("trust/john@example.org.pem")
        self.assertAnchors("@example.org", "trust/anchors.pem")
        self.anchor("trust/@.org.pem")
        self.assertAnchors("@example.org", "trust/@.org.pem")
        self.assertAnchors("@.", "trust/anchors.pem")

    def test_ownAuthority(self) -> None:
        """The pool's own authority is an anchor beside those for everybody, or alone."""
        self.anchor("ca/cert.pem", "own")
        self.assertAnchors("john@example.org", "ca/cert.pem", "own")
        self.anchor("trust/anchors.pem", "first", "second")
        found = self.pool.anchorsFor(USER)
        self.assertEqual(
            found.certificates, tuple(root(each).certificate for each in ("first", "second", "own"))
        )
        self.assertEqual(
            found.source,
            f"{self.path}/trust/anchors.pem, {self.path}/ca/cert.pem (the pool's own CA)",
        )
        self.anchor("trust/@..pem")
        self.assertAnchors("john@example.org", "trust/@..pem")

    def test_ownAuthorityTakesNothingAway(self) -> None:
        """
        A first identity, and with it an authority, leaves the system's store where it counts: for
        domains, as long as nothing there was pinned by anchors for everybody.
        """
        self.anchor("ca/cert.pem", "own")
        own = (root("own").certificate,)
        for remote in (HOST, Identity.parse("192.0.2.1"), Selector.parse(".org")):
            found = self.pool.anchorsFor(remote)
            self.assertEqual((found.certificates, found.system), (own, True))
            self.assertEqual(
                found.source, f"{self.path}/ca/cert.pem (the pool's own CA), the system's store"
            )
        self.anchor("trust/anchors.pem", "first")
        self.assertFalse(self.pool.anchorsFor(HOST).system)
        self.anchor("trust/example.org.pem", "pinned")
        self.assertAnchors("example.org", "trust/example.org.pem", "pinned")

    def test_systemForDomainsOnly(self) -> None:
        """Where a pool says nothing, the system is asked about domains, and never about users."""
        for remote in ("example.org", "192.0.2.1"):
            self.assertEqual(
                self.pool.anchorsFor(Identity.parse(remote)),
                Anchors((), True, "the system's store"),
            )
        self.assertEqual(
            self.pool.anchorsFor(Selector.parse(".org")), Anchors((), True, "the system's store")
        )
        for remote in ("john@example.org", "@example.org", "@."):
            error = self.problem(self.pool.anchorsFor, Selector.parse(remote))
            self.assertIn(f"identity trust --pool {self.path} {remote} FILE", error.remedy)

    def test_poolThatIsNotThere(self) -> None:
        """A default pool that is not there says nothing; a named one is an error."""
        pool = Pool(self.path / "none", asked=False)
        self.assertEqual(pool.anchorsFor(HOST), Anchors((), True, "the system's store"))
        self.problem(pool.anchorsFor, USER)
        self.problem(Pool(self.path / "none").anchorsFor, HOST)

    def test_brokenFilesAreNotPassedOver(self) -> None:
        """Anchors that cannot be read are an error, and never a reason to believe others."""
        self.anchor("trust/anchors.pem")
        (self.path / "trust" / "example.org.pem").symlink_to("nowhere")
        self.problem(self.pool.anchorsFor, HOST)
        (self.path / "trust" / "example.org.pem").unlink()
        for content in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            self.write("trust/example.org.pem", content)
            self.problem(self.pool.anchorsFor, HOST)


class TrustTests(AnchorsTestCase):
    """Whom a pool believes about all whom a selector matches."""

    def assertDecides(self, selector: str, all_: list[str], **decisive: str) -> None:
        """The anchors of these files count for some, and each decides about an identity."""
        trust = self.pool.trustFor(Selector.parse(selector))
        files = [str(self.path / "trust" / f"{name}.pem") for name in all_]
        self.assertEqual(trust.all.source, ", ".join(files))
        self.assertEqual(len(trust.all.certificates), len(files))
        for user, file in decisive.items():
            found = trust.anchorsFor(Identity.parse(user.replace("_at_", "@").replace("_", ".")))
            self.assertEqual(found.source, str(self.path / "trust" / f"{file}.pem"))

    def test_whereFromIsSaidOnce(self) -> None:
        """What decides about those of several selectors is named once, in whatever company."""
        self.anchor("ca/cert.pem")
        selectors = [Selector.parse(text) for text in ("@example.org", ".example.net")]
        trust = eitherTrust({each: self.pool.trustFor(each) for each in selectors})
        self.assertEqual(
            trust.all.source, f"{self.path}/ca/cert.pem (the pool's own CA), the system's store"
        )

    def test_narrowerSelectors(self) -> None:
        """Each decides about its own, the others about the rest; those of nobody do not count."""
        for name in ("anchors", "@.partner.example", "bob@other.example", ".partner.example"):
            self.anchor(f"trust/{name}.pem")
        self.assertDecides(
            "@.",
            ["anchors", "@.partner.example", "bob@other.example"],
            x_at_sub_partner_example="@.partner.example",
            bob_at_other_example="bob@other.example",
            x_at_other_example="anchors",
            x_at_partner_example="anchors",
        )
        self.assertDecides("@.example", ["anchors", "@.partner.example", "bob@other.example"])
        self.assertDecides("@other.example", ["anchors", "bob@other.example"])
        self.assertDecides("@third.example", ["anchors"], x_at_third_example="anchors")
        self.assertDecides(".", ["anchors", ".partner.example"], a_example="anchors")

    def test_wherePartOfIt(self) -> None:
        """Of two selectors that match an identity the more concrete decides, in whatever way."""
        for name in ("@.org", "john@.", "@."):
            self.anchor(f"trust/{name}.pem")
        self.assertDecides("@.org", ["@.org", "john@."], john_at_a_org="@.org", x_at_a_org="@.org")
        self.assertDecides("@.", ["@.", "@.org", "john@."], john_at_a_net="john@.")

    def test_oneIdentity(self) -> None:
        """For one identity there is nothing to choose."""
        self.anchor("trust/anchors.pem")
        self.anchor("trust/@example.org.pem")
        trust = self.pool.trustFor(USER)
        self.assertEqual(trust.all, self.pool.anchorsFor(USER))
        self.assertIs(trust.anchorsFor(USER), trust.all)

    def test_workloadsByTheirTrustDomain(self) -> None:
        """Each has anchors of its own, which are about all of it and nobody else."""
        self.anchor("trust/anchors.pem")
        file = self.anchor("trust/spiffe:example.org.pem")
        general = str(self.path / "trust" / "anchors.pem")
        for selector in (
            "spiffe://example.org",
            "spiffe://example.org/ns/",
            "spiffe://example.org/a",
        ):
            self.assertEqual(self.pool.trustFor(Selector.parse(selector)).all.source, str(file))
        for other in ("spiffe://a.example.org/x", "example.org", "x@example.org"):
            self.assertEqual(self.pool.trustFor(Identity.parse(other)).all.source, general)
        self.assertDecides(".", ["anchors"])

    def test_thousandsOfFilesAreNotLookedAtForOneServer(self) -> None:
        """
        Only for those that could be about it; all are for whoever may be anybody.
        """
        self.anchor("ca/cert.pem")
        self.anchor("trust/.example.org.pem")
        self.patch(pooltrust, "entries", lambda directory: self.fail("all are looked at"))
        found = self.pool.trustFor(Identity.parse("www.example.org"))
        self.assertEqual(found.all.source, str(self.path / "trust" / ".example.org.pem"))
        self.pool.trustFor(Selector.parse("alice@example.org"))
        self.assertRaises(self.failureException, self.pool.trustFor, Selector.parse("@.org"))

    def test_whatIsInThePlaceOfAllFilesIsNotPassedOver(self) -> None:
        """
        Others would decide, as the system's authorities do, if it were as if there were none.
        """
        trust = self.path / "trust"
        self.anchor("ca/cert.pem")
        for place in (
            partial(trust.symlink_to, "nowhere"),
            partial(trust.symlink_to, "trust"),
            partial(trust.write_text, ""),
        ):
            place()
            for remote in "www.example.org", "alice@example.org":
                self.problem(self.pool.trustFor, Identity.parse(remote))
            trust.unlink()
        for link in "www.example.org.pem", ".org.pem", "..pem":
            trust.mkdir()
            (trust / link).symlink_to("nowhere")
            self.problem(self.pool.trustFor, Identity.parse("www.example.org"))
            (trust / link).unlink()
            trust.rmdir()

    def test_thePublicKnowsNoWorkloads(self) -> None:
        """Where there is nothing else, nobody is believed about them."""
        identity = Identity.parse("spiffe://example.org/a")
        error = self.problem(self.pool.trustFor, identity)
        self.assertIn("spiffe://example.org FILE'", str(error))
        self.anchor("ca/cert.pem")
        self.assertFalse(self.pool.trustFor(identity).all.system)

    def test_aPartOfATrustDomainHasNoAnchors(self) -> None:
        """There is no file for it."""
        for text in "spiffe://example.org/a", "spiffe://example.org/a/":
            error = self.problem(self.pool.trustFile, Selector.parse(text))
            self.assertIn("give spiffe://example.org", str(error))
        self.anchor("trust/spiffe:example.org,a.pem")
        self.anchor("trust/anchors.pem")
        found = self.pool.trustFor(Selector.parse("spiffe://example.org"))
        self.assertEqual(found.all.source, str(self.path / "trust" / "anchors.pem"))

    def test_filesAreReadOnceForAll(self) -> None:
        """However many may come, each by the anchors that decide about that one."""
        for name in ("anchors", "@h7.example", ".h8.example"):
            self.anchor(f"trust/{name}.pem")
        several = [
            *(Selector.parse(f"x@h{number}.example") for number in range(2000)),
            *(Selector.parse(f"h{number}.example") for number in range(2000)),
            *(Selector.parse(f"a.h{number}.example") for number in range(6000)),
        ]
        read = []
        load = loadReadable

        def counted(path: Path) -> Any:
            read.append(path.name)
            return load(path)

        self.patch(trust, "loadReadable", counted)
        found = self.pool.trustForAll(several)
        # Once for the public and once for users, who have it by other rules.
        expected = ["anchors.pem", "anchors.pem", ".h8.example.pem", "@h7.example.pem"]
        self.assertEqual(sorted(read), sorted(expected))
        self.assertEqual(len({id(each) for each in found.values()}), 4)
        either = eitherTrust(found)
        for who, file in (
            ("x@h7.example", "@h7.example"),
            ("x@h8.example", "anchors"),
            ("a.h8.example", ".h8.example"),
            ("a.h7.example", "anchors"),
        ):
            source = either.anchorsFor(Identity.parse(who)).source
            self.assertEqual(source, str(self.path / "trust" / f"{file}.pem"))
        stranger = either.anchorsFor(Identity.parse("b.h7.example"))
        self.assertEqual((stranger.certificates, stranger.system), ((), False))

    def test_nobodyIsBelievedAboutNobody(self) -> None:
        """Where nobody may come, nobody's word counts."""
        found = eitherTrust(self.pool.trustForAll([])).all
        self.assertEqual((found.certificates, found.system), ((), False))

    def test_asItWasRead(self) -> None:
        """What happens to the files later changes nothing before they are read again."""
        self.anchor("trust/anchors.pem")
        file = self.anchor("trust/@example.org.pem")
        trust = self.pool.trustFor(Selector.parse("@."))
        file.unlink()
        self.assertEqual(trust.anchorsFor(USER).source, str(file))

    def test_brokenFilesOfSome(self) -> None:
        """A broken file for some is an error at once, and other files are not read."""
        self.anchor("trust/anchors.pem")
        self.write("trust/@example.org.pem", b"")
        self.problem(self.pool.trustFor, Selector.parse("@."))
        self.pool.trustFor(Selector.parse("@.net"))
        for name in ("README", "*.pem", "@EXAMPLE.net.pem", "x.crt"):
            self.write(f"trust/{name}", b"")
        self.pool.trustFor(Selector.parse("@.net"))


class LoadAnchorsTests(PoolTestCase):
    """What C{--trust} names."""

    def certificate(self, name: str) -> x509.Certificate:
        """Write a certificate, and return it."""
        certificate = root(name).certificate
        self.write(name, certificate.public_bytes(Encoding.PEM))
        return certificate

    def test_system(self) -> None:
        """The word C{system} is the system's store, and no file."""
        self.assertEqual(loadAnchors("system"), Anchors((), system=True, source="system"))

    def test_file(self) -> None:
        """A file has any number of certificates."""
        issued = make(Recipe(), intermediate())
        file = self.write("chain.pem", issued.chainPEM())
        self.assertEqual(loadAnchors(str(file)), Anchors(issued.chain, False, str(file)))

    def test_directory(self) -> None:
        """A directory has files of them, by suffix; the same certificate counts once."""
        one, two = self.certificate("a.pem"), self.certificate("b.crt")
        self.write("again.cer", one.public_bytes(Encoding.PEM))
        self.write("README", b"none")
        (self.path / "directory").mkdir()
        found = loadAnchors(str(self.path))
        self.assertEqual(found, Anchors((one, two), False, str(self.path)))
        self.assertEqual(found.skipped, ())

    def test_rehashedDirectory(self) -> None:
        """The links that openssl-rehash(1) makes lead to certificates under any name."""
        one, two = self.certificate("one"), self.certificate("two.pem")
        (self.path / "9d66eef0.0").symlink_to("one")
        (self.path / "9d66eef0.1").symlink_to("two.pem")
        self.write("9d66eef0.r0", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
        found = loadAnchors(str(self.path))
        self.assertEqual((found.certificates, found.skipped), ((one, two), ()))

    def test_whatElseIsInADirectory(self) -> None:
        """What has the name of a certificate and is none is passed over, with a line each."""
        one = self.certificate("a.pem")
        self.write("b.cer", one.public_bytes(Encoding.DER))
        self.write("key.pem", make(Recipe()).keyPEM())
        self.write("old.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        (self.path / "00000000.0").symlink_to("nowhere")
        (self.path / "deeper.pem").mkdir()
        os.mkfifo(self.path / "pipe.pem")
        found = loadAnchors(str(self.path))
        self.assertEqual(found.certificates, (one,))
        for sentence, name, because in zip(
            found.skipped,
            ("00000000.0", "b.cer", "deeper.pem", "key.pem", "old.crt", "pipe.pem"),
            (
                "leads nowhere",
                "openssl x509 -inform DER",
                "a directory",
                "a private key",
                "broken",
                "no file",
            ),
            strict=True,
        ):
            self.assertTrue(sentence.startswith(f"{self.path / name} is passed over: it "))
            self.assertIn(because, sentence)
            self.assertTrue(sentence.isprintable())

    def test_aCutFileInADirectory(self) -> None:
        """That is an anchor lost, and so an error."""
        self.certificate("a.pem")
        self.write("b.pem", self.certificate("b.pem").public_bytes(Encoding.PEM)[:-30])
        self.assertIn("is cut", self.problem(loadAnchors, str(self.path)).problem)

    def test_nothingThere(self) -> None:
        """Where there are no certificates, there is an error that names the place."""
        (self.path / "directory").mkdir()
        self.write("empty.pem", b"")
        for name, subject in (("directory", "`trust` "), ("none", "`trust` "), ("empty.pem", "")):
            with self.subTest(name):
                where = str(self.path / name)
                self.assertEqual(self.problem(loadAnchors, where).subject, subject + where)

    def test_aWordThatIsAlmostOne(self) -> None:
        """It is no file, but a typing error."""
        self.assertEqual(self.problem(loadAnchors, "sytem").remedy, "did you mean system?")
