"""
The programs that stunnel starts for connections (exec), as remotes of a tunnel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tlstunnel.address import ExecAddress
from tlstunnel.convert.draft import Draft
from tlstunnel.convert.settings import Settings

_WHOSE = (
    "it runs as the tunnel does, whose user the unit says; where that is root, exec-user has to "
    "say as whom"
)


def startProgram(
    settings: Settings, draft: Draft, isClient: bool, chroot: str, say: Callable[[str, str], None]
) -> list[str]:
    """
    Let a tunnel start the program that stunnel does, if it starts any.

    @param chroot: where stunnel locks itself up.
    @param say: adds a note about an option.
    @return: why it cannot.
    """
    path = settings.text("exec")
    if not path:
        return []
    reasons = []
    if isClient:
        reasons.append(
            "exec with client = yes: a program is started for clients that have come by TLS, in "
            "server mode alone; let it connect to the tunnel"
        )
    if settings.text("connect"):
        reasons.append("exec and connect: a program stands alone")
    if chroot:
        reasons.append(f"exec: the program would not be locked up in {chroot}")
    if not Path(path).is_absolute():
        reasons.append(f"exec = {path}: the path has to be absolute")
    name, *arguments = settings.text("execArgs").split() or [path]
    draft.values["remote"] = [str(ExecAddress((path, *arguments)))]
    if settings.flag("pty"):
        draft.values["exec-pty"] = True
    if Path(name).name != Path(path).name:
        say("execArgs", f"the program is called by its path, and not {name}")
    say("exec", _WHOSE)
    return reasons
