"""
The rules of a pool for people: who may use its identities, and who is shown to whom.
"""

from __future__ import annotations

from collections.abc import Iterator

from tlstunnel.commands.allow import whoMayUse
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.disclosure import rules
from tlstunnel.identity.files import present
from tlstunnel.identity.pool import Pool


def rulesOf(pool: Pool) -> Iterator[str]:
    """
    All of them, a line each; nothing where there are none.

    @raise ConfigurationError: there is something else in their place.
    """
    users = []
    for identity in pool.identities():
        if present(pool.usersFile(identity)):
            try:
                users.append((str(identity), whoMayUse(pool, identity)))
            except ConfigurationError as error:
                users.append((str(identity), f"nobody, as this is broken: {error}"))
    yield from _table("MAY BE USED", "BY", users)
    shown = []
    for each in rules(pool):
        if isinstance(each, ConfigurationError):
            shown.append(("?", f"broken: {each}"))
        else:
            shown.append((str(each.selector), str(each) or "no identity"))
    yield from _table("TO", "WE ARE", shown)


def _table(left: str, right: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if not rows:
        return
    yield ""
    rows = [(left, right), *rows]
    width = max(len(each) for each, _ in rows)
    for each, other in rows:
        yield f"{each.ljust(width)}  {other}"
