"""
The dialect that docs/writing-a-dialect.md shows.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import PlaintextAfterStartTLS, Quit, Refused
from tlstunnel.protocols.base import Dialect
from tlstunnel.testing.memory import Driver

SOURCE = Path(__file__).parent.parent / "docs/example/tlstunnel/plugins/nut_dialect.py"


def nut() -> Dialect:
    """
    Load it from where it is, which is on nobody's module search path.
    """
    spec = importlib.util.spec_from_file_location("nut_dialect", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dialect: Dialect = module.nut
    return dialect


class ExampleTests(SynchronousTestCase):
    """
    NUT, in both roles.
    """

    def test_clientAsksForTLS(self) -> None:
        """
        One line each way, then the app speaks first.
        """
        driver = Driver(nut(), "client")
        self.assertEqual(driver.network.written, b"STARTTLS\n")
        driver.network.feed(b"OK STARTTLS\n")
        driver.handshake()
        driver.plain.feed(b"VER\n")
        self.assertEqual(driver.network.written, b"STARTTLS\nVER\n")

    def test_clientTakesNoForNo(self) -> None:
        """
        Whatever is not OK is a refusal.
        """
        driver = Driver(nut(), "client")
        driver.network.feed(b"ERR FEATURE-NOT-CONFIGURED\n")
        self.assertIsInstance(driver.error, Refused)

    def test_serverOffersTLS(self) -> None:
        """
        Commands wait until TLS is up, and then reach the backend.
        """
        driver = Driver(nut(), "server")
        driver.network.feed(b"LIST UPS\n")
        self.assertFalse(driver.backendDialled)
        driver.network.feed(b"STARTTLS\n")
        self.assertEqual(driver.network.written, b"ERR ACCESS-DENIED\r\nOK STARTTLS\r\n")
        driver.handshake()
        driver.network.feed(b"LIST UPS\n")
        self.assertEqual(driver.plain.written, b"LIST UPS\n")

    def test_serverLetsGo(self) -> None:
        """
        A client may leave without TLS.
        """
        driver = Driver(nut(), "server")
        driver.network.feed(b"LOGOUT\n")
        self.assertIsInstance(driver.error, Quit)

    def test_nothingSlipsThroughTheSwitch(self) -> None:
        """
        The base class looks into the buffer, in both roles.
        """
        client, server = Driver(nut(), "client"), Driver(nut(), "server")
        client.network.feed(b"OK STARTTLS\nVER 2\n")
        server.network.feed(b"STARTTLS\nLIST UPS\n")
        for driver in (client, server):
            self.assertIsInstance(driver.error, PlaintextAfterStartTLS)
