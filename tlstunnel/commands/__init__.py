"""
The commands of the tlstunnel program, one a module.
"""

from __future__ import annotations

#: The module in this package for each command, the class of its options, and what it is for.
COMMANDS = {
    "identity": ("identity", "IdentityOptions", "keep identities and trust in a pool"),
    "chat-check": (
        "chatcheck",
        "ChatCheckOptions",
        "explain a chat script, and warn of what will surprise",
    ),
    "demo": ("demo", "DemoOptions", "show it working, on this machine alone"),
}
