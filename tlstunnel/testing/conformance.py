"""
The conformance suite: what every dialect does, whatever it says, in both roles.

Mix L{ClientConformance} or L{ServerConformance} into a test case, and describe the dialogue (see
L{tlstunnel.testing.dialogues})::

    class NUTClientTests(ClientConformance, SynchronousTestCase):
        dialect = nut
        dialogue = [("C", b"STARTTLS\\n"), ("S", b"OK STARTTLS\\n")]

Everything runs in memory on a test clock, through the coroutines that serve real connections.  The
numbers are those of the rules in C{docs/security.md}; a failure says where to look.  Needs
hypothesis.
"""

from __future__ import annotations

from tlstunnel.testing.clientrules import ClientConformance
from tlstunnel.testing.serverrules import ServerConformance

__all__ = ["ClientConformance", "ServerConformance"]
