"""
The configurations of other tunnels in C{data}, each with what it becomes.

C{NAME.conf} is one of stunnel, C{NAME.words} a command line of ghostunnel; C{NAME.toml} is what is
written, and C{NAME.warnings}, if it is there, what is said on standard error.  C{python -m
tests.convert.examples} writes these anew: read what has changed before you commit it.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

from tlstunnel.convert import ghostunnel, stunnel
from tlstunnel.convert.draft import Conversion
from tlstunnel.convert.stunnelfile import parse
from tlstunnel.convert.writing import write
from tlstunnel.program.configure import describe
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.tunnel.description import Tunnel

DATA = Path(__file__).parent / "data"

#: What the machine is called.
HOST = "host.example"


def ofStunnel() -> list[Path]:
    """
    The configurations of stunnel.
    """
    return sorted(DATA.glob("*.conf"))


def ofGhostunnel() -> list[Path]:
    """
    The command lines of ghostunnel.
    """
    return sorted(DATA.glob("*.words"))


def include(folder: str) -> Iterator[tuple[str, bytes]]:
    """
    What C{include} names, from the folder of the data.
    """
    for file in sorted((DATA / folder).iterdir()):
        yield str(file.relative_to(DATA)), file.read_bytes()


def converted(file: Path) -> Conversion:
    """
    What becomes of one of them.
    """
    if file.suffix == ".words":
        return ghostunnel.convert(shlex.split(file.read_text()), DATA, HOST)
    return stunnel.convert(parse(file.name, file.read_bytes(), include), DATA, HOST)


def convertedText(text: str, folder: Path = DATA) -> Conversion:
    """
    What becomes of a configuration of stunnel.
    """
    return stunnel.convert(parse("t", text.encode(), include), folder, HOST)


def warnings(conversion: Conversion) -> str:
    """
    What is said of it on standard error.
    """
    return "".join(f"{each}\n" for each in conversion.warnings)


def described(text: str) -> dict[str, Tunnel]:
    """
    The tunnels of a configuration file, by their names.
    """
    tables: dict[str, Any] = tomllib.loads(text).get("tunnel", {})
    return {name: _described(table) for name, table in tables.items()}


def _described(table: dict[str, Any]) -> Tunnel:
    given = {key: value for key, value in table.items() if key != "mode"} | {table["mode"]: True}
    # Those of names are for test_configuration to read.
    given.pop("name", None)
    return describe(
        {
            option.name: option.read(given[option.name]) if option.name in given else option.default
            for option in TUNNEL_OPTIONS
        }
    )


def unused(tables: Iterable[dict[str, Any]]) -> set[str]:
    """
    The keys in tables of tunnels that no tunnel has.
    """
    known = {"mode", "name", *(option.name for option in TUNNEL_OPTIONS)}
    return {key for table in tables for key in table} - known


def main() -> None:
    """
    Write all that is expected.
    """
    with chdir(DATA):
        for file in (*ofStunnel(), *ofGhostunnel()):
            conversion = converted(file)
            file.with_suffix(".toml").write_text(write(conversion))
            said = warnings(conversion)
            place = file.with_suffix(".warnings")
            if said:
                place.write_text(said)
            elif place.exists():
                place.unlink()


if __name__ == "__main__":
    main()
