"""
Tests for L{tlstunnel.protocols.mysqlkey}.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from weakref import ref

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.protocols import mysqlpackets
from tests.protocols.mysqlpackets import OAEP, OTHER_SALT, PASSWORD, SALT, combined
from tlstunnel.protocols import mysqlkey
from tlstunnel.protocols.mysqlkey import (
    KEY_BYTES,
    VARIABLE,
    CommonKey,
    PasswordKey,
    PasswordKeys,
    common,
    encrypted,
    generate,
    keys,
)
from tlstunnel.protocols.mysqlmaker import Maker
from tlstunnel.tls.anonymousfile import AnonymousFile

TOP = Path(__file__).resolve().parents[2]

# One that goes on in a child before its key is made, as twistd does.
_FORKED = """
import os, sys, threading
from tlstunnel.protocols.mysqlkey import PasswordKey, generate
began, parent = threading.Event(), os.getpid()
def make():
    began.set()
    if os.getpid() == parent:
        threading.Event().wait(20)
    return generate()
key = PasswordKey(make)
key.prepare()
began.wait(20)
child = os.fork()
if child:
    os._exit(os.waitpid(child, 0)[1])
print(key.public.decode(), flush=True)
os._exit(0)
"""

# A worker that has its key.
_WORKER = """
from tlstunnel.protocols import mysqlkey
mysqlkey.common.accept()
print(*[mysqlkey.keys.of(each).public.decode() for each in ("one", "other")])
"""


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """
    What others are given of a key.
    """
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


#: One that is there.
process = PasswordKey()


class PasswordKeyTests(SynchronousTestCase):
    """
    Our own key.
    """

    @given(st.binary(max_size=213), st.binary(min_size=1, max_size=20))
    def test_whatIsEncryptedForItIsDecrypted(self, password: bytes, scramble: bytes) -> None:
        """
        As long as OAEP allows it.
        """
        said = mysqlpackets.sealed(process.public, scramble, password + b"\0")
        self.assertEqual(process.decrypted(said, scramble), password + b"\0")

    def test_whatIsNotEncryptedForItIsNoPassword(self) -> None:
        """
        Whatever is wrong, it is the same.
        """
        key = load_pem_public_key(process.public)
        other = rsa.generate_private_key(65537, 2048)
        assert isinstance(key, rsa.RSAPublicKey)
        said = combined(PASSWORD, SALT)
        sha256 = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        label = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), b"label")
        wrong = {
            "another key": other.public_key().encrypt(said, OAEP),
            "the older padding": key.encrypt(said, padding.PKCS1v15()),
            "another hash": key.encrypt(said, sha256),
            "a label": key.encrypt(said, label),
            "another scramble": key.encrypt(combined(PASSWORD, OTHER_SALT), OAEP),
            "no NUL": key.encrypt(combined(PASSWORD[:-1], SALT), OAEP),
            "nothing in it": key.encrypt(b"", OAEP),
            "zero": bytes(KEY_BYTES),
            "one": bytes(KEY_BYTES - 1) + b"\1",
            "more than the modulus": b"\xff" * KEY_BYTES,
            "too short": b"x" * (KEY_BYTES - 1),
            "nothing": b"",
        }
        for what, answer in wrong.items():
            self.assertIsNone(process.decrypted(answer, SALT), what)

    @given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
    def test_noOtherBytesAreAPassword(self, answer: bytes) -> None:
        """
        Whatever comes.
        """
        self.assertIsNone(process.decrypted(answer, SALT))

    def test_itIsMadeOnceInAThread(self) -> None:
        """
        Which is begun with, and not waited for.
        """
        began = threading.Event()
        mayGo = threading.Event()

        def generate(exponent: int, bits: int) -> rsa.RSAPrivateKey:
            began.set()
            mayGo.wait(20)
            return made(exponent, bits)

        made = rsa.generate_private_key
        self.patch(rsa, "generate_private_key", generate)
        key = PasswordKey()
        key.prepare()
        self.assertTrue(began.wait(20))
        began.clear()
        key.prepare()
        mayGo.set()
        self.assertEqual(key.public, key.public)
        self.assertFalse(began.is_set())
        self.assertNotEqual(key.public, process.public)

    def test_itIsAsLongAsItSays(self) -> None:
        """
        Which is by what its answers are known.
        """
        key = load_pem_public_key(process.public)
        assert isinstance(key, rsa.RSAPublicKey)
        self.assertEqual(key.key_size, 8 * KEY_BYTES)

    def test_aProcessThatIsForkedHasOneAllTheSame(self) -> None:
        """
        The thread that was to make it has stayed behind.
        """
        said = subprocess.run(
            [sys.executable, "-c", _FORKED],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        load_pem_public_key(said.stdout)

    def test_untilItIsMadeNobodyHasBeenGivenIt(self) -> None:
        """
        What comes before is no password, and no turn waits for the key.
        """
        slow = Slow(self)
        key = PasswordKey(slow)
        self.assertIsNone(key.decrypted(bytes(KEY_BYTES), SALT))
        self.assertFalse(key.isBegun)
        key.prepare()
        self.assertIsNone(key.decrypted(bytes(KEY_BYTES), SALT))
        self.assertTrue(key.isBegun)
        self.assertFalse(key.isMade)


class Slow:
    """
    Makes a key, or fails to, once it may.
    """

    def __init__(self, test: SynchronousTestCase, isPossible: bool = True) -> None:
        self.mayGo = threading.Event()
        self.isPossible = isPossible
        self.began = 0
        test.addCleanup(self.mayGo.set)
        test.patch(PasswordKey, "_maker", Maker())

    def __call__(self) -> rsa.RSAPrivateKey:
        """
        What the thread calls.
        """
        self.began += 1
        self.mayGo.wait(20)
        if not self.isPossible:
            raise MemoryError
        return generate()


class WaitingTests(SynchronousTestCase):
    """
    Waiting for a key that is not made yet.
    """

    def setUp(self) -> None:
        """
        What the thread wants done in that of the reactor.
        """
        self.turns: Queue[Callable[[], None]] = Queue()

    def turn(self) -> None:
        """
        Do the next of it.
        """
        self.turns.get(timeout=20)()

    def test_allWhoWaitAreToldInATurnOfTheReactor(self) -> None:
        """
        Once; who asks then does not wait.
        """
        slow = Slow(self)
        key = PasswordKey(slow)
        waiting = [key.whenMade(self.turns.put) for _ in range(3)]
        for each in waiting:
            self.assertNoResult(each)
        slow.mayGo.set()
        self.turn()
        for each in (*waiting, key.whenMade(self.turns.put)):
            self.successResultOf(each)
        self.assertTrue(key.isMade)
        self.assertTrue(self.turns.empty())
        self.assertEqual(slow.began, 1)

    def test_whoIsCancelledIsNotTold(self) -> None:
        """
        As when its connection ends meanwhile; others are.
        """
        slow = Slow(self)
        key = PasswordKey(slow)
        gone, other = key.whenMade(self.turns.put), key.whenMade(self.turns.put)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        slow.mayGo.set()
        self.turn()
        self.successResultOf(other)

    def test_whoLetsGoOfItIsForgotten(self) -> None:
        """
        And the key with it, where nobody else has it: it is never made.
        """
        slow = Slow(self)
        first, key = PasswordKey(slow), PasswordKey(generate)
        first.prepare()
        kept = ref(key)
        waiting = key.whenMade(self.turns.put)
        gc.disable()
        self.addCleanup(gc.enable)
        del waiting, key
        self.assertIsNone(kept())
        slow.mayGo.set()
        self.assertTrue(first.public)
        self.assertTrue(self.turns.empty())

    def test_whereNoneCanBeMadeAllAreTold(self) -> None:
        """
        There may be no memory.
        """
        slow = Slow(self, isPossible=False)
        key = PasswordKey(slow)
        waiting = [key.whenMade(self.turns.put) for _ in range(2)]
        slow.mayGo.set()
        self.turn()
        for each in waiting:
            self.failureResultOf(each, MemoryError)

    def test_whereNoneCouldBeMadeItIsTriedAnew(self) -> None:
        """
        For who comes next: there may be memory again.  Until then it decrypts nothing, and nobody
        can have been given it.
        """
        slow = Slow(self, isPossible=False)
        slow.mayGo.set()
        key = PasswordKey(slow)
        first = key.whenMade(self.turns.put)
        self.turn()
        self.failureResultOf(first, MemoryError)
        self.assertFalse(key.isMade)
        self.assertFalse(key.mayBeKnown)
        self.assertIsNone(key.decrypted(bytes(KEY_BYTES), SALT))
        slow.isPossible = True
        second = key.whenMade(self.turns.put)
        self.turn()
        self.successResultOf(second)
        self.assertTrue(key.isMade)
        self.assertTrue(key.public)

    def test_noTurnWaitsForOneThatIsTriedAnew(self) -> None:
        """
        Who has waited for the one that could not be made has the next one, whenever the turn comes
        in which that would have been told.
        """
        slow = Slow(self, isPossible=False)
        slow.mayGo.set()
        key = PasswordKey(slow)
        first = key.whenMade(self.turns.put)
        late = self.turns.get(timeout=20)
        slow.isPossible = True
        slow.mayGo.clear()
        second = key.whenMade(self.turns.put)
        late()
        self.assertNoResult(first)
        slow.mayGo.set()
        self.turn()
        self.successResultOf(first)
        self.successResultOf(second)

    def test_whoEndsWhileTheReactorStopsIsNotMissed(self) -> None:
        """
        The turn may come when nobody is there any more.
        """
        slow = Slow(self)
        key = PasswordKey(slow)
        waiting = key.whenMade(self.turns.put)
        slow.mayGo.set()
        turn = self.turns.get(timeout=20)
        del waiting, key
        turn()


class CommonKeyTests(SynchronousTestCase):
    """
    That of several processes.
    """

    def test_workersHaveTheSame(self) -> None:
        """
        Whichever of them makes it, and also one that comes later.
        """
        file = AnonymousFile("", lambda: os.memfd_create("test"))
        self.addCleanup(os.close, file.descriptor)

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-c", _WORKER],
                env={**os.environ, "PYTHONPATH": str(TOP), VARIABLE: str(file.descriptor)},
                stdout=subprocess.PIPE,
                pass_fds=[file.descriptor],
            )

        said = {each.communicate(timeout=60)[0] for each in (start(), start())}
        said.add(start().communicate(timeout=60)[0])
        ours = [PasswordKey(CommonKey(file, name)).public for name in ("one", "other")]
        self.assertNotEqual(*ours)
        self.assertEqual(said, {b" ".join(ours) + b"\n"})

    def test_whatAnotherHasMadeIsNotExamined(self) -> None:
        """
        All threads would wait for that.
        """
        file = AnonymousFile("", lambda: os.memfd_create("test"))
        self.addCleanup(os.close, file.descriptor)
        made = CommonKey(file, "one")()
        loaded: list[dict[str, bool]] = []

        def load(content: bytes, password: None, **given: bool) -> rsa.RSAPrivateKey:
            loaded.append(given)
            return made

        self.patch(mysqlkey, "load_der_private_key", load)
        CommonKey(file, "one")()
        self.assertEqual(loaded, [{"unsafe_skip_rsa_key_validation": True}])

    def test_whereThereIsNoFileThereIsOneForTheProcess(self) -> None:
        """
        It is alone, or the system has no such files.
        """
        keys = [CommonKey(AnonymousFile("", self.fail), "one")() for _ in range(2)]
        self.assertNotEqual(*[public(each) for each in keys])

    def test_thoseThatWereNeededLastAreKept(self) -> None:
        """
        A service for many programs sees many servers.
        """
        self.patch(mysqlkey, "MOST_KEYS", 2)
        kept = PasswordKeys(common)
        first, second = kept.of("first"), kept.of("second")
        self.assertIs(kept.of("first"), first)
        kept.of("third")
        self.assertIs(kept.of("first"), first)
        self.assertIsNot(kept.of("second"), second)
        self.assertIsNot(keys.of("first"), first)

    def test_whoHasMostLosesOneFirst(self) -> None:
        """
        No user takes the keys of others by asking for many.
        """
        self.patch(mysqlkey, "MOST_KEYS", 4)
        kept = PasswordKeys(common)
        ours = kept.of("server", user=1)
        first, *_, last = [kept.of(f"server{number}", user=2) for number in range(20)]
        self.assertIs(kept.of("server", user=1), ours)
        self.assertIs(kept.of("server19", user=2), last)
        self.assertIsNot(kept.of("server0", user=2), first)

    def test_eachUserHasOneOfItsOwn(self) -> None:
        """
        Also for the same server, and it is in no file.
        """
        keys = PasswordKeys(AnonymousFile("", self.fail))
        self.assertIsNot(keys.of("server", user=1), keys.of("server", user=2))
        self.assertIsNot(keys.of("server", user=1), keys.of("server"))
        file = AnonymousFile("", lambda: os.memfd_create("test"))
        self.addCleanup(os.close, file.descriptor)
        self.assertTrue(PasswordKeys(file).of("server", user=1).public)
        self.assertEqual(os.fstat(file.descriptor).st_size, 0)

    def test_aSystemWithoutSuchFilesSaysSo(self) -> None:
        """
        A file with a name would be on a disk.
        """
        self.patch(os, "memfd_create", None)
        del os.memfd_create
        with self.assertRaises(OSError):
            _ = common._make()


class EncryptedTests(SynchronousTestCase):
    """
    Encrypting with somebody else's key.
    """

    def test_whatIsEncryptedCanBeDecrypted(self) -> None:
        """
        Each time to something else.
        """
        said = encrypted(PASSWORD, SALT, process.public)
        self.assertEqual(process.decrypted(said, SALT), PASSWORD)
        self.assertNotEqual(said, encrypted(PASSWORD, SALT, process.public))

    def test_whatIsNoKeyIsAnError(self) -> None:
        """
        Always the same kind.
        """
        short = rsa.generate_private_key(65537, 1024)
        pem = process.public
        wrong = {
            "nothing": b"",
            "no PEM": b"x" * 400,
            "no base64": pem.replace(b"MII", b"*<>"),
            "cut": pem[:-60],
            "another kind": public(ec.generate_private_key(ec.SECP256R1())),
            "a certificate": pem.replace(b"PUBLIC KEY", b"CERTIFICATE"),
        }
        for what, each in wrong.items():
            with self.assertRaises(ValueError, msg=what):
                encrypted(PASSWORD, SALT, each)
        encrypted(PASSWORD, SALT, public(short))
        with self.assertRaises(ValueError):
            encrypted(PASSWORD * 5, SALT, public(short))

    @given(st.binary(max_size=300))
    def test_noBytesAreWorseThanWrong(self, pem: bytes) -> None:
        """
        Errors are of one kind, whatever comes.
        """
        head, foot = b"-----BEGIN PUBLIC KEY-----\n", b"\n-----END PUBLIC KEY-----\n"
        for each in (pem, head + pem + foot):
            with self.assertRaises(ValueError):
                encrypted(PASSWORD, SALT, each)
