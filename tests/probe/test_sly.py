"""
What is easily misread: long lists, names that are commands, and TLS that stops in the middle.
"""

from __future__ import annotations

import socket

from tests.certificates import alternative, mail
from tests.probe.servers import NAME, ProbeTestCase, Script, context, leaf, readLine, says, secure

# More than a line of the log has.
_CAPABILITIES = b" ".join(b"X-CAPABILITY-%d" % number for number in range(60))


def _imap(capabilities: bytes, answer: bytes) -> Script:
    """
    IMAP up to the switch.

    @param answer: that to STARTTLS, without its tag.
    """

    def script(sock: socket.socket) -> None:
        sock.sendall(b"* OK [CAPABILITY " + capabilities + b"] ready\r\n")
        tag = readLine(sock).split()[0]
        sock.sendall(tag + b" " + answer + b"\r\n")
        sock.recv(4096)

    return script


class SlyServerTests(ProbeTestCase):
    """
    One server each.
    """

    async def _said(self, script: Script, *words: str) -> list[str]:
        return (await self.probe(f"127.0.0.1:{self.serve(script)}", "-R", NAME, *words))[1]

    async def test_aListMayBeLongerThanALineOfTheLog(self) -> None:
        script = _imap(b"IMAP4rev1 " + _CAPABILITIES + b" STARTTLS", b"NO not now")
        lines = await self._said(script, "--starttls", "imap")
        self.assertIn("no TLS: the server offers the upgrade, and refuses it", lines[-1])
        self.assertIn("starttls      the upgrade is refused, in the list of the server", lines)

    async def test_aNameInACommandOfAHintIsQuoted(self) -> None:
        lines = await self._said(
            secure(context(leaf(san=alternative(mail("`reboot`@example.org")))))
        )
        self.assertIn("right server, -R '`reboot`@example.org' would match", lines[-2])

    async def test_whyTLSFailedIsToldWhereItWasSpoken(self) -> None:
        lines = await self._said(says(b"\x16\x03\x03\x40\x00"))
        self.assertEqual(lines[-1], "no TLS: the TLS handshake took longer than 0.7 s")
