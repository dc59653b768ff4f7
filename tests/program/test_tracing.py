"""
Tests for L{tlstunnel.program.tracing}: the settings for who looks for a fault.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.python import usage

from tests.program.configurations import ConfigurationTests
from tlstunnel.commands.run import RunOptions
from tlstunnel.program.show import show
from tlstunnel.program.watch import filesOf
from tlstunnel.tunnel.description import Tunnel

_TUNNEL = ("-c", "-l", "127.0.0.1:1", "-r", "192.0.2.1:1", "-R", "example.org")


class TracingTests(ConfigurationTests):
    """
    On the command line, and in a file.
    """

    def described(self, *words: str) -> Tunnel:
        """
        The tunnel that a command line makes.
        """
        options = RunOptions()
        options.parseOptions([*_TUNNEL, *words])
        tunnel: Tunnel = options["tunnel"]
        return tunnel

    def test_nothingUnlessAsked(self) -> None:
        """
        Whatever the environment says.
        """
        self.patch(os, "environ", {"SSLKEYLOGFILE": "/tmp/keys"})
        tunnel = self.described()
        self.assertEqual((tunnel.trace, tunnel.keyLog), (None, None))

    def test_files(self) -> None:
        """
        By their paths.
        """
        tunnel = self.described("--trace", "t", "--key-log", "/k")
        self.assertEqual((tunnel.trace, tunnel.keyLog), (Path("t"), Path("/k")))

    def test_theEnvironmentWhereThatIsAskedFor(self) -> None:
        """
        It must say something then.
        """
        self.patch(os, "environ", {"SSLKEYLOGFILE": "/var/keys"})
        self.assertEqual(self.described("--key-log", "env").keyLog, Path("/var/keys"))
        for environment in {}, {"SSLKEYLOGFILE": ""}:
            self.patch(os, "environ", environment)
            with self.assertRaises(usage.UsageError) as raised:
                self.described("--key-log", "env")
            said = "--key-log: is env, and SSLKEYLOGFILE is not set; set it, or give a file"
            self.assertIn(said, str(raised.exception))

    def test_inAFile(self) -> None:
        """
        Paths are those of its folder, and what is shown means the same.
        """
        self.patch(os, "environ", {**os.environ, "SSLKEYLOGFILE": "/var/keys"})
        text = (
            '[tunnel.web]\nmode = "client"\nlocal = ["127.0.0.1:1"]\nremote = ["192.0.2.1:1"]\n'
            'remote-id = "example.org"\n'
        )
        configuration = self.read(f'{text}trace = "t"\nkey-log = "k"\n')
        (tunnel,) = configuration.tunnels
        self.assertEqual((tunnel.trace, tunnel.keyLog), (self.folder / "t", self.folder / "k"))
        # They change all the time, which is no reason to reload.
        self.assertFalse({tunnel.trace, tunnel.keyLog} & set(filesOf(configuration)))
        configuration = self.read(f'{text}key-log = "env"\n')
        self.assertEqual(configuration.tunnels[0].keyLog, Path("/var/keys"))
        self.assertRegex(show(configuration), 'key-log = "(env|/var/keys)"')

    def test_negotiationAloneHasNoKeys(self) -> None:
        """
        They are those of others.
        """
        words = (*_TUNNEL[:-2], "--starttls", "imap", "--negotiate-only", "--key-log", "k")
        with self.assertRaises(usage.UsageError) as raised:
            RunOptions().parseOptions([*words])
        self.assertIn("--key-log: is about TLS, which with --negotiate-only", str(raised.exception))
