"""
Tests for L{tlstunnel.identity.pool}.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued, Recipe, alternative, der, dns, intermediate, make, root, uri
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity import pooltrust, trust
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pem import loadKey, loadReadable
from tlstunnel.identity.pool import Credentials, Pool, defaultPool
from tlstunnel.identity.trust import Anchors, eitherTrust, loadAnchors

HOST = Identity.parse("example.org")
USER = Identity.parse("john@example.org")


class PoolTestCase(SynchronousTestCase):
    """A test with a pool in a temporary directory."""

    def setUp(self) -> None:
        """Make the pool."""
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.pool = Pool(self.path)

    def write(self, name: str, content: bytes, mode: int = 0o600) -> Path:
        """Write a file of the pool."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
        return file

    def add(self, identity: Identity, issued: Issued | None = None) -> Issued:
        """Add credentials to the pool."""
        issued = issued or make(Recipe(san=alternative(dns(str(identity)))), intermediate())
        self.write(f"{identity}/fullchain.pem", issued.chainPEM())
        self.write(f"{identity}/privkey.pem", issued.keyPEM())
        return issued

    def problem(self, call: Callable[..., object], *arguments: object) -> ConfigurationError:
        """The error that a call raises, which is one line that a person can act upon."""
        error = self.assertRaises(ConfigurationError, call, *arguments)
        assert isinstance(error, ConfigurationError)
        self.assertTrue(str(error).isprintable())
        self.assertTrue(error.remedy, error)
        return error


