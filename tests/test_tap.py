"""
Tests for L{tlstunnel.tap}: what twistd gets.
"""

from __future__ import annotations

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel import tap
from tlstunnel.program.options import LOG_OPTIONS, TUNNEL_OPTIONS


class TapTests(SynchronousTestCase):
    """
    The options; what the service does is tested with twistd itself, beside the program.
    """

    def test_twistdFindsUs(self) -> None:
        """
        By its plugin.
        """
        from twisted.plugins import tlstunnel_plugin

        maker = tlstunnel_plugin.tlstunnel
        self.assertEqual(maker.tapname, "tlstunnel")
        self.assertIs(maker.options, tap.Options)
        self.assertIs(maker.makeService, tap.makeService)

    def test_theLogIsTwistds(self) -> None:
        """
        All options are those of the program, but for the log, for which twistd has its own.
        """
        self.assertEqual(tap.Options.settings, TUNNEL_OPTIONS)
        for option in LOG_OPTIONS:
            with self.assertRaises(usage.UsageError):
                tap.Options().parseOptions([f"--{option.name}"])
