"""
What of the tables C{defaults} holds for one tunnel: it has a say where the tunnel itself says
nothing, and where it means something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.keys import TUNNEL_KEYS
from tlstunnel.program.tables import Given
from tlstunnel.protocols import registry
from tlstunnel.protocols.options import nameOf, optionsIn
from tlstunnel.tunnel.description import Mode

# Which of these a tunnel has makes the others of no use.
_UPGRADES = ("starttls", "chat")
_BRIDGED = ("starttls-in", "starttls-out")

# In which modes each of them means anything.
_MODES = {
    each.name: frozenset(mode.value for mode in Mode if each.means(mode)) for each in TUNNEL_KEYS
}

# Which keys say that a tunnel asks who its clients are.
_ASKING = ("remote-id", "remote-id-file", "client-id", "client-id-file")


_EVERY_MODE = frozenset(each.value for each in Mode)


def withDefaults(own: Mapping[str, Given], *defaults: Mapping[str, Given]) -> dict[str, Given]:
    """
    What holds for a tunnel.

    @param own: what it says itself.
    @param defaults: what holds for all, the most general first.
    """
    found: dict[str, Given] = {}
    for each in defaults:
        found |= each
    found |= own
    return dict(_meaningful(found))


def _meaningful(found: Mapping[str, Given]) -> Iterator[tuple[str, Given]]:
    for key, each in found.items():
        if not each.isDefault:
            yield key, each
        elif key == "dialect-option":
            yield key, _ofDialect(each, found)
        elif _means(key, found):
            yield key, each


def _means(key: str, found: Mapping[str, Given]) -> bool:
    """
    Whether the default of C{key} has a meaning beside all that is C{found}.
    """
    mode = str(found["mode"].value) if "mode" in found else ""
    if mode in _EVERY_MODE and mode not in _MODES[key]:
        return False
    if key in ("deny-id", "deny-id-file"):
        # A tunnel that asks nobody who he is can deny nobody anything.
        asking = _ASKING[2:] if mode == Mode.BRIDGE.value else _ASKING[:2]
        return any(each in found for each in asking)
    if key == "agent":
        return _isCertified(found)
    if key in _UPGRADES:
        return not any(each in found and not found[each].isDefault for each in _UPGRADES)
    if key in ("chat-strict", "chat-files"):
        return "chat" in found
    if key.startswith("socket-"):
        return any(map(_isPath, _words(found, "local")))
    return True


def _isCertified(found: Mapping[str, Given]) -> bool:
    """
    Whether a tunnel needs certificates for identities that it names.
    """
    ours = _words(found, "local-id")
    isShared = "psk" in _words(found, "trust") or True in _words(found, "negotiate-only")
    return bool(ours) and ours != ["auto"] and not isShared


def _words(found: Mapping[str, Given], key: str) -> list[object]:
    """
    The elements of a value, however many it is given as.
    """
    value = found[key].value if key in found else []
    return value if isinstance(value, list) else [value]


def _isPath(address: object) -> bool:
    return isinstance(address, str) and address.startswith(("/", "unix:"))


def _ofDialect(each: Given, found: Mapping[str, Given]) -> Given:
    """
    Those options that the dialect of the tunnel has.
    """
    names = (
        []
        if "chat" in found
        else [name for key in ("starttls", *_BRIDGED) for name in _words(found, key)]
    )
    known: set[str] = set()
    mode = str(found["mode"].value) if "mode" in found else ""
    for name in names or ["none"]:
        # What is no name is told where it stands.
        with suppress(ConfigurationError):
            dialect = registry.find(str(name))
            modes = (mode,) if mode in ("client", "server") else ("client", "server")
            known |= {each for side in modes for each in optionsIn(side, dialect)}
    words = _words({"dialect-option": each}, "dialect-option")
    kept = [number for number, word in enumerate(words) if nameOf(word) in known]
    places = each.places or (each.place,)
    return replace(
        each,
        value=[words[number] for number in kept],
        places=tuple(places[number] for number in kept),
    )
