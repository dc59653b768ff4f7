"""
Tests for L{tlstunnel.tls.openssl}: what OpenSSL does in the program, where our configuration of it
is loaded first of all.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.keyfiles import PROVIDER_ENTRY, fakeModule, refer
from tests.loopback import PATIENCE, Encrypted, Plain
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.keyprovider import KeyProvider
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.tls import openssl
from tlstunnel.tls.openssl import configurationOf

TOP = Path(__file__).resolve().parents[2]
NAME = "server.example.org"

# Numbers of groups (the TLS registries of IANA).
X25519_MLKEM768, X25519, P_256, P_384 = 0x11EC, 0x001D, 0x0017, 0x0018

# Numbers of extensions.
SUPPORTED_GROUPS, KEY_SHARE = 10, 51


class Reader:
    """
    Reads what TLS writes (RFC 8446, section 3).
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        """
        So many bytes.
        """
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, size: int) -> int:
        """
        A number of C{size} bytes.
        """
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> Reader:
        """
        A vector whose length has C{size} bytes.
        """
        return Reader(self.take(self.number(size)))


def extensions(hello: bytes) -> dict[int, Reader]:
    """
    Those of a ClientHello (RFC 8446, section 4.1.2).
    """
    reader = Reader(hello)
    # Type, length, version, random.
    reader.take(1 + 3 + 2 + 32)
    for size in (1, 2, 1):
        reader.vector(size)
    listed = reader.vector(2)
    found = {}
    while listed.data:
        kind = listed.number(2)
        found[kind] = listed.vector(2)
    return found


class ConfigurationTests(SynchronousTestCase):
    """
    What is in our configuration where there is a provider.
    """

    def test_thatOfATPMIsAskedForKeysAlone(self) -> None:
        """
        And one for tokens has its module.
        """
        token = configurationOf(KeyProvider(Path("/a/pkcs11.so"), Path("/b/token.so")))
        self.assertIn("\nmodule = /a/pkcs11.so\n", token)
        self.assertIn("\npkcs11-module-path = /b/token.so\n", token)
        self.assertIn("\npkcs11-module-cache-keys = false\n", token)
        self.assertNotIn("default_properties", token)
        self.assertIn("default = usual", token)
        tpm = configurationOf(KeyProvider(Path("/a/tpm2.so")))
        self.assertIn("\ndefault_properties = ?tpm2.signature=yes\n", tpm)
        self.assertNotIn("pkcs11-module", tpm)

    def test_itIsAFileOnlyWhereMemoryIsNone(self) -> None:
        """
        For as long as the library reads it, and for nobody else.
        """
        provider = KeyProvider(Path("/a/pkcs11.so"))
        with openssl._file(provider) as path:
            self.assertIn(b"module = /a/pkcs11.so", Path(path).read_bytes())
            self.assertIn("/fd/", path)
        self.patch(os, "memfd_create", lambda name: os.close(-1))
        with openssl._file(provider) as path:
            self.assertIn(b"module = /a/pkcs11.so", Path(path).read_bytes())
            self.assertEqual(Path(path).stat().st_mode & 0o077, 0)
        self.assertFalse(Path(path).exists())

    def test_onlyWhatWeHaveAskedForIsTaken(self) -> None:
        """
        The variable is ours alone, and what it names is looked at again: without the links by which
        it was named, so that nobody changes them meanwhile.
        """
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        module = fakeModule(folder / "pkcs11.so", PROVIDER_ENTRY)
        link = folder / "link"
        link.symlink_to(module)
        asked = KeyProvider(link)
        self.assertEqual(openssl._asked(openssl._written(asked)), (asked, KeyProvider(module)))
        for wanted in ("", "x", "[]", "{}", "null", '["/a"]', "[1, 2]", '["/a", "/b", "/c"]'):
            self.assertRaises((TypeError, ValueError), openssl._asked, wanted)
        module.chmod(0o777)
        self.assertRaises(ConfigurationError, openssl._asked, openssl._written(asked))


