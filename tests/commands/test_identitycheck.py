"""
Tests for C{tlstunnel identity check}, and for L{tlstunnel.tls.checkup}.
"""

from __future__ import annotations

import os
from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.certificates import (
    CLIENT,
    OTHER_USE,
    SERVER,
    Issued,
    Recipe,
    alternative,
    authorityRecipe,
    der,
    dns,
    intermediate,
    mail,
    make,
    named,
    root,
    signedWithSHA1,
)
from tests.commands.identities import CommandTestCase
from tlstunnel.identity.pins import keyOf
from tlstunnel.tls import stores


class CheckTests(CommandTestCase):
    """C{tlstunnel identity check}"""

    def problems(self, *expected: str, identity: str = "example.org") -> None:
        """The check of an identity finds these problems, and no others."""
        code, out, err = self.call("check", identity)
        lines = out.splitlines()
        self.assertEqual((code, err, len(lines)), (1, "", len(expected)), out)
        for line, words in zip(lines, expected, strict=True):
            self.assertIn(words, line)

    def proper(self, **changes: object) -> Recipe:
        """A recipe for example.org."""
        return Recipe(**{"san": alternative(dns("example.org")), **changes})  # type: ignore[arg-type]

    def test_allIsWell(self) -> None:
        """What was created is well, and so is what an anchor of the pool issued in two steps."""
        self.succeed("create", "example.org")
        self.assertIn("all is well", self.succeed("check", "example.org"))
        self.trust()
        self.put("example.org", make(self.proper(), intermediate()))
        self.succeed("check", "example.org")

    def test_theKeyIsShown(self) -> None:
        """For those who pin it."""
        issued = make(self.proper(subject=named("x")))
        self.put("example.org", issued)
        said = self.succeed("check", "example.org")
        self.assertIn(f"; its key is {keyOf(issued.certificate)}", said)

    def test_systemAnchors(self) -> None:
        """What an authority in the system's store issued is complete."""
        self.put("example.org", make(self.proper(), root()))
        self.problems('"CN=Root" is not among the anchors of this machine')
        bundle = self.base / "bundle.pem"
        bundle.write_bytes(root().certificate.public_bytes(Encoding.PEM))
        # OpenSSL reads it from its own environment (X509_STORE_set_default_paths(3)), of which who
        # shares stores knows nothing.
        os.putenv("SSL_CERT_FILE", str(bundle))
        self.addCleanup(os.unsetenv, "SSL_CERT_FILE")
        stores._known.clear()
        self.succeed("check", "example.org")
        self.put("x@example.org", make(Recipe(san=alternative(mail("x@example.org"))), root()))
        self.problems("not among the anchors of this machine", identity="x@example.org")

    def test_selfSigned(self) -> None:
        """A self-signed certificate is a complete chain."""
        self.put("example.org", make(self.proper(subject=named("x"))))
        self.succeed("check", "example.org")

    def test_chain(self) -> None:
        """A missing intermediate, a wrong order, and somebody else's are found."""
        self.trust()
        issued = make(self.proper(), intermediate())
        self.put("example.org", Issued(issued.certificate, issued.key, issued.chain[:1]))
        self.problems('"CN=Intermediate" is not among the anchors of this machine')

    def test_moreThanTheChain(self) -> None:
        """
        What a peer does without does no harm: the root itself, an expired other issuer of it at the
        end, and what belongs to somebody else.
        """
        self.trust()
        issued = make(self.proper(), intermediate())
        old = make(authorityRecipe("Root", end=timedelta(minutes=-1)), root("Old"), root().key)
        stranger = make(Recipe(), root())
        for more in (root().certificate, old.certificate, stranger.certificate):
            self.put("example.org", Issued(issued.certificate, issued.key, (*issued.chain, more)))
            self.succeed("check", "example.org")

    def test_anchorsThatAreNone(self) -> None:
        """An anchor that has expired, or is no CA, is believed by nobody."""
        self.trust()
        for authority, says in (
            (make(authorityRecipe("Root X", end=timedelta(minutes=-1))), "has expired"),
            (make(authorityRecipe("Root Y", isAuthority=False)), "not a CA"),
        ):
            file = self.path / "trust" / "anchors.pem"
            file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
            self.put("example.org", make(self.proper(), authority))
            self.problems(says)

    def test_signatures(self) -> None:
        """A signature with SHA-1 is too weak, rather than none."""
        self.trust()
        issued = make(self.proper(), root())
        self.put("example.org", signedWithSHA1(issued, root()))
        self.problems("SHA-1")

    def test_keysThatOpenSSLRefuses(self) -> None:
        """What no handshake succeeds with is found before there is one."""
        self.trust()
        self.put("example.org", make(self.proper(key="rsa1024"), root()))
        self.problems("OpenSSL does not take this certificate and its key (ee key too small)")

    def test_soon(self) -> None:
        """All is not well two days before the end."""
        self.trust()
        days = {"start": timedelta(days=-88), "end": timedelta(days=2, hours=1)}
        self.put("example.org", make(self.proper(**days), root()))
        self.problems("the certificate expires in 2 days")

    def test_eitherRole(self) -> None:
        """A certificate that is good for servers only, or clients only, is good."""
        self.trust()
        for purpose in (SERVER, CLIENT):
            self.put("example.org", make(self.proper(purposes=(purpose,)), root()))
            self.succeed("check", "example.org")
        self.put("example.org", make(self.proper(purposes=(OTHER_USE,)), root()))
        self.problems("not for this purpose")

    def test_dates(self) -> None:
        """Certificates from the past and the future are found, the whole chain along."""
        self.trust()
        self.put("example.org", make(self.proper(end=timedelta(minutes=-1)), root()))
        self.problems("the certificate expired on")
        old = make(authorityRecipe("Old", end=timedelta(minutes=-1)), root())
        self.put("example.org", make(self.proper(start=timedelta(hours=1)), old))
        self.problems("the certificate is not valid before")
        self.put("example.org", make(self.proper(), old))
        self.problems("has expired (at depth 1)")

    def test_keyAndPermissions(self) -> None:
        """A key that others can read, and one that does not fit, are found together."""
        self.trust()
        directory = self.put("example.org", make(self.proper(), root()))
        (directory / "privkey.pem").chmod(0o640 if os.geteuid() else 0o604)
        self.problems("can be read by others")
        (directory / "privkey.pem").write_bytes(make(Recipe()).keyPEM())
        self.problems("can be read by others", "does not fit")

    def test_names(self) -> None:
        """A certificate of somebody else is found, also an unreadable one."""
        self.trust()
        self.put("example.org", make(Recipe(san=alternative(dns("a.example"))), root()))
        self.problems('is for "a.example", and not for example.org')
        self.put("example.org", make(Recipe(san=der(0x04)), root()))
        self.problems("unreadable")

    def test_aLineageWithANumber(self) -> None:
        """certbot puts a number behind a name that it has already; who it is does not change."""
        self.trust()
        self.put("example.org-0001", make(self.proper(), root()))
        self.assertIn("all is well", self.succeed("check", "example.org-0001"))
        self.put("example.net-0001", make(self.proper(), root()))
        self.problems("not for example.net", identity="example.net-0001")
        san = alternative(dns("example.org-0002"))
        self.put("example.org-0002", make(self.proper(san=san), root()))
        self.succeed("check", "example.org-0002")

    def test_files(self) -> None:
        """Files that are missing or broken are named, each once."""
        directory = self.put("example.org", make(self.proper(), root()))
        (directory / "privkey.pem").unlink()
        (directory / "fullchain.pem").write_bytes(b"x")
        self.problems("privkey.pem: cannot be read", "fullchain.pem: holds no certificates")

    def test_hostileIssuer(self) -> None:
        """What a certificate says of its issuer is escaped."""
        authority = make(
            Recipe(subject=((NameOID.COMMON_NAME, "\x1b[2J\n\u2028x"),), isAuthority=True)
        )
        self.put("example.org", make(self.proper(), authority))
        self.problems("is not among the anchors")

    def test_notThere(self) -> None:
        """An identity that is not there is no problem of it, but an error."""
        self.path.mkdir()
        self.assertIn("identity create", self.fail_("check", "example.org"))
