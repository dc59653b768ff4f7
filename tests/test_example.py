"""
The dialect that docs/writing-a-dialect.md shows.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Quit, Refused, TooManyErrors
from tlstunnel.protocols.base import (
    Dialect,
)
from tlstunnel.testing.conformance import ClientConformance, ServerConformance

SOURCE = Path(__file__).parent.parent / "docs/example/tlstunnel/plugins/acap_dialect.py"


def load() -> Dialect:
    """
    Load it from where it is, which is on nobody's module search path.
    """
    spec = importlib.util.spec_from_file_location("acap_dialect", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dialect: Dialect = module.acap
    return dialect


acap = load()

GREETING = b'* ACAP (SASL "PLAIN") (STARTTLS)\r\n'


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    ACAP, the client role.
    """

    dialect = acap
    silent = False
    dialogue = [
        ("S", GREETING),
        ("C", b"t1 STARTTLS\r\n"),
        ("S", b't1 OK "Begin TLS negotiation"\r\n'),
    ]
    inside = [("S", GREETING), ("T", GREETING)]
    variants = [(0, b"* ACAP (SASL)\n"), (2, b"t1 OK\n")]
    failures = [
        (0, b'* BYE "too busy"\r\n', Malformed),
        (2, b't1 NO "no"\r\n', Refused),
        (2, b't10 OK "go"\r\n', Refused),
        (2, b"t1 OK\0\r\n", Malformed),
        (2, b"t1 OK " + b"x" * 2048 + b"\r\n", Oversize),
    ]


OURS = b'* ACAP (IMPLEMENTATION "tlstunnel") (STARTTLS)\r\n'
REFUSED = b'a1 NO (ENCRYPT-NEEDED) "STARTTLS first"\r\n'
NO_TAG = b'* BAD "no tag"\r\n'


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    ACAP, the server role.
    """

    dialect = acap
    dialogue = [
        ("S", OURS),
        ("C", b"t1 STARTTLS\r\n"),
        ("S", b't1 OK "Begin TLS negotiation"\r\n'),
    ]
    answers = {b"\r\n": NO_TAG, b"* STARTTLS\r\n": NO_TAG}
    needsTLS = {
        b'a1 AUTHENTICATE "PLAIN" "AGEAYg=="\r\n': REFUSED,
        b"a1 NOOP\r\na1 STARTTLS x\r\n": REFUSED * 2,
    }
    farewells = [
        (b"a1 LOGOUT\r\n", b'* BYE "bye"\r\na1 OK "done"\r\n', Quit),
        (b"\r\n\r\n\r\n", NO_TAG * 2 + b'* BYE "too many errors"\r\n', TooManyErrors),
        (b'a1 AUTHENTICATE "PLAIN" {8+}\r\n', b"", Malformed),
    ]
