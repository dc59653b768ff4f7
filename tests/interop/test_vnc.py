"""
vnc with TigerVNC and x11vnc, and with viewers of several kinds, in both modes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tests.interop.harness import (
    InteropTestCase,
    Stage,
    openssl,
    record,
    requireRoot,
    tlstunnel,
    until,
)
from tests.interop.servers.vnc import PASSWORD, X11VNC, Xvnc
from tests.interop.tunnel import TunnelsProcess
from tests.interop.viewers import VERSIONS, LibVNCClient, Window, vncdotool

NAME = "screen.test.example"

GOOD = f"3.8:{PASSWORD}"
SEEN = "has seen 320 columns"

BY_NAME = "a server that believes a name without a password"


def clientMode(port: int, option: str = "") -> dict[str, str]:
    """
    What a file says of a tunnel to a server with TLS.

    @param option: the login that is wanted, if one is.
    """
    return {"mode": "client", "remote-id": NAME, **_aScreen(port, option)}


def serverMode(port: int, option: str = "") -> dict[str, str]:
    """
    The same of one before a server without TLS.

    @param option: the login that it has, if that is not a password.
    """
    return {"mode": "server", "local-id": NAME, **_aScreen(port, option)}


def _aScreen(port: int, option: str) -> dict[str, str]:
    said = {"remote": f"127.0.0.1:{port}", "starttls": "vnc"}
    return {**said, "dialect-option": option} if option else said


class ClientModeTests(InteropTestCase):
    """
    Servers with TLS, and viewers without.
    """

    secret: ClassVar[Xvnc]
    opened: ClassVar[Xvnc]
    x11vnc: ClassVar[X11VNC]
    viewer: ClassVar[LibVNCClient]
    ports: ClassVar[dict[str, int]]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.viewer = LibVNCClient(stage.base)
        certificate = stage.authority.issue(NAME, isRSA=True)
        # The first of them that is wanted is taken.
        types = "TLSNone,X509Plain,X509Vnc,X509None"
        cls.secret = stage.start(Xvnc(stage.directory("secret"), types, certificate))
        cls.opened = stage.start(Xvnc(stage.directory("opened"), "X509None", certificate))
        cls.x11vnc = stage.start(X11VNC(stage.directory("x11vnc"), certificate))
        tunnels = {
            "secret": clientMode(cls.secret.port),
            "secret-none": clientMode(cls.secret.port, "none"),
            "secret-plain": clientMode(cls.secret.port, "plain"),
            "opened": clientMode(cls.opened.port),
            "x11vnc": clientMode(cls.x11vnc.port),
        }
        pool = stage.authority.pool
        cls.ports = stage.start(TunnelsProcess(stage.directory("tunnels"), pool, tunnels)).ports

    def test_aScreenIsSeenWithAPassword(self) -> None:
        """
        In each version of RFB; and with another password it is not, which is said as the version
        has it.
        """
        attempts = [f"{each}:{word}" for each in VERSIONS for word in (PASSWORD, "another")]
        said = vncdotool(self.ports["secret"], *attempts).expect()
        for each in VERSIONS:
            self.assertIn(f"{each}:{PASSWORD} {SEEN}", said)
            self.assertRegex(said, f"{each}:another has seen nothing: [Aa]uthentication fail")
        record("vnc", "client", self.secret, "screen seen by vncdotool, with a password")

    def test_aScreenIsSeenWithoutAPassword(self) -> None:
        """
        In each version of RFB; and if that is wanted, also where there are others.
        """
        attempts = [f"{each}:" for each in VERSIONS]
        expected = [f"{each} {SEEN}" for each in attempts]
        vncdotool(self.ports["opened"], *attempts).expect(*expected)
        self.viewer.look(self.ports["secret-none"], None).expect("security type 1,")
        record("vnc", "client", self.opened, "screen seen by vncdotool and libvncclient")

    def test_aScreenIsSeenWithAName(self) -> None:
        """
        By TigerVNC's viewer, which knows that without TLS.
        """
        requireRoot(BY_NAME)
        port = self.ports["secret-plain"]
        Window(self.stage.directory("viewer"), self.opened.display).tigervnc(port, "Plain")
        record("vnc", "client", self.secret, "screen seen by its viewer, with a name (Plain)")
        vncdotool(port, f"3.3:{PASSWORD}").expect("RFB 3.7 or later is needed")

    def test_x11vnc(self) -> None:
        """
        It has VeNCrypt in a process beside it.
        """
        vncdotool(self.ports["x11vnc"], GOOD).expect("has seen 640 columns")
        record("vnc", "client", self.x11vnc, "screen seen by vncdotool, with a password")

    def test_aServerThatIsSomebodyElseIsNotUsed(self) -> None:
        """
        The viewer gets the end of its connection, and the log names both.
        """
        remote = f"127.0.0.1:{self.opened.port}"
        tunnel = self.clientMode(remote, "other.test.example", "vnc")
        self.viewer.look(tunnel.port, None).expectFailure()
        until(lambda: "other.test.example" in tunnel.log and NAME in tunnel.log, "the reason")

    def test_othersSpeakTLSWithIt(self) -> None:
        """
        The tunnel negotiates only.  They begin in the middle, where nothing is left to agree on.
        """
        remote = f"127.0.0.1:{self.opened.port}"
        tunnel = self.tunnel("-c", "-r", remote, "--starttls", "vnc", "--negotiate-only")
        # A client's first byte, and a message that no server knows.
        openssl(tunnel.port, NAME, self.stage.authority.anchors, say="\1\xff").expect(
            "Verification: OK"
        )
        record("vnc", "client", "openssl", "TLS with TigerVNC (negotiate-only)")

    def test_theProbeLooksAtIt(self) -> None:
        """
        Also where another protocol is said, whose servers greet as well.
        """
        words = ("-R", NAME, "--pool", str(self.stage.authority.pool))
        for server in (self.secret, self.opened):
            remote = f"127.0.0.1:{server.port}"
            tlstunnel("probe", remote, "--starttls", "vnc", *words).expect(f"good: {NAME}")
        other = tlstunnel("probe", remote, "--starttls", "smtp", *words)
        self.assertEqual(other.code, 3, other)


class ServerModeTests(InteropTestCase):
    """
    Servers without TLS, and viewers with it.
    """

    secret: ClassVar[Xvnc]
    opened: ClassVar[Xvnc]
    named: ClassVar[Xvnc]
    older: ClassVar[X11VNC]
    oldest: ClassVar[X11VNC]
    viewer: ClassVar[LibVNCClient]
    near: ClassVar[TunnelsProcess]
    ports: ClassVar[dict[str, int]]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        stage.authority.issue(NAME, "127.0.0.1", "localhost")
        cls.viewer = LibVNCClient(stage.base)
        strict = ("BlacklistThreshold=2", "BlacklistTimeout=100")
        cls.secret = stage.start(Xvnc(stage.directory("secret"), "VncAuth", settings=strict))
        cls.opened = stage.start(Xvnc(stage.directory("opened"), "None"))
        cls.named = stage.start(Xvnc(stage.directory("named"), "VncAuth,Plain"))
        cls.older = stage.start(X11VNC(stage.directory("older"), version="3.7", hasPassword=False))
        cls.oldest = stage.start(X11VNC(stage.directory("oldest"), version="3.3"))

        tunnels = {
            "secret": serverMode(cls.secret.port),
            "opened": serverMode(cls.opened.port, "none"),
            "named": serverMode(cls.named.port),
            "named-plain": serverMode(cls.named.port, "plain"),
            "named-none": serverMode(cls.named.port, "none"),
            "named-straight": {**serverMode(cls.named.port), "starttls": "none"},
            "older": serverMode(cls.older.port, "none"),
            "oldest": serverMode(cls.oldest.port),
        }
        pool = stage.authority.pool
        cls.near = stage.start(TunnelsProcess(stage.directory("near"), pool, tunnels))
        cls.ports = cls.near.ports

    def farther(self, tunnels: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
        """
        The ports of more tunnels, for this test.
        """
        pool = self.stage.authority.pool
        process = TunnelsProcess(self.stage.directory("far"), pool, tunnels)
        process.start()
        self.addCleanup(process.stop)
        return process.ports

    def test_libvncclient(self) -> None:
        """
        With each login, and with old servers, whose outcome it would not know otherwise.
        """
        requireRoot(BY_NAME)
        anchors = self.stage.authority.anchors
        remote, options = f"127.0.0.1:{self.named.port}", "--dialect-option"
        both = self.serverMode(remote, NAME, "vnc", options, "vncauth", options, "plain")
        for port, subtype in (
            (self.ports["opened"], 260),
            (both.port, 262),
            (self.ports["older"], 260),
            (self.ports["oldest"], 261),
        ):
            self.viewer.look(port, anchors).expect(f"security type 19, subtype {subtype}")
            if subtype != 260:
                said = self.viewer.look(port, anchors, "another", "another").expectFailure()
                self.assertIn("connection failed: Authentication fail", said)
        record("vnc", "server", "libvncserver-dev", "screen seen by libvncclient, with each login")

    def test_TigerVNC(self) -> None:
        """
        Its viewer verifies the name.
        """
        requireRoot(BY_NAME)
        authority = f"-X509CA={self.stage.authority.anchors}"
        for login, types in (("named", "X509Vnc"), ("named-plain", "X509Plain")):
            window = Window(self.stage.directory("viewer"), self.opened.display)
            window.tigervnc(self.ports[login], types, authority)
        record("vnc", "server", "tigervnc-viewer", "screen seen, with a password and with a name")

    def test_gtkVNC(self) -> None:
        """
        It takes the login that asks for most, if there is a choice; here there is none.
        """
        requireRoot("gvncviewer with anchors of our own")
        window = Window(self.stage.directory("viewer"), self.named.display)
        window.gtk(self.ports["opened"], self.stage.authority.anchors)
        record("vnc", "server", "gvncviewer", "screen seen")

    def test_aTunnelAtEitherEnd(self) -> None:
        """
        Between a viewer and a server without TLS.
        """
        attempts = [f"{each}:{PASSWORD}" for each in VERSIONS]
        expected = [f"{each} has seen 640 columns" for each in attempts]
        both = {each: clientMode(self.ports[each]) for each in ("oldest", "older")}
        for port in self.farther(both).values():
            vncdotool(port, *attempts).expect(*expected)

    def test_aBridge(self) -> None:
        """
        Where either side upgrades, or one alone: what is said in clear is said once.
        """
        near, straight = self.ports["named"], self.ports["named-straight"]
        ways = {
            "both": (near, {"starttls-in": "vnc", "starttls-out": "vnc"}),
            "in": (straight, {"starttls-in": "vnc"}),
            "out": (near, {"starttls-out": "vnc"}),
        }
        bridge = {"mode": "bridge", "local-id": NAME, "remote-id": NAME}
        ports = self.farther(
            {
                name: {**bridge, "remote": f"127.0.0.1:{port}", **way}
                for name, (port, way) in ways.items()
            }
        )
        for name in ("both", "in"):
            self.viewer.look(ports[name], self.stage.authority.anchors).expect("subtype 261")
        port = self.clientMode(f"127.0.0.1:{ports['out']}", NAME, None).port
        vncdotool(port, GOOD).expect(SEEN)
        record("vnc", "server", "libvncserver-dev", "screen seen by libvncclient, by a bridge")

    def test_whoeverGoesWithoutTLSIsRefused(self) -> None:
        """
        And told why, where there is a way to tell.
        """
        vncdotool(self.ports["opened"], "3.3:", "3.8:").expect(
            "TLS is required", "unknown security types: (19,)"
        )

    def test_anotherLoginThanTheServerHasIsExplained(self) -> None:
        """
        To the viewer, and in the log.
        """
        port, anchors = self.ports["named-none"], self.stage.authority.anchors
        said = self.viewer.look(port, anchors).expectFailure()
        self.assertIn("has another login", said)
        until(
            lambda: "it offers security types 19 (VeNCrypt), 2 (VncAuth)" in self.near.log,
            "the reason",
        )
        self.assertSays("--dialect-option: none, vncauth, or plain", self.near)

    def test_aServerThatHasEnoughSaysSo(self) -> None:
        """
        TigerVNC, after some wrong passwords: its own words reach the viewer.
        """
        port, anchors = self.ports["secret"], self.stage.authority.anchors
        for _ in range(4):
            said = self.viewer.look(port, anchors, "another").expectFailure()
        self.assertIn("Too many security failures", said)

    def test_aServerWithoutTLSSaysSo(self) -> None:
        """
        In client mode; the log has what it offers, and what to do.
        """
        for server, why in (
            (self.opened, "no VeNCrypt, only security types 1"),
            (self.oldest, "RFB 3.3, which has no VeNCrypt"),
        ):
            tunnel = self.clientMode(f"127.0.0.1:{server.port}", NAME, "vnc")
            self.viewer.look(tunnel.port, None).expectFailure()
            until(lambda tunnel=tunnel, why=why: why in tunnel.log, why)  # type: ignore[misc]
            self.assertSays("X509Cert", tunnel)