class CredentialsTests(PoolTestCase):
    """Reading the credentials of our identities."""

    def test_chainAndKey(self) -> None:
        """The certificates come in the order of the file, the leaf first, with the key."""
        issued = self.add(HOST)
        found = self.pool.credentials(HOST)
        self.assertEqual(
            found, Credentials(HOST, (issued.certificate, intermediate().certificate), found.key)
        )
        self.assertEqual(found.key.public_key(), issued.key.public_key())  # type: ignore[union-attr]  # it is in the file

    def test_aWorkloadHasCommasForSlashes(self) -> None:
        """Its directory is in the pool like any other, and found again."""
        identity = Identity.parse("spiffe://example.org/ns/api")
        issued = make(Recipe(san=alternative(uri(str(identity)))), intermediate())
        self.write("spiffe:example.org,ns,api/fullchain.pem", issued.chainPEM())
        self.write("spiffe:example.org,ns,api/privkey.pem", issued.keyPEM())
        for odd in (
            "spiffe:example.org",
            "spiffe:example.org,",
            "spiffe:example.org,a,",
            "spiffe:,a",
        ):
            self.write(f"{odd}/fullchain.pem", issued.chainPEM())
        self.assertEqual(self.pool.credentials(identity).identity, identity)
        self.assertEqual(list(self.pool.identities()), [identity])

    def test_everyFormOfIdentity(self) -> None:
        """Users, addresses and international names have directories like domains have."""
        for text in ("john@example.org", "2001:db8::1", "b\u00fccher.example", "a'b@example.org"):
            with self.subTest(text):
                identity = Identity.parse(text)
                self.add(identity)
                self.assertEqual(self.pool.credentials(identity).identity, identity)

    def test_certbotsLayout(self) -> None:
        """A C{live} directory of certbot, which consists of symbolic links, is a pool as it is."""
        issued = make(Recipe(san=alternative(dns("example.org"))), intermediate())
        self.write("archive/example.org/fullchain1.pem", issued.chainPEM(), 0o644)
        self.write("archive/example.org/privkey1.pem", issued.keyPEM())
        self.write("live/README", b"This directory contains your keys and certificates.")
        live = self.path / "live" / "example.org"
        live.mkdir()
        for name in ("fullchain", "privkey"):
            (live / f"{name}.pem").symlink_to(f"../../archive/example.org/{name}1.pem")
        pool = Pool(self.path / "live")
        self.assertEqual(pool.credentials(HOST).certificates[0], issued.certificate)
        self.assertEqual(list(pool.identities()), [HOST])

    def test_anIdentityMayBeALinkToCredentialsOfSystemd(self) -> None:
        """A flat directory that nobody can write, whose files root may have lent to us."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        issued = make(Recipe(san=alternative(dns(str(HOST)))), intermediate())
        mode = 0o440 if os.geteuid() == 0 else 0o400
        for name, content in ("fullchain", issued.chainPEM()), ("privkey", issued.keyPEM()):
            (directory / f"{name}.pem").write_bytes(content)
            (directory / f"{name}.pem").chmod(mode)
        directory.chmod(0o500)
        self.addCleanup(directory.chmod, 0o700)
        (self.path / str(HOST)).symlink_to(directory)
        self.assertEqual(self.pool.credentials(HOST).certificates[0], issued.certificate)
        self.assertEqual(list(self.pool.identities()), [HOST])

    def test_everyKindOfKey(self) -> None:
        """RSA and Edwards keys do as well, and so do the older forms of PEM."""
        for kind in ("rsa2048", "ed25519", "ec"):
            with self.subTest(kind):
                issued = self.add(HOST, make(Recipe(key=kind)))
                self.assertEqual(
                    self.pool.credentials(HOST).key.public_key(),  # type: ignore[union-attr]  # it is in the file
                    issued.key.public_key(),
                )
        old = issued.key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        self.write("example.org/privkey.pem", old)
        self.assertEqual(self.pool.credentials(HOST).key.public_key(), issued.key.public_key())  # type: ignore[union-attr]  # it is in the file

    def test_missingPool(self) -> None:
        """A pool that is not there is an error where the user named it."""
        error = self.problem(Pool(self.path / "none").credentials, HOST)
        self.assertEqual(error.key, "pool")
        self.assertIn(str(self.path / "none"), error.problem)

    def test_missingIdentity(self) -> None:
        """The remedy for an identity that is not there is the command that makes it."""
        error = self.problem(self.pool.credentials, HOST)
        self.assertEqual(error.subject, str(self.path / "example.org"))
        self.assertIn(f"identity create --pool {self.path} example.org", error.remedy)
        error = self.problem(Pool(self.path / "none", asked=False).credentials, HOST)
        self.assertIn("identity create example.org", error.remedy)
        error = self.problem(Pool(self.path / "a b", asked=False).credentials, USER)
        self.assertIn("identity create john@example.org", error.remedy)

    def test_adviceCanBeTyped(self) -> None:
        """A shell takes the commands in it as they were meant, whatever the names of files."""
        (self.path / "a b").mkdir()
        error = self.problem(Pool(self.path / "a b").credentials, HOST)
        self.assertIn(f"--pool '{self.path / 'a b'}' example.org", error.remedy)

    def test_certbotsPoolIsForCertbot(self) -> None:
        """Nothing is advised that would put keys or an authority of ours among those of certbot."""
        (self.path / "own" / "renewal").mkdir(parents=True)
        for directory in (self.path / "letsencrypt" / "live", self.path / "own" / "live"):
            pool = Pool(directory)
            self.assertIn("certbot certificates", self.problem(pool.credentials, HOST).remedy)
            (directory / "example.org-0001").mkdir(parents=True)
            (directory / "example.org-0001" / "fullchain.pem").write_bytes(b"")
            error = self.problem(pool.credentials, HOST)
            self.assertIn("certbot certonly -d example.org'", error.remedy)
            self.assertIn("one that is there: example.org-0001", error.remedy)
            for call in (pool.credentials, pool.anchorsFor):
                self.assertNotIn("tlstunnel identity", self.problem(call, USER).remedy)

    def test_missingFiles(self) -> None:
        """The file that is missing is named."""
        for name in ("fullchain.pem", "privkey.pem"):
            self.add(HOST)
            file = self.path / "example.org" / name
            file.unlink()
            error = self.problem(self.pool.credentials, HOST)
            self.assertEqual(error.subject, str(file))
            self.assertEqual(error.problem, "cannot be read: No such file or directory")

    def test_brokenFiles(self) -> None:
        """Files that are not what they should be are named."""
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for name in ("fullchain.pem", "privkey.pem"):
            for content in (b"", b"\xff\0", broken, broken.replace(b"CERTIFICATE", b"PRIVATE KEY")):
                with self.subTest(f"{name} {content!r}"):
                    self.add(HOST)
                    file = self.write(f"example.org/{name}", content)
                    error = self.problem(self.pool.credentials, HOST)
                    self.assertEqual(error.subject, str(file))

    def test_filesThatAreSomethingElse(self) -> None:
        """A directory in the place of a file, and an endless file, are errors like others."""
        self.add(HOST)
        (self.path / "example.org" / "privkey.pem").unlink()
        (self.path / "example.org" / "privkey.pem").mkdir(mode=0o700)
        self.assertIn("directory", str(self.problem(self.pool.credentials, HOST)))
        (self.path / "example.org" / "fullchain.pem").unlink()
        (self.path / "example.org" / "fullchain.pem").symlink_to("/dev/zero")
        self.assertIn("too large", str(self.problem(self.pool.credentials, HOST)))

    def test_otherKey(self) -> None:
        """A key that does not fit the certificate is an error that names both files."""
        self.add(HOST)
        file = self.write("example.org/privkey.pem", make(Recipe()).keyPEM())
        error = self.problem(self.pool.credentials, HOST)
        self.assertEqual(error.subject, str(file))
        self.assertIn("fullchain.pem", error.problem)
        self.assertIn("belongs together", error.remedy)

    def test_protectedKey(self) -> None:
        """A key with a pass phrase is an error whose remedy is the command that removes it."""
        issued = self.add(HOST)
        protection = BestAvailableEncryption(b"secret")
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            content = issued.key.private_bytes(Encoding.PEM, form, protection)
            self.write("example.org/privkey.pem", content)
            error = self.problem(self.pool.credentials, HOST)
            self.assertIn("pass phrase", error.problem)
            self.assertIn("openssl pkey", error.remedy)

    def test_unreadableCertificate(self) -> None:
        """A certificate of our own that cannot be read is found when it is loaded."""
        self.add(HOST, make(Recipe(san=der(0x04, b"x"))))
        self.assertIn("unreadable", self.problem(self.pool.credentials, HOST).problem)

    def test_namesOfThePoolItself(self) -> None:
        """No identity has the name of something else in the pool."""
        for name in ("trust", "ca"):
            self.problem(self.pool.credentials, Identity.parse(name))

    def test_identities(self) -> None:
        """Only directories with certificates are identities, and they come by name."""
        for name in ("b.example", "john@a.example", "2001:db8::1"):
            self.add(Identity.parse(name))
        self.write("trust/anchors.pem", b"")
        self.write("ca/fullchain.pem", b"")
        self.write("not an identity/fullchain.pem", b"")
        self.write("empty.example/other.pem", b"")
        self.write("file.example", b"")
        found = [str(identity) for identity in self.pool.identities()]
        self.assertEqual(found, ["2001:db8::1", "b.example", "john@a.example"])

    def test_noIdentitiesInADefaultPoolThatIsNotThere(self) -> None:
        """A default pool need not be there; one that was named must."""
        self.assertEqual(list(Pool(self.path / "none", asked=False).identities()), [])
        self.problem(lambda: list(Pool(self.path / "none").identities()))


class PrivateKeyTests(PoolTestCase):
    """PostgreSQL's rule for the files of private keys."""

    def test_rule(self) -> None:
        """Only we can read a key of ours; a group may read one of root's; others' are no good."""
        file = self.write("privkey.pem", make(Recipe()).keyPEM())
        real = os.fstat
        root, us, somebody = 0, 1000, 1001
        for user, owner, mode, good in (
            (us, us, 0o600, True),
            (us, us, 0o400, True),
            (us, us, 0o700, True),
            (us, us, 0o640, False),
            (us, us, 0o620, False),
            (us, us, 0o610, False),
            (us, us, 0o604, False),
            (us, us, 0o602, False),
            (us, us, 0o601, False),
            (us, root, 0o600, True),
            (us, root, 0o640, True),
            (us, root, 0o660, False),
            (us, root, 0o650, False),
            (us, root, 0o644, False),
            (us, somebody, 0o600, False),
            (root, root, 0o600, True),
            (root, root, 0o640, True),
            (root, root, 0o644, False),
            (root, us, 0o600, False),
        ):

            def fstat(descriptor: int, owner: int = owner, mode: int = mode) -> os.stat_result:
                fields = list(real(descriptor))
                fields[stat.ST_UID], fields[stat.ST_MODE] = owner, stat.S_IFREG | mode
                return os.stat_result(fields)

            self.patch(os, "fstat", fstat)
            self.patch(os, "geteuid", lambda user=user: user)
            with self.subTest(f"user {user} owner {owner} mode {mode:o}"):
                if good:
                    loadKey(file)
                else:
                    error = self.problem(loadKey, file)
                    self.assertRegex(error.remedy, r"run 'ch(mod 600|own \S+) .*privkey.pem'")

    def test_realFile(self) -> None:
        """A file that the world can read is refused, also behind a symbolic link."""
        self.add(HOST)
        file = self.path / "example.org" / "privkey.pem"
        file.chmod(0o644)
        self.assertIn("mode 0644", self.problem(self.pool.credentials, HOST).problem)
        file.rename(self.path / "elsewhere.pem")
        file.symlink_to(self.path.absolute() / "elsewhere.pem")
        self.assertIn("mode 0644", self.problem(self.pool.credentials, HOST).problem)
        (self.path / "elsewhere.pem").chmod(0o600)
        self.pool.credentials(HOST)

    def test_elsewhere(self) -> None:
        """A key that is only taken over may be in any file."""
        file = self.write("privkey.pem", make(Recipe()).keyPEM(), 0o644)
        loadKey(file, private=False)


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


