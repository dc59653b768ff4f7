"""
vnc with TigerVNC and x11vnc, and with viewers of several kinds, in both modes.
"""

from __future__ import annotations

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
from tests.interop.viewers import VERSIONS, LibVNCClient, Window, vncdotool

NAME = "screen.test.example"

GOOD = f"3.8:{PASSWORD}"
SEEN = "has seen 320 columns"

BY_NAME = "a server that believes a name without a password"


class ClientModeTests(InteropTestCase):
    """
    Servers with TLS, and viewers without.
    """

    secret: ClassVar[Xvnc]
    opened: ClassVar[Xvnc]
    x11vnc: ClassVar[X11VNC]
    viewer: ClassVar[LibVNCClient]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.viewer = LibVNCClient(stage.base)
        certificate = stage.authority.issue(NAME, isRSA=True)
        # The first of them that is wanted is taken.
        types = "TLSNone,X509Plain,X509Vnc,X509None"
        cls.secret = stage.start(Xvnc(stage.directory("secret"), types, certificate))
        cls.opened = stage.start(Xvnc(stage.directory("opened"), "X509None", certificate))
        cls.x11vnc = stage.start(X11VNC(stage.directory("x11vnc"), certificate))

    def port(self, server: Xvnc | X11VNC, *options: str) -> int:
        """
        Of a tunnel to it.
        """
        return self.clientMode(f"127.0.0.1:{server.port}", NAME, "vnc", *options).port

    def test_aScreenIsSeenWithAPassword(self) -> None:
        """
        In each version of RFB; and with another password it is not, which is said as the version
        has it.
        """
        attempts = [f"{each}:{word}" for each in VERSIONS for word in (PASSWORD, "another")]
        said = vncdotool(self.port(self.secret), *attempts).expect()
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
        vncdotool(self.port(self.opened), *attempts).expect(*expected)
        port = self.port(self.secret, "--dialect-option", "none")
        self.viewer.look(port, None).expect("security type 1,")
        record("vnc", "client", self.opened, "screen seen by vncdotool and libvncclient")

    def test_aScreenIsSeenWithAName(self) -> None:
        """
        By TigerVNC's viewer, which knows that without TLS.
        """
        requireRoot(BY_NAME)
        port = self.port(self.secret, "--dialect-option", "plain")
        Window(self.stage.directory("viewer"), self.opened.display).tigervnc(port, "Plain")
        record("vnc", "client", self.secret, "screen seen by its viewer, with a name (Plain)")
        vncdotool(port, f"3.3:{PASSWORD}").expect("RFB 3.7 or later is needed")

    def test_x11vnc(self) -> None:
        """
        It has VeNCrypt in a process beside it.
        """
        vncdotool(self.port(self.x11vnc), GOOD).expect("has seen 640 columns")
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

    def port(self, server: Xvnc | X11VNC, *logins: str) -> int:
        """
        Of a tunnel before it.

        @param logins: what it says that the server has.
        """
        options = [word for each in logins for word in ("--dialect-option", each)]
        return self.serverMode(f"127.0.0.1:{server.port}", NAME, "vnc", *options).port

    def test_libvncclient(self) -> None:
        """
        With each login, and with old servers, whose outcome it would not know otherwise.
        """
        requireRoot(BY_NAME)
        anchors = self.stage.authority.anchors
        for server, logins, subtype in (
            (self.opened, ("none",), 260),
            (self.named, ("vncauth", "plain"), 262),
            (self.older, ("none",), 260),
            (self.oldest, (), 261),
        ):
            port = self.port(server, *logins)
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
        for login, types in (("vncauth", "X509Vnc"), ("plain", "X509Plain")):
            window = Window(self.stage.directory("viewer"), self.opened.display)
            window.tigervnc(self.port(self.named, login), types, authority)
        record("vnc", "server", "tigervnc-viewer", "screen seen, with a password and with a name")

    def test_gtkVNC(self) -> None:
        """
        It takes the login that asks for most, if there is a choice; here there is none.
        """
        requireRoot("gvncviewer with anchors of our own")
        window = Window(self.stage.directory("viewer"), self.named.display)
        window.gtk(self.port(self.opened, "none"), self.stage.authority.anchors)
        record("vnc", "server", "gvncviewer", "screen seen")

    def test_aTunnelAtEitherEnd(self) -> None:
        """
        Between a viewer and a server without TLS.
        """
        for server, logins in ((self.oldest, ()), (self.older, ("none",))):
            far = f"127.0.0.1:{self.port(server, *logins)}"
            attempts = [f"{each}:{PASSWORD}" for each in VERSIONS]
            expected = [f"{each} has seen 640 columns" for each in attempts]
            vncdotool(self.clientMode(far, NAME, "vnc").port, *attempts).expect(*expected)

    def test_aBridge(self) -> None:
        """
        Where either side upgrades, or one alone: what is said in clear is said once.
        """
        near, straight = self.port(self.named), f"127.0.0.1:{self.named.port}"
        direct = self.serverMode(straight, NAME, None).port
        anchors = self.stage.authority.anchors
        for remote, ways in (
            (near, ("--starttls-in", "vnc", "--starttls-out", "vnc")),
            (direct, ("--starttls-in", "vnc")),
            (near, ("--starttls-out", "vnc")),
        ):
            identities = ("-L", NAME, "-R", NAME)
            port = self.tunnel("-b", *identities, "-r", f"127.0.0.1:{remote}", *ways).port
            if "--starttls-in" in ways:
                self.viewer.look(port, anchors).expect("subtype 261")
            else:
                port = self.clientMode(f"127.0.0.1:{port}", NAME, None).port
                vncdotool(port, GOOD).expect(SEEN)
        record("vnc", "server", "libvncserver-dev", "screen seen by libvncclient, by a bridge")

    def test_whoeverGoesWithoutTLSIsRefused(self) -> None:
        """
        And told why, where there is a way to tell.
        """
        port = self.port(self.opened, "none")
        vncdotool(port, "3.3:", "3.8:").expect("TLS is required", "unknown security types: (19,)")

    def test_anotherLoginThanTheServerHasIsExplained(self) -> None:
        """
        To the viewer, and in the log.
        """
        options = ("--dialect-option", "none")
        tunnel = self.serverMode(f"127.0.0.1:{self.named.port}", NAME, "vnc", *options)
        said = self.viewer.look(tunnel.port, self.stage.authority.anchors).expectFailure()
        self.assertIn("has another login", said)
        until(lambda: "it offers security types 19, 2" in tunnel.log, "the reason")
        self.assertIn("--dialect-option: none, vncauth, or plain", tunnel.log)

    def test_aServerThatHasEnoughSaysSo(self) -> None:
        """
        TigerVNC, after some wrong passwords: its own words reach the viewer.
        """
        port, anchors = self.port(self.secret), self.stage.authority.anchors
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
            self.assertIn("X509Cert", tunnel.log)
