"""
How provisioning fails, beside the ways in which any connection does.
"""

from __future__ import annotations

from tlstunnel.errors import Refused
from tlstunnel.protocols.ldap import codeName


class ResultRefused(Refused):
    """
    The directory has answered with a result that is no success.

    @ivar code: which one.
    """

    def __init__(self, what: str, code: int, words: bytes = b"") -> None:
        super().__init__(f"{what}: the directory answered {codeName(code)}", words)
        self.code = code


class Withheld(Refused):
    """
    The directory would have us remove so much that it looks like a mishap of its own.
    """
