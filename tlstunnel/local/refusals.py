"""
Why a process of this host does not get what it wants, whatever that is.

Each has a word for it and the log, as every L{TunnelError} has.
"""

from __future__ import annotations

from tlstunnel.errors import TunnelError


class Refusal(TunnelError):
    """
    What a program asks for is not for it, or makes no sense.
    """

    reason = "refused"


class Unidentified(Refusal):
    """
    The system does not say who it is.
    """

    reason = "config"


class TooMany(Refusal):
    """
    There are as many connections as the limits allow.
    """

    reason = "limit"
