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

#: What stands within the TLV of TLS, by its number (section 2.2.6 of the specification).
SSL_PARTS = {
    0x21: "ssl-version",
    0x22: "ssl-cn",
    0x23: "ssl-cipher",
    0x24: "ssl-sig-alg",
    0x25: "ssl-key-alg",
    0x26: "ssl-group",
    0x28: "ssl-client-cert",
}

#: The number of the identity that a client has proved, in the range of the applications (section
#: 2.2.8): none that is known to be used by others, as are 0xE0 (Google), 0xEA (Amazon) and 0xEE
#: (Microsoft).
IDENTITY = 0xED

#: What is known before TLS.
BEFORE_TLS = frozenset(("unique-id", "crc32c"))
