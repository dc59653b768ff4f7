"""
Viewers of VNC, as programs: vncdotool, one that is made of libvncclient, and those of TigerVNC and
of gtk-vnc, which draw on the screen of an X server.
"""

from __future__ import annotations

import pwd
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop.clients import Outcome, run
from tests.interop.processes import Process, find, until
from tests.interop.servers.vnc import PASSWORD, USER

#: The versions of RFB that there are.
VERSIONS = ("3.3", "3.7", "3.8")

_VNCDOTOOL = """\
import sys, warnings
warnings.simplefilter("ignore")
from vncdotool import api, rfb
server, picture, *attempts = sys.argv[1:]
for attempt in attempts:
    version, password = attempt.split(":")
    rfb.RFBClient.MAX_CLIENT_VERSION = tuple(map(int, version.split(".")))
    client = api.connect(server, password, timeout=20)
    try:
        client.captureScreen(picture)
        print(f"{attempt} has seen {client.protocol.screen.width} columns")
        client.disconnect()
    except Exception as error:
        print(f"{attempt} has seen nothing: {error}")
api.shutdown()
"""

_GTK = """\
mount -t tmpfs none "$HOME" && mkdir -p "$HOME/.pki/CA" && cp "$1" "$HOME/.pki/CA/cacert.pem" &&
shift && exec "$@"
"""


def vncdotool(port: int, *attempts: str) -> Outcome:
    """
    Pictures of a screen, which is seen without TLS; each is told of in a line.

    @param attempts: the latest version of RFB that it speaks, and a password, with a colon between.
    """
    with tempfile.TemporaryDirectory() as directory:
        words = [f"127.0.0.1::{port}", f"{directory}/screen.png", *attempts]
        return run([sys.executable, "-c", _VNCDOTOOL, *words], seconds=60)


class LibVNCClient:
    """
    C{screen.c}, compiled.
    """

    def __init__(self, directory: Path) -> None:
        """
        @param directory: where it is put.
        """
        find("gcc", "gcc")
        if not Path("/usr/include/rfb/rfbclient.h").exists():
            raise SkipTest("NOT TESTED: no libvncclient; run: sh tests/interop/install")
        self._program = directory / "screen"
        source = str(Path(__file__).with_name("screen.c"))
        options = ["-Wall", "-Wextra", "-Werror", "-O1"]
        run(["gcc", *options, source, "-o", str(self._program), "-lvncclient"]).expect()

    def look(
        self, port: int, anchors: Path | None, password: str = PASSWORD, user: str = USER
    ) -> Outcome:
        """
        See the screen once.

        @param anchors: those that a server with VeNCrypt has to be of; C{None} for no TLS.
        """
        words = ["127.0.0.1", str(port), password]
        if anchors is not None:
            words += [user, str(anchors)]
        return run([str(self._program), *words])


class Window(Process):
    """
    A viewer with a window, until it is stopped.
    """

    def __init__(self, directory: Path, display: str) -> None:
        super().__init__(directory)
        directory.mkdir(parents=True)
        self._display = display

    def _open(self, command: Sequence[str], environment: Mapping[str, str], said: str) -> None:
        """
        @param said: what it says once it has seen the screen.
        """
        here = {"DISPLAY": self._display, "HOME": str(self.directory)}
        self.spawn(command, (), environment={**here, **environment})
        try:
            until(lambda: said in self.log, f"{said!r}, of a viewer")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None
        finally:
            self.stop()

    def tigervnc(self, port: int, types: str, *settings: str) -> None:
        """
        That of TigerVNC.

        @param types: the security types that it takes.
        """
        words = ["-Log=*:stderr:100", f"-SecurityTypes={types}", "-AlertOnFatalError=0"]
        words += ["-ReconnectOnError=0", *settings, f"127.0.0.1::{port}"]
        program = find("xtigervncviewer", "tigervnc-viewer")
        login = {"VNC_USERNAME": USER, "VNC_PASSWORD": PASSWORD}
        self._open([program, *words], login, "Enabling continuous updates")

    def gtk(self, port: int, anchors: Path) -> None:
        """
        That of gtk-vnc, which looks for anchors in the home directory that /etc/passwd has.
        """
        program = find("gvncviewer", "gvncviewer")
        inside = ["/bin/sh", "-c", _GTK, "sh", str(anchors)]
        words = [find("unshare", "util-linux"), "-m", *inside]
        words += [program, "--gtk-vnc-debug", f"localhost:{port - 5900}"]
        home = {"HOME": pwd.getpwuid(0).pw_dir}
        self._open(words, home, "Notify update area")
