"""
Puts a certificate into a directory, for whoever operates it: one value is added, and nothing else
is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tlstunnel.identity.names import Identity
from tlstunnel.provisioning.connection import Connection, Connector, Place
from tlstunnel.provisioning.errors import ResultRefused
from tlstunnel.provisioning.messages import (
    ADD_RESPONSE,
    MODIFY_RESPONSE,
    addEntry,
    addValue,
)
from tlstunnel.provisioning.names import escaped

_NO_SUCH_OBJECT, _IS_THERE, _WAS_MADE = 32, 20, 68

_CERTIFICATE = b"userCertificate;binary"
_CLASSES = (b"applicationProcess", b"pkiUser")


async def push(
    connector: Connector,
    place: Place,
    identity: Identity,
    certificate: x509.Certificate,
    cancel: Callable[[], object],
) -> str:
    """
    Add C{certificate} to the entry of an identity, which is made if it is not there.

    @param cancel: cancels what this is awaited in.
    @return: what was done.
    @raise ConfigurationError: something that it needs is missing or wrong.
    @raise TunnelError: if it fails.
    """
    connection = await connector.connect(place, cancel)
    try:
        name = f"cn={escaped(str(identity))},ou=identities,{place.url.base}"
        return f"{name}: {await _put(connection, name, identity, certificate)}"
    finally:
        connection.close()


async def _put(
    connection: Connection, name: str, identity: Identity, certificate: x509.Certificate
) -> str:
    """
    Add it to the entry, or make that; who makes it at the same time may be faster.
    """
    value = certificate.public_bytes(Encoding.DER)
    try:
        return await _add(connection, name, value)
    except ResultRefused as refused:
        if refused.code != _NO_SUCH_OBJECT:
            raise
    number = connection.next()
    attributes: dict[bytes, Iterable[bytes]] = {
        b"objectClass": _CLASSES,
        b"cn": (str(identity).encode(),),
        _CERTIFICATE: (value,),
    }
    try:
        await connection.ask(
            addEntry(number, name, attributes), number, ADD_RESPONSE, f"to make {name}"
        )
    except ResultRefused as refused:
        if refused.code != _WAS_MADE:
            raise
        return await _add(connection, name, value)
    return "made, with one certificate"


async def _add(connection: Connection, name: str, value: bytes) -> str:
    number = connection.next()
    try:
        await connection.ask(
            addValue(number, name, _CERTIFICATE, value),
            number,
            MODIFY_RESPONSE,
            f"to add a value to {name}",
        )
    except ResultRefused as refused:
        if refused.code == _IS_THERE:
            return "has that certificate already"
        raise
    return "one certificate added"
