"""
The command lines of C{pool pull} and C{pool push}: what is said of mistakes in them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.commands.poolpull import DirectoryOptions, Pull
from tlstunnel.commands.poolpush import Push
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import Authority, createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

URL = "ldap://ldap.example.test/ou=pool,dc=example,dc=test"
WWW = Identity.parse("www.example.test")


class MistakesTests(SynchronousTestCase):
    """
    What cannot be done is said before anything is.
    """

    def setUp(self) -> None:
        self.pool = Pool(Path(self.mktemp()))
        createIdentity(self.pool, WWW)
        self.chain = str(self.pool.directoryOf(WWW) / "fullchain.pem")

    def options(self, kind: type[DirectoryOptions], *words: str) -> DirectoryOptions:
        """
        A command line.
        """
        options = kind()
        options.parseOptions([*words, "--pool", str(self.pool.path)])
        return options

    def test_whatIsMeant(self) -> None:
        """
        Who we are, and who has to be there: the host in the URL, if nobody says so.
        """
        place = self.options(Pull, URL).place()
        self.assertEqual((place.localID, str(place.expected)), (None, "ldap.example.test"))
        place = self.options(Pull, URL, "-L", str(WWW), "-R", "other.test").place()
        self.assertEqual((place.localID, str(place.expected)), (WWW, "other.test"))
        local = self.options(Pull, "ldapi://%2Frun%2Fldapi/dc=x").place()
        self.assertIsNone(local.expected)

    def test_mistakes(self) -> None:
        """
        Each with the word that is wrong.
        """
        for kind, words, subject in (
            (Pull, ("ldap.example.test",), "LDAP-URL"),
            (Pull, (URL, "-L", "a b"), "`local-id`"),
            (Pull, (URL, "-R", "a b"), "`remote-id`"),
            (Pull, (URL, "-L", "nobody.test"), str(self.pool.path / "nobody.test")),
            (Pull, ("ldap://192.0.2.1/dc=x",), "`remote-id`"),
            (Push, (URL, "a b", self.chain), "ID"),
            (Push, (URL, "other.test", self.chain), self.chain),
            (Push, (URL, str(WWW), "/nonexistent"), "/nonexistent"),
            (Push, (URL, str(WWW), self.expired()), self.expired()),
        ):
            options = self.options(kind, *words)
            error = self.assertRaises(ConfigurationError, options.run)
            self.assertEqual(error.subject, subject)

    def expired(self) -> str:
        """
        A certificate that nobody has any use for.
        """
        past = datetime.now(UTC) - timedelta(days=3000)
        path = self.pool.path / "expired.pem"
        leaf = Authority.make(past).issue(WWW, past).certificates[0]
        path.write_bytes(leaf.public_bytes(Encoding.PEM))
        return str(path)

    def test_argumentsThatAreMissing(self) -> None:
        """
        And how it is written.
        """
        for kind, words in (Pull, ()), (Push, (URL,)), (Push, (URL, str(WWW))):
            self.assertRaises(usage.UsageError, self.options, kind, *words)
