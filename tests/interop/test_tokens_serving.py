"""
Tunnels whose keys are in a token of SoftHSM, which is a part of their own process.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.interop.harness import record
from tests.interop.intokens import NAME, RSA_NAME, TOKEN, ServingTestCase
from tests.interop.servers.tokens import PIN


class ServingTests(ServingTestCase):
    """
    Clients of such tunnels.
    """

    def test_clientsAreServed(self) -> None:
        """
        Whatever kind of key it is; also by workers, each of which logs in by itself.
        """
        for name, kind, workers in ((NAME, "ECDSA", "1"), (RSA_NAME, "RSA", "2")):
            self.assertServes(self.serving("-L", name, "--workers", workers), name)
            for client in ("openssl", "curl"):
                record("none", "server", client, f"{kind} key in a token")

    def test_theKeyIsUsedAgainAfterAReload(self) -> None:
        """
        And again; unless another certificate has come that is for another key.  Then all goes on as
        before.
        """
        pool = self.copied()
        other = self.identity("create", "--token", self.uri("another"), "other.test", pool=pool)
        other.expect("made")
        tunnel = self.serving("-L", NAME, pool=pool)
        for _ in range(2):
            self.assertServes(tunnel)
            tunnel.reload()
            self.assertNotIn("not reloaded", tunnel.log)
        self.assertServes(tunnel)
        shutil.copy(pool / "other.test" / "fullchain.pem", pool / NAME / "fullchain.pem")
        tunnel.reload()
        self.assertSays("not reloaded", tunnel)
        self.assertSays("refers to a key that does not fit", tunnel)
        self.assertServes(tunnel)

    def test_aWrongPINIsTriedOnce(self) -> None:
        """
        By all workers together.
        """
        pool = self.copied()
        wrong = self.stage.base / "wrong"
        wrong.write_text(f"{PIN}x\n")
        wrong.chmod(0o600)
        self.refer(pool, self.uri("ec").replace(str(self.pinFile), str(wrong)))
        log = self.stage.base / "spied.txt"
        module, told = self.softhsm.spied(log)
        (pool / "pkcs11-module").unlink()
        (pool / "pkcs11-module").symlink_to(module)
        environment = (f"{name}={each}" for name, each in told.items())
        within = ("env", *environment)
        said = self.refusal("-L", NAME, "--workers", "2", pool=pool, within=within)
        self.assertIn("the token refuses the PIN", said)
        self.assertEqual(log.read_text().count("C_Login"), 1)
        self.assertIn("low", self.softhsm.flags(TOKEN))

    def test_whatIsMissingIsNamed(self) -> None:
        """
        The token, and the key in it.
        """
        pool = self.copied()
        for uri, words in (
            (self.uri("ec", "other"), "there is no such token, or no such key"),
            (self.uri("nothing"), "object=nothing"),
        ):
            self.refer(pool, uri)
            self.assertIn(words, self.refusal("-L", NAME, pool=pool))

    def test_whatTheProviderMightTakeOverIsRefused(self) -> None:
        """
        It takes part in all that has the algorithm of its key, once that has signed.
        """
        pool = self.copied()
        self.identity("create", "own.test", pool=pool).expect("")
        for options, words in (
            (("-L", NAME, "-R", "@example.org"), "in a process that verifies others (--remote-id)"),
            (("-L", NAME, "-L", "own.test"), "of the same algorithm"),
        ):
            self.assertIn(words, self.refusal(*options, pool=pool))
        tunnel = self.serving("-L", RSA_NAME, "-L", "own.test", pool=pool)
        self.assertServes(tunnel, RSA_NAME)
        self.assertServes(tunnel, "own.test")

    def test_theCommandsKnowSuchKeys(self) -> None:
        """
        They check, list and renew them; the key is not needed for the latter.
        """
        pool = self.copied()
        self.identity("list", pool=pool).expect(NAME, RSA_NAME)
        before = (pool / NAME / "privkey.pem").read_bytes()
        self.identity("renew", "--force", NAME, pool=pool).expect("renewed")
        self.assertEqual((pool / NAME / "privkey.pem").read_bytes(), before)
        self.command("check", NAME, pool=pool).expect("all is well")
        self.refer(pool, self.uri("rsa"))
        self.command("check", NAME, pool=pool).expectFailure("does not fit")

    def copied(self) -> Path:
        """
        The pool, for a test that changes it.
        """
        pool = self.stage.directory("pool")
        shutil.copytree(self.pool, pool, symlinks=True)
        return pool

    def refer(self, pool: Path, uri: str) -> None:
        """
        Let the key of L{NAME} be somewhere else.
        """
        file = pool / NAME / "privkey.pem"
        file.write_text(uri)
        file.chmod(0o600)
