"""
A client of the pool service: hand over a connected socket, and get plaintext and identities.

It needs the standard library alone, and may be copied.
"""

from __future__ import annotations
