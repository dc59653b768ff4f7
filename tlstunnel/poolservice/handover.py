"""
One connection that a program has handed over.
"""

from __future__ import annotations


class HandOver:
    """
    One of them.
    """
