"""
The settings of a pool that follows a directory, in the process that serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.program.option import Option, Scope, Section
from tlstunnel.program.values import inFolder, text
from tlstunnel.provisioning.url import LDAPURL

if TYPE_CHECKING:
    from tlstunnel.provisioning.connection import Place

#: What the table is called, and whoever follows the directory.
POOL_PULL = "pool-pull"


def _option(
    name: str,
    help: str,
    argument: str,
    parse: Callable[[str], object],
    more: str = "",
    place: Callable[[str, Path], str] | None = None,
) -> Option:
    return Option(
        name,
        Section.POOL_PULL,
        help,
        more,
        argument=argument,
        parse=lambda value: parse(text(value)),
        default=None,
        scope=Scope.POOL_PULL,
        place=place,
    )


#: Of the table C{pool-pull}.
POOL_PULL_KEYS = (
    _option(
        "url",
        "the directory, and the entry below which everything is",
        "LDAP-URL",
        LDAPURL.parse,
        "As ldap://HOST/BASE, with StartTLS, ldaps://HOST/BASE, or ldapi://%2FPATH/BASE.",
    ),
    _option(
        "local-id",
        "who we are to the directory, by a certificate of the pool; by default none",
        "ID",
        Identity.parse,
    ),
    _option(
        "remote-id",
        "who the directory has to be; by default the host in url",
        "ID",
        Identity.parse,
    ),
    _option(
        "pool",
        "the pool that is kept as the directory has it, by default that of the tunnels",
        "DIR",
        str,
        "We must be able to write to it.",
        inFolder,
    ),
)


def describePull(values: Mapping[str, Any]) -> Place:
    """
    Where the directory is, and who meets there.

    @param values: those of L{POOL_PULL_KEYS}, by their names.
    @raise ConfigurationError: it is nowhere.
    """
    if values["url"] is None:
        raise ConfigurationError(
            "`url`", "is missing", "give one such as ldap://ldap.example.org/ou=pool,dc=example"
        )
    # Few need it.
    from tlstunnel.provisioning.connection import Place

    pool = defaultPool().path if values["pool"] is None else Path(values["pool"])
    return Place(values["url"], Pool(pool), values["local-id"], values["remote-id"])
