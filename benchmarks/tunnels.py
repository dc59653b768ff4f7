"""
tlstunnel among the contenders: as a tree has it, configured in whatever way a measurement wants.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.contenders import CHECKOUT, DIALECTS, Contender, Setup, python
from benchmarks.credentials import HOST
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool

#: Names that L{tunnelOfNames} has beside the one that is asked for.
NAMES = 1_000


def tunnelIn(tree: Path, name: str, *options: str) -> Contender:
    """
    @param options: further ones.
    @return: tlstunnel as it is in C{tree}, under C{name}; only its command line is relied on.
    """
    program = (*python(tree), "-m", "tlstunnel")

    def command(setup: Setup) -> list[str]:
        addresses = ["-l", f"127.0.0.1:{setup.listen}", "-r", f"127.0.0.1:{setup.backend}"]
        identity = ["-s", "-L", HOST] if setup.mode == "server" else ["-c", "-R", HOST]
        starttls = ["--starttls", setup.dialect] if setup.dialect else []
        pool = ["--pool", str(setup.credentials.pool)]
        demanded = ["--remote-id", HOST] if setup.demanding else []
        workers = ["--workers", str(setup.workers)] if setup.workers > 1 else []
        return [
            *(*program, *identity, *addresses, *pool),
            *(*starttls, *demanded, *workers, *options),
        ]

    return Contender(name, command, (*program, "--version"), dialects=frozenset(DIALECTS))


def poolIn(tree: Path, name: str) -> Contender:
    """@return: the pool service as it is in C{tree}, under C{name}: in client mode alone."""
    program = (*python(tree), "-m", "tlstunnel")

    def command(setup: Setup) -> list[str]:
        where = ["--socket", setup.poolSocket, "--pool", str(setup.credentials.pool)]
        return [*program, "pool", "serve", *where, "--max-per-user", "0"]

    return Contender(name, command, (*program, "--version"), ("client",), isPool=True)


def tunnelOfFile(name: str, showsStatus: bool) -> Contender:
    """@return: the checkout with a file, under C{name}, with its status or without."""

    def command(setup: Setup) -> list[str]:
        lines = [
            f'mode = "{setup.mode}"',
            f'local = "127.0.0.1:{setup.listen}"',
            f'remote = "127.0.0.1:{setup.backend}"',
            f'{"local-id" if setup.mode == "server" else "remote-id"} = "{HOST}"',
            f'pool = "{setup.credentials.pool}"',
        ]
        if setup.dialect:
            lines.append(f'starttls = "{setup.dialect}"')
        if showsStatus:
            lines += ["[status]", f'local = "{setup.directory}/status"']
        file = setup.write("tunnels.toml", "\n".join(["[tunnel.bench]", *lines, ""]))
        Path(file).chmod(0o600)
        return [*python(CHECKOUT), "-m", "tlstunnel", "--config", file]

    version = (*python(CHECKOUT), "-m", "tlstunnel", "--version")
    return Contender(name, command, version, dialects=frozenset(DIALECTS))


def tunnelOfNames(name: str, several: bool) -> Contender:
    """
    @return: the checkout with a file, under C{name}, that serves L{HOST} alone, or behind many
        other names, each with a certificate and a backend of its own.
    """

    def command(setup: Setup) -> list[str]:
        pool, first = setup.credentials.pool, HOST
        lines = []
        if several:
            pool = Path(shutil.copytree(pool, setup.directory / "pool"))
            others = [f"name-{number}.{HOST}" for number in range(NAMES)]
            for other in others:
                createIdentity(Pool(pool), Identity.parse(other))
            first = others[0]
            backend = f'remote = "127.0.0.1:{setup.backend}"'
            for each in (*others[1:], HOST):
                lines += [f'[tunnel.bench.name."{each}"]', backend]
        tunnel = [
            '[tunnel.bench]\nmode = "server"',
            f'local = "127.0.0.1:{setup.listen}"\nremote = "127.0.0.1:{setup.backend}"',
            f'local-id = "{first}"\npool = "{pool}"',
            *([f'starttls = "{setup.dialect}"'] if setup.dialect else []),
        ]
        file = setup.write("tunnels.toml", "\n".join([*tunnel, *lines, ""]))
        Path(file).chmod(0o600)
        return [*python(CHECKOUT), "-m", "tlstunnel", "--config", file]

    version = (*python(CHECKOUT), "-m", "tlstunnel", "--version")
    return Contender(name, command, version, ("server",), dialects=frozenset(DIALECTS))
