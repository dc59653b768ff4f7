"""
Tests for L{tlstunnel.identity.pool}.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, alternative, der, dns, intermediate, make, uri
from tests.identity.pools import HOST, USER, PoolTestCase
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.credentials import Credentials
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadKey
from tlstunnel.identity.pool import Pool, defaultPool


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
