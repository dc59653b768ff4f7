"""
Whether the settings that say who may come in make sense together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.tunnel.description import PINS, Mode


def checkAccess(mode: Mode, values: Mapping[str, Any]) -> None:
    """
    See that lists and pins are asked for where they decide anything.

    @raise ConfigurationError: somebody relies on one that would decide nothing.
    """
    alone = PINS in values["trust"]
    if alone and len(values["trust"]) > 1:
        raise ConfigurationError(
            f"`trust` {PINS}", "is there, and others too", "give it alone, or leave it out"
        )
    if alone and not values["pin"]:
        raise ConfigurationError(
            f"`trust` {PINS}", "believes keys, and none is pinned", "give `pin` too"
        )
    isNamed = values["remote-id"] or values["remote-id-file"]
    if mode is Mode.CLIENT or isNamed:
        return
    for key in ("deny-id", "deny-id-file"):
        if values[key]:
            raise ConfigurationError(
                f"`{key}`",
                "has no effect, as without `remote-id` clients are not asked who they are",
                "say with `remote-id` who may come, as . for all domains and @. for all users",
            )
    if values["pin"] and not alone:
        raise ConfigurationError(
            "`pin`",
            "pins nothing, as without `remote-id` clients are not asked for a certificate",
            f"give `remote-id`; or `trust` {PINS}, to let in whoever has one of the keys",
        )
