"""
Dialogues of apps of mysql that encrypt their passwords, for tests.
"""

from __future__ import annotations

import struct

from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.mysqlpackets import (
    CACHING_SHA2,
    ERR,
    FAST,
    FULL,
    OK,
    OTHER_SALT,
    PASSWORD,
    SALT,
    SHA256,
    SSL,
    Pieces,
    greeting,
    login,
    packet,
    sealed,
    switch,
    whole,
)
from tlstunnel.protocols.mysql import capabilitiesOf, mysql
from tlstunnel.protocols.mysqlapp import keyFor
from tlstunnel.testing.dialogues import Dialogue, client, isFiltered, setting
from tlstunnel.testing.memory import Driver

OURS = keyFor(setting())
KEY = b"\x01" + OURS.public

#: What asks for the key, and is answered with it.
REQUESTS = {CACHING_SHA2: b"\x02", SHA256: b"\x01"}


def inTLS(message: bytes) -> bytes:
    """
    A login as it is sent inside TLS.
    """
    return struct.pack("<I", capabilitiesOf(message) | SSL) + message[4:]


def begin(
    said: bytes, server: bytes = CACHING_SHA2, *options: str, verified: bool = True
) -> Driver:
    """
    Up to the login, which is sent inside TLS.

    @param said: the login of the app.
    @param server: the plugin in the greeting.
    """
    driver = client(mysql, *options)
    driver.network.feed(packet(0, greeting(server)))
    driver.plain.takeWritten()
    driver.plain.feed(packet(1, said))
    driver.network.takeWritten()
    if verified:
        driver.handshake()
    return driver


class Dialogues(SynchronousTestCase):
    """
    What is common to them.
    """

    def play(self, driver: Driver, dialogue: Dialogue, pieces: Pieces = whole) -> None:
        """
        Let C{S} and C{A} speak, and see that C{C} and C{T} do.
        """
        for who, words in dialogue:
            if who in "SA":
                for piece in pieces(words):
                    driver.feed(who, piece)
            else:
                leg = driver.network if who == "C" else driver.plain
                self.assertEqual(leg.takeWritten(), words)

    def assertOver(self, driver: Driver) -> None:
        """
        Nothing is looked at any more, and nothing left to be said.
        """
        self.assertIsNone(driver.error)
        self.assertFalse(isFiltered(driver.network) or isFiltered(driver.plain))
        self.assertEqual(driver.network.written + driver.plain.written, b"")


def key(app: int, salt: bytes, plugin: bytes) -> Dialogue:
    """
    An app gives its password.

    @param app: the number of what it says first.
    """
    return [
        ("A", packet(app, REQUESTS[plugin])),
        ("T", packet(app + 1, KEY)),
        ("A", packet(app + 2, sealed(OURS.public, salt))),
        ("C", packet(app + 1, PASSWORD)),
    ]


def verdict(server: int, app: int, words: bytes = OK) -> Dialogue:
    """
    The server decides, and all that follows passes as it is.
    """
    return [
        ("S", packet(server, words) + b"bytes"),
        ("T", packet(app, words) + b"bytes"),
        ("A", packet(0, b"\3SELECT 1") + b"\x01"),
        ("C", packet(0, b"\3SELECT 1") + b"\x01"),
    ]


def question(server: int, words: bytes) -> Dialogue:
    """
    The server says something that the app hears.
    """
    return [("S", packet(server, words)), ("T", packet(server - 1, words))]


def answer(app: int, words: bytes) -> Dialogue:
    """
    The app says something that the server hears.
    """
    return [("A", packet(app, words)), ("C", packet(app + 1, words))]


CACHING = login(CACHING_SHA2)
NATIVE = login(b"mysql_native_password", b"x" * 20)

