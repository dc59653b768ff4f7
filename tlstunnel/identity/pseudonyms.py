"""
Pseudonyms: users without a name, each of whom one remote domain alone gets to know.

A user's pseudonym for a domain of ours is always the same at the same remote domain, and another
one everywhere else; only who knows the secret of the pool can tell whose it is.  The pool's own
authority vouches for it, from when it is first used; the key lives no longer than the certificate.
"""

from __future__ import annotations

import base64
import hmac
import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.expiry import isDue
from tlstunnel.identity.files import isUnfinished, makeDirectory, present, writeFile
from tlstunnel.identity.issuer import authorityOf
from tlstunnel.identity.keyreference import KeyReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadCertificates, readFile
from tlstunnel.identity.pool import Pool

#: For how long one is good; a third before that it is replaced, if it is used.
LIFETIME = timedelta(days=90)

#: The most that are kept: the oldest has to go, and is made again when it is wanted.
MOST_KEPT = 2000

#: Files that are removed at a time, at most; that is done each time that so many were made.
MOST_REMOVED, REMOVED_EACH = 25, 20

_SECRET_BYTES = 32

# How many bytes of the code make the name: as many as nobody finds twice.
_NAME_BYTES = 16

# What is left of a file that nobody has finished is removed after so many seconds.
_UNFINISHED_SECONDS = 3600

# Those that this process has made.
_issued = count()


def pseudonymOf(pool: Pool, uid: int, domain: str, remote: Identity) -> Identity:
    """
    Who a user of this host is to a remote domain, as somebody of a domain of ours.

    @raise ConfigurationError: the secret of the pool cannot be read, or made.
    """
    message = "\0".join((str(uid), domain, remote.domain)).encode()
    code = hmac.digest(_secretOf(pool), message, "sha256")[:_NAME_BYTES]
    return Identity(base64.b32encode(code).decode().rstrip("=").lower(), domain)


def _secretOf(pool: Pool) -> bytes:
    """
    The secret of a pool, which is made if there is none.
    """
    file = pool.path / "pseudonyms" / "secret"
    if not present(file):
        makeDirectory(file.parent)
        try:
            writeFile(file, os.urandom(_SECRET_BYTES), 0o600, replace=False)
        except ConfigurationError:
            # Another process may have been faster, and its secret is the one that counts.
            if not present(file):
                raise
    content = readFile(file, private=True, largest=_SECRET_BYTES)
    if len(content) != _SECRET_BYTES:
        raise ConfigurationError(
            str(file),
            f"is not the {_SECRET_BYTES} bytes that pseudonyms are made with",
            "put back what it was; without it everybody gets another pseudonym",
        )
    return content


def issue(pool: Pool, pseudonym: Identity, now: datetime | None = None) -> None:
    """
    Make sure that there are credentials for a pseudonym that are good for some time.

    @raise ConfigurationError: there are none, and they cannot be made.
    """
    now = now or datetime.now(UTC)
    file = pool.pseudonymFile(pseudonym)
    if present(file) and _isGood(file, pool.path / "ca" / "cert.pem", now):
        return
    authority = authorityOf(pool)
    credentials = authority.issue(pseudonym, now, lifetime=LIFETIME)
    key = credentials.key
    assert not isinstance(key, KeyReference)
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    content += credentials.certificates[0].public_bytes(Encoding.PEM)
    makeDirectory(file.parent)
    # Nobody waits for the disk: what it has lost is made again.
    writeFile(file, content, 0o600, replace=True, isLasting=False)
    if not next(_issued) % REMOVED_EACH:
        removeOld(pool, file.name)


def _isGood(file: Path, authorityFile: Path, now: datetime) -> bool:
    """
    Whether what is there need not be made again.
    """
    try:
        leaf, authority = (loadCertificates(each)[0] for each in (file, authorityFile))
        if leaf.issuer != authority.subject or leaf.not_valid_before_utc > now:
            return False
        # One that ends as its authority does cannot be replaced by a better one.
        isLast = leaf.not_valid_after_utc >= authority.not_valid_after_utc
        return leaf.not_valid_after_utc > now and (isLast or not isDue(leaf, now))
    except (ConfigurationError, ValueError):
        return False


def removeOld(pool: Pool, kept: str = "", now: float | None = None) -> None:
    """
    Remove the pseudonyms that have expired, and the oldest, if they are too many.

    @param kept: the name of a file that stays.
    @param now: seconds since 1970.
    """
    now = time.time() if now is None else now
    spare = LIFETIME.total_seconds() - _UNFINISHED_SECONDS
    found = []
    with suppress(OSError), os.scandir(pool.path / "pseudonyms") as entries:
        for each in entries:
            isOld = each.name.endswith(".pem") and each.name != kept
            if isOld or isUnfinished(each.name):
                written = each.stat(follow_symlinks=False).st_mtime
                found.append((written - (0 if isOld else spare), each.path))
    found.sort()
    most = max(0, len(found) + 1 - MOST_KEPT)
    for number, (written, path) in enumerate(found[:MOST_REMOVED]):
        if number >= most and now - written < LIFETIME.total_seconds():
            break
        with suppress(OSError):
            Path(path).unlink()
