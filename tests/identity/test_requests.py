"""
Keys that wait for a certificate.
"""

from __future__ import annotations

import io
import stat
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.commands.identity import IdentityOptions, main
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity, writeCertificates
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.requests import numbered, requestFor, use, used

WWW = Identity.parse("www.example.test")


class RequestTests(SynchronousTestCase):
    """
    A pool in which somebody asks for certificates.
    """

    def setUp(self) -> None:
        self.pool = Pool(Path(self.mktemp()))

    def test_theRequestIsForTheIdentityAndItsKeyIsPrivate(self) -> None:
        """
        Of every kind of identity.
        """
        for name in (
            "www.example.test",
            "alice@example.test",
            "192.0.2.1",
            "spiffe://example.test/web",
            f"{'a' * 60}.{'b' * 60}.example.test",
        ):
            identity = Identity.parse(name)
            file = requestFor(self.pool, identity)
            request = x509.load_pem_x509_csr(file.read_bytes())
            self.assertTrue(request.is_signature_valid)
            names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            self.assertEqual(len(list(names.value)), 1)
            keyFile = self.pool.directoryOf(identity) / "privkey.pem"
            self.assertEqual(stat.S_IMODE(keyFile.stat().st_mode), 0o600)
            key = load_pem_private_key(keyFile.read_bytes(), None)
            self.assertEqual(key.public_key(), request.public_key())

    def test_whoeverAskedIsNotThereYet(self) -> None:
        """
        Without a certificate nobody is anybody.
        """
        requestFor(self.pool, WWW)
        self.assertEqual(list(self.pool.identities()), [])

    def test_oneRequestWaitsAtATime(self) -> None:
        """
        Unless the other is to be lost.
        """
        first = requestFor(self.pool, WWW)
        error = self.assertRaises(ConfigurationError, requestFor, self.pool, WWW)
        self.assertEqual(error.subject, str(first))
        second = requestFor(self.pool, WWW, again=True)
        self.assertNotEqual(first, second)
        self.assertFalse(first.exists())
        self.assertEqual(used(self.pool, WWW), second.parent)

    def test_whoWasKilledBeforeTheRequestWasMadeKeepsNobodyWaiting(self) -> None:
        """
        There is nothing to be used; what is left goes.
        """
        first = requestFor(self.pool, WWW)
        first.unlink()
        self.pool.directoryOf(WWW).unlink()
        second = requestFor(self.pool, WWW)
        self.assertEqual(numbered(self.pool, WWW), [second.parent])
        self.assertEqual(used(self.pool, WWW), second.parent)

    def test_anotherKeyIsMadeBesideTheOneInUse(self) -> None:
        """
        Which changes by one rename; the one before stays until the next is asked for.
        """
        first = requestFor(self.pool, WWW).parent
        credentials = createIdentity(Pool(Path(self.mktemp())), WWW)
        writeCertificates(first / "fullchain.pem", credentials.certificates)
        second = requestFor(self.pool, WWW).parent
        self.assertEqual(used(self.pool, WWW), first)
        self.assertEqual(numbered(self.pool, WWW), [first, second])
        use(self.pool, WWW, second)
        writeCertificates(second / "fullchain.pem", credentials.certificates)
        self.assertEqual(used(self.pool, WWW), second)
        third = requestFor(self.pool, WWW).parent
        self.assertEqual(numbered(self.pool, WWW), [second, third])

    def test_aKeyThatWasMadeInAnotherWayIsLeftAlone(self) -> None:
        """
        Its directory cannot change at once.
        """
        createIdentity(self.pool, WWW)
        for again in False, True:
            self.assertRaises(ConfigurationError, requestFor, self.pool, WWW, again)

    def test_theCommandSaysWhereTheRequestIs(self) -> None:
        """
        C{identity create --request}.
        """
        for code, words in (0, "/.keys/www.example.test/1/request.pem"), (1, "waits for its cert"):
            options = IdentityOptions()
            options.parseOptions(["create", "--request", str(WWW), "--pool", str(self.pool.path)])
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said):
                self.assertEqual(main(options), code)
            self.assertIn(words, said.getvalue())
