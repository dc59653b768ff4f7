"""
What the C{identity} command does with tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tlstunnel.commands.pools import secretOf
from tlstunnel.errors import ConfigurationError, printable
from tlstunnel.identity.files import present
from tlstunnel.identity.issuer import MakeKey, NewKey
from tlstunnel.identity.keyprovider import MODULE
from tlstunnel.identity.keyreference import KeyReference, ReferenceKind, writeReference
from tlstunnel.identity.pinsource import CREDENTIALS, pinOf
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.token import TokenKey, openToken
from tlstunnel.identity.tokenaddress import TokenAddress
from tlstunnel.program.output import complain


@contextmanager
def keysInToken(pool: Pool, uri: str, module: str | None, isRSA: bool) -> Iterator[MakeKey]:
    """
    Let keys be made at an address in a token, which is opened when the first is made.

    @param module: the file of its module, if the user named one.
    @raise ConfigurationError: something is wrong with the address, the module or the token.
    """
    try:
        address = TokenAddress.parse(uri)
    except ValueError as error:
        # The address itself may have a PIN in it.
        raise ConfigurationError.of("--token", error) from None
    library = _moduleOf(pool, module)
    with ExitStack() as opened:

        def make() -> NewKey:
            asked = _referenceTo(address)
            token = openToken(library, address, lambda label: pinOfToken(asked, label))
            key = opened.enter_context(token).keyPair(isRSA or None)
            _say(key)
            return NewKey(key.signer, _referenceTo(key.address))

        yield make


def _referenceTo(address: TokenAddress) -> KeyReference:
    uri = str(address)
    return KeyReference(ReferenceKind.PKCS11, writeReference(uri), uri)


def _moduleOf(pool: Pool, given: str | None) -> Path:
    if given is not None:
        return Path(given)
    link = pool.path / MODULE
    if not present(link):
        raise ConfigurationError(
            "--token",
            "needs the module of the token",
            f"give --pkcs11-module FILE, or let {link} be a link to it",
        )
    return link


def pinOfToken(reference: KeyReference, label: str) -> str:
    """
    The PIN of a token, from where its tunnels will have it; or else from the user, as the
    credentials that systemd gives to a tunnel are not there for commands.

    @param label: what the token is called.
    @raise ConfigurationError: there is none.
    """
    source = reference.pinSource
    if source is not None and ("/" in source or CREDENTIALS in os.environ):
        pin = (pinOf(reference, "--token", os.environ) or b"").decode("utf-8", "replace")
    else:
        pin = secretOf(f"PIN of {printable(label)}")
    if not pin:
        raise ConfigurationError("--token", "has no PIN", "give pin-source=file:/FILE in it")
    if source is None:
        complain(
            "a tunnel has nobody to ask for the PIN: let the address end in "
            "'?pin-source=file:/FILE' for one"
        )
    return pin


def _say(key: TokenKey) -> None:
    """What there is to know about a key in a token."""
    print(f"the key {'was made' if key.isNew else 'that is there was taken'}: {key.address}")
    if key.leaves:
        complain(f"beware of that key: {key.leaves}")
