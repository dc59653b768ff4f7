"""
Pools that follow a directory, for the tests of C{pool pull}.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.harness import (
    InteropTestCase,
    Process,
    ServerCertificate,
    Stage,
    until,
)
from tests.interop.servers.syncprov import (
    BASE,
    OPERATOR,
    REPLICA,
    SyncProvider,
)
from tests.interop.tunnel import ENVIRONMENT
from tlstunnel.identity.issuer import Authority, keep
from tlstunnel.identity.keyreference import KeyReference
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import loadCertificates, loadKey
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.requests import requestFor

NAME = "ldap.example.test"

#: The command that has C{pull} and C{push}.
COMMAND = "pool"


class Puller(Process):
    """
    C{tlstunnel pool pull}.
    """

    def __init__(self, directory: Path, pool: Path, url: str, *options: str) -> None:
        super().__init__(directory)
        directory.mkdir(mode=0o755, parents=True)
        self.words = [url, "-L", REPLICA, "-R", NAME, "--pool", str(pool), *options]

    def start(self) -> None:
        command = [sys.executable, "-m", "tlstunnel", COMMAND, "pull", *self.words]
        self.spawn(command, [], environment=ENVIRONMENT)


class Replica:
    """
    A pool that follows the directory, with keys of its own.
    """

    def __init__(self, stage: Stage, authority: Authority, url: str) -> None:
        self.stage = stage
        self.authority = authority
        self.url = url
        self.path = stage.directory("pool")
        self.pool = Pool(self.path)
        now = datetime.now(UTC)
        for each in REPLICA, OPERATOR:
            keep(self.pool, authority.issue(Identity.parse(each), now))
        (self.path / "trust").mkdir()
        anchor = authority.certificate.public_bytes(Encoding.PEM)
        (self.path / "trust" / f"{NAME}.pem").write_bytes(anchor)
        self.puller: Puller | None = None

    def start(self, *options: str) -> Puller:
        self.puller = Puller(self.stage.directory("pull"), self.path, self.url, *options)
        self.stage.started.append(self.puller)
        self.puller.start()
        return self.puller

    def stop(self) -> None:
        if self.puller is not None:
            puller, self.puller = self.puller, None
            code = puller.stop()
            assert code == 0, f"ended with {code}: {puller.log}"

    def request(self, name: str) -> None:
        requestFor(self.pool, Identity.parse(name))

    def certificate(self, name: str, after: int = 0, number: int = 0) -> x509.Certificate:
        """
        A certificate for our key.

        @param after: how many minutes it is younger than others.
        """
        directory = self.path / name
        if number:
            directory = self.path / ".keys" / name / str(number)
        moment = datetime.now(UTC) + timedelta(minutes=after)
        key = loadKey(directory / "privkey.pem")
        assert not isinstance(key, KeyReference)
        return self.authority.issue(Identity.parse(name), moment, key).certificates[0]

    def has(self, name: str) -> bool:
        return (self.path / name / "fullchain.pem").exists()

    def shows(self, name: str, certificate: x509.Certificate) -> bool:
        return self.has(name) and (
            loadCertificates(self.path / name / "fullchain.pem")[0] == certificate
        )

    def says(self, words: str) -> bool:
        return self.puller is not None and words in self.puller.log


def entry(name: str, certificates: Iterable[x509.Certificate]) -> str:
    """
    An identity as LDIF.
    """
    lines = [f"dn: cn={name},ou=identities,{BASE}", "changetype: add"]
    lines += ["objectClass: applicationProcess", "objectClass: pkiUser", f"cn: {name}"]
    lines += [_value(each) for each in certificates]
    return "\n".join(lines) + "\n\n"


def replaced(name: str, certificates: Iterable[x509.Certificate]) -> str:
    """
    Other certificates for it.
    """
    lines = [f"dn: cn={name},ou=identities,{BASE}", "changetype: modify"]
    lines += ["replace: userCertificate;binary", *map(_value, certificates)]
    return "\n".join(lines) + "\n\n"


def removed(name: str) -> str:
    """
    None any more.
    """
    return f"dn: cn={name},ou=identities,{BASE}\nchangetype: delete\n\n"


def _value(certificate: x509.Certificate) -> str:
    der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    return f"userCertificate;binary:: {der}"


class PullTestCase(InteropTestCase):
    """
    A directory, and replicas that follow it; each test has its own.
    """

    authority: ClassVar[Authority]
    files: ClassVar[ServerCertificate]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.authority = Authority.make(datetime.now(UTC))
        pool = Pool(stage.directory("ca"))
        directory = keep(pool, cls.authority.issue(Identity.parse(NAME), datetime.now(UTC)))
        anchors = pool.path / "anchors.pem"
        anchors.write_bytes(cls.authority.certificate.public_bytes(Encoding.PEM))
        files = directory / "fullchain.pem", directory / "privkey.pem"
        cls.files = ServerCertificate(NAME, *files, anchors)

    def setUp(self) -> None:
        super().setUp()
        # Whoever took part in this test is shown where it fails.
        self.stage.started.clear()
        self.slapd = self.directory()

    def directory(self) -> SyncProvider:
        """
        One more of them.
        """
        slapd = SyncProvider(self.stage.directory("slapd"), self.files)
        self.stage.started.append(slapd)
        self.addCleanup(slapd.stop)
        return slapd

    def replica(self, url: str = "") -> Replica:
        replica = Replica(self.stage, self.authority, url or self.slapd.url)
        self.addCleanup(replica.stop)
        return replica

    def filled(self, count: int = 10) -> Replica:
        """
        A replica that is up to date with so many identities.
        """
        replica = self.replica()
        names = [f"host{number}.example.test" for number in range(count)]
        for name in names:
            replica.request(name)
        self.slapd.change("".join(entry(each, [replica.certificate(each)]) for each in names))
        replica.start()
        until(lambda: replica.says("up to date") and all(map(replica.has, names)), "it is there")
        return replica
