"""
What a header of version 2 of the PROXY protocol may have beside the addresses, by the names that
C{proxy-tlv} takes.
"""

from __future__ import annotations

#: All of them.
TLVS = (
    "alpn",
    "authority",
    "unique-id",
    "crc32c",
    "ssl",
    "ssl-version",
    "ssl-cn",
    "ssl-cipher",
    "ssl-sig-alg",
    "ssl-key-alg",
    "ssl-group",
    "ssl-client-cert",
    "identity",
)
