"""
The dialect that docs/writing-a-dialect.md shows.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Quit, Refused
from tlstunnel.protocols.base import (
    Dialect,
)
from tlstunnel.testing.conformance import ClientConformance, ServerConformance

SOURCE = Path(__file__).parent.parent / "docs/example/tlstunnel/plugins/nut_dialect.py"


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
