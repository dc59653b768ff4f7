"""
Dovecot 2.3: imap, pop3, lmtp and sieve in one.
"""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import Daemon, ServerCertificate

USER = "reader"
PASSWORD = "a horse, not a battery"

CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols = imap pop3 lmtp sieve
listen = {host}
{tls}

auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {directory}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/mail/%n
}}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
plugin {{
  sieve = file:~/sieve;active=~/.dovecot.sieve
}}

service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service managesieve-login {{
  inet_listener sieve {{
    port = {sieve}
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
  unix_listener {directory}/lmtp.socket {{
    mode = 0666
  }}
}}
protocol lmtp {{
  mail_plugins = sieve
}}
"""

STARTTLS = """\
ssl = required
ssl_min_protocol = TLSv1.2
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = yes"""

PLAINTEXT = """\
ssl = no
disable_plaintext_auth = no"""


class Dovecot(Daemon):
    """
    With certificates: STARTTLS only, and no login before it.  Without: no TLS, login in clear.

    One account, L{USER} with L{PASSWORD}; mail for it comes by lmtp.

    @cvar HOST: where it listens.  Not 127.0.0.1, since a client whose address is the server's own
        counts as secure to Dovecot, and TLS would not be needed.
    @ivar lmtpSocket: the same service as the port C{lmtp}.
    """

    packages = (
        "dovecot-core",
        "dovecot-imapd",
        "dovecot-pop3d",
        "dovecot-lmtpd",
        "dovecot-managesieved",
        "dovecot-sieve",
    )
    title = "Dovecot"
    program = "dovecot"
    services: ClassVar[tuple[str, ...]] = ("imap", "pop3", "lmtp", "sieve")
    needsRoot = True

    HOST = "127.0.0.2"

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.lmtpSocket = directory / "lmtp.socket"
        self.sockets = [self.lmtpSocket]
        self.logs.append(directory / "log")

    def configure(self) -> None:
        tls = PLAINTEXT
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        text = CONFIGURATION.format(directory=self.directory, host=self.HOST, tls=tls, **self.ports)
        self.write("dovecot.conf", text)
        self.write("users", f"{USER}:{PASSWORD}::::::\n")
        for program in ("run", "state", "mail"):
            (self.directory / program).mkdir()
        (self.directory / "mail").chmod(0o777)

    def command(self) -> Sequence[str]:
        return [self.executable, "-F", "-c", str(self.directory / "dovecot.conf")]

    def address(self, service: str) -> str:
        """
        For C{-r}.
        """
        return f"{self.HOST}:{self.ports[service]}"

    def deliver(self, subject: str, text: str = "Words.\r\n") -> None:
        """
        Put a mail into the account, straight by lmtp.
        """
        mail = f"Subject: {subject}\r\n\r\n{text}"
        with smtplib.LMTP(str(self.lmtpSocket)) as client:
            client.sendmail("", f"{USER}@test.example", mail)

    def delivered(self, subject: str) -> Message:
        """
        The mail with this subject, which lmtp has confirmed.

        @raise AssertionError: it is not there.
        """
        for path in (self.directory / "mail" / USER / "Maildir").glob("*/*"):
            message = message_from_bytes(path.read_bytes()) if path.is_file() else None
            if message is not None and message["Subject"] == subject:
                return message
        raise AssertionError(f"no mail {subject!r}")
