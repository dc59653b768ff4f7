"""
Tests for L{tlstunnel.program.keyproviders}: which provider a process gets.
"""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from tests.keyfiles import PROVIDER_ENTRY, fakeModule, refer
from tlstunnel.address import TCPAddress
from tlstunnel.commands import run
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.keyprovider import KeyProvider
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.program import keyproviders
from tlstunnel.program.configuration import COMMAND_LINE, Configuration, Status
from tlstunnel.program.keyproviders import loadProvider, loadProviderOf
from tlstunnel.protocols import registry
from tlstunnel.tls import openssl
from tlstunnel.tunnel.description import Mode, Tunnel

HOST = Identity.parse("mail.example.org")
OTHER = Identity.parse("file.example.org")
LOCAL = (TCPAddress("127.0.0.1", 1),)
NOTHING = {"key-provider": None, "pkcs11-module": None}


class ProviderTests(SynchronousTestCase):
    """
    What it is, by options and pools.
    """

    def setUp(self) -> None:
        """
        A pool that names one, and a process that would begin anew.
        """
        self.pool = Pool(Path(self.mktemp()).resolve())
        refer(self.pool, HOST)
        createIdentity(self.pool, OTHER)
        self.module = fakeModule(self.pool.path / "pkcs11.so", PROVIDER_ENTRY)
        self.link = self.pool.path / "key-provider"
        self.link.symlink_to("pkcs11.so")
        self.begun: list[KeyProvider | None] = []
        self.patch(openssl, "beginAnew", self.begun.append)

    def load(
        self, *identities: Identity, pool: Pool | None = None, **settings: str
    ) -> list[KeyProvider | None]:
        """
        Look at tunnels with these identities.

        @return: what the process begins anew with.
        """
        tunnels = tuple(
            Tunnel(Mode.SERVER, LOCAL, LOCAL, registry.find("none"), localID=each, pool=self.pool)
            for each in identities
        )
        if pool is not None:
            tunnels = (*tunnels, replace(tunnels[0], pool=pool))
        named = {name.replace("_", "-"): value for name, value in settings.items()}
        loadProvider(Configuration(COMMAND_LINE.path, {**NOTHING, **named}, Status(), tunnels))
        begun, self.begun[:] = list(self.begun), []
        return begun

    def test_itIsLoadedWhereAKeyNeedsIt(self) -> None:
        """
        The link alone is no reason.
        """
        self.assertEqual(self.load(OTHER), [])
        self.assertEqual(self.load(OTHER, HOST), [KeyProvider(self.module)])
        loadProviderOf(self.pool, OTHER)
        self.assertEqual(self.begun, [])
        loadProviderOf(self.pool, HOST)
        self.assertEqual(self.begun, [KeyProvider(self.module)])

    def test_aLinkThatNobodyNeedsIsNotLookedAt(self) -> None:
        """
        As the pool may be closed to us, where certificates come from an agent.
        """

        def closed(pool: Path) -> None:
            raise ConfigurationError(str(pool), "is closed", "open it")

        self.patch(keyproviders, "providerIn", closed)
        self.assertEqual(self.load(OTHER), [])
        self.assertRaises(ConfigurationError, self.load, HOST)

    def test_itIsLoadedOnce(self) -> None:
        """
        A process that has it goes on.
        """
        self.patch(openssl, "_provider", KeyProvider(self.module))
        self.assertEqual(self.load(HOST), [])

    def test_optionsCount(self) -> None:
        """
        Whatever the pool names; one alone is not enough.
        """
        found = self.load(OTHER, key_provider="/a/b.so", pkcs11_module="/c/d.so")
        self.assertEqual(found, [KeyProvider(Path("/a/b.so"), Path("/c/d.so"))])
        error = self.assertRaises(ConfigurationError, self.load, HOST, pkcs11_module="/c/d.so")
        self.assertIn("key-provider", str(error))

    def test_aProcessHasOne(self) -> None:
        """
        Two pools that name others are for two processes.
        """
        other = Pool(Path(self.mktemp()).resolve())
        refer(other, HOST)
        second = fakeModule(other.path / "other.so", PROVIDER_ENTRY)
        (other.path / "key-provider").symlink_to(self.module)
        self.assertEqual(self.load(HOST, pool=other), [KeyProvider(self.module)])
        (other.path / "key-provider").unlink()
        (other.path / "key-provider").symlink_to(second)
        error = self.assertRaises(ConfigurationError, self.load, HOST, pool=other)
        self.assertIn("another provider", str(error))

    def test_theAdministratorsConfigurationCountsInsteadOfLinks(self) -> None:
        """
        It may have a provider.
        """
        self.patch(openssl, "_isOurs", False)
        self.patch(os, "environ", {"OPENSSL_CONF": "/etc/mine.cnf"})
        self.assertEqual(self.load(HOST), [])


class StartTests(SynchronousTestCase):
    """
    The program, where it cannot start.
    """

    def test_aRefusedPINHasAnExitCodeOfItsOwn(self) -> None:
        """
        For which our units do not start it again: the next try may lock the token.
        """

        def fail(*arguments: object, **more: object) -> None:
            raise ConfigurationError("privkey.pem", "the token refuses the PIN", "look")

        self.patch(run, "makeProcess", fail)
        self.patch(sys, "stderr", io.StringIO())
        for areAny, code in ((False, 1), (True, 77)):
            self.patch(run, "attempts", SimpleNamespace(areAny=areAny))
            self.assertEqual(run.serving(object()), code)  # type: ignore[arg-type]
        for name in "tlstunnel.service", "tlstunnel@.service":
            unit = (Path(run.__file__).parents[1] / "program" / "units" / name).read_text()
            self.assertIn(f"RestartPreventExitStatus={run.PIN_REFUSED}\n", unit)


class RefusalTests(SynchronousTestCase):
    """
    Where no provider can be loaded.
    """

    def test_whoHasLoadedTheLibraryIsNamed(self) -> None:
        """
        And what to do about it.
        """
        provider = KeyProvider(Path("/a/pkcs11.so"))
        for environment, words in (
            ({"OPENSSL_CONF": "/etc/mine.cnf"}, ("'/etc/mine.cnf'", "unset OPENSSL_CONF")),
            ({}, ("loaded it before us", "run 'tlstunnel")),
        ):
            self.patch(openssl, "_isOurs", False)
            self.patch(os, "environ", environment)
            error = self.assertRaises(ConfigurationError, openssl.beginAnew, provider)
            for each in words:
                self.assertIn(each, str(error))