class ProgramTests(SynchronousTestCase):
    """
    The program, as both ends of TLS.
    """

    def setUp(self) -> None:
        """
        A pool with one identity, and whatever the tunnel connects to.
        """
        self.pool = Path(self.mktemp()).resolve()
        createIdentity(Pool(self.pool, asked=False), Identity.parse(NAME))
        self.remote = socket.create_server(("127.0.0.1", 0))
        self.remote.settimeout(PATIENCE)
        self.addCleanup(self.remote.close)

    def launch(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """
        Start the program.

        @param more: of its environment.
        """
        environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}
        # It would be used in place of ours.
        environment.pop("OPENSSL_CONF", None)
        address = f"127.0.0.1:{self.remote.getsockname()[1]}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tlstunnel", *words, "--pool", str(self.pool)),
                *("-l", "127.0.0.1:0", "-r", address),
            ],
            env={**environment, **more},
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        return process

    def start(self, *words: str) -> socket.socket:
        """
        Start a tunnel.

        @return: a connection to it.
        """
        process = self.launch(*words)
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"tunnel up: 127\.0\.0\.1:(\d+) ", line):
                self.port = int(found[1])
                return self.connect()
        raise self.failureException("the tunnel did not come up")

    def connect(self) -> socket.socket:
        """
        Another connection to the tunnel.
        """
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.addCleanup(sock.close)
        return sock

    def test_theGroupIsPostQuantum(self) -> None:
        """
        X25519MLKEM768 is agreed on with a client that has it.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.load_verify_locations(str(self.pool / "ca" / "cert.pem"))
        context.set_verify(SSL.VERIFY_PEER)
        network = Encrypted(self.start("-s", "-L", NAME), context, True, NAME.encode())
        network.handshake()
        self.assertEqual(network.tls.get_group_name(), "X25519MLKEM768")

    def test_groupsThatNobodyRecommendsAreNotAgreedOn(self) -> None:
        """
        Although OpenSSL knows them.
        """
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        context.set_ecdh_curve("secp521r1")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)handshake.failure"):
            context.wrap_socket(self.start("-s", "-L", NAME), server_hostname=NAME)

    def test_aServerSendsNoTickets(self) -> None:
        """
        They would be of no use, as nothing is resumed.
        """
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        with context.wrap_socket(self.start("-s", "-L", NAME), server_hostname=NAME) as client:
            with self.remote.accept()[0] as backend:
                backend.sendall(b"what comes behind a ticket")
                self.assertEqual(client.recv(4), b"what")
            assert client.session is not None
            self.assertFalse(client.session.has_ticket)

    def test_itDoesWhereThatIsAskedFor(self) -> None:
        """
        Whatever other tunnels of the process do.
        """
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        sock = self.start("-s", "-L", NAME, "--resumption", "on")
        with context.wrap_socket(sock, server_hostname=NAME) as client:
            with self.remote.accept()[0] as backend:
                backend.sendall(b"what comes behind a ticket")
                self.assertEqual(client.recv(4), b"what")
            assert client.session is not None
            self.assertEqual(client.version(), "TLSv1.3")
            self.assertTrue(client.session.has_ticket)

    def test_aProviderComesBesideAllThat(self) -> None:
        """
        The program begins once more, with groups and the provider in one configuration; one that
        cannot be loaded does no harm to keys in files.
        """
        context = ssl.create_default_context(cafile=str(self.pool / "ca" / "cert.pem"))
        module = fakeModule(self.pool / "pkcs11.so", PROVIDER_ENTRY)
        words = ("-s", "-L", NAME, "--resumption", "on", "--key-provider", str(module))
        with context.wrap_socket(self.start(*words), server_hostname=NAME) as client:
            with self.remote.accept()[0] as backend:
                backend.sendall(b"what comes behind a ticket")
                self.assertEqual(client.recv(4), b"what")
            assert client.session is not None
            self.assertTrue(client.session.has_ticket)
        context.set_ecdh_curve("secp521r1")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)handshake.failure"):
            context.wrap_socket(self.connect(), server_hostname=NAME)

    def test_keysElsewhereNeedWhatThePoolNames(self) -> None:
        """
        That is loaded where a key says so, and looked at first; one line says what is wrong.
        """
        file = refer(Pool(self.pool, asked=False), Identity.parse(NAME))
        module = fakeModule(self.pool / "pkcs11.so", PROVIDER_ENTRY)
        link = self.pool / "key-provider"
        for isLinked, mode, expected, environment in (
            (False, 0o755, f"{file}: refers to a key in a token, and this process has loaded", {}),
            (True, 0o755, f"--key-provider {module}: was not taken by OpenSSL", {}),
            (True, 0o777, f"--key-provider {module}: can be changed by others", {}),
            (True, 0o755, "/nonexistent/pin: cannot be read", {"OPENSSL_CONF": "/dev/null"}),
            (True, 0o777, "can be changed by others", {"TLSTUNNEL_KEY_PROVIDER": "nonsense"}),
        ):
            link.unlink(missing_ok=True)
            module.chmod(mode)
            if isLinked:
                link.symlink_to(module)
            process = self.launch("-s", "-L", NAME, **environment)
            said, _ = process.communicate()
            self.assertIn(expected, said)
            self.assertEqual((said.count("\n"), process.returncode), (1, 1), said)

    def test_aClientOffersWhatIsRecommended(self) -> None:
        """
        Four groups, and keys of the first two, so that nobody needs another round trip.
        """
        self.start("-c", "-R", NAME)
        sock = self.remote.accept()[0]
        self.addCleanup(sock.close)
        sock.settimeout(PATIENCE)
        # Of the record, its length is what matters.
        header = Plain(sock).read(5)
        assert isinstance(header, bytes)
        hello = Plain(sock).read(int.from_bytes(header[3:], "big"))
        assert isinstance(hello, bytes)
        found = extensions(hello)
        groups, shares = found[SUPPORTED_GROUPS].vector(2), found[KEY_SHARE].vector(2)
        offered = [groups.number(2) for _ in range(len(groups.data) // 2)]
        self.assertEqual(offered, [X25519_MLKEM768, X25519, P_256, P_384])
        self.assertEqual((shares.number(2), len(shares.vector(2).data)), (X25519_MLKEM768, 1216))
        self.assertEqual((shares.number(2), len(shares.vector(2).data)), (X25519, 32))
        self.assertEqual(shares.data, b"")
