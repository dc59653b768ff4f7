"""
What serves a connection in each mode.
"""

from __future__ import annotations

from tlstunnel.tunnel.bridgepair import BridgePair
from tlstunnel.tunnel.clientpair import ClientPair
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.negotiation import ClientNegotiation, ServerNegotiation
from tlstunnel.tunnel.pair import Pair
from tlstunnel.tunnel.serverpair import ServerPair

#: What serves a connection.
PAIRS: dict[Mode, type[Pair]] = {
    Mode.CLIENT: ClientPair,
    Mode.SERVER: ServerPair,
    Mode.BRIDGE: BridgePair,
}

#: The same where TLS is for others to speak.
NEGOTIATIONS: dict[Mode, type[Pair]] = {
    Mode.CLIENT: ClientNegotiation,
    Mode.SERVER: ServerNegotiation,
}
