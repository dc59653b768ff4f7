"""
C{tlstunnel identity create --token}, with tokens of SoftHSM.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.interop.harness import run
from tests.interop.intokens import NAME, TOKEN, TokenTestCase
from tests.interop.servers.tokens import PIN
from tests.keyfiles import fakeModule
from tlstunnel.identity.keyreference import readReference


class CreateTests(TokenTestCase):
    """
    Keys that are made or taken there.
    """

    def setUp(self) -> None:
        super().setUp()
        self.pool = self.stage.directory("pool")

    def create(self, *words: str) -> str:
        """
        Create what can be created.
        """
        return self.identity("create", *words, pool=self.pool).expect("")

    def leaf(self, name: str = NAME) -> x509.Certificate:
        """
        The certificate of an identity.
        """
        return x509.load_pem_x509_certificate((self.pool / name / "fullchain.pem").read_bytes())

    def test_aKeyIsMadeInTheToken(self) -> None:
        """
        It cannot be read there, the pool says where it is, and its own authority vouches for it.
        """
        said = self.create("--token", self.uri("made"), NAME)
        self.assertIn("the key was made: pkcs11:token=tunnel;object=made;id=%", said)
        found = self.softhsm.objects(TOKEN).partition("made")[2]
        self.assertIn("sensitive, always sensitive, never extractable, local", found)
        file = self.pool / NAME / "privkey.pem"
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        reference = readReference(file.read_bytes())
        assert reference is not None
        self.assertIn("object=made", reference.uri)
        self.assertEqual(reference.pinSource, f"file:{self.pinFile}")
        self.assertIsInstance(self.leaf().public_key(), ec.EllipticCurvePublicKey)

    def test_aKeyThatIsThereIsTaken(self) -> None:
        """
        And stays as it is, whatever is forced.
        """
        self.create("--token", self.uri("kept"), NAME)
        before, objects = self.leaf(), self.softhsm.objects(TOKEN)
        again = self.create("--force", "--token", self.uri("kept"), NAME)
        self.assertIn("the key that is there was taken", again)
        self.assertEqual(self.leaf().public_key(), before.public_key())
        self.assertNotEqual(self.leaf(), before)
        self.assertEqual(self.softhsm.objects(TOKEN), objects)

    def test_theCertificateIsNotLostUnasked(self) -> None:
        """
        Nor is a key made in the token for nothing.
        """
        self.create(NAME)
        objects = self.softhsm.objects(TOKEN)
        found = self.identity("create", "--token", self.uri("never"), NAME, pool=self.pool)
        found.expectFailure("--force")
        self.assertEqual(self.softhsm.objects(TOKEN), objects)

    def test_aRequestIsSignedInTheToken(self) -> None:
        """
        With a key of either kind.
        """
        for label, options, kind in (
            ("asked", (), ec.EllipticCurvePublicKey),
            ("rsa", ("--rsa",), rsa.RSAPublicKey),
        ):
            name = f"{label}.test.example"
            said = self.create("--request", "--token", self.uri(label), *options, name)
            self.assertIn("stays in the token", said)
            request = (self.pool / name / "request.pem").read_text()
            run(["openssl", "req", "-verify", "-noout"], request).expect("verify OK")
            self.assertIsInstance(x509.load_pem_x509_csr(request.encode()).public_key(), kind)
            assert readReference((self.pool / name / "privkey.pem").read_bytes()) is not None

    def test_aKeyOfAnotherKindIsNotTaken(self) -> None:
        """
        Where RSA was asked for.
        """
        self.create("--token", self.uri("curved"), NAME)
        found = self.identity(
            "create", "--force", "--rsa", "--token", self.uri("curved"), NAME, pool=self.pool
        )
        found.expectFailure("is there already, and no RSA key")

    def test_whatOthersPutThereIsToldApart(self) -> None:
        """
        A key that was brought into the token may be elsewhere, too; and two of one name are one
        too many.
        """
        login = ("--token-label", TOKEN, "--login", "--pin", PIN)
        key = self.stage.base / "brought.pem"
        made = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-outform", "DER")
        run(["openssl", "genpkey", *made, "-out", str(key)]).expect("")
        public = self.stage.base / "brought-public.der"
        run(["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER", "-out", str(public)])
        for file, kind in ((key, "privkey"), (public, "pubkey")):
            written = ("--write-object", str(file), "--type", kind, "--label", "brought")
            self.softhsm.tool(*login, *written, "--id", "beef").expect("")
        said = self.create("--token", self.uri("brought"), NAME)
        self.assertIn("beware of that key: it was not made in the token", said)
        self.softhsm.tool(
            *login,
            "--keypairgen",
            "--key-type",
            "EC:prime256v1",
            "--label",
            "brought",
            "--id",
            "02",
        ).expect("")
        found = self.identity("create", "--token", self.uri("brought"), "b.test", pool=self.pool)
        found.expectFailure("is the address of 2 keys; add the id=")
        self.create("--token", f"{self.uri('brought').replace('?', ';id=%02?')}", "b.test")
        self.softhsm.tool(*login, "--delete-object", "--type", "pubkey", "--id", "02").expect("")
        found = self.identity(
            "create",
            "--token",
            self.uri("brought").replace("?", ";id=%02?"),
            "c.test",
            pool=self.pool,
        )
        found.expectFailure("has no public half in the token")

    def test_thePINIsAskedFor(self) -> None:
        """
        Where the address says nothing; then a tunnel will miss it.
        """
        bare = self.uri("asked-for").partition("?")[0]
        found = self.identity("create", "--token", bare, NAME, pool=self.pool, typed=f"{PIN}\n")
        self.assertIn("a tunnel has nobody to ask for the PIN", found.expect("the key was made"))
        found = self.identity("create", "--token", bare, "b.test", pool=self.pool)
        found.expectFailure("--token: has no PIN")

    def test_aWrongPINIsTriedOnce(self) -> None:
        """
        As a token locks itself after some; this one counts, too.
        """
        self.softhsm.add("counting")
        self.assertNotIn("low", self.softhsm.flags("counting"))
        log = self.stage.base / "spied.txt"
        module, told = self.softhsm.spied(log)
        wrong = self.uri("key", "counting").partition("?")[0]
        found = self.command(
            *("create", "--pkcs11-module", str(module), "--token", wrong, NAME),
            pool=self.pool,
            environment=told,
            typed="9999-abc\n" * 5,
        )
        found.expectFailure("the token has refused the PIN, which was tried once")
        self.assertEqual(log.read_text().count("C_Login"), 1)
        self.assertIn("low", self.softhsm.flags("counting"))
        self.assertFalse((self.pool / NAME).exists())

    def test_whatIsMissingIsNamed(self) -> None:
        """
        The token, the module, the link to it, and the file of the PIN.
        """
        good = self.uri("any")
        foreign = fakeModule(self.stage.base / "foreign.so", b"C_GetFunctionList")
        foreign.chmod(0o777)
        for uri, module, words in (
            (good, foreign, f"--pkcs11-module {foreign}: can be changed by others"),
            (good.replace(TOKEN, "other"), None, "is in no token that is there; there are"),
            (good, Path("/nonexistent.so"), "/nonexistent.so: is not there"),
            (good, Path("/etc/hostname"), "/etc/hostname: is no PKCS#11 module for this system"),
            (good + "x", None, f"{self.pinFile}x: cannot be read"),
            (good.replace("object=any", "id=%99"), None, "is not there; give object=NAME"),
            (f"{good.partition('?')[0]}?pin-value={PIN}", None, "has a PIN in it"),
        ):
            found = self.identity("create", "--token", uri, NAME, pool=self.pool, module=module)
            found.expectFailure(words)
            self.assertNotIn(PIN, found.text)
            self.assertEqual(found.text.count("\n"), 1)
        self.pool.mkdir(exist_ok=True)
        (self.pool / "pkcs11-module").symlink_to(self.softhsm.module)
        nowhere = {"SOFTHSM2_CONF": "/nonexistent"}
        found = self.command("create", "--token", good, NAME, pool=self.pool, environment=nowhere)
        found.expectFailure(f"{self.pool}/pkcs11-module: was loaded, and does not start")
