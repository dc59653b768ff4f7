"""
The PIN of a token, as a reference to a key says where it is.

C{pin-source} names a file of our own: by its path, or by its name alone among the credentials that
systemd gives us (systemd.exec(5), LoadCredential).  Programs are not run for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.keyreference import KeyReference
from tlstunnel.identity.pem import readFile

#: More than tokens take (CKA_... of most: 255).
LONGEST_PIN = 255

#: Where systemd says where they are.
CREDENTIALS = "CREDENTIALS_DIRECTORY"

_REMEDY = "write pin-source=file:/PATH, or the name of a credential of systemd"


def pinOf(
    reference: KeyReference, source: str, environment: Mapping[str, str] = os.environ
) -> bytes | None:
    """
    The PIN that a reference has, or says where it is; nothing where the token asks for none.

    @param source: the file of the reference, for messages.
    @raise ConfigurationError: there is none, or others can read it.
    """
    given = reference.pinValue
    if given is not None:
        return _checked(unquote_to_bytes(given), source)
    where = reference.pinSource
    if where is None:
        return None
    path = _pathOf(where, source, environment)
    content = readFile(path, private=True, largest=LONGEST_PIN + 2)
    return _checked(content.rstrip(b"\r\n"), str(path))


def _pathOf(where: str, source: str, environment: Mapping[str, str]) -> Path:
    name = where.removeprefix("file:")
    if name.startswith("///"):
        name = name[2:]
    # What is not printable would be one in two lines of a message.
    isNone = not name.isprintable() or name.startswith(("|", "//"))
    if not name or isNone or (":" in name and not name.startswith("/")):
        raise ConfigurationError(source, "has a pin-source that is no file", _REMEDY)
    if name.startswith("/"):
        return Path(name)
    if "/" in name or name in {".", ".."}:
        raise ConfigurationError(
            source,
            f"has the pin-source {name!r}, which is neither an absolute path nor a name",
            _REMEDY,
        )
    folder = environment.get(CREDENTIALS)
    if not folder:
        raise ConfigurationError(
            source,
            f"has the pin-source {name!r}, which is the name of a credential of systemd, and there "
            f"are none (${CREDENTIALS})",
            f"write LoadCredential={name}:/PATH into the unit, or pin-source=file:/PATH",
        )
    return Path(folder, name)


def _checked(pin: bytes, source: str) -> bytes:
    if not pin or len(pin) > LONGEST_PIN or b"\n" in pin or b"\0" in pin:
        raise ConfigurationError(
            source, "holds no PIN", f"write one line of at most {LONGEST_PIN} bytes"
        )
    return pin
