"""
The commands of the tlstunnel program, one a module.
"""

from __future__ import annotations

#: The exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130

#: The module in this package for each command, the class of its options, and what it is for.
COMMANDS = {
    "identity": ("identity", "IdentityOptions", "keep identities and trust in a pool"),
    "pool": (
        "pool",
        "PoolCommandOptions",
        "serve the pool to programs of this host, or keep it as a directory has it",
    ),
    "chat-check": (
        "chatcheck",
        "ChatCheckOptions",
        "explain a chat script, and warn of what will surprise",
    ),
    "status": ("status", "StatusOptions", "show how the one that runs is"),
    "health": (
        "health",
        "HealthOptions",
        "exit with 0 if the one that runs serves all its tunnels",
    ),
    "unit": ("unit", "UnitOptions", "print a unit for systemd, with the path of this program"),
    "convert": (
        "convert",
        "ConvertOptions",
        "make a configuration file from one of stunnel, or a command line of ghostunnel",
    ),
    "probe": (
        "probe",
        "ProbeOptions",
        "look at a server: its TLS, certificates, and whether to trust it",
    ),
    "demo": ("demo", "DemoOptions", "show it working, on this machine alone"),
}
