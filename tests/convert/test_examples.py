"""
Configurations of the kinds people publish: what becomes of them, and that tunnels can be made of
it.
"""

from __future__ import annotations

import tomllib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import (
    DATA,
    converted,
    described,
    ofGhostunnel,
    ofStunnel,
    unused,
    warnings,
)
from tlstunnel.convert.stunneloptions import OPTIONS
from tlstunnel.convert.writing import write
from tlstunnel.tunnel.description import Mode


class ExampleTests(SynchronousTestCase):
    """
    Each file of the data.
    """

    maxDiff = None

    def test_thereAreEnough(self) -> None:
        """The kinds of configurations that people publish are many."""
        self.assertGreaterEqual(len(ofStunnel()), 25)
        self.assertGreaterEqual(len(ofGhostunnel()), 8)

    def test_eachBecomesWhatIsExpected(self) -> None:
        """The file that is written, and what is said about it."""
        for file in (*ofStunnel(), *ofGhostunnel()):
            conversion = converted(file)
            self.assertEqual(write(conversion), file.with_suffix(".toml").read_text(), file.name)
            said = file.with_suffix(".warnings")
            self.assertEqual(
                warnings(conversion), said.read_text() if said.exists() else "", file.name
            )

    def test_aTunnelCanBeMadeOfEveryTable(self) -> None:
        """The values are those that the options of a tunnel take, and agree with each other."""
        for file in (*ofStunnel(), *ofGhostunnel()):
            conversion = converted(file)
            text = write(conversion)
            tables: dict[str, Any] = tomllib.loads(text).get("tunnel", {})
            self.assertEqual(unused(tables.values()), set(), file.name)
            self.assertEqual(
                list(described(text)), [each.name for each in conversion.drafts], file.name
            )

    def test_aServiceIsConvertedOrLeftOut(self) -> None:
        """None is forgotten."""
        for file in ofStunnel():
            headings = [
                line.strip()
                for line in file.read_text("utf-8-sig").splitlines()
                if line.startswith("[")
            ]
            if file.name == "include.conf":
                headings = ["[first]", "[second]", *headings]
            elif file.name == "inetd.conf":
                headings = ["[inetd]"]
            conversion = converted(file)
            served = [each for draft in conversion.drafts for each in draft.names]
            made = len(conversion.tunnels) + len(served)
            self.assertEqual(made, len(headings), file.name)

    def test_everyOptionOfTheTableOccurs(self) -> None:
        """But for those of later versions, which the manual at hand does not have."""
        files = [*ofStunnel(), *(DATA / "conf.d").iterdir()]
        texts = [file.read_text("utf-8-sig") for file in files]
        set_ = {
            line.partition("=")[0].strip().lower()
            for text in texts
            for line in text.splitlines()
            if "=" in line
        }
        later = {"setenv", "provider", "providerparameter", "castore", "ocsprequire"}
        missing = {option.name.lower() for option in OPTIONS} - set_ - later
        self.assertEqual(missing, {"curve", "session", "timeoutocsp"})

    def test_noServerIsUnverified(self) -> None:
        """Whatever stunnel verified, a client tunnel knows whom to expect, and whom to believe."""
        for file in (*ofStunnel(), *ofGhostunnel()):
            for name, tunnel in described(write(converted(file))).items():
                if tunnel.mode is Mode.CLIENT:
                    self.assertTrue(tunnel.trust, f"{file.name} {name}")
