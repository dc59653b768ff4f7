"""
Tests for L{tlstunnel.convert.peers}: who is verified.
"""

from __future__ import annotations

from tests.convert.examples import convertedText
from tests.convert.test_stunnel import CLIENT, SERVER, ServiceTestCase


class ServerVerificationTests(ServiceTestCase):
    """
    Whom a client service expects, and whom it believes.
    """

    def test_aServerThatWasNotVerifiedIs(self) -> None:
        """By the system's store and the name, with a note."""
        draft = self.draft(CLIENT)
        self.assertEqual(draft.values["trust"], ["system"])
        self.assertNoted(draft, "stunnel did not verify the server")

    def test_filesThatWereNotUsedAreBelieved(self) -> None:
        """They were meant to be."""
        draft = self.draft(f"{CLIENT}CAfile = ca.pem\n")
        self.assertEqual(draft.values["trust"], ["ca.pem"])
        self.assertNoted(draft, "stunnel did not verify the server")

    def test_aVerifiedServerHasNoNote(self) -> None:
        """It was, and is."""
        draft = self.draft(f"{CLIENT}CAfile = ca.pem\nverifyChain = yes\n")
        self.assertEqual(draft.values["trust"], ["ca.pem"])
        self.assertEqual(draft.notes, [])

    def test_fileAndFolderCountTogether(self) -> None:
        """As for stunnel."""
        draft = self.draft(f"{CLIENT}CAfile = ca.pem\nCApath = /certs\nverifyChain = yes\n")
        self.assertEqual(draft.values["trust"], ["ca.pem", "/certs"])

    def test_aFolderIsBelowTheRootOfTheJail(self) -> None:
        """But a file is read before."""
        draft = self.draft(
            f"chroot = /jail\n{CLIENT}CAfile = /ca.pem\nCApath = /certs\nverifyChain = yes\n"
        )
        self.assertEqual(draft.values["trust"], ["/ca.pem", "/jail/certs"])

    def test_aFolderInTheJailMayBeRelative(self) -> None:
        """The jail may end in a slash, and the folder need not begin with one."""
        for jail in "/jail", "/jail/":
            for folder in "certs", "/certs":
                draft = self.draft(f"chroot = {jail}\n{CLIENT}CApath = {folder}\n")
                self.assertEqual(draft.values["trust"], ["/jail/certs"])

    def test_theNameThatIsChecked(self) -> None:
        """It is written if it is not that of the address."""
        draft = self.draft(f"{CLIENT}checkHost = other.example.org\nverifyChain = yes\n")
        self.assertEqual(draft.values["remote-id"], ["other.example.org"])

    def test_ofSeveralNamesTheOneOfTheAddress(self) -> None:
        """It is among those that stunnel took."""
        draft = self.draft(
            f"{CLIENT}checkHost = other.example.org\ncheckHost = server.example.org\n"
            "verifyChain = yes\nCAfile = ca.pem\n"
        )
        self.assertNotIn("remote-id", draft.values)
        self.assertNoted(draft, "stunnel took any of other.example.org, server.example.org")

    def test_anAddressHasToBeProved(self) -> None:
        """Where there is no name."""
        draft = self.draft("[a]\nclient = yes\naccept = 127.0.0.1:1\nconnect = 192.0.2.1:2\n")
        self.assertEqual(draft.values["remote-id"], ["192.0.2.1"])

    def test_aPortAloneIsThatOfThisHost(self) -> None:
        """Which has a name."""
        draft = self.draft("[a]\nclient = yes\naccept = 127.0.0.1:1\nconnect = 2\n")
        self.assertEqual(draft.values["remote"], ["localhost:2"])
        self.assertEqual(draft.values["remote-id"], ["localhost"])

    def test_aPinnedServerHasTheNameOfItsCertificate(self) -> None:
        """Only that certificate was good."""
        draft = self.draft(f"{CLIENT}verifyPeer = yes\nCAfile = peer.pem\n")
        self.assertEqual(draft.values["remote-id"], ["backup.example.net"])

    def test_aPinThatIsWeakerIsTold(self) -> None:
        """Where others could be issued by what is in the file, or it cannot be read."""
        for file, count in {"peer.pem": 0, "leaves.pem": 0, "clients.pem": 1, "no.pem": 1}.items():
            conversion = convertedText(f"{CLIENT}verifyPeer = yes\nCAfile = {file}\n")
            self.assertEqual(len(conversion.warnings), count, file)

    def test_aPatternIsNoServer(self) -> None:
        """It cannot be expected."""
        (reason,) = self.reasons(f"{CLIENT}checkHost = .example.org\nverifyChain = yes\n")
        self.assertIn("it may stand for several", reason)


