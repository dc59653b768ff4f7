"""
Identities of ours that have no certificate on purpose: whoever keeps the pool has withdrawn it, or
has not got it yet.

A file beside the key says so.  Without it, a certificate that is missing is a mishap: whoever has
read it before goes on with it, and whoever has not does not start.  A certificate that is there
counts in any case, whoever has put it there, so that it comes and goes in one step::

    POOL/ID/withdrawn
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import present, writeFile
from tlstunnel.identity.names import Identity

#: What the file is called.
WITHDRAWN_FILE = "withdrawn"

#: So many are named at most.
MOST_SAID = 10

_MARK = b"# There is no certificate of this identity, and nobody is served by it.\n"


class WithdrawnIdentity(ConfigurationError):
    """
    One of our identities has no certificate, and that is on purpose.

    @ivar identity: which.
    """

    def __init__(self, identity: Identity, directory: Path) -> None:
        self.identity = identity
        super().__init__(
            str(directory),
            f"{identity} is withdrawn: it has no certificate any more, or not yet",
            "it is used as soon as there is one",
        )


def isWithdrawn(directory: Path) -> bool:
    """
    Whether that is so of the identity in C{directory}.

    @raise ConfigurationError: we are not let to see.
    """
    return present(directory / WITHDRAWN_FILE) and not present(directory / "fullchain.pem")


def markWithdrawn(directory: Path, workshop: Path | None = None) -> None:
    """
    Say so of whoever is, or will be, in C{directory}.

    @param workshop: see L{writeFile}.
    @raise ConfigurationError: the system does not let us.
    """
    file = directory / WITHDRAWN_FILE
    writeFile(file, _MARK, 0o644, replace=True, workshop=workshop)


def withdrawnWarnings(identities: Collection[Identity]) -> list[str]:
    """
    What should be said of those that are withdrawn, at a start and at a reload.
    """
    said = [
        f"{each} is withdrawn, and not used until there is a certificate of it again"
        for each in islice(identities, MOST_SAID)
    ]
    more = len(identities) - len(said)
    return [*said, f"and {more} more are withdrawn"] if more else said
