"""
How servers take their leave, in protocols of lines (rule 10).

A server has to wait inside TLS until the app has spoken, but some lose patience: they say so, in
the words that their protocol has for it, and close.  These functions know such words, and tell a
L{tlstunnel.protocols.base.ClientRole} about all that a server has said: L{True} where that is a
whole farewell and nothing else, L{False} where it is none, L{None} as long as it may become one.
"""

from __future__ import annotations

from tlstunnel.protocols.conversation import isBroken


def isLine(said: bytes, words: bytes) -> bool | None:
    """
    Whether C{said} is one line that begins with C{words}, in upper case here, as whole words.  What
    the app may take for two lines is none (rule 16).
    """
    behind = said[len(words) : len(words) + 1]
    if not words.startswith(said[: len(words)].upper()) or behind not in (b"", b" ", b"\r", b"\n"):
        return False
    if isBroken(said):
        return False
    end = said.find(b"\n")
    return None if end < 0 else end == len(said) - 1


def isReply(said: bytes, code: bytes) -> bool | None:
    """
    Whether C{said} is a numeric reply of this C{code}, all of whose lines begin with it.
    """
    while said.startswith(code + b"-"):
        line, end, said = said.partition(b"\n")
        if isBroken(line + end):
            return False
        if not end:
            return None
    return isLine(said, code)
