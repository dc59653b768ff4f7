"""
Tests for L{tlstunnel.program.ourselves}: tunnels that leave it to the rules of the pool who we are.
"""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.program.configurations import ConfigurationTests
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program.check import check
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.risks import risks
from tlstunnel.tunnel.description import Tunnel

CLIENT = "-c -l 127.0.0.1:1 -r shop.test:443"
SERVER = "-s -l :1 -r 127.0.0.1:2"
BRIDGE = "-b -l :1 -L a.test -r shop.test:443"


class CommandLineTests(SynchronousTestCase):
    """C{-L auto}."""

    def parsed(self, line: str) -> Tunnel:
        """The tunnel of a command line."""
        options = TunnelOptions()
        options.parseOptions(line.split())
        tunnel = options["tunnel"]
        assert isinstance(tunnel, Tunnel)
        return tunnel

    def test_aClientGoesByRules(self) -> None:
        """And is nobody else."""
        tunnel = self.parsed(f"{CLIENT} -L auto")
        self.assertTrue(tunnel.byRules)
        self.assertEqual(tunnel.localIDs, ())
        self.assertFalse(self.parsed(f"{CLIENT} -L a.test").byRules)
        self.assertFalse(self.parsed(CLIENT).byRules)

    def test_aHostOfThatNameHasADot(self) -> None:
        """It is an identity then."""
        for line in (CLIENT, SERVER):
            tunnel = self.parsed(f"{line} -L auto.")
            self.assertEqual((tunnel.localID, tunnel.byRules), (Identity(None, "auto"), False))

    def test_theConnectedSideOfABridgeGoesByRules(self) -> None:
        """The accepted one cannot."""
        tunnel = self.parsed(f"{BRIDGE} --remote-as auto")
        assert tunnel.onward is not None
        self.assertEqual((tunnel.byRules, tunnel.onward.byRules), (False, True))
        self.assertIn("whom the rules of the pool show", "".join(risks(tunnel, ())))

    def test_whereItMakesNoSense(self) -> None:
        """What is said."""
        for line, words in {
            f"{SERVER} -L auto": "--local-id auto: is for client tunnels",
            f"{SERVER} -L a.test -L auto": "--local-id auto: is for client tunnels",
            f"{CLIENT} -L auto -L a.test": "'auto' alone",
            f"{BRIDGE} -L auto": "--local-id auto: is for client tunnels",
            f"{CLIENT} -L auto --starttls smtp --negotiate-only": "--local-id auto: is about TLS",
            f"{CLIENT} -L auto --trust pins --pin sha256//{'A' * 43}=": "give --remote-id too",
            f"{BRIDGE} --remote-as auto --trust pins --pin sha256//{'A' * 43}=": "--remote-as auto",
        }.items():
            error = self.assertRaises(usage.UsageError, self.parsed, line)
            self.assertIn(words, str(error))


class FileTests(ConfigurationTests):
    """The same in a file."""

    def found(self, more: str = "") -> list[str]:
        """What a check finds."""
        text = f"""
[tunnel.shop]
mode = "client"
local = ["127.0.0.1:8443"]
local-id = ["auto"]
remote = ["shop.test:443"]
pool = "pool"
{more}
"""
        found = check(self.read(text), datetime.now(UTC))
        return [str(each).replace(f"{self.folder}/", "") for each in found]

    def setUp(self) -> None:
        """A pool with one identity, and a rule."""
        super().setUp()
        self.pool = Pool(self.folder / "pool")
        createIdentity(self.pool, Identity.parse("alice@example.test"))
        self.rule("alice@example.test\n")

    def rule(self, text: str) -> None:
        """Write the rule."""
        file = self.pool.path / "disclose" / "shop.test.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o644)

    def test_allIsWell(self) -> None:
        """With whomever the rule shows."""
        self.assertEqual(self.found(), [])

    def test_brokenRulesAreFound(self) -> None:
        """Those that decide are mistakes, all others are warnings."""
        self.rule("non sense")
        (line,) = self.found()
        self.assertIn("pool/disclose/shop.test.txt, line 1: ", line)
        self.assertNotIn("warning", line)
        self.rule("carol@example.test")
        (line,) = self.found()
        self.assertIn("warning: pool/disclose/shop.test.txt: carol@", line)

    def test_aCertificateThatIsShownIsChecked(self) -> None:
        """As that of any tunnel."""
        (self.pool.path / "alice@example.test" / "privkey.pem").chmod(0o644)
        (line,) = self.found()
        self.assertIn("privkey.pem: can be read by others", line)
