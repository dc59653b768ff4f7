"""
Where something listens, or who is at the other end.

L{tlstunnel.address.places} has the addresses, L{tlstunnel.address.text} reads those that people
write.
"""

from __future__ import annotations

from tlstunnel.address.places import (
    PROGRAM,
    SERVICE,
    Address,
    DescriptorAddress,
    ExecAddress,
    InheritedAddress,
    Listening,
    Peer,
    Remote,
    SRVAddress,
    TCPAddress,
    UNIXAddress,
    addressOf,
)
from tlstunnel.address.services import SERVICES
from tlstunnel.address.text import LONGEST_NAME, parseAddress, parseListening, parseService

__all__ = [
    "LONGEST_NAME",
    "PROGRAM",
    "SERVICE",
    "SERVICES",
    "Address",
    "DescriptorAddress",
    "ExecAddress",
    "InheritedAddress",
    "Listening",
    "Peer",
    "Remote",
    "SRVAddress",
    "TCPAddress",
    "UNIXAddress",
    "addressOf",
    "parseAddress",
    "parseListening",
    "parseService",
]