class ClientVerificationTests(ServiceTestCase):
    """
    Who is let in by a server service.
    """

    def test_nobodyIsAskedWhereNobodyWas(self) -> None:
        """Without verification everybody comes in."""
        draft = self.draft(f"{SERVER}CAfile = ca.pem\n")
        self.assertNotIn("remote-id", draft.values)
        self.assertNotIn("trust", draft.values)

    def test_everybodyWithACertificate(self) -> None:
        """With a domain or a user in it."""
        draft = self.draft(f"{SERVER}CAfile = ca.pem\nverifyChain = yes\n")
        self.assertEqual(draft.values["remote-id"], [".", "@."])
        self.assertEqual(draft.values["trust"], ["ca.pem"])

    def test_thePublicAuthoritiesKnowNoUsers(self) -> None:
        """The tunnel would not start with them."""
        draft = self.draft(f"{SERVER}CApath = /etc/ssl/certs/\nverifyChain = yes\n")
        self.assertEqual(draft.values["remote-id"], ["."])
        self.assertEqual(draft.values["trust"], ["system"])

    def test_namesThatAreCheckedAreAList(self) -> None:
        """Any of them comes in."""
        draft = self.draft(
            f"{SERVER}CAfile = ca.pem\nverifyChain = yes\ncheckEmail = a@example.org\n"
            "checkHost = .example.org\n"
        )
        self.assertEqual(draft.values["remote-id"], [".example.org", "a@example.org"])

    def test_checksAreNoSelectors(self) -> None:
        """What would stand for many as one of ours let nobody in."""
        for check in (
            "checkHost = .",
            "checkHost = @.",
            "checkHost = a@example.org",
            "checkEmail = @example.org",
            "checkEmail = a@.example.org",
            "checkEmail = .example.org",
            "checkEmail = a.example.org",
            "checkIP = .example.org",
            "checkIP = a.example.org",
        ):
            (reason,) = self.reasons(f"{SERVER}CAfile = ca.pem\nverifyChain = yes\n{check}\n")
            self.assertIn(check.partition(" ")[0], reason)

    def test_clientsThatNeedNoCertificate(self) -> None:
        """Where they were let in, it is said that they are not; the last word on it counts."""
        for lines, isOptional in {
            "verifyChain = yes": False,
            "verifyChain = yes\nrequireCert = no": True,
            "requireCert = no\nverifyChain = yes": False,
            "verifyPeer = yes\nrequireCert = no\nrequireCert = yes": False,
            "verify = 1": True,
            "verify = 1\nrequireCert = yes": False,
            "verify = 2": False,
        }.items():
            draft = self.draft(f"{SERVER}CAfile = clients.pem\n{lines}\n")
            said = any("without a certificate too" in note for note in draft.notes)
            self.assertIs(said, isOptional, lines)

    def test_aCheckWithoutEffect(self) -> None:
        """Somebody who wrote it meant something else."""
        (reason,) = self.reasons(f"{SERVER}checkHost = a.example.org\n")
        self.assertIn("has no effect in stunnel without verifyChain", reason)

    def test_aCertificateThatProvesNothing(self) -> None:
        """It was required and not verified."""
        (reason,) = self.reasons(f"{SERVER}requireCert = yes\n")
        self.assertIn("proves nothing", reason)

    def test_pinnedClientsAreNamedWhereOthersCouldBeIssued(self) -> None:
        """Else an authority beside them would let in whomever it has issued a certificate."""
        draft = self.draft(f"{SERVER}CAfile = clients.pem\nverifyPeer = yes\n")
        self.assertEqual(draft.values["remote-id"], ["alice@example.org"])

    def test_pinnedClientsWithoutNames(self) -> None:
        """They cannot be told from others."""
        (reason,) = self.reasons(f"{SERVER}CAfile = ca.pem\nverifyPeer = yes\n")
        self.assertIn("whoever has one issued by them would be let in", reason)

    def test_pinnedClientsThatCannotBeRead(self) -> None:
        """What may be weaker is said aloud."""
        conversion = convertedText(f"{SERVER}CAfile = no.pem\nverifyPeer = yes\n")
        (warning,) = conversion.warnings
        self.assertIn("stunnel let in only those whose own certificate is in no.pem", warning)

    def test_levelsOfOldVersions(self) -> None:
        """One and two verify the chain, three and four the certificate itself."""
        for level in "1", "2":
            draft = self.draft(f"{SERVER}CAfile = clients.pem\nverify = {level}\n")
            self.assertEqual(draft.values["remote-id"], [".", "@."])
        for level in "3", "4":
            draft = self.draft(f"{SERVER}CAfile = clients.pem\nverify = {level}\n")
            self.assertEqual(draft.values["remote-id"], ["alice@example.org"])
        self.assertNotIn("remote-id", self.draft(f"{SERVER}verify = 0\n").values)