#: An app's login, and what follows it.
DIALOGUES: dict[str, tuple[bytes, Dialogue]] = {
    "as the server greets": (
        CACHING,
        [*question(3, FULL), *key(3, SALT, CACHING_SHA2), *verdict(5, 6)],
    ),
    "a wrong password": (
        CACHING,
        [*question(3, FULL), *key(3, SALT, CACHING_SHA2), *verdict(5, 6, ERR)],
    ),
    "after a switch": (
        NATIVE,
        [
            *question(3, switch(CACHING_SHA2)),
            *answer(3, b"x" * 32),
            *question(5, FULL),
            *key(5, OTHER_SALT, CACHING_SHA2),
            *verdict(7, 8),
        ],
    ),
    "after a switch without a NUL behind its scramble": (
        NATIVE,
        [
            *question(3, switch(CACHING_SHA2)[:-1]),
            *answer(3, b"x" * 32),
            *question(5, FULL),
            *key(5, OTHER_SALT, CACHING_SHA2),
            *verdict(7, 8),
        ],
    ),
    "after a switch without a scramble": (
        NATIVE,
        [
            *question(3, b"\xfe" + SHA256 + b"\0"),
            *key(3, SALT, SHA256),
            *verdict(5, 6),
        ],
    ),
    "the outdated plugin": (
        CACHING,
        [*question(3, switch(SHA256)), *key(3, OTHER_SALT, SHA256), *verdict(5, 6)],
    ),
    "several factors": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2),
            ("S", packet(5, b"\x02" + SHA256 + b"\0" + OTHER_SALT + b"\0")),
            ("T", packet(6, b"\x02" + SHA256 + b"\0" + OTHER_SALT + b"\0")),
            # By now the app is two packets ahead, and so it goes on.
            ("A", packet(7, b"\x01")),
            ("T", packet(8, KEY)),
            ("A", packet(9, sealed(OURS.public, OTHER_SALT))),
            ("C", packet(6, PASSWORD)),
            *verdict(7, 10),
        ],
    ),
    "the server has the password": (
        CACHING,
        [*question(3, FAST), *verdict(4, 3)],
    ),
    "an app that has the key of an earlier connection": (
        CACHING,
        [
            *question(3, FULL),
            ("A", packet(3, sealed(OURS.public, SALT))),
            ("C", packet(4, PASSWORD)),
            *verdict(5, 4),
        ],
    ),
    "another plugin that says the same": (
        NATIVE,
        [*question(3, FULL), *answer(3, b"\x02"), *question(5, b"\x01x"), *verdict(6, 5)],
    ),
    "an app on a UNIX socket": (
        CACHING,
        [*question(3, FULL), *answer(3, PASSWORD), *verdict(5, 4)],
    ),
    "one whose password is as long as what is encrypted": (
        CACHING,
        [*question(3, FULL), *answer(3, b"x" * 255 + b"\0"), *verdict(5, 4)],
    ),
    "no password": (
        CACHING,
        [*question(3, switch(SHA256)), *answer(3, b"\0"), *verdict(5, 4)],
    ),
    "nothing, and then a request": (
        CACHING,
        [*question(3, switch(SHA256)), *answer(3, b""), *answer(4, b"\x01"), *verdict(6, 5)],
    ),
    "the key of the server": (
        CACHING,
        [*question(3, FULL), *answer(3, b"\xff" * 256), *verdict(5, 4, ERR)],
    ),
    "a request that nobody has asked for": (
        CACHING,
        [*question(3, b"\x01x"), *answer(3, b"\x02"), *verdict(5, 4, ERR)],
    ),
    "that of the other plugin": (
        CACHING,
        [*question(3, FULL), *answer(3, b"\x01"), *verdict(5, 4, ERR)],
    ),
    "a second request": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2)[:2],
            ("A", packet(5, b"\x02")),
            ("C", packet(4, b"\x02")),
            *verdict(5, 6, ERR),
        ],
    ),
    "a password for another scramble": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2)[:2],
            ("A", packet(5, (wrong := sealed(OURS.public, OTHER_SALT)))),
            ("C", packet(4, wrong)),
            *verdict(5, 6, ERR),
        ],
    ),
    "a password in clear after all": (
        CACHING,
        [
            *question(3, FULL),
            *key(3, SALT, CACHING_SHA2)[:2],
            ("A", packet(5, PASSWORD)),
            ("C", packet(4, PASSWORD)),
            *verdict(5, 6),
        ],
    ),
    "a server that waits no longer": (
        CACHING,
        [*question(3, FULL), *key(3, SALT, CACHING_SHA2)[:2], *verdict(4, 5, ERR)],
    ),
    "a switch of a length that no plugin has": (
        CACHING,
        [
            *question(3, switch(b"x" * 300)),
            *answer(3, b"\x01"),
            *question(5, switch(SHA256, OTHER_SALT * 20)),
            *key(5, OTHER_SALT, SHA256),
            *verdict(7, 8),
        ],
    ),
    "what has been the old authentication": (
        CACHING,
        [*question(3, b"\xfe"), *answer(3, b"\x01"), *verdict(5, 4, ERR)],
    ),
}
