"""
Send a mail by a server that proves who it is, with C{smtplib}.

The program asks for STARTTLS itself, as it may have to say something before, and hands the
connection over after that.  To run it::

    python3 smtplib_example.py mail.example.org 25 john@example.org jane@example.org < mail
"""

from __future__ import annotations

import smtplib
import sys

from tlstunnel.client import PoolError, asClient


def startTLS(client: smtplib.SMTP, remote: str) -> str | None:
    """
    What C{client.starttls()} would do, by the pool.

    @param remote: who the server must be.
    @return: who we are to the server.
    """
    code, reply = client.docmd("STARTTLS")
    if code != 220:
        raise smtplib.SMTPResponseException(code, reply)
    assert client.sock is not None
    # What came with the reply, and was read with it, did not come by TLS.
    plain = asClient(client.sock, remote, file=client.file)
    client.sock, client.file = plain, None
    # Nor did what the server has said of itself.
    client.helo_resp = client.ehlo_resp = None
    client.esmtp_features = {}
    client.does_esmtp = False
    return plain.proven.local


def main(host: str, port: str, sender: str, recipient: str, name: str = "") -> None:
    """
    Send what is on standard input.
    """
    with smtplib.SMTP(host, int(port), timeout=15) as client:
        client.ehlo()
        local = startTLS(client, name or host)
        sys.stderr.write(f"this is {name or host}, and it knows me as {local}\n")
        client.sendmail(sender, recipient, sys.stdin.read())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except PoolError as error:
        sys.exit(f"there is no TLS: {error}")
