"""
What somebody tries who has taken over the process of a tunnel whose key is in a token: to get the
key.  A program, to be run as the user of that process::

    python intruder.py USER GROUP MODULE PIN LABEL DIRECTORY PID...

After it has been loaded it becomes USER in GROUP alone.  MODULE is what the tunnel uses, LABEL the
name of the key; DIRECTORY is where the token is kept, and each PID a process that has the key.  It
prints a JSON object: for each try what stood against it, or else what it has got.
"""

from __future__ import annotations

import ctypes
import grp
import json
import os
import pwd
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pkcs11._pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17

# What the private half of a pair is made of.
_SECRETS = {
    KeyType.EC: (Attribute.VALUE,),
    KeyType.RSA: (
        Attribute.PRIVATE_EXPONENT,
        Attribute.PRIME_1,
        Attribute.PRIME_2,
        Attribute.EXPONENT_1,
        Attribute.EXPONENT_2,
        Attribute.COEFFICIENT,
    ),
}


def main(
    user: str, group: str, module: str, pin: str, label: str, directory: str, *processes: str
) -> None:
    """
    Try all.
    """
    os.setgroups([])
    os.setgid(grp.getgrnam(group).gr_gid)
    os.setuid(pwd.getpwnam(user).pw_uid)
    found: dict[str, str] = {}
    for name, attempt in _attempts(module, pin, label, Path(directory), processes):
        try:
            found[name] = f"GOT {attempt()!r}"
        except (pkcs11.PKCS11Error, OSError) as error:
            found[name] = type(error).__name__
    print(json.dumps(found))


def _attempts(
    module: str, pin: str, label: str, directory: Path, processes: tuple[str, ...]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "directory", lambda: list(directory.iterdir())
    yield "files", lambda: [each.read_bytes() for each in directory.rglob("*") if each.is_file()]
    for pid in processes:
        process = Path("/proc", pid)
        yield f"mem {pid}", partial(_opened, process / "mem")
        yield f"maps {pid}", partial(_opened, process / "maps")
        yield f"root {pid}", partial(_listed, process / "root")
        yield f"descriptors {pid}", partial(_listed, process / "fd")
        yield f"ptrace {pid}", partial(_attach, int(pid))
    tokens = pkcs11.lib(module).get_tokens(token_flags=pkcs11.TokenFlag.TOKEN_INITIALIZED)
    with next(tokens).open(rw=True, user_pin=pin) as session:
        key: Any = session.get_key(ObjectClass.PRIVATE_KEY, label=label)
        yield "use", lambda: _use(key)
        yield from _inToken(session, key)


def _inToken(session: Any, key: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    for secret in _SECRETS[key[Attribute.KEY_TYPE]]:
        yield f"read {secret.name}", partial(key.__getitem__, secret)
    weaker = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    for attribute, value in weaker.items():
        yield f"set {attribute.name}", partial(key.__setitem__, attribute, value)
    for token in (False, True):
        yield f"copy {token}", partial(key.copy, {**weaker, Attribute.TOKEN: token})
    wrapping = session.generate_key(KeyType.AES, 256)
    for mechanism in (Mechanism.AES_KEY_WRAP, Mechanism.AES_KEY_WRAP_PAD):
        yield f"wrap {mechanism.name}", partial(wrapping.wrap_key, key, mechanism=mechanism)
    public, _ = session.generate_keypair(KeyType.RSA, 2048)
    yield "wrap RSA", lambda: public.wrap_key(key, mechanism=Mechanism.RSA_PKCS)


def _opened(file: Path) -> str:
    with file.open("rb") as opened:
        return str(opened)


def _listed(directory: Path) -> int:
    return len(list(directory.iterdir()))


def _use(key: Any) -> int:
    isRSA = key[Attribute.KEY_TYPE] is KeyType.RSA
    mechanism = Mechanism.SHA256_RSA_PKCS if isRSA else Mechanism.ECDSA
    return len(key.sign(bytes(32), mechanism=mechanism))


def _attach(pid: int) -> str:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = (ctypes.c_long,) * 4
    if library.ptrace(_PTRACE_ATTACH, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    library.ptrace(_PTRACE_DETACH, pid, 0, 0)
    return "attached"


if __name__ == "__main__":
    main(*sys.argv[1:])
