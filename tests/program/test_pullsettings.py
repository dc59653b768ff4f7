"""
Tests for L{tlstunnel.program.pullsettings}, and for C{[pool-pull]} in a configuration file.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.program.configurations import TUNNEL, ConfigurationTests
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.withdrawal import markWithdrawn
from tlstunnel.program.check import check
from tlstunnel.program.problems import Problems
from tlstunnel.program.show import show
from tlstunnel.provisioning.connection import Place
from tlstunnel.provisioning.url import LDAPURL

URL = "ldap://ldap.example.org/ou=pool,dc=example"

#: What is wrong, each with what is said of it.
MISTAKES = {
    "": "is missing",
    'url = "http://x/y"': "is no LDAP URL",
    'url = "ldap:///dc=x"': "names no host",
    "url = 1": "text",
    f'url = "{URL}"\nlocal-id = "a b"': "local-id",
    f'url = "{URL}"\nremote-id = ".example.org"': "remote-id",
    f'url = "{URL}"\nallow-removal = true': "there is no such key",
}


class TableTests(ConfigurationTests):
    """
    The table.
    """

    def described(self, text: str) -> Place:
        """What a file with it makes."""
        place = self.read(f"{TUNNEL}\n[pool-pull]\n{text}").poolPull
        assert place is not None
        return place

    def test_whereThePoolIsIsWhereThatOfTheTunnelsIs(self) -> None:
        """Unless it says something else, from the folder of the file on."""
        place = self.described(f'url = "{URL}"\n[defaults]\npool = "/a"')
        self.assertEqual(place, Place(LDAPURL.parse(URL), Pool(Path("/a"))))
        text = f'url = "{URL}"\npool = "b"\nlocal-id = "me@x.test"\nremote-id = "y.test"'
        place = self.described(text)
        self.assertEqual(place.pool.path.name, "b")
        self.assertTrue(place.pool.path.is_absolute())
        self.assertEqual((str(place.localID), str(place.remoteID)), ("me@x.test", "y.test"))

    def test_withoutItNothingIsFollowed(self) -> None:
        """As before."""
        self.assertIsNone(self.read(TUNNEL).poolPull)

    def test_whatIsWrongIsSaidInItsPlace(self) -> None:
        """In the words of the file."""
        for text, said in MISTAKES.items():
            error = self.assertRaises(Problems, self.described, text)
            self.assertIn("pool-pull", str(error))
            self.assertIn(said, str(error))

    def test_itIsShown(self) -> None:
        """With what is the default."""
        configuration = self.read(f'{TUNNEL}\n[pool-pull]\nurl = "{URL}"')
        shown = show(configuration)
        self.assertIn("[pool-pull]", shown)
        self.assertIn(f'url = "{URL}"', shown)
        self.assertIn("# not given: local-id, remote-id", shown)

    def test_aKeyOfItBelongsThere(self) -> None:
        """And nowhere else."""
        text = f'url = "{URL}"\n{TUNNEL}'
        error = self.assertRaises(Problems, self.read, text)
        self.assertIn("move it to [pool-pull]", str(error))


class CheckTests(ConfigurationTests):
    """
    C{--check}.
    """

    def checked(self, text: str) -> list[str]:
        """What is said."""
        found = check(self.read(text), datetime.now(UTC))
        return list(map(str, found))

    def test_whoIsWithdrawnIsAWarning(self) -> None:
        """The others are served."""
        pool = Pool(Path(self.mktemp()).absolute())
        for name in ("a.example", "b.example"):
            createIdentity(pool, Identity.parse(name))
        place = pool.path / "b.example"
        (place / "fullchain.pem").unlink()
        text = (
            f'[tunnel.web]\nmode = "server"\nlocal = "127.0.0.1:1"\nremote = "127.0.0.1:2"\n'
            f'local-id = ["a.example", "b.example"]\npool = "{pool.path}"\n'
        )
        (mishap,) = self.checked(text)
        self.assertIn("cannot be read", mishap)
        markWithdrawn(place)
        (warning,) = (each for each in self.checked(text) if "withdrawn" in each)
        self.assertIn("tunnel.web.local-id: warning: b.example is withdrawn", warning)

    def test_theDirectoryHasToBeOneThatCanBeBelieved(self) -> None:
        """By somebody, and by whom we have a certificate for."""
        pool = Path(self.mktemp()).absolute()
        pool.mkdir()
        text = f'{TUNNEL}\n[pool-pull]\nurl = "{URL}"\nlocal-id = "me@x.test"\npool = "{pool}"'
        (problem,) = (each for each in self.checked(text) if "pool-pull" in each)
        self.assertIn("me@x.test", problem)
        self.assertNotIn("warning", problem)
        self.assertRaises(ConfigurationError, Pool(pool).credentials, Identity.parse("me@x.test"))
