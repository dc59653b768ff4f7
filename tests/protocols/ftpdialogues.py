"""
What is said up to TLS with ftp, for tests.
"""

from __future__ import annotations

from tlstunnel.protocols.ftp import ftp
from tlstunnel.testing.dialogues import client, inside, server
from tlstunnel.testing.memory import Driver

GREETING = b"220-Welcome\r\n 221 is text, like\r\nthis\r\n\r\n220-and this\r\n220 ready\r\n"
CLIENT = [("S", GREETING), ("C", b"AUTH TLS\r\n"), ("S", b"234 Proceed with negotiation\r\n")]
SERVER = [
    ("S", b"220 tunnel.example.net ready\r\n"),
    ("C", b"FEAT\r\n"),
    ("S", b"211-Features\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"),
    ("C", b"AUTH TLS\r\n"),
    ("S", b"234 Proceed with negotiation\r\n"),
]
PROTECTED = b"200 PBSZ=0\r\n200 Protection set to Private\r\n"


# What a line can have in it.
ANY = bytes(set(range(256)) - set(b"\r\n\0"))


def app() -> Driver:
    """
    Mode -c, the app greeted.
    """
    driver = inside(client(ftp), CLIENT)
    driver.network.feed(PROTECTED)
    assert driver.stage == "relay", driver.error
    driver.plain.takeWritten()
    driver.network.takeWritten()
    return driver


def backend() -> Driver:
    """
    Mode -s, the backend met, no protection asked for.
    """
    driver = inside(server(ftp), SERVER)
    driver.plain.feed(b"220 backend\r\n")
    assert driver.stage == "relay", driver.error
    driver.network.takeWritten()
    return driver
