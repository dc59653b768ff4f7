"""
What is probably a mistake in the limits by source of a tunnel: whom they keep out, and what they
count together.
"""

from __future__ import annotations

from collections.abc import Iterator

from tlstunnel.address import Listening, TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.net.networks import EVERYBODY, FIRST4, LAST4, Networks, parseNetwork
from tlstunnel.tunnel.description import Tunnel

# Who can connect where, by the family of the address, and whether only this host can.
_FROM4 = Networks.ofRanges([(FIRST4, LAST4)])
_FROM6 = Networks.of([parseNetwork("::/0")])
_LOOPBACK4 = Networks.of([parseNetwork("127.0.0.0/8")])
_LOOPBACK6 = Networks.of([parseNetwork("::1")])

#: The addresses of IPv6 that a customer usually gets begin with so many bits of their own.
USUAL_BITS = 64


def ofSources(tunnel: Tunnel) -> Iterator[ConfigurationError]:
    """
    What an administrator should look at once more.
    """
    yield from _keptOut(tunnel)
    yield from _together(tunnel)


def _keptOut(tunnel: Tunnel) -> Iterator[ConfigurationError]:
    """
    The addresses that nobody can use.
    """
    allowed = tunnel.allow or EVERYBODY
    if not tunnel.allow and not tunnel.deny:
        return
    if tunnel.local and all(isinstance(each, UNIXAddress) for each in tunnel.local):
        yield ConfigurationError(
            "`allow`" if tunnel.allow else "`deny`",
            "does not apply to UNIX sockets, and `local` has nothing else",
            "let `socket-mode` and `socket-group` say who may connect",
        )
    elif tunnel.deny.covers(allowed):
        yield ConfigurationError(
            "`deny`",
            "has all that `allow` has" if tunnel.allow else "has all addresses",
            "no client can connect; leave some of it out",
        )
    else:
        for each in tunnel.local:
            could = _couldComeTo(each)
            if tunnel.deny.covers(allowed & could):
                yield ConfigurationError(
                    "`allow`" if tunnel.allow else "`deny`",
                    f"keeps out everybody who could connect to {each}",
                    f"let somebody in who can, or take {each} out of `local`",
                )


def _couldComeTo(local: Listening) -> Networks:
    """
    The addresses from which somebody could connect to C{local}.
    """
    if not isinstance(local, TCPAddress) or not local.isLiteral or local.host == "::":
        return EVERYBODY
    if ":" in local.host:
        return _LOOPBACK6 if local.isLocal else _FROM6
    return _LOOPBACK4 if local.isLocal else _FROM4


def _together(tunnel: Tunnel) -> Iterator[ConfigurationError]:
    """
    What the counts of sources come to.
    """
    limits = tunnel.limits
    counting = "max-per-address" if limits.perAddress else "max-rate-per-address"
    if not limits.perAddress and not limits.ratePerAddress:
        for key, bits, usual in (
            ("ipv4-prefix", limits.ipv4Prefix, type(limits).ipv4Prefix),
            ("ipv6-prefix", limits.ipv6Prefix, type(limits).ipv6Prefix),
        ):
            if bits != usual:
                yield ConfigurationError(
                    f"`{key}`",
                    "says what is one source, and nothing is limited by source",
                    "give `max-per-address` or `max-rate-per-address` too, or leave it out",
                )
        return
    if limits.ipv6Prefix > USUAL_BITS:
        yield ConfigurationError(
            "`ipv6-prefix`",
            f"makes sources of less than a /{USUAL_BITS}, and many a host has a whole one, so that "
            f"`{counting}` does not bind it",
            f"give {USUAL_BITS} or less, unless all who connect are on links of yours",
        )
    for each in tunnel.local:
        if each.isLocal if isinstance(each, TCPAddress) else isinstance(each, UNIXAddress):
            yield ConfigurationError(
                f"`{counting}`",
                f"counts all who connect to {each} as one source, as they are all on this host",
                "see that it is enough for all of them together, or leave it out",
            )
    if limits.perAddress > limits.strangers:
        yield ConfigurationError(
            "`max-per-address`",
            f"lets one source have all the {limits.strangers} places for those who are not "
            "verified yet",
            "give less than that; it is `max-unverified`, or a quarter of `max-connections`",
        )
