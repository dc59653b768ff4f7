"""
The dialect that docs/writing-a-dialect.md shows, and what that page says.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Quit, Refused
from tlstunnel.protocols import base
from tlstunnel.protocols.base import Dialect
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.memory import Driver

DOCS = Path(__file__).parent.parent / "docs"
SOURCE = DOCS / "example/tlstunnel/plugins/nut_dialect.py"
GUIDE = (DOCS / "writing-a-dialect.md").read_text()


def load() -> Dialect:
    """
    Load it from where it is, which is on nobody's module search path.
    """
    spec = importlib.util.spec_from_file_location("nut_dialect", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dialect: Dialect = module.nut
    return dialect


nut = load()


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    NUT, the client role.
    """

    dialect = nut
    dialogue = [("C", b"STARTTLS\n"), ("S", b"OK STARTTLS\n")]
    variants = [(1, b"OK STARTTLS\r\n")]
    failures = [
        (1, b"ERR FEATURE-NOT-CONFIGURED\n", Refused),
        (1, b"OK\n", Refused),
        (1, b"OK STARTTLS\0\n", Malformed),
        (1, b"OK " + b"x" * 2048 + b"\n", Oversize),
    ]


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    NUT, the server role.
    """

    dialect = nut
    dialogue = [("C", b"STARTTLS\n"), ("S", b"OK STARTTLS\r\n")]
    needsTLS = {
        b"USERNAME admin\n": b"ERR ACCESS-DENIED\r\n",
        b"USERNAME admin\nPASSWORD x\n": b"ERR ACCESS-DENIED\r\n" * 2,
    }
    farewells = [(b"LOGOUT\n", b"OK Goodbye\r\n", Quit)]


class Recording:
    """
    Notes which of its methods are called.

    @cvar called: their names, in order.
    """

    called: ClassVar[list[str]]

    def __getattribute__(self, name: str) -> Any:
        """
        A method that is about to be called, or any other attribute.
        """
        value = super().__getattribute__(name)
        if name in HOOKS and callable(value):
            type(self).called.append(name)
        return value


#: A row of the guide that is about a method of a role.
ROW = re.compile(r"(?m)^\| `(?:await )?(\w+)\(\w*\)` \|.*\|.*\|.*\|$")

HOOKS = ROW.findall(GUIDE)


class GuideTests(SynchronousTestCase):
    """
    What docs/writing-a-dialect.md says.
    """

    def order(self, mode: str) -> list[str]:
        """
        The methods that a role is asked for from its first byte to the relay.
        """
        base: Any = getattr(nut, mode)
        role: Any = type("Role", (Recording, base), {"called": []})
        driver = Driver(replace(nut, **{mode: role}, learnsPeer=True), mode)
        driver.play(ClientTests.dialogue if mode == "client" else ServerTests.dialogue)
        driver.handshake()
        self.assertEqual(driver.stage, "relay")
        called: list[str] = role.called
        return called

    def section(self, title: str) -> str:
        """
        What stands below a heading.
        """
        return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]

    def test_methodsStandInTheOrderInWhichTheyAreCalled(self) -> None:
        """
        And all of them do.
        """
        for mode in ("client", "server"):
            told = re.findall(
                r"(?m)^\| `(?:await )?(\w+)\(\w*\)` \|.*\|.*\|.*\|",
                self.section(f"The {mode} role"),
            )
            self.assertEqual(self.order(mode), told)

    def test_itHasEveryFieldOfADescription(self) -> None:
        """
        Those of L{Dialect}.
        """
        section = self.section("The description")
        for each in fields(Dialect):
            self.assertIn(each.name, section)

    def test_itHasEveryAttributeOfATestCase(self) -> None:
        """
        Those that describe a dialogue.
        """
        section = self.section("Test it")
        for case in (ClientConformance, ServerConformance):
            for each in case.__mro__:
                for name in re.findall(r"@cvar (\w+):", each.__doc__ or ""):
                    if name != "dialect":
                        self.assertIn(f"`{name}`", section)

    def test_baseHasWhatTheGuideUses(self) -> None:
        """
        One import is enough; besides there are types, for annotations.
        """
        for name in base.__all__:
            self.assertTrue(hasattr(base, name), name)
            if name not in ("Conversation", "Role", "Setting"):
                self.assertIn(f"`{name}", GUIDE)
