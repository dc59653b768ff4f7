"""
C{pool pull} and C{pool push} with OpenLDAP slapd: identities that come, change and go.
"""

from __future__ import annotations

import time
from statistics import median

from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.harness import record, tlstunnel, until
from tests.interop.replicas import COMMAND, NAME, PullTestCase, entry, removed, replaced
from tests.interop.servers.syncprov import BASE, OPERATOR
from tlstunnel.identity.names import Identity
from tlstunnel.identity.requests import requestFor

WWW = "www.example.test"


class PullTests(PullTestCase):
    """
    What comes, changes and goes.
    """

    def test_anIdentityComesAndGoesWithinMilliseconds(self) -> None:
        """
        By StartTLS, with TLS from the first byte, and at a socket of this host; the key stays.
        """
        self.slapd.start()
        for url in (self.slapd.url, self.slapd.implicit, self.slapd.local):
            self.comesAndGoes(url)
        record("ldap", "client", self.slapd, "pool pull")

    def comesAndGoes(self, url: str) -> None:
        replica = self.replica(url)
        replica.request(WWW)
        replica.start()
        until(lambda: replica.says("up to date"), "it is up to date")
        certificate = replica.certificate(WWW)
        self.slapd.change(entry(WWW, [certificate]))
        until(lambda: replica.shows(WWW, certificate), "it is there")
        self.slapd.change(removed(WWW))
        until(lambda: not replica.has(WWW), "it is gone")
        self.assertTrue((replica.path / WWW / "privkey.pem").exists())
        replica.stop()

    def test_howLongItTakes(self) -> None:
        """
        From the operator's write to the file.
        """
        self.slapd.start()
        replica = self.replica()
        replica.request(WWW)
        self.slapd.change(entry(WWW, [replica.certificate(WWW)]))
        replica.start()
        until(lambda: replica.has(WWW), "it is there")
        file = replica.path / WWW / "fullchain.pem"
        times = []
        for number in range(1, 12):
            certificate = replica.certificate(WWW, after=number)
            content = certificate.public_bytes(Encoding.PEM)
            change = replaced(WWW, [certificate])
            began = time.monotonic()
            self.slapd.change(change)
            written = time.monotonic()
            while file.read_bytes() != content:
                self.assertLess(time.monotonic(), began + 10)
                time.sleep(0.0005)
            times.append((time.monotonic() - written, written - began))
        after, writing = (1000 * median(each) for each in zip(*times, strict=True))
        print(f"ldapmodify took {writing:.1f} ms; the file was there {after:.1f} ms after its end")

    def test_aKeyThatIsMadeLaterMeetsItsCertificate(self) -> None:
        """
        Also where the directory has nothing new to say: the entries are remembered.  A request
        beside a key in use changes both at once when it is answered.
        """
        self.slapd.start()
        replica = self.replica()
        replica.request(WWW)
        first = replica.certificate(WWW)
        self.slapd.change(entry(WWW, [first]))
        replica.start()
        until(lambda: replica.shows(WWW, first), "it is there")
        before = (replica.path / WWW).readlink()
        requestFor(replica.pool, Identity.parse(WWW))
        second = replica.certificate(WWW, number=2)
        self.assertEqual((replica.path / WWW).readlink(), before)
        self.slapd.change(replaced(WWW, [first, second]))
        until(lambda: replica.shows(WWW, second), "the new one is used")
        replica.pool.credentials(Identity.parse(WWW))
        replica.stop()
        other = self.replica()
        other.start()
        until(lambda: other.says("up to date"), "it is up to date")
        self.assertFalse(other.has(WWW))
        for each in ("request.pem", "privkey.pem"):
            file = other.path / WWW / each
            file.parent.mkdir(exist_ok=True)
            file.touch(mode=0o600)
            file.write_bytes((replica.path / WWW / each).read_bytes())
        until(lambda: other.shows(WWW, second), "it meets its certificate")

    def test_trustAndRulesComeAndGo(self) -> None:
        """
        To be believed about nobody is not the same as no rule; and nothing about the directory
        itself is taken from it.
        """
        self.slapd.start()
        replica = self.replica()
        replica.start()
        anchor = replica.authority.certificate.public_bytes(Encoding.DER).hex()
        value = f"cACertificate;binary:: {_base64(anchor)}"
        process = "objectClass: applicationProcess"
        trust, rule = f"ou=trust,{BASE}", f"ou=disclose,{BASE}"
        authority = f"{process}\nobjectClass: pkiCA"
        self.slapd.change(
            f"dn: cn=.shop.test,{trust}\nchangetype: add\n{authority}\n{value}\n\n"
            f"dn: cn=nobody.test,{trust}\nchangetype: add\n{process}\n\n"
            f"dn: cn={NAME},{trust}\nchangetype: add\n{authority}\n{value}\n\n"
            f"dn: cn=.shop.test,{rule}\nchangetype: add\n{process}\n"
            "description: 20 -\ndescription: 3 alice@example.org\n\n"
        )
        rules = replica.path / "disclose" / ".shop.test.txt"
        until(rules.exists, "they are there")
        self.assertEqual(rules.read_text().splitlines()[1:], ["alice@example.org", "-"])
        files = {each.name for each in (replica.path / "trust").iterdir()}
        self.assertEqual(files, {f"{NAME}.pem", ".shop.test.pem", "nobody.test.pem"})
        self.assertNotIn("CERTIFICATE", (replica.path / "trust" / "nobody.test.pem").read_text())
        until(lambda: replica.says("would decide whether to believe the directory"), "it is said")
        self.slapd.change(f"dn: cn=.shop.test,{trust}\nchangetype: delete\n\n")
        until(lambda: replica.says("the pool's own authority or the system's store"), "it is said")
        self.assertFalse((replica.path / "trust" / ".shop.test.pem").exists())

    def test_aLocalFileWins(self) -> None:
        """
        Also where it takes the place of one that came from the directory.
        """
        self.slapd.start()
        replica = self.replica()
        replica.request(WWW)
        certificate = replica.certificate(WWW)
        self.slapd.change(entry(WWW, [certificate]))
        replica.start()
        until(lambda: replica.has(WWW), "it is there")
        file = replica.path / WWW / "fullchain.pem"
        file.write_text("ours\n")
        self.slapd.change(replaced(WWW, [replica.certificate(WWW, after=5)]))
        until(lambda: replica.says("is not from the directory, and stays as it is"), "it is said")
        self.slapd.change(removed(WWW))
        time.sleep(0.3)
        self.assertEqual(file.read_text(), "ours\n")

    def test_theOperatorPutsACertificateIntoTheDirectory(self) -> None:
        """
        C{pool push} makes the entry, and adds to it.
        """
        self.slapd.start()
        replica = self.replica()
        replica.request(WWW)
        replica.start()
        for age, expected in (0, "made"), (0, "already"), (5, "one certificate added"):
            if age or expected == "made":
                certificate = replica.certificate(WWW, after=age)
            file = replica.path / "issued.pem"
            file.write_bytes(certificate.public_bytes(Encoding.PEM))
            words = [self.slapd.url, WWW, str(file), "-L", OPERATOR, "-R", NAME]
            done = tlstunnel(COMMAND, "push", *words, "--pool", str(replica.path))
            done.expect(expected)
            until(lambda: replica.shows(WWW, certificate), "it is there")  # noqa: B023
        words[1] = "other.example.test"
        done = tlstunnel(COMMAND, "push", *words, "--pool", str(replica.path))
        self.assertEqual(done.code, 1)

    def test_theDirectoryHasToBeWhoItShould(self) -> None:
        """
        Whoever else has a certificate of the same authority is nobody.
        """
        self.slapd.start()
        replica = self.replica()
        anchors = replica.path / "trust"
        (anchors / f"{NAME}.pem").rename(anchors / "other.example.test.pem")
        puller = replica.start()
        puller.stop()
        puller.words[puller.words.index(NAME)] = "other.example.test"
        puller.start()
        until(lambda: replica.says("identity: the certificate is for"), "it is refused")
        self.assertFalse(replica.says("up to date"))


def _base64(digits: str) -> str:
    import base64

    return base64.b64encode(bytes.fromhex(digits)).decode()
