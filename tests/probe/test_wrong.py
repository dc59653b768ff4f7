"""
Servers that are set up wrongly, each with what a person reads about it: the first line, the last
one, the exit code, and what else has to be said.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from OpenSSL import SSL

from tests.certificates import (
    CLIENT,
    Recipe,
    alternative,
    dns,
    intermediate,
    make,
    named,
    root,
    signedWithSHA1,
)
from tests.probe.servers import (
    NAME,
    ProbeTestCase,
    Script,
    belowIntermediate,
    context,
    halfOpen,
    leaf,
    resetting,
    says,
    secure,
    silent,
    smtp,
    web,
)

_SMTP = ("--starttls", "smtp")
_NO_TLS, _UNTRUSTED, _NO_CONNECTION = 3, 1, 4


def _only(version: int) -> SSL.Context:
    """A server that speaks one version of TLS."""
    found = context(leaf())
    found.set_min_proto_version(version)
    found.set_max_proto_version(version)
    return found


def _oldSuite() -> SSL.Context:
    """A server with a suite that was given up long ago."""
    issued = leaf(key="rsa2048", usage=("digital_signature", "key_encipherment"))
    found = context(issued)
    found.set_max_proto_version(SSL.TLS1_2_VERSION)
    found.set_cipher_list(b"AES128-SHA:@SECLEVEL=0")
    return found


def _forClients(version: int) -> SSL.Context:
    """A server that serves only those who show a certificate."""
    found = _only(version)
    demanding = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    found.set_verify(demanding, lambda *_: True)
    found.add_client_ca(root("Clients").certificate)
    return found


def _forOneName() -> SSL.Context:
    """A server that refuses all names but one (RFC 6066, section 3)."""
    from tlstunnel.tls.binding import setServerName

    found = context(leaf(san=alternative(dns("www.example.org"))))

    def choose(connection: SSL.Connection) -> int | None:
        return None if connection.get_servername() in (None, b"www.example.org") else 112

    setServerName(found, choose)
    return found


def _wrongOrder() -> SSL.Context:
    issued = belowIntermediate()
    return context(issued, (root().certificate, intermediate().certificate))


def _imapStripped(sock: socket.socket) -> None:
    """Dovecot's words without STARTTLS in them."""
    sock.sendall(b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] ready\r\n")
    tag = sock.recv(4096).split()[0]
    sock.sendall(tag + b" BAD unknown command\r\n")
    sock.recv(4096)


@dataclass(frozen=True)
class Row:
    """
    One server that is set up wrongly.

    @ivar words: the options to probe it with.
    @ivar exit: the exit code.
    @ivar last: how the last line begins.
    @ivar others: what else has to stand somewhere.
    """

    script: Callable[[], Script]
    words: tuple[str, ...]
    exit: int
    last: str
    others: tuple[str, ...] = ()


