"""
The two sides of a bridge, as the settings of two tunnels: one in server mode, and one in client
mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.protocols import registry
from tlstunnel.protocols.options import nameOf, optionsIn
from tlstunnel.tunnel.bridge import OF_ACCEPTED, OF_CONNECTED
from tlstunnel.tunnel.description import Mode, Tunnel


def acceptedSide(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    The values of a tunnel in server mode that is the accepted side of a bridge.

    @param values: those of the bridge.
    """
    side = _side(values, Mode.SERVER, OF_ACCEPTED)
    if values["client-minimum-tls"] is None:
        side["minimum-tls"] = values["minimum-tls"]
    return side


def connectedSide(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    The same of the connected side, in client mode.
    """
    side = _side(values, Mode.CLIENT, OF_CONNECTED)
    ours = values["remote-as"]
    if ours is None:
        return {**side, "local-id": (), "agent": None}
    return {**side, "local-id": (ours,)}


def _side(values: Mapping[str, Any], mode: Mode, keys: Mapping[str, str]) -> dict[str, Any]:
    side = {
        each.name: values[each.name]
        if each.inBridge and each.mode in (None, mode)
        else each.default
        for each in TUNNEL_OPTIONS
        if each.name in values
    }
    side |= {each.value: each is mode for each in Mode}
    side |= {key: values[own] for key, own in keys.items()}
    if side["alpn"] is None:
        side["alpn"] = _protocolIDs(values)
    known = _optionsOf(side["starttls"], mode)
    isServer = mode is Mode.SERVER
    others = _optionsOf(
        values[("starttls-in", "starttls-out")[isServer]], Mode.CLIENT if isServer else Mode.SERVER
    )
    # What neither side has is told once.
    side["dialect-option"] = tuple(
        word
        for word in values["dialect-option"]
        if nameOf(word) in known or (isServer and nameOf(word) not in others)
    )
    return side


def _protocolIDs(values: Mapping[str, Any]) -> tuple[bytes, ...] | None:
    """
    Those of the protocol, whichever side says its name.
    """
    name = values["starttls-in"] or values["starttls-out"]
    try:
        return tuple(registry.find(name).alpn) if name else None
    except ConfigurationError:
        # Which is told where it stands.
        return None


def _optionsOf(name: str | None, mode: Mode) -> set[str]:
    try:
        return optionsIn(mode.value, registry.find(name or "none"))
    except ConfigurationError:
        return set()


def bridge(accepted: Tunnel, connected: Tunnel) -> Tunnel:
    """
    The bridge that two sides make.
    """
    return replace(accepted, mode=Mode.BRIDGE, onward=connected)
