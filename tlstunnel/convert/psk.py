"""
The keys that a stunnel service shares with its peers (C{PSKsecrets}), as those of a pool.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.convert.certificatenames import identity
from tlstunnel.convert.draft import Draft
from tlstunnel.convert.peers import ANYBODY, Policy
from tlstunnel.convert.settings import Settings
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.pem import readFile
from tlstunnel.identity.psk import lines
from tlstunnel.tunnel.description import PSK

#: What is to be said of the options for suites.
SUITES = "TLS 1.3, and 1.2 with ECDHE-PSK-CHACHA20-POLY1305; there is no option for them"


class KeyConversion:
    """
    The conversion of one service with such keys.

    @ivar reasons: why it cannot be converted.
    """

    def __init__(self, settings: Settings, folder: Path, draft: Draft) -> None:
        """
        @param folder: where relative paths begin.
        @param draft: gets who we are, and whom we expect.
        """
        self._settings = settings
        self._draft = draft
        self._file = settings.text("PSKsecrets")
        self._names = _namesIn(folder / self._file)
        self.reasons: list[str] = []
        for name, isThere in (
            ("cert", bool(settings.text("cert"))),
            ("verification of certificates", bool(Policy.of(settings))),
        ):
            if isThere:
                self.reasons.append(
                    f"there is {name} beside PSKsecrets, and a tunnel knows its peers by keys or "
                    "by certificates: make a service of each, at addresses of their own"
                )

    @property
    def command(self) -> str:
        """
        What brings the keys into the pool.
        """
        return shlex.join(["tlstunnel", "identity", "import", "--psk", self._file])

    def ofClient(self, remote: Sequence[TCPAddress | UNIXAddress]) -> None:
        """
        Say which key is ours, and who has it, too.
        """
        first = self._names[0] if self._names else ""
        name = self._settings.text("PSKidentity") or first
        if not name:
            self.reasons.append(
                f"{self._file} could not be read here, and its first line says who we are: add "
                "PSKidentity"
            )
            return
        self._draft.values["local-id"] = self._identityOf(name)
        hosts = [each.host.rstrip(".") for each in remote if isinstance(each, TCPAddress)]
        isKnown = len(set(hosts)) == 1 and not remote[0].isLiteral and hosts[0] != "localhost"
        if len(hosts) != len(remote) or not isKnown:
            self._draft.values["remote-id"] = [hosts[0] if hosts else "localhost"]
        self._draft.values["trust"] = [PSK]

    def ofServer(self) -> None:
        """
        Say whose keys count: the pool may have those of other services, too.
        """
        if self._names:
            self._draft.values["remote-id"] = [self._identityOf(each) for each in self._names]
        else:
            self._draft.values["remote-id"] = ANYBODY
            self._draft.notes.append(
                f"{self._file} could not be read here: all are let in whose keys are in the pool, "
                "also those of other services. Name those who may come in remote-id."
            )
        self._draft.values["trust"] = [PSK]

    def _identityOf(self, name: str) -> str:
        found = identity(name)
        if not found:
            self.reasons.append(
                f"{name!r} in {self._file} is no name for an identity: put that line into a file "
                "of its own, run 'tlstunnel identity import ID --psk FILE', and write the tunnel "
                "by hand"
            )
        return found


def _namesIn(path: Path) -> list[str]:
    """
    The names in a file of keys; none if it cannot be read.
    """
    try:
        if not path.is_file():
            return []
        found = lines(readFile(path), str(path))
        return [name.decode("utf-8", "backslashreplace") for name, _, _ in found]
    except (ConfigurationError, OSError):
        return []
