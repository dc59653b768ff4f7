"""
What a failure of the conformance suite says to the author of a dialect: where to look, and which
rule of C{docs/security.md} is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

_Test = TypeVar("_Test", bound=Callable[..., None])


def lookAt(where: str, *rules: int) -> Callable[[_Test], _Test]:
    """
    Decorates a test of the suite: what it says when it fails.

    @param where: the methods and attributes of a role, or of the description of a dialect, that
        make the test fail, and how.
    @param rules: the numbers of the rules that are broken.
    """
    numbers = " and ".join(map(str, rules))
    named = f" ({'rule' if len(rules) == 1 else 'rules'} {numbers})" if rules else ""

    def decorated(test: _Test) -> _Test:
        @wraps(test)
        def tried(self: Any) -> None:
            try:
                test(self)
            except AssertionError as failure:
                role = f"the {self.mode} role of {self.dialect.name}"
                raise AssertionError(f"{role}: {failure}\nlook at {where}{named}") from failure

        return tried  # type: ignore[return-value]

    return decorated