ROWS = {
    "wrongDialect": Row(
        lambda: says(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
        _SMTP,
        _NO_TLS,
        'no TLS: the server seems to speak imap: "* OK [CAPABILITY IMAP4rev1 STARTTLS] ready"',
        ("hint          give --starttls imap",),
    ),
    "dialectMissing": Row(
        lambda: smtp(secure(context(leaf()))),
        (),
        _NO_TLS,
        'no TLS: the server seems to speak smtp or lmtp or ftp: "220 mail.example.org ESMTP"',
        ("hint          give --starttls smtp",),
    ),
    "implicitTLS": Row(
        lambda: secure(context(leaf())),
        _SMTP,
        _NO_TLS,
        "no TLS: TLS begins with the first byte there, and not as smtp has it",
        ("hint          give --starttls none", "second look   without --starttls: TLSv1.3"),
    ),
    "expired": Row(
        lambda: secure(context(leaf(start=timedelta(days=-9), end=timedelta(days=-3)))),
        (),
        _UNTRUSTED,
        "not trusted: the certificate has expired",
        ("problem: it expired on ", ", over for 3 days", "the server has to renew it"),
    ),
    "notYetValid": Row(
        lambda: secure(context(leaf(start=timedelta(days=3), end=timedelta(days=9)))),
        (),
        _UNTRUSTED,
        "not trusted: the certificate is not yet valid",
        ("problem: it is not valid before ", "hint          check the clock of this host"),
    ),
    "expiredAndUnknown": Row(
        lambda: secure(
            context(leaf(root("Other"), start=timedelta(days=-9), end=timedelta(days=-3)))
        ),
        (),
        _UNTRUSTED,
        "not trusted: ",
        ("refused       the issuer is unknown", "refused       the certificate has expired"),
    ),
    "wrongName": Row(
        lambda: smtp(secure(context(leaf(san=alternative(dns("www.example.org")))))),
        _SMTP,
        _UNTRUSTED,
        f'not trusted: the certificate is for "www.example.org", and not for {NAME}',
        (
            "hint          if this is the right server, -R www.example.org would match",
            "anchors       CN=Root vouches for it",
        ),
    ),
    "commonNameAlone": Row(
        lambda: secure(context(leaf(san=None))),
        (),
        _UNTRUSTED,
        "not trusted: the certificate has no subject alternative name",
        ("problem: it has no subject alternative name, and a common name does not count",),
    ),
    "unknownAuthority": Row(
        lambda: secure(context(leaf(intermediate(), end=timedelta(days=20)), ())),
        ("--trust", "system"),
        _UNTRUSTED,
        "not trusted: the issuer is unknown, or an intermediate certificate is missing",
        (f"tlstunnel identity trust {NAME} --from 127.0.0.1:", "anchors       no anchor of"),
    ),
    "selfSigned": Row(
        lambda: secure(context(make(Recipe(san=alternative(dns(NAME)), subject=named(NAME))))),
        (),
        _UNTRUSTED,
        "not trusted: the certificate is self-signed, and no anchor",
        ("issued by itself", f"identity      the certificate is for {NAME}"),
    ),
    "missingIntermediate": Row(
        lambda: secure(context(belowIntermediate(), ())),
        (),
        _UNTRUSTED,
        "not trusted: the issuer is unknown, or an intermediate certificate is missing",
        ("problem       the certificate of CN=Intermediate is missing", "fullchain.pem"),
    ),
    "weakKey": Row(
        lambda: secure(context(leaf(key="rsa1024"))),
        (),
        _UNTRUSTED,
        "not trusted: a key in the chain is too weak",
        ("problem: its key is weak: RSA 1024", "it needs a new certificate"),
    ),
    "sha1": Row(
        lambda: secure(context(signedWithSHA1(leaf(), root()))),
        (),
        _UNTRUSTED,
        "not trusted: a signature in the chain is too weak",
        ("problem: its signature is weak: ECDSA with SHA1",),
    ),
    "notForServers": Row(
        lambda: secure(context(leaf(purposes=(CLIENT,)))),
        (),
        _UNTRUSTED,
        "not trusted: the certificate is not for this purpose",
        ("problem: it is not for servers",),
    ),
    "strippedSTARTTLS": Row(
        lambda: smtp(lists=False, answer=b"502 5.5.1 Command not recognized\r\n"),
        _SMTP,
        _NO_TLS,
        "no TLS: the upgrade is not among what the server offers, and it refuses it "
        '(expected 220; the server said "502 5.5.1 Command not recognized"): it has none, or '
        "somebody on the way has taken it out",
        ("starttls      the upgrade is refused, not in the list of the server",),
    ),
    "strippedOfIMAP": Row(
        lambda: _imapStripped,
        ("--starttls", "imap"),
        _NO_TLS,
        "no TLS: the upgrade is not among what the server offers",
    ),
    "refusedSTARTTLS": Row(
        lambda: smtp(answer=b"454 4.7.0 TLS not available due to local problem\r\n"),
        _SMTP,
        _NO_TLS,
        "no TLS: the server offers the upgrade, and refuses it",
        ("starttls      the upgrade is refused, in the list of the server",),
    ),
    "injectedPlaintext": Row(
        lambda: smtp(answer=b"220 go ahead\r\n250 evil\r\n"),
        _SMTP,
        _NO_TLS,
        'no TLS: somebody has put "250 evil\\x0d\\x0a" behind the last word before TLS, in clear',
    ),
    "oldVersion": Row(
        lambda: smtp(secure(_only(SSL.TLS1_VERSION))),
        _SMTP,
        _NO_TLS,
        "no TLS: the server speaks TLSv1, and nothing newer",
        ("second look   with everything allowed: TLSv1, ",),
    ),
    "noCommonSuite": Row(
        lambda: secure(_oldSuite()),
        (),
        _NO_TLS,
        "no TLS: nothing that is safe is common to both: the server takes TLSv1.2 with AES128-SHA",
    ),
    "clientCertificate12": Row(
        lambda: secure(_forClients(SSL.TLS1_2_VERSION)),
        (),
        _NO_TLS,
        "no TLS: the server demands a certificate of ours",
        ("client        a certificate of ours is asked for, issued by CN=Clients",),
    ),
    "clientCertificate13": Row(
        lambda: secure(_forClients(SSL.TLS1_3_VERSION)),
        (),
        _NO_TLS,
        "no TLS: the server demands a certificate of ours",
        (
            "client        a certificate of ours is asked for, issued by CN=Clients",
            f"identity      the certificate is for {NAME}",
            "hint          give an identity that it accepts with -L",
        ),
    ),
    "silent": Row(
        lambda: silent,
        _SMTP,
        _NO_TLS,
        "no TLS: the greeting took longer than 0.7 s, and nothing else is spoken there",
    ),
    "silentWithoutDialect": Row(
        lambda: silent,
        (),
        _NO_TLS,
        "no TLS: the TLS handshake took longer than 0.7 s, and nothing else is spoken there",
    ),
    "resetting": Row(
        lambda: resetting,
        _SMTP,
        _NO_TLS,
        "no TLS: Connection reset by peer, and nothing else is spoken there",
    ),
    "slow": Row(
        lambda: smtp(secure(context(leaf())), pause=0.1),
        _SMTP,
        _NO_TLS,
        "no TLS: the greeting took longer than 0.7 s, and the server has said no more than",
        ("hint          it may only be slow: give it more time with --timeout",),
    ),
    "http": Row(
        lambda: web,
        (),
        _NO_TLS,
        'no TLS: the server seems to speak http: "HTTP/1.1 400 Bad Request"',
        ("hint          a web server without TLS listens there",),
    ),
    "httpInsteadOfSMTP": Row(
        lambda: web,
        _SMTP,
        _NO_TLS,
        'no TLS: the server seems to speak http: "HTTP/1.1 400 Bad Request"',
    ),
    "ssh": Row(
        lambda: says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        (),
        _NO_TLS,
        'no TLS: the server seems to speak SSH: "SSH-2.0-OpenSSH_9.2"',
        ("hint          SSH has its own encryption, and no TLS: check the port",),
    ),
    "sshInsteadOfSMTP": Row(
        lambda: says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        _SMTP,
        _NO_TLS,
        "no TLS: the server seems to speak SSH",
    ),
    "halfOpen": Row(
        lambda: halfOpen,
        _SMTP,
        _NO_TLS,
        "no TLS: the server ended the connection, and nothing else is spoken there",
    ),
    "otherName": Row(
        lambda: secure(_forOneName()),
        (),
        _NO_TLS,
        "no TLS: the server refuses the name that it was asked for",
        ("it has no certificate for that name, and shows one for www.example.org",),
    ),
    "anotherLanguage": Row(
        lambda: says(b"KLINGON 1.0 nuqneH\r\n"),
        (),
        _NO_TLS,
        'no TLS: the server speaks another protocol: "KLINGON 1.0 nuqneH"',
    ),
    "spokeInsideTLS": Row(
        lambda: smtp(secure(context(leaf()), b"220 a greeting of its own\r\n"), pause=0.001),
        _SMTP,
        _UNTRUSTED,
        "not trusted: inside TLS the server spoke before the app",
    ),
    "wrongOrder": Row(
        lambda: secure(_wrongOrder()),
        (),
        0,
        f"good: {NAME} is there, with TLSv1.3, with a problem",
        ("problem       the order is wrong",),
    ),
}


class WrongServerTests(ProbeTestCase):
    """
    Every row is a test of its own.
    """

    async def _check(self, row: Row) -> None:
        port = self.serve(row.script())
        words = (f"127.0.0.1:{port}", "-R", NAME, *row.words)
        report, lines = await self.probe(*words)
        text = "\n".join(lines)
        upgrade = row.words[row.words.index("--starttls") + 1] if "--starttls" in row.words else ""
        how = f"--starttls {upgrade}" if upgrade else "TLS from the first byte (guessed)"
        self.assertEqual(lines[0], f"127.0.0.1:{port}, {how}, expecting {NAME}", text)
        self.assertTrue(lines[-1].startswith(row.last), text)
        self.assertEqual(report.exit, row.exit, text)
        for each in row.others:
            self.assertIn(each, text)
        self.assertNotIn("\x1b", text)


def _testing(row: Row) -> Callable[[WrongServerTests], object]:
    async def test(self: WrongServerTests) -> None:
        await self._check(row)

    return test


for _name, _row in ROWS.items():
    setattr(WrongServerTests, f"test_{_name}", _testing(_row))
