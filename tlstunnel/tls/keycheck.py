"""
Whether RSA keys are sound, found out in a thread: that takes a tenth of a second, or a whole one.

cryptography asks it while it loads a key, and no other thread of Python goes on until it is
answered.  Here OpenSSL is asked, through pyOpenSSL's binding, which is not public; where that is
not what we know it to be, cryptography is.  What was found out is known to
L{tlstunnel.identity.pem}, which then loads a key in no time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import crypto
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlstunnel.identity import soundness
from tlstunnel.identity.pem import unexamined

_lib: Any
_ffi: Any
try:
    from OpenSSL.crypto import _ffi, _lib  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    _ffi = _lib = None

#: Whether other threads go on while L{isSound} finds it out.
GOES_ASIDE = all(
    hasattr(_lib, name)
    for name in ("EVP_PKEY_get1_RSA", "RSA_check_key", "RSA_free", "ERR_clear_error")
)

#: How often something is tried again, as another key was missing: each of its files may have been
#: replaced meanwhile.
MOST_LOOKS = 10

_T = TypeVar("_T")


def isSound(key: rsa.RSAPrivateKey) -> bool:
    """
    Whether the numbers of a key belong together (RSA_check_key(3)).
    """
    try:
        numbers = key.private_numbers()
        ours = getattr(crypto.PKey.from_cryptography_key(key), "_pkey", None)
        if ours is None or not GOES_ASIDE:
            numbers.private_key()
            return True
    except (ValueError, crypto.Error):
        return False
    # cryptography asks for this too: for OpenSSL, 2 is a prime like any other.
    if not (numbers.p % 2 and numbers.q % 2):
        return False
    found = _lib.EVP_PKEY_get1_RSA(ours)
    isSound: bool = found != _ffi.NULL and _lib.RSA_check_key(_ffi.gc(found, _lib.RSA_free)) == 1
    # The errors of this thread, which nobody is to take for his own.
    _lib.ERR_clear_error()
    return isSound


def examine(file: Path) -> None:
    """
    Find out whether the key in C{file} is sound, if that is not known; to be called in a thread.
    """
    found = unexamined(file)
    if found is not None:
        content, key = found
        soundness.known.add(content, isSound(key))


class KeyUnexamined(Exception):
    """
    A key cannot be loaded in this turn of the reactor, as it is not known whether it is sound.

    @ivar file: where it is.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self.file = file


def examining(call: Callable[[], _T]) -> _T:
    """
    What C{call} returns, where nobody has to be served meanwhile.
    """
    while True:
        try:
            return call()
        except KeyUnexamined as missing:
            examine(missing.file)


class _Job:
    """
    Files that somebody wants examined.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = files
        self.over: Deferred[None] = Deferred()

    def run(self) -> None:
        """
        Do so, in a thread, as long as somebody waits for it.
        """
        for each in self.files:
            if self.over.called:
                break
            examine(each)


class KeyChecks:
    """
    Has files examined, for one after the other: what takes the processor for so long takes one.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._jobs: deque[_Job] = deque()
        self._isRunning = False

    def settle(self, files: Iterable[Path]) -> Deferred[None]:
        """
        Find out of all keys in C{files} whether they are sound.

        @param files: may find them as it goes, in the thread.
        @return: fires in the thread of the reactor once that is known, as far as it can be; it can
            be cancelled.
        """
        job = _Job(files)
        self._jobs.append(job)
        self._goOn()
        return job.over

    def _goOn(self) -> None:
        while self._jobs and not self._isRunning:
            job = self._jobs.popleft()
            if not job.over.called:
                self._isRunning = True
                pool = self._reactor.getThreadPool()
                deferToThreadPool(self._reactor, pool, job.run).addBoth(self._done, job)

    def _done(self, result: Failure | None, job: _Job) -> None:
        self._isRunning = False
        if isinstance(result, Failure):
            # Whoever loads them says what is wrong with them.
            self._log.debug("keys cannot be examined: {why}", why=result.value)
        if not job.over.called:
            job.over.callback(None)
        self._goOn()


async def whenExamined(reactor: Any, call: Callable[[], _T]) -> _T:
    """
    What C{call} returns, once all keys are examined that it needs.
    """
    for _ in range(MOST_LOOKS):
        try:
            return call()
        except KeyUnexamined as missing:
            await keyChecksOf(reactor).settle([missing.file])
    # What keeps them from being examined shows here.
    return examining(call)


@lru_cache(maxsize=8)
def keyChecksOf(reactor: Any) -> KeyChecks:
    """
    Those of C{reactor}.  A process has one, and tests have some.
    """
    return KeyChecks(reactor)
