"""
Tests for L{tlstunnel.convert.stunnel} and L{tlstunnel.convert.services}: what becomes of a service,
but for whom it verifies.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import convertedText
from tlstunnel.convert.draft import Draft, LeftOut
from tlstunnel.convert.stunnelfile import MOST_MISTAKES, BrokenFile

CLIENT = "[a]\nclient = yes\naccept = 127.0.0.1:1\nconnect = server.example.org:2\n"
SERVER = "[a]\naccept = 127.0.0.1:1\nconnect = 2\ncert = mail.pem\n"


class ServiceTestCase(SynchronousTestCase):
    """
    Tests of one service.
    """

    def draft(self, text: str) -> Draft:
        """The tunnel that it becomes."""
        (tunnel,) = convertedText(text).tunnels
        assert isinstance(tunnel, Draft), tunnel
        return tunnel

    def reasons(self, text: str) -> list[str]:
        """Why it is left out."""
        (tunnel,) = convertedText(text).tunnels
        assert isinstance(tunnel, LeftOut), tunnel
        return tunnel.reasons

    def mistakes(self, text: str) -> tuple[str, ...]:
        """Why the file is refused."""
        error: BrokenFile = self.assertRaises(BrokenFile, convertedText, text)
        return error.mistakes

    def assertNoted(self, draft: Draft, part: str) -> None:
        """One of the notes has C{part} in it."""
        self.assertTrue(any(part in note for note in draft.notes), draft.notes)


class ServiceTests(ServiceTestCase):
    """
    All other options.
    """

    def test_whatIsAboveAllSectionsCountsForEach(self) -> None:
        """And what is in one counts more."""
        general = "TIMEOUTidle = 10\nTIMEOUTclose = 20\nclient = yes\n"
        draft = self.draft(f"{general}{SERVER}TIMEOUTidle = 30\nclient = no\n")
        self.assertEqual(draft.values["mode"], "server")
        self.assertEqual(draft.values["idle-timeout"], 30)
        self.assertEqual(draft.values["close-timeout"], 20)

    def test_clientsWithKeysAreNamedHoweverMany(self) -> None:
        """Else those of another service with keys would be let in."""
        file = Path(self.mktemp()).absolute()
        names = [f"d{number}@example.org" for number in range(100)]
        file.write_text("".join(f"{name}:{'5a' * 16}\n" for name in names))
        draft = self.draft(f"[a]\naccept = 1\nconnect = 2\nPSKsecrets = {file}\n")
        self.assertEqual(draft.values["remote-id"], names)
        self.assertEqual(draft.notes, [])

    def test_whatIsAboveAllSectionsIsSaidOnce(self) -> None:
        """Not again for each service."""
        conversion = convertedText(
            f"socket = l:SO_LINGER=1:60\noptions = ALL\nciphers = HIGH\n{SERVER}"
        )
        self.assertEqual(conversion.drafts[0].notes, [])
        self.assertEqual(sum("line" in note for note in conversion.notes), 3)

    def test_addresses(self) -> None:
        """Ports, names of ports, IPv6 and UNIX sockets."""
        for text, wanted in {
            "443": "0.0.0.0:443",
            "https": "0.0.0.0:443",
            ":::443": "[::]:443",
            "::1:443": "[::1]:443",
            "localhost:443": "localhost:443",
            "/run/s": "/run/s",
        }.items():
            draft = self.draft(f"[a]\naccept = {text}\nconnect = 2\ncert = mail.pem\n")
            self.assertEqual(draft.values["local"], [wanted], text)

    def test_aBackendWithoutHostIsOnThisHost(self) -> None:
        """As with stunnel."""
        self.assertEqual(self.draft(SERVER).values["remote"], ["127.0.0.1:2"])

    def test_aBackendInTheJail(self) -> None:
        """stunnel connects after it has locked itself up, and listens before."""
        draft = self.draft(
            "chroot = /jail/\n[a]\naccept = /run/s\nconnect = /run/b\ncert = mail.pem\n"
        )
        self.assertEqual(draft.values["local"], ["/run/s"])
        self.assertEqual(draft.values["remote"], ["/jail/run/b"])

    def test_theLastVersionCounts(self) -> None:
        """Whichever of the three options has it; sslVersion is both of the others."""
        for lines, wanted in {
            "sslVersionMin = TLSv1.2\nsslVersion = TLSv1.3": "1.3",
            "sslVersion = TLSv1.3\nsslVersionMin = TLSv1.2": None,
            "sslVersion = TLSv1.3\nsslVersionMax = TLSv1.3": "1.3",
            "sslVersionMin = TLSv1.3\nsslVersion = all": None,
            "options = NO_TLSv1.2": "1.3",
            "options = NO_TLSv1_2\noptions = -NO_TLSv1.2": None,
        }.items():
            draft = self.draft(f"{SERVER}{lines}\n")
            self.assertEqual(draft.values.get("minimum-tls"), wanted, lines)
        draft = self.draft(f"sslVersionMin = TLSv1.2\n{SERVER}sslVersion = TLSv1.3\n")
        self.assertEqual(draft.values["minimum-tls"], "1.3")

    def test_whetherSessionsAreResumed(self) -> None:
        """Where somebody says it, and it is not so by itself."""
        client = "[a]\nclient = yes\naccept = 1\nconnect = mail.example.org:2\n"
        client += "verifyChain = yes\nCAfile = ca.pem\ncheckHost = mail.example.org\n"
        for text, wanted in {
            SERVER: None,
            f"{SERVER}sessionResume = no\n": None,
            f"{SERVER}sessionResume = yes\n": "on",
            f"sessionResume = yes\n{SERVER}": "on",
            client: None,
            f"{client}sessionResume = yes\n": None,
            f"{client}sessionResume = no\n": "off",
        }.items():
            self.assertEqual(self.draft(text).values.get("resumption"), wanted, text)

    def test_theOwnerOfASocket(self) -> None:
        """In a section setuid is about that; above all of them, about the process."""
        text = "setuid = stunnel\n[a]\naccept = /run/s\nconnect = 2\ncert = mail.pem\n"
        self.assertNotIn("socket-owner", self.draft(text).values)
        self.assertEqual(self.draft(f"{text}setuid = www\n").values["socket-owner"], "www")
        self.assertIn("put User=stunnel", "".join(convertedText(text).notes))
        draft = self.draft(f"{SERVER}setuid = www\n")
        self.assertNotIn("socket-owner", draft.values)
        self.assertNoted(draft, "is about UNIX sockets, and there is none in accept")

    def test_aDeviceThatNobodyElseReaches(self) -> None:
        """The loopback device adds nothing to a loopback address."""
        self.assertEqual(self.draft(f"{SERVER}socket = a:SO_BINDTODEVICE=lo\n").notes, [])

    def test_anotherDevice(self) -> None:
        """Without it, more hosts could connect."""
        (reason,) = self.reasons(f"{SERVER}socket = a:SO_BINDTODEVICE=eth1\n")
        self.assertIn("give the address in accept", reason)

    def test_secretsAreNotWritten(self) -> None:
        """Whoever may read the new file need not know them."""
        (tunnel,) = convertedText(
            f"{CLIENT}protocol = smtp\nprotocolUsername = u\nprotocolPassword = hidden\n"
            "cert = pkcs11:object=x?pin-value=hidden\n"
        ).tunnels
        assert isinstance(tunnel, LeftOut)
        self.assertNotIn("hidden", " ".join([*tunnel.original, *tunnel.reasons]))

    def test_aProxyThatIsNoneOfOurs(self) -> None:
        """There has to be one, in client mode, and something behind it."""
        asks = "protocol = connect\n"
        for text, words in (
            (f"{CLIENT}{asks}", "there has to be one connect, which is the proxy"),
            (f"{CLIENT}{asks}protocolHost = a:1\nconnect = b:1\n", "there has to be one connect"),
            (f"{SERVER}{asks}protocolHost = a:1\n", "stunnel asks no proxy in server mode"),
        ):
            self.assertIn(words, " ".join(self.reasons(text)))

    def test_theHeaderOfPROXY(self) -> None:
        """It is version 1, and there is none in client mode, in which stunnel does not start."""
        self.assertEqual(self.draft(f"{SERVER}protocol = proxy\n").values["proxy-out"], "v1")
        said = " ".join(self.reasons(f"{CLIENT}protocol = proxy\n"))
        self.assertIn("no such header in client mode", said)

    def test_theLogOfAll(self) -> None:
        """Connections are told of from level 5 on; what may have passwords in it is not set."""
        self.assertEqual(self.draft(f"debug = warning\n{SERVER}").values["quiet"], True)
        self.assertNotIn("quiet", self.draft(f"debug = notice\n{SERVER}").values)
        conversion = convertedText(f"debug = 7\n{SERVER}")
        self.assertEqual(conversion.process, {})
        self.assertIn("passwords among it", "".join(conversion.notes))

    def test_zeroIsNoLimitOfOurs(self) -> None:
        """It is named instead."""
        draft = self.draft(f"{SERVER}TIMEOUTbusy = 0\nTIMEOUTclose = 0\n")
        self.assertNotIn("handshake-timeout", draft.values)
        self.assertNotIn("close-timeout", draft.values)
        self.assertEqual(len(draft.notes), 2)

    def test_oneKeyIsImportedOnce(self) -> None:
        """However many services have it."""
        second = SERVER.replace("[a]", "[b]").replace("127.0.0.1:1", "127.0.0.1:3")
        conversion = convertedText(SERVER + second)
        self.assertEqual(
            conversion.commands, ["tlstunnel identity import mail.example.org --cert mail.pem"]
        )

    def test_aKeyInTheFileOfTheCertificate(self) -> None:
        """It is not named a second time."""
        conversion = convertedText(f"{SERVER}key = mail.pem\n")
        self.assertEqual(
            conversion.commands, ["tlstunnel identity import mail.example.org --cert mail.pem"]
        )

    def test_aKeyInAToken(self) -> None:
        """It cannot be used, whichever of the two options names it."""
        for line in "key = pkcs11:object=x", "cert = PKCS11:object=x":
            (reason,) = self.reasons(f"{SERVER}{line}\n")
            self.assertIn("the key is in a token", reason)

    def test_nothingIsImportedForWhatIsLeftOut(self) -> None:
        """Its key stays where it is."""
        self.assertEqual(convertedText(f"{SERVER}exec = /bin/true\n").commands, [])


class ProgramTests(ServiceTestCase):
    """
    Programs that are started.
    """

    SERVICE = "[a]\naccept = 127.0.0.1:1\ncert = mail.pem\nexec = /bin/x\n"

    def test_aProgramIsARemote(self) -> None:
        """With its arguments, but for what it is called."""
        draft = self.draft(f"{self.SERVICE}execArgs = x  -a 'b\npty = yes\n")
        self.assertEqual(draft.values["remote"], ["exec:/bin/x -a ''\"'\"'b'"])
        self.assertIs(draft.values["exec-pty"], True)
        self.assertNoted(draft, "it runs as the tunnel does")

    def test_anotherNameIsSaid(self) -> None:
        """As some programs do something else by another name."""
        draft = self.draft(f"{self.SERVICE}execArgs = y -a\n")
        self.assertEqual(draft.values["remote"], ["exec:/bin/x -a"])
        self.assertNoted(draft, "called by its path, and not y")

    def test_whatCannotBe(self) -> None:
        """It is left out, with the reason."""
        for text, words in (
            (f"{self.SERVICE}connect = 2\n", "stands alone"),
            (f"{self.SERVICE}client = yes\n", "in server mode alone"),
            (f"chroot = /jail\n{self.SERVICE}", "locked up in /jail"),
            (self.SERVICE.replace("/bin/x", "x"), "has to be absolute"),
        ):
            self.assertIn(words, " ".join(self.reasons(text)))


class MistakeTests(ServiceTestCase):
    """
    Files with which stunnel does not start.
    """

    def test_anUnknownOption(self) -> None:
        """The nearest one is suggested, and every one is told."""
        self.assertEqual(
            self.mistakes("aceppt = 1\n[a]\nxyzzy = 2\n"),
            (
                "t:1: stunnel has no option 'aceppt'; did you mean accept?",
                "t:3: stunnel has no option 'xyzzy'; remove it, or see stunnel(8)",
            ),
        )

    def test_valuesThatMakeNoSense(self) -> None:
        """One a service, with its line."""
        for line, wanted in {
            "client = true": "client: 'true' is neither yes nor no; see stunnel(8)",
            "TIMEOUTidle = 10s": "TIMEOUTidle: '10s' is no number of seconds that makes sense; "
            "see stunnel(8)",
            "sslVersion = TLSv1.4": "sslVersion: 'TLSv1.4' is no version of TLS; see stunnel(8)",
            "debug = 9": "debug: '9' is no level of the log; see stunnel(8)",
            "verify = 5": "verify: '5' is no level of verification; see stunnel(8)",
            "protocol = gopher": "protocol: 'gopher' is no protocol that stunnel negotiates; "
            "see stunnel(8)",
            "connect = :2": "connect: ':2' is no address: ':2' has no host before its colon; "
            "write the port alone",
            "connect = h:0": "connect: 'h:0' is no address: 'h:0' names no place to connect to; "
            "give a host and a port above 0",
        }.items():
            self.assertEqual(self.mistakes(f"{SERVER}{line}\n"), (f"t:5: {wanted}",))

    def test_whatIsNoComment(self) -> None:
        """Neither what stands behind a value nor quotation marks are anything but the value."""
        (mistake,) = self.mistakes(f"{SERVER}connect = h:2 ; where to\n")
        self.assertEqual(
            mistake,
            "t:5: connect: 'h:2 ; where to' is no address: 'h:2 ; where to' has no known port or "
            "service after its last colon; put the comment on a line of its own",
        )
        (mistake,) = self.mistakes(f'{SERVER}client = "yes"\n')
        self.assertIn("leave out the quotation marks", mistake)

    def test_onlySomeMistakesAreTold(self) -> None:
        """In unknown options, and in values."""
        self.assertEqual(len(self.mistakes("a = b\n" * 100)), MOST_MISTAKES)
        self.assertEqual(len(self.mistakes(f"{SERVER}verify = 5\n" * 100)), MOST_MISTAKES)

    def test_mistakesOfAllServices(self) -> None:
        """All are told at once."""
        self.assertEqual(len(self.mistakes(f"{SERVER}verify = 5\n{SERVER}debug = 9\n")), 2)
