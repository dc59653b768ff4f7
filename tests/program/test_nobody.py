"""
A file of anchors that says that nobody is believed.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from tests.loopback import SERVER, TunnelTests
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.trust import NOBODY_LINE
from tlstunnel.tunnel.description import Mode


class NobodyTests(TunnelTests):
    """
    A client tunnel to a server whose authority was believed before.
    """

    mode = Mode.CLIENT

    def say(self, text: str) -> None:
        """
        Let the file about the server say that.
        """
        directory = self.pool.path / "trust"
        directory.mkdir(exist_ok=True)
        (directory / f"{SERVER}.pem").write_text(text)

    async def test_whoWouldBeBelievedElseIsRefused(self) -> None:
        """
        A tunnel starts, and reloads, with such a file.
        """

        def script(network: Any, plain: Any) -> None:
            """There is nothing to be said."""

        self.say(f"# Said by the directory\n{NOBODY_LINE}\n")
        with self.assertRaises(SSL.Error):
            await self.through(script)
        self.assertEnded("identity")
        (self.pool.path / "trust" / f"{SERVER}.pem").unlink()
        await self.through(script)

    def test_whatSaysNothingIsAnError(self) -> None:
        """
        An empty file may be a mistake.
        """
        for text in "", "# Comment\n", f"{NOBODY_LINE} Or is he?\n", f"x\n{NOBODY_LINE}\n":
            self.say(text)
            self.assertRaises(ConfigurationError, self.pool.anchorsFor, SERVER)
        self.say(NOBODY_LINE)
        self.assertEqual(self.pool.anchorsFor(SERVER).certificates, ())
