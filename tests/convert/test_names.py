"""
Tests for L{tlstunnel.convert.names}: the services that stunnel hands clients over to by SNI.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import convertedText
from tlstunnel.convert.draft import Conversion, Draft, LeftOut, NameDraft

PRIMARY = "[web]\naccept = 127.0.0.1:443\nconnect = 1\ncert = mail.pem\n"


def service(pattern: str, more: str = "", cert: str = "/x/other.pem", name: str = "b") -> str:
    """
    One that clients are handed over to.
    """
    return f"[{name}]\nsni = {pattern}\nconnect = 2\ncert = {cert}\n{more}"


class NameTests(SynchronousTestCase):
    """
    What becomes of one.
    """

    def tunnel(self, conversion: Conversion) -> Draft:
        """The only tunnel, without anything that is left out."""
        (tunnel,) = conversion.tunnels
        assert isinstance(tunnel, Draft), tunnel
        return tunnel

    def served(self, text: str) -> tuple[Draft, NameDraft]:
        """The tunnel, and its only name."""
        tunnel = self.tunnel(convertedText(text))
        (name,) = tunnel.names
        return tunnel, name

    def reasons(self, text: str) -> str:
        """Why one is left out, which adds nothing to the tunnel."""
        tunnel, leftOut = convertedText(text).tunnels
        assert isinstance(tunnel, Draft), tunnel
        assert isinstance(leftOut, LeftOut), leftOut
        self.assertEqual((leftOut.name, tunnel.names), ("b", []))
        return " ".join(leftOut.reasons)

    def test_aBackendOfItsOwn(self) -> None:
        """With a certificate that is brought into the pool as that of the name."""
        conversion = convertedText(PRIMARY + service("web:B.Example.org", "key = /x/key.pem\n"))
        (name,) = self.tunnel(conversion).names
        self.assertEqual(name.name, "b.example.org")
        self.assertEqual(name.values, {"remote": ["127.0.0.1:2"]})
        self.assertEqual(
            conversion.commands[1:],
            ["tlstunnel identity import b.example.org --cert /x/other.pem --key /x/key.pem"],
        )
        self.assertEqual(conversion.warnings, [])

    def test_oneCertificateForAll(self) -> None:
        """It is imported once."""
        conversion = convertedText(PRIMARY + service("web:imap.example.org", cert="mail.pem"))
        self.assertEqual(len(conversion.commands), 1)
        self.assertEqual(self.tunnel(conversion).names[0].name, "imap.example.org")

    def test_aWildcard(self) -> None:
        """Its certificate is looked for behind the asterisk, and it stands for less than before."""
        conversion = convertedText(PRIMARY + service("web:*.example.org", cert="wild.pem"))
        (name,) = self.tunnel(conversion).names
        self.assertEqual(name.name, "*.example.org")
        self.assertEqual(
            conversion.commands[1:], ["tlstunnel identity import '*.example.org' --cert wild.pem"]
        )
        self.assertIn("one label", " ".join(name.notes))

    def test_severalNames(self) -> None:
        """Those that can be are served, also where another one cannot."""
        several = service("web:b.example.org", "sni = web:*\nsni = web:c.example.org\n")
        tunnel, leftOut = convertedText(PRIMARY + several).tunnels
        assert isinstance(tunnel, Draft) and isinstance(leftOut, LeftOut)
        self.assertEqual([each.name for each in tunnel.names], ["b.example.org"])
        star, shadowed = leftOut.reasons
        self.assertIn("sni = web:*: it has no name that a tunnel can have", star)
        self.assertIn("stunnel has never come to it", shadowed)

    def test_whatStunnelNeverComesTo(self) -> None:
        """The first pattern that matches counts there, and the most exact one here."""
        for first, second in (
            ("*.example.org", "b.example.org"),
            ("*.example.org", "*.sub.example.org"),
            ("b.example.org", "B.example.org"),
        ):
            above = service(f"web:{first}", name="above")
            tunnel, leftOut = convertedText(PRIMARY + above + service(f"web:{second}")).tunnels
            assert isinstance(tunnel, Draft) and isinstance(leftOut, LeftOut)
            self.assertEqual([each.name for each in tunnel.names], [first])
            self.assertIn("[above] above has taken this name", leftOut.reasons[0])

    def test_clientsThatAreVerified(self) -> None:
        """Under this name alone, by the authorities of its own file."""
        verifies = "verifyChain = yes\nCAfile = ca.pem\ncheckEmail = alice@example.org\n"
        tunnel, name = self.served(PRIMARY + service("web:b.example.org", verifies))
        self.assertEqual(name.values["remote-id"], ["alice@example.org"])
        self.assertEqual(tunnel.values["trust"], ["ca.pem"])
        self.assertNotIn("remote-id", tunnel.values)

    def test_clientsThatAreNot(self) -> None:
        """Everybody may come under this name, as before."""
        verifies = "verifyChain = yes\nCAfile = ca.pem\n"
        tunnel, name = self.served(PRIMARY + verifies + service("web:b.example.org"))
        self.assertEqual(tunnel.values["remote-id"], [".", "@."])
        self.assertEqual(name.values["remote-id"], [])

    def test_otherAuthorities(self) -> None:
        """All names of a tunnel believe the same, so no name gets those of another one."""
        first = PRIMARY + "verifyChain = yes\nCAfile = ca.pem\n"
        second = service("web:b.example.org", "verifyChain = yes\nCAfile = clients.pem\n")
        self.assertIn("it believes clients.pem about clients", self.reasons(first + second))
        other = service("web:c.example.org", "verifyChain = yes\nCAfile = ca.pem\n", name="c")
        conversion = convertedText(PRIMARY + second + other)
        self.assertIn("it believes ca.pem about clients", conversion.warnings[0])

    def test_aNewerVersion(self) -> None:
        """No older one than the tunnel has, as there the name is not known yet."""
        newer = service("web:b.example.org", "sslVersionMin = TLSv1.3\n")
        self.assertEqual(self.served(PRIMARY + newer)[1].values["minimum-tls"], "1.3")
        _, name = self.served(f"{PRIMARY}sslVersionMin = TLSv1.3\n{service('web:b.example.org')}")
        self.assertNotIn("minimum-tls", name.values)

    def test_whatIsOfTheWholeTunnel(self) -> None:
        """It is said that it is, where it differs."""
        limits = "TIMEOUTidle = 10\nTIMEOUTclose = 20\n"
        text = f"TIMEOUTclose = 20\n{PRIMARY}{service('web:b.example.org', limits)}"
        tunnel, name = self.served(text)
        self.assertNotIn("idle-timeout", tunnel.values)
        self.assertIn("idle-timeout = 10: is of a whole tunnel; here", " ".join(name.notes))
        self.assertNotIn("close-timeout", " ".join(name.notes))

    def test_severalBackends(self) -> None:
        """In turn, where the tunnel has one."""
        turn = service("web:b.example.org", "connect = 3\nfailover = rr\n")
        tunnel, name = self.served(PRIMARY + turn)
        self.assertEqual(name.values["remote"], ["127.0.0.1:2", "127.0.0.1:3"])
        self.assertEqual(tunnel.values["balance"], "round-robin")

    def test_aProtocolBeforeTLS(self) -> None:
        """Then stunnel does not use the second backend."""
        mail = "protocol = smtp\n"
        _, name = self.served(PRIMARY + mail + service("web:b.example.org", mail))
        self.assertEqual(name.values, {})
        self.assertIn("does not use this connect", " ".join(name.notes))
        self.assertIn(
            "has another protocol", self.reasons(PRIMARY + service("web:b.example.org", mail))
        )

    def test_thoseWithoutName(self) -> None:
        """They get the name that the tunnel has, also where that is a table."""
        _, name = self.served(PRIMARY + service("web:mail.example.org", cert="mail.pem"))
        self.assertIn("Clients that ask for no name are served so too", " ".join(name.notes))

    def test_whatCannotBe(self) -> None:
        """It is left out, with the reason."""
        for text, words in (
            (service("Web:b.example.org"), "there is no service Web above this one"),
            (service("web"), "there is no name behind the colon"),
            (service("web:*b.example.org"), "no name that a tunnel can have"),
            (service("b:b.example.org"), "there is no service b above this one"),
            (service("web:b.example.org", "accept = 3\n"), "both accept and sni"),
            (service("web:b.example.org", "exec = /bin/true\n"), "exec"),
            (service("web:b.example.org", "key = pkcs11:x\n"), "in a token"),
            (service("web:b.example.org", cert="peer.pem"), "is not for b.example.org"),
            (service("web:*.example.org", cert="cn.pem"), "has no alternative name"),
            ("[b]\nsni = web:b.example.org\nconnect = 2\n", "there is no cert"),
        ):
            self.assertIn(words, self.reasons(PRIMARY + text))

    def test_nothingIsImportedForWhatCannotBe(self) -> None:
        """Its key stays where it is."""
        conversion = convertedText(PRIMARY + service("web:b.example.org", "exec = /bin/true\n"))
        self.assertEqual(len(conversion.commands), 1)

    def test_withoutItsPrimary(self) -> None:
        """Nobody would come."""
        conversion = convertedText(f"{PRIMARY}exec = /x\n{service('web:b.example.org')}")
        self.assertEqual(conversion.drafts, [])
        self.assertIn("[web], which accepts the connections, is left out", conversion.warnings[1])

    def test_oneNameInThePoolIsOneCertificate(self) -> None:
        """Another one is not shown in its place."""
        other = service("web:*.example.org", cert="wild.pem", name="above")
        _, leftOut = convertedText(PRIMARY + other + service("web:example.org")).tunnels
        assert isinstance(leftOut, LeftOut)
        self.assertIn("the certificate of example.org in the pool is", leftOut.reasons[0])

    def test_aCertificateWithoutName(self) -> None:
        """Another one is made, as for a tunnel."""
        conversion = convertedText(PRIMARY + service("web:b.example.org", cert="cn.pem"))
        self.assertEqual(conversion.commands[1:], ["tlstunnel identity create b.example.org"])
        self.assertIn("no alternative name", conversion.drafts[0].names[0].notes[1])

    def test_thoseOfCertbot(self) -> None:
        """They stay where they are, if they are there under this name."""
        live = "/etc/letsencrypt/live"
        files = "cert = {0}/{1}/fullchain.pem\nkey = {0}/{1}/privkey.pem\n"
        first = f"[web]\naccept = 443\nconnect = 1\n{files.format(live, 'www.example.org')}"
        for pattern in "b.example.org", "*.b.example.org":
            text = f"{first}[b]\nsni = web:{pattern}\nconnect = 2\n"
            conversion = convertedText(text + files.format(live, "b.example.org"))
            self.assertEqual(conversion.commands, [])
            self.assertEqual(conversion.drafts[0].values["pool"], live)
            self.assertEqual(conversion.drafts[0].names[0].name, pattern)
        elsewhere = f"{first}{service('web:b.example.org')}"
        self.assertIn(f"has to be in {live}/b.example.org", self.reasons(elsewhere))

    def test_inClientModeItIsAnotherOption(self) -> None:
        """There it is the name of the server."""
        client = "[c]\nclient = yes\naccept = 4\nconnect = a.example.org:5\nsni = a.example.org\n"
        _, tunnel = convertedText(PRIMARY + client).tunnels
        self.assertIsInstance(tunnel, Draft)
