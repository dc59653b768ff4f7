"""
Keys in a TPM: servers with them, what is refused beside them, and what the log says where there is
no TPM.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, cast

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    Stage,
    TunnelProcess,
    curl,
    freePort,
    gnutls,
    openssl,
    record,
    run,
    until,
)
from tests.interop.servers.tpm import TPM
from tests.interop.servers.web import PAGE, PlainWeb
from tests.interop.tunnel import ENVIRONMENT, WORKERS
from tlstunnel.identity.issuer import Authority, writeCertificates
from tlstunnel.identity.names import Identity

EC, RSA = "ec.test.example", "rsa.test.example"
FILE = "file.test.example"
REQUEST = "GET /page.txt HTTP/1.0\r\n\r\n"

_OPTIONS = {EC: (), RSA: ("-algorithm", "RSA", "-pkeyopt", "bits:2048")}

# Where the product of all would take long: each version, and each group that a TPM knows itself.
_CLIENTS = (
    ("-tls1_2",),
    ("-tls1_3",),
    ("-tls1_2", "-groups", "P-256"),
    ("-tls1_3", "-groups", "P-384"),
)


class _Public:
    """
    Half of a key, for who issues a certificate.
    """

    def __init__(self, content: bytes) -> None:
        self._key = load_pem_public_key(content)

    def public_key(self) -> object:
        return self._key


class TPMTests(InteropTestCase):
    """
    A TPM, and a pool with two keys in it.
    """

    tpm: ClassVar[TPM]
    web: ClassVar[PlainWeb]
    pool: ClassVar[Path]
    anchors: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.tpm = stage.start(TPM(stage.directory("tpm")))
        cls.web = stage.start(PlainWeb(stage.directory("plain")))
        stage.authority.issue(FILE)
        cls.pool = stage.directory("pool")
        cls.pool.mkdir(mode=0o700)
        (cls.pool / "key-provider").symlink_to(cls.tpm.provider)
        cls.anchors = stage.base / "tpm-anchors.pem"
        authority = Authority.make(datetime.now(UTC))
        cls.anchors.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        for name, options in _OPTIONS.items():
            (cls.pool / name).mkdir(mode=0o700)
            cls.tpm.generate(cls.pool / name / "privkey.pem", *options)
            half = cast(
                PrivateKeyTypes, _Public(cls.tpm.publicKey(cls.pool / name / "privkey.pem"))
            )
            issued = authority.issue(Identity.parse(name), datetime.now(UTC), half)
            writeCertificates(cls.pool / name / "fullchain.pem", issued.certificates)

    def serving(self, name: str, workers: str = WORKERS) -> TunnelProcess:
        """
        A tunnel as C{name}.
        """
        remote = f"127.0.0.1:{self.web.port}"
        words = ("-s", "-L", name, "-r", remote, "--pool", str(self.pool))
        tunnel = TunnelProcess(self.stage.directory("tunnel"), *words)
        tunnel.environment = self.tpm.environment
        tunnel.workers = workers
        self._tunnels.append(tunnel)
        tunnel.start()
        self.addCleanup(tunnel.stop)
        return tunnel

    def tlstunnel(self, *words: str, environment: Mapping[str, str] | None = None) -> Outcome:
        """
        The program, run to its end.
        """
        more = self.tpm.environment if environment is None else environment
        return run([sys.executable, "-m", "tlstunnel", *words], environment={**ENVIRONMENT, **more})

    # What works

    def test_clientsOfAllKinds(self) -> None:
        """
        With both kinds of keys, in both versions, with all groups.
        """
        for name in _OPTIONS:
            tunnel = self.serving(name)
            for options in _CLIENTS:
                openssl(tunnel.port, name, self.anchors, *options, say=REQUEST).expect(PAGE)
            gnutls(tunnel.port, name, self.anchors, say=REQUEST).expect(PAGE)
            curl("https", tunnel.port, name, self.anchors, path="/page.txt").expect(PAGE)
        record("none", "server", "openssl", "served with a key in a TPM")
        record("none", "server", "gnutls-cli", "served with a key in a TPM")
        record("none", "server", "curl", "served with a key in a TPM")

    def test_manyAtOnceWithWorkers(self) -> None:
        """
        All of them use the same TPM.
        """
        tunnel = self.serving(EC, workers="2")

        def come(_: int) -> str:
            return curl("https", tunnel.port, EC, self.anchors, path="/page.txt").text

        with ThreadPoolExecutor(8) as threads:
            self.assertEqual(list(threads.map(come, range(24))), [PAGE] * 24)

    def test_theyAreFoundToBeGood(self) -> None:
        """
        By C{identity check}.
        """
        for name in _OPTIONS:
            said = self.tlstunnel("identity", "check", "--pool", str(self.pool), name)
            said.expect("all is well")

    # What does not, and what is said then

    def refused(self, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """
        What a tunnel says that does not start.
        """
        options = ("-l", f"127.0.0.1:{freePort()}", "--pool", str(self.pool), *words)
        outcome = self.tlstunnel(*options, environment=environment)
        self.assertEqual(outcome.code, 1, outcome)
        return outcome.text

    def test_whoVerifiesNeedsAnotherProcess(self) -> None:
        """
        Client mode, and a server that asks its clients who they are.
        """
        remote = f"127.0.0.1:{self.web.port}"
        for words in (
            ("-c", "-r", remote, "-R", "www.test.example", "-L", EC),
            ("-s", "-r", remote, "-R", "@.", "-L", EC),
        ):
            self.assertIn("let a process of its own serve it", self.refused(*words))

    def test_keysInFilesNeedAnotherProcess(self) -> None:
        """
        The TPM would be asked to sign with them.
        """
        remote = f"127.0.0.1:{self.web.port}"
        file = self.stage.base / "both.toml"
        file.touch(mode=0o600)
        file.write_text(
            f"""
            [tunnel.tpm]
            mode = "server"
            local = ["127.0.0.1:0"]
            remote = ["{remote}"]
            local-id = ["{EC}"]
            pool = "{self.pool}"
            [tunnel.file]
            mode = "server"
            local = ["127.0.0.1:0"]
            remote = ["{remote}"]
            local-id = ["{FILE}"]
            pool = "{self.stage.authority.pool}"
            """
        )
        said = self.tlstunnel("--config", str(file))
        self.assertIn("signs with all keys of a process", said.text)
        self.assertEqual(said.code, 1)

    def test_thereIsNoTPM(self) -> None:
        """
        Neither at the start, nor for C{identity check}.
        """
        nowhere = {**self.tpm.environment, "TPM2OPENSSL_TCTI": "swtpm:path=/nonexistent"}
        words = ("-s", "-r", f"127.0.0.1:{self.web.port}", "-L", EC)
        self.assertIn("as it found no TPM", self.refused(*words, environment=nowhere))
        check = ("identity", "check", "--pool", str(self.pool), EC)
        self.assertIn("as it found no TPM", self.tlstunnel(*check, environment=nowhere).text)

    def test_aKeyOfAnotherTPM(self) -> None:
        """
        A copy of its file is of no use.
        """
        other = TPM(self.stage.directory("other"))
        self.addCleanup(other.stop)
        other.start()
        words = ("-s", "-r", f"127.0.0.1:{self.web.port}", "-L", EC)
        said = self.refused(*words, environment=other.environment)
        self.assertIn("a key that the TPM does not open", said)

    def test_theTPMGoesAway(self) -> None:
        """
        The client gets an alert, and the log says why, and what to do.
        """
        tunnel = self.serving(EC)
        curl("https", tunnel.port, EC, self.anchors, path="/page.txt").expect(PAGE)
        self.tpm.manager.kill()
        curl("https", tunnel.port, EC, self.anchors, path="/page.txt").expectFailure()
        until(lambda: "hint: see whether the token or TPM" in tunnel.log, "what to do")
        self.assertSays("our key in a token or TPM did not sign", tunnel)
        self.tpm.manager.start()
