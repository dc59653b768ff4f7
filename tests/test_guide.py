"""
That docs/writing-a-dialect.md says what is so.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.protocols import test_nut as example
from tlstunnel.protocols import base
from tlstunnel.protocols.base import Dialect
from tlstunnel.protocols.nut import nut
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.memory import Driver
from tlstunnel.testing.rules import Rules

GUIDE = (Path(__file__).parent.parent / "docs/writing-a-dialect.md").read_text()

#: A row about a method of a role.
ROW = re.compile(r"(?m)^\| `(?:await )?(\w+)\(\w*\)` \|.*\|.*\|.*\|$")

HOOKS = ROW.findall(GUIDE)


def section(title: str) -> str:
    """
    What stands below a heading.
    """
    return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]


class Recording:
    """
    A role that notes which of its methods it is asked for.

    @cvar called: their names, in order.
    """

    called: ClassVar[list[str]]

    def __getattribute__(self, name: str) -> Any:
        """
        A method that is about to be called, or any other attribute.
        """
        if name in HOOKS:
            type(self).called.append(name)
        return super().__getattribute__(name)


class GuideTests(SynchronousTestCase):
    """
    The tables of the page.
    """

    def called(self, case: type[Rules]) -> list[str]:
        """
        The methods that a role is asked for, from its first byte to the relay.
        """
        mode, dialect = case.mode, nut
        role: Any = type("Role", (Recording, getattr(dialect, mode)), {"called": []})
        driver = Driver(replace(dialect, **{mode: role}), mode)
        driver.play(case.dialogue)
        driver.handshake()
        self.assertEqual(driver.stage, "relay")
        called: list[str] = role.called
        return called

    def test_methodsStandInTheOrderInWhichTheyAreCalled(self) -> None:
        """
        And all of them do.
        """
        for case in (example.ClientTests, example.ServerTests):
            told = ROW.findall(section(f"The {case.mode} role"))
            self.assertEqual(self.called(case), told)

    def test_everyFieldOfADescriptionIsThere(self) -> None:
        """
        Those of L{Dialect}.
        """
        for each in fields(Dialect):
            self.assertIn(each.name, section("The description"))

    def test_everyAttributeOfATestCaseIsThere(self) -> None:
        """
        Those that describe a dialogue.
        """
        for case in (ClientConformance, ServerConformance):
            for each in case.__mro__:
                for name in re.findall(r"@cvar (\w+):", each.__doc__ or ""):
                    if name != "dialect":
                        self.assertIn(f"`{name}`", section("Test it"))

    def test_oneModuleHasWhatItTakes(self) -> None:
        """
        What it has is there, and is on the page, but for what only annotations need.
        """
        for name in base.__all__:
            self.assertTrue(hasattr(base, name), name)
            if name not in ("Conversation", "Role", "Setting"):
                self.assertRegex(GUIDE, rf"`(await )?{name}\b")
