"""
Tests for C{tlstunnel identity check} without an identity, which is about all of them.
"""

from __future__ import annotations

from tests.commands.identities import CommandTestCase


class CheckAllTests(CommandTestCase):
    """
    A pool with several identities.
    """

    def test_eachIdentityHasItsLine(self) -> None:
        """
        Those with pre-shared keys too, in the order of their names.
        """
        for words in (["b.example"], ["a.example"], ["--psk", "c.example"]):
            self.succeed("create", *words)
        lines = self.succeed("check").splitlines()
        self.assertEqual(
            [each.partition(":")[0] for each in lines], [f"{x}.example" for x in "abc"]
        )
        for line in lines:
            self.assertIn("all is well", line)

    def test_theProblemsOfOneDoNotHideTheOthers(self) -> None:
        """
        The exit code is that of the worst.
        """
        for name in "a.example", "b.example":
            self.succeed("create", name)
        key = self.path / "a.example" / "privkey.pem"
        key.chmod(0o644)
        code, out, err = self.call("check")
        first, second = out.splitlines()
        self.assertEqual((code, err), (1, ""))
        self.assertIn(f"{key}: can be read by others (mode 0644)", first)
        self.assertIn("b.example: all is well", second)

    def test_severalCanBeNamed(self) -> None:
        """
        Then the others are not looked at.
        """
        for name in "a.example", "b.example", "c.example":
            self.succeed("create", name)
        (self.path / "b.example" / "privkey.pem").write_text("")
        self.assertEqual(len(self.succeed("check", "c.example", "a.example").splitlines()), 2)

    def test_whereThereIsNoneItIsSaidHowToMakeOne(self) -> None:
        """
        That nothing is wrong with nobody would help no cron job.
        """
        self.path.mkdir()
        self.assertIn(
            f"{self.path}: has no identities; make one with 'tlstunnel identity create",
            self.fail_("check"),
        )
