"""
Tests for L{tlstunnel.tunnel.description}.
"""

from __future__ import annotations

import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.address import TCPAddress
from tlstunnel.protocols.registry import find
from tlstunnel.tunnel.description import Mode, Tunnel


class TunnelTests(SynchronousTestCase):
    """
    L{Tunnel}.
    """

    def test_itIsFrozen(self) -> None:
        """
        What changes is another tunnel.
        """
        tunnel = Tunnel(Mode.CLIENT, (), (TCPAddress("a.example", 1),), find("none"))
        with self.assertRaises(dataclasses.FrozenInstanceError):
            tunnel.trust = ("system",)  # type: ignore[misc]
