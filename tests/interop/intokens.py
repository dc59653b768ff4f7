"""
What the tests of keys in tokens have in common: a token of SoftHSM, a pool that refers to keys in
it, and tunnels that use them.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import ClassVar

import pkcs11

from tests.interop.harness import (
    InteropTestCase,
    Outcome,
    Stage,
    TunnelProcess,
    curl,
    freePort,
    openssl,
    run,
    until,
)
from tests.interop.servers.tokens import PIN, SoftHSM, provider
from tests.interop.servers.web import PAGE, PlainWeb
from tests.interop.tunnel import ENVIRONMENT
from tlstunnel.commands.identity import IdentityOptions, main

#: Whose key is on a curve, and whose is for RSA.
NAME = "www.test.example"
RSA_NAME = "rsa.test.example"

TOKEN = "tunnel"
VERSIONS = ("1.2", "1.3")
REQUEST = "GET /page.txt HTTP/1.0\r\n\r\n"


class TokenTestCase(InteropTestCase):
    """
    The base of these tests: a token, and its PIN in a file.
    """

    softhsm: ClassVar[SoftHSM]
    pinFile: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.softhsm = SoftHSM(stage.directory("softhsm"))
        cls.softhsm.add(TOKEN)
        cls.pinFile = stage.base / "pin"
        cls.pinFile.write_text(f"{PIN}\n")
        cls.pinFile.chmod(0o600)

    @classmethod
    def uri(cls, label: str, token: str = TOKEN) -> str:
        """
        The address of a key.
        """
        return f"pkcs11:token={token};object={label}?pin-source=file:{cls.pinFile}"

    @classmethod
    def identity(
        cls, *words: str, pool: Path, module: Path | None = None, typed: str = ""
    ) -> Outcome:
        """
        C{tlstunnel identity WORDS}, as the user of the tokens, in this process: it takes a tenth of
        the time of another one.
        """
        command, *rest = words
        used = module or cls.softhsm.module
        if "--token" in words:
            rest = ["--pkcs11-module", str(used), *rest]
        options = IdentityOptions()
        options.parseOptions([command, "--pool", str(pool), *rest])
        said = io.StringIO()
        before = dict(os.environ), sys.stdin
        try:
            os.environ.update(cls.softhsm.environment)
            sys.stdin = io.StringIO(typed)
            with redirect_stdout(said), redirect_stderr(said):
                code = main(options)
        finally:
            environment, sys.stdin = before
            os.environ.clear()
            os.environ.update(environment)
            # It knows the tokens that were there when it was loaded.
            pkcs11.unload(str(used.resolve()))
        return Outcome(("tlstunnel", "identity", *words), code, said.getvalue())

    @classmethod
    def command(
        cls, *words: str, pool: Path, environment: Mapping[str, str] = {}, typed: str = ""
    ) -> Outcome:
        """
        The same in a process of its own.
        """
        command, *rest = words
        return run(
            [sys.executable, "-m", "tlstunnel", "identity", command, "--pool", str(pool), *rest],
            typed,
            environment={**ENVIRONMENT, **cls.softhsm.environment, **environment},
        )


class TokenTunnel(TunnelProcess):
    """
    A tunnel that something else starts.
    """

    def __init__(self, directory: Path, within: tuple[str, ...], *arguments: str) -> None:
        super().__init__(directory, *arguments)
        self.within = within

    @property
    def reloads(self) -> int:
        """
        How often it was asked to, and has said how that went.
        """
        return len(re.findall("reloaded", self.log))

    def reload(self) -> None:
        """
        Let it reload, and wait until it has.
        """
        before = self.reloads
        os.kill(self.pid, signal.SIGHUP)
        until(lambda: self.reloads > before, "the reload")


class ServingTestCase(TokenTestCase):
    """
    The base of those with tunnels.

    @cvar pool: with two identities whose keys are in the token, and links to the modules.
    """

    web: ClassVar[PlainWeb]
    pool: ClassVar[Path]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        super().prepare(stage)
        provider()
        cls.web = stage.start(PlainWeb(stage.directory("web")))
        cls.pool = cls.newPool(stage, cls.softhsm.module)
        cls.identity("create", "--token", cls.uri("ec"), NAME, pool=cls.pool).expect("made")
        rsa = ("--rsa", "--token", cls.uri("rsa"), RSA_NAME)
        cls.identity("create", *rsa, pool=cls.pool).expect("made")

    @classmethod
    def newPool(cls, stage: Stage, module: Path) -> Path:
        """
        A pool with the links alone.
        """
        pool = stage.directory("pool")
        pool.mkdir()
        (pool / "key-provider").symlink_to(provider())
        (pool / "pkcs11-module").symlink_to(module)
        return pool

    @property
    def within(self) -> tuple[str, ...]:
        """
        What starts tunnels.
        """
        return ("env", *(f"{name}={value}" for name, value in self.softhsm.environment.items()))

    def serving(
        self, *options: str, pool: Path | None = None, within: tuple[str, ...] | None = None
    ) -> TokenTunnel:
        """
        A tunnel before the web server, for this one test.
        """
        words = self.words(*options, pool=pool)
        tunnel = TokenTunnel(self.stage.directory("tunnel"), within or self.within, *words)
        self._tunnels.append(tunnel)
        tunnel.start()
        self.addCleanup(tunnel.stop)
        # It listens before it has its key.
        until(lambda: "tunnel up" in tunnel.log, "the tunnel")
        return tunnel

    def refusal(
        self, *options: str, pool: Path | None = None, within: tuple[str, ...] | None = None
    ) -> str:
        """
        The one line that such a tunnel says if it does not start.
        """
        program = (*(within or self.within), sys.executable, "-m", "tlstunnel")
        words = ("-l", f"127.0.0.1:{freePort()}", *self.words(*options, pool=pool))
        said = run([*program, *words], environment=ENVIRONMENT).expectFailure("tlstunnel: ")
        self.assertEqual(said.count("\n"), 1, said)
        return said

    def words(self, *options: str, pool: Path | None) -> tuple[str, ...]:
        """
        The options of a tunnel before the web server.
        """
        return (
            *("--pool", str(pool or self.pool), "-s", "-r", f"127.0.0.1:{self.web.port}"),
            *options,
        )

    def fetch(self, tunnel: TunnelProcess, version: str, name: str = NAME) -> Outcome:
        """
        Fetch the page with C{openssl s_client}, which insists on the certificate.
        """
        anchors = Path(tunnel.arguments[1]) / "ca" / "cert.pem"
        only = f"-tls{version.replace('.', '_')}"
        return openssl(tunnel.port, name, anchors, only, say=REQUEST)

    def assertServes(self, tunnel: TunnelProcess, name: str = NAME) -> None:
        """
        In both versions of TLS, and for curl.
        """
        for version in VERSIONS:
            self.fetch(tunnel, version, name).expect(PAGE, f"TLSv{version}")
        anchors = Path(tunnel.arguments[1]) / "ca" / "cert.pem"
        curl("https", tunnel.port, name, anchors, path="/page.txt").expect(PAGE)
