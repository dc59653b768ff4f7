"""
What C{docs/dependencies.md} says that cannot be done: so that somebody reads it again once it can.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Recipe, make

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "dependencies.md"

# The last column: what would have to be there.
_ROW = re.compile(r"^\|.*\|([^|]*)\|$", re.MULTILINE)
_NAME = re.compile(r"`((?:OSSL|SSL|EC_KEY)_\w+)`")

# The number of an extension that OpenSSL does not know (RFC 9345).
_DELEGATED_CREDENTIAL = 34

_PADDED = """
from OpenSSL import SSL
from tests.tls.test_limits import sizeOfARecord
print(sizeOfARecord())
"""


def sizeOfARecord() -> int:
    """
    How many bytes there are on the network for one of plaintext, in TLS 1.3.
    """
    issued = make(Recipe())
    server, client = SSL.Context(SSL.TLS_METHOD), SSL.Context(SSL.TLS_METHOD)
    server.use_certificate(issued.certificate)
    server.use_privatekey(issued.key)
    ends = SSL.Connection(server, None), SSL.Connection(client, None)
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for here, there in (ends[::-1], ends) * 3:
        try:
            here.do_handshake()
        except SSL.WantReadError:
            pass
        try:
            there.bio_write(here.bio_read(1 << 16))
        except SSL.WantReadError:
            pass
    assert ends[1].get_protocol_version_name() == "TLSv1.3"
    ends[1].send(b"x")
    return len(ends[1].bio_read(1 << 16))


class LimitsTests(SynchronousTestCase):
    """
    The page, and the OpenSSL that is installed.
    """

    def test_whatIsSaidToBeMissingIs(self) -> None:
        """
        If this fails, a newer pyOpenSSL can do more than before: read the row of the page again,
        and consider what to make of it.
        """
        section = _PAGE.read_text("utf-8").partition("## What they cannot do")[2]
        names = {name for row in _ROW.findall(section) for name in _NAME.findall(row)}
        self.assertGreater(len(names), 15)
        bound = {name for name in names if hasattr(SSL._lib, name)}  # type: ignore[attr-defined]
        self.assertEqual(bound, set(), f"bound now, which {_PAGE.name} denies")

    def test_whatOpenSSLDoesNotKnow(self) -> None:
        """
        Delegated credentials.
        """
        known = SSL._lib.SSL_extension_supported  # type: ignore[attr-defined]
        self.assertFalse(known(_DELEGATED_CREDENTIAL))

    def test_recordsArePadded(self) -> None:
        """
        Where the configuration file says so.
        """
        self.assertLess(sizeOfARecord(), 64)
        file = Path(self.mktemp()).resolve()
        file.write_text(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n"
            "[c]\nRecordPadding = 1024\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", _PADDED],
            env={**os.environ, "OPENSSL_CONF": str(file), "PYTHONPATH": str(_PAGE.parents[1])},
            capture_output=True,
            check=True,
            text=True,
        )
        self.assertGreater(int(done.stdout), 1024)
