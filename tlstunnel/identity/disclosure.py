"""
Who is shown to whom.
"""

from __future__ import annotations

from tlstunnel.identity.caller import Caller
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.users import mayUse


class NotYours(Exception):
    """
    The caller may not use that identity.
    """


class NotDisclosed(Exception):
    """
    The rules do not show it there.
    """


def whomToShow(
    pool: Pool, caller: Caller, remote: Identity, asked: Identity | None
) -> Identity | None:
    """
    Who we are to C{remote}.
    """
    if asked is not None and not mayUse(pool, asked, caller):
        raise NotYours(f"user {caller.uid} may not be {asked}")
    return asked
