"""
Who may use one of our identities.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from tlstunnel.identity.caller import Caller
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool


def mayUse(pool: Pool, identity: Identity, caller: Caller) -> bool:
    """
    Whether C{caller} may be C{identity}.
    """
    return caller.uid in (0, os.geteuid())


def usable(pool: Pool, caller: Caller) -> Iterator[Identity]:
    """
    All whom C{caller} may be.
    """
    return (each for each in pool.identities() if mayUse(pool, each, caller))
