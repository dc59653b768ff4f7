"""
Whose language it is that a peer speaks, by its first words.
"""

from __future__ import annotations

# What a server says first, or when it was spoken to in another language, and whose language it is.
_LANGUAGES = (
    (b"\x15\x03", "TLS"),
    (b"\x16\x03", "TLS"),
    (b"HTTP/1.", "http"),
    (b"<html", "http"),
    (b"SSH-", "SSH"),
    (b"* OK", "imap"),
    (b"* BYE", "imap"),
    (b"* PREAUTH", "imap"),
    (b"+OK", "pop3"),
    (b"-ERR '", "nats"),
    (b"-ERR", "pop3"),
    (b"220 ", "smtp or lmtp or ftp"),
    (b"220-", "smtp or lmtp or ftp"),
    (b"200 ", "nntp"),
    (b"201 ", "nntp"),
    (b'"IMPLEMENTATION"', "sieve"),
    (b"<?xml", "xmpp-client or xmpp-server"),
    (b"<stream:", "xmpp-client or xmpp-server"),
    (b"# munin node at ", "munin"),
    (b"# Unknown command. Try cap, list", "munin"),
    (b"OK STARTTLS", "nut"),
    (b"ERR FEATURE-NOT-", "nut"),
    (b"ERR UNKNOWN-COMMAND", "nut"),
    (b"ERR INVALID-ARGUMENT", "nut"),
    (b"NBDMAGIC", "nbd"),
    (b"INFO {", "nats"),
    (b"RFB 00", "vnc"),
    (b"\xff\xfb", "telnet"),
    (b"\xff\xfd", "telnet"),
)


def languageOf(said: bytes) -> str:
    """
    Whose language it is; empty if that is not obvious.
    """
    start = said.lstrip()
    return next((whose for first, whose in _LANGUAGES if start.startswith(first)), "")