class DefaultPoolTests(SynchronousTestCase):
    """Where a pool is if nobody says."""

    def test_places(self) -> None:
        """That of the machine for root, else one in the user's configuration directory."""
        for user, home, configuration, expected in (
            (0, "/home/x", "/somewhere", "/etc/tlstunnel/pool"),
            (1, "/home/x", "/somewhere", "/somewhere/tlstunnel/pool"),
            (1, "/home/x", "", "/home/x/.config/tlstunnel/pool"),
            (1, "/home/x", "relative", "/home/x/.config/tlstunnel/pool"),
        ):
            self.patch(os, "geteuid", lambda user=user: user)
            self.patch(os, "environ", {"HOME": home, "XDG_CONFIG_HOME": configuration})
            with self.subTest(expected):
                self.assertEqual(defaultPool().path, Path(expected))
                self.assertFalse(defaultPool().asked)

    def test_whoHasNoHomeHasNoPool(self) -> None:
        """That says so where one is needed, and is empty where none is."""

        def fail(user: int) -> None:
            raise KeyError(user)

        self.patch(os, "geteuid", lambda: 1)
        self.patch(os, "environ", {})
        self.patch(pwd, "getpwuid", fail)
        pool = defaultPool()
        self.assertEqual(list(pool.identities()), [])
        self.assertTrue(pool.anchorsFor(Identity.parse("a.example")).system)
        error = self.assertRaises(ConfigurationError, pool.credentials, Identity.parse("a.example"))
        assert isinstance(error, ConfigurationError)
        self.assertEqual(error.key, "pool")
