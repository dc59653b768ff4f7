"""
A certificate authority for one test run, and the files that it fills: a pool as tlstunnel reads it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class ServerCertificate:
    """
    The files of one identity.

    @ivar name: the identity, which is the first name in the certificate.
    @ivar chain: the certificate and what leads to the authority, PEM.
    @ivar key: its private key, PEM, readable by its owner only.
    @ivar anchors: the authority's certificate, PEM, readable by all.
    """

    name: str
    chain: Path
    key: Path
    anchors: Path

    def copied(self, directory: Path, user: str | None = None) -> ServerCertificate:
        """
        The same, in files that belong to C{user}, for a daemon that reads them itself.
        """
        directory.mkdir(parents=True, exist_ok=True)
        copies = {path: directory / path.name for path in (self.chain, self.key, self.anchors)}
        for path, copy in copies.items():
            shutil.copy(path, copy)
            if user is not None and os.geteuid() == 0:
                shutil.chown(copy, user)
        return ServerCertificate(
            self.name, copies[self.chain], copies[self.key], copies[self.anchors]
        )


class Authority:
    """
    @ivar pool: a pool directory, for C{--pool}: all identities issued so far, and this authority
        as the only anchor.
    @ivar anchors: the authority's certificate, PEM, for C{--trust} and for clients.
    """

    def __init__(self, pool: Path) -> None:
        self.pool = pool
        self._authority = trustme.CA(organization_name="tlstunnel interop tests")
        (pool / "trust").mkdir(parents=True)
        self.anchors = pool / "trust" / "anchors.pem"
        self._authority.cert_pem.write_to_path(str(self.anchors))
        self.anchors.chmod(0o644)

    def issue(self, name: str, *names: str, isRSA: bool = False) -> ServerCertificate:
        """
        A certificate for domains, IP addresses or C{user@domain}, kept in the pool under the first;
        users have it as a common name too.

        @param isRSA: whether its key is one of RSA, which some old programs insist on.
        """
        end = datetime.now(UTC) + timedelta(days=90)
        leaf = self._authority.issue_cert(
            name,
            *names,
            not_before=end - timedelta(days=91),
            not_after=end,
            common_name=name if "@" in name else None,
            key_type=trustme.KeyType.RSA if isRSA else trustme.KeyType.ECDSA,
        )
        directory = self.pool / name
        directory.mkdir()
        chain, key = directory / "fullchain.pem", directory / "privkey.pem"
        chain.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(leaf.private_key_pem.bytes())
        return ServerCertificate(name, chain, key, self.anchors)
