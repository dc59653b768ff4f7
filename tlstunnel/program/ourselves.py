"""
Who a tunnel is, from what was given: identities, or the word by which the rules of the pool say it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.showing import AUTO, NOT_FOR_SERVERS


def isByRules(mode: Mode | None, given: Sequence[str]) -> bool:
    """
    Whether the rules of the pool say who we are.
    """
    return mode is Mode.CLIENT and tuple(given) == (AUTO,)


def localIDs(
    mode: Mode | None, given: Sequence[str], sharesKeys: bool = False
) -> tuple[Identity, ...]:
    """
    The identities; none, where rules say it.

    @param sharesKeys: whether there are pre-shared keys, and no certificates.
    @raise ConfigurationError: one is missing, is none, is there twice, or is one too many.
    """
    if isByRules(mode, given):
        return ()
    if mode is Mode.SERVER and not (given or sharesKeys):
        raise ConfigurationError("`local-id`", "is missing", "give the name in our certificate")
    if mode is Mode.SERVER and AUTO in given:
        raise ConfigurationError(f"`local-id` {AUTO}", *NOT_FOR_SERVERS)
    if mode is Mode.CLIENT and len(given) > 1:
        raise ConfigurationError(
            "`local-id`",
            f"has {len(given)} values, and with `client` we show one certificate",
            f"give one; or '{AUTO}' alone, and rules with 'tlstunnel identity disclose'",
        )
    found: dict[Identity, None] = {}
    for each in given:
        try:
            identity = Identity.parse(each)
        except ValueError as error:
            raise ConfigurationError.of("`local-id`", error) from None
        if identity in found:
            raise ConfigurationError(f"`local-id` {each}", "is given twice", "give it once")
        found[identity] = None
    return tuple(found)
