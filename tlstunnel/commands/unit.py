"""
C{tlstunnel unit}: prints a unit for systemd, with the path at which this program is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from twisted.python import usage

from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.program.output import complain
from tlstunnel.program.syntax import ProgramOptions

#: The units that run us: for all tunnels of a file, for one tunnel each, for the pool, and for an
#: agent.
SERVICES = (
    "tlstunnel.service",
    "tlstunnel@.service",
    "tlstunnel-pool.service",
    "tlstunnel-agent.service",
)

#: All units there are.
UNITS = (*SERVICES, "tlstunnel-pool.socket", "tlstunnel-pool-v2.socket")

#: Where an administrator puts units.
DIRECTORY = "/etc/systemd/system"

# What the units say, which stands for wherever it is.
_PROGRAM, _KILL = "/usr/bin/tlstunnel", "/bin/kill"

# What the units hide from the program, and by which of their settings.
_HIDDEN = {
    "/home": "ProtectHome=yes",
    "/root": "ProtectHome=yes",
    "/run/user": "ProtectHome=yes",
    "/tmp": "PrivateTmp=yes",  # noqa: S108 - nothing is written there
    "/var/tmp": "PrivateTmp=yes",  # noqa: S108
}


class UnitOptions(ProgramOptions):
    """
    The options of C{unit}.
    """

    synopsis = "Usage: tlstunnel unit [NAME.service|NAME.socket]"
    longdesc = f"Print a unit for systemd: {UNITS[0]}, or the one named ({', '.join(UNITS)})."

    def parseArgs(self, *words: str) -> None:
        """
        At most the name of a unit.
        """
        name, *more = words or UNITS[:1]
        if more:
            raise usage.UsageError(
                f"{more[0]!r} is one word too many; write '{self.synopsisAlone()}'"
            )
        if name not in UNITS:
            remedy = nearest(name, UNITS) or f"there are {', '.join(UNITS)}"
            raise usage.UsageError(f"there is no unit {name!r}; {remedy}")
        self["name"] = name


def findProgram(started: str, python: str) -> Path:
    """
    Where the program is, links followed.

    @param started: C{sys.argv[0]}.
    @param python: the interpreter that runs it; the program is beside it where C{started} is a
        module.
    @raise ConfigurationError: it is not installed.
    """
    beside = Path(python).absolute().parent / "tlstunnel"
    path = Path(started).absolute() if Path(started).name == "tlstunnel" else beside
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ConfigurationError(
            str(path),
            "there is no such program",
            "install tlstunnel with pip, and run the one that is installed",
        )
    return path.resolve()


def unit(name: str, program: Path) -> str:
    """
    The text of a unit that runs C{program}.
    """
    text = files("tlstunnel.program").joinpath("units", name).read_text("utf-8")
    text = text.replace(_KILL, shutil.which("kill") or _KILL)
    return text.replace(_PROGRAM, _inUnit(str(program)))


def _inUnit(path: str) -> str:
    """
    C{path} as the first word of a command (systemd.service(5)).
    """
    path = path.replace("%", "%%")
    if re.fullmatch(r"[\w/.+:@%=,~-]+", path, re.ASCII):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def obstacles(program: Path) -> Iterator[str]:
    """
    Why the unit's user cannot run C{program}, in sentences.
    """
    for directory, setting in _HIDDEN.items():
        if program.is_relative_to(directory):
            yield f"{program}: the unit hides {directory} from it ({setting})"
            return
    for path in reversed([program, *program.parents]):
        needed = stat.S_IXOTH if path != program else stat.S_IXOTH | stat.S_IROTH
        if path.stat().st_mode & needed != needed:
            yield f"{program}: user tlstunnel may not run it, because of the mode of {path}"
            return


def main(options: UnitOptions) -> int:
    """
    Print a unit.

    @return: 0, or 1 if the program is not installed.
    """
    try:
        program = findProgram(sys.argv[0], sys.executable)
    except ConfigurationError as error:
        complain(str(error))
        return 1
    name = options["name"]
    print(unit(name, program), end="")
    for path in (program, Path(sys.executable).resolve()) if name in SERVICES else ():
        for obstacle in obstacles(path):
            complain(f"warning: {obstacle}; install it below /opt")
    instance = name.removesuffix(".service") + ("NAME" if "@" in name else "")
    complain(
        f"put this into {DIRECTORY}/{name}; then: "
        f"systemctl daemon-reload && systemctl enable --now {instance}"
    )
    return 0
