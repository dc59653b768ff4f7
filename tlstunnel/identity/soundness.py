"""
Which private keys are sound: what was found out about them, by what stands in their files.

Whether the numbers of an RSA key belong together takes a tenth of a second to find out, or a whole
one, and is the same each time.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

#: Files of keys that are remembered.
MOST_KNOWN = 10000


class Soundness:
    """
    What is known; L{known} is that of the process.
    """

    def __init__(self) -> None:
        # By digests, what was found out first in front.
        self._found: OrderedDict[bytes, bool] = OrderedDict()

    def of(self, content: bytes) -> bool | None:
        """
        Whether the key in a file that has C{content} is sound; C{None} where nobody knows.
        """
        return self._found.get(sha256(content).digest())

    def add(self, content: bytes, isSound: bool) -> None:
        """
        That was found out.
        """
        self._found[sha256(content).digest()] = isSound
        if len(self._found) > MOST_KNOWN:
            self._found.popitem(last=False)


known = Soundness()
