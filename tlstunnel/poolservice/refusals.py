"""
Why a program does not get what it wants: before a connection of its own could fail.

Each has a word for the program and the log, as every L{TunnelError} has.
"""

from __future__ import annotations

from tlstunnel.local.refusals import Refusal


class BadRequest(Refusal):
    """
    The request is not what the protocol has.
    """

    reason = "syntax"


class NotConnected(Refusal):
    """
    What was handed over is no connection.
    """

    reason = "not-connected"


class NoRemote(Refusal):
    """
    A client has to say who must be at the other end.
    """

    reason = "no-remote"


class NotForCaller(Refusal):
    """
    The program may not use that identity.
    """

    reason = "not-yours"


class Undisclosed(Refusal):
    """
    The rules of the pool do not show that identity there.
    """

    reason = "not-disclosed"


class BadPool(Refusal):
    """
    Something in the pool is missing or wrong.
    """

    reason = "config"


class Gone(Refusal):
    """
    What it is about is over, or the program is.
    """

    reason = "gone"


class Leaving(Refusal):
    """
    The service is about to stop.
    """

    reason = "stopped"
