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

{authentication}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
plugin {{
  sieve = file:~/sieve;active=~/.dovecot.sieve
}}

service imap-login {{
  inet_listener imap {{
    port = {imap}
    haproxy = {haproxy}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
    haproxy = {haproxy}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service managesieve-login {{
  inet_listener sieve {{
    port = {sieve}
    haproxy = {haproxy}
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

PASSWORDS = """\
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {directory}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/mail/%n
}}
"""

# The tunnel is believed where clients are; whoever it is who comes, there is a mailbox.
TRUSTED = """\
login_trusted_networks = 127.0.0.1
login_log_format_elements = user=<%u> rip=%r:%{{rport}} real=%{{real_rip}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/mail/%n allow_all_users=yes
}}
"""

# Users have passwords of their own.
PASSWORDS_TRUSTED = f"""\
{TRUSTED}
auth_mechanisms = plain login
passdb {{{{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {{directory}}/users
}}}}
"""

# The tunnel has one too, with which it lets others in.
MASTER = f"""\
{PASSWORDS_TRUSTED}
passdb {{{{
  driver = passwd-file
  args = scheme=PLAIN {{directory}}/masters
  master = yes
}}}}
"""

# Whom the tunnel names is let in, whoever else must not come here.
NOPASSWORD = f"""\
{TRUSTED}
auth_mechanisms = plain
passdb {{{{
  driver = static
  args = nopassword=y allow_real_nets=127.0.0.1/32
}}}}
"""

# Whom the header of the PROXY protocol names is let in.
EXTERNAL = f"""\
{TRUSTED}
haproxy_trusted_networks = 127.0.0.1
auth_mechanisms = external
auth_ssl_username_from_cert = yes
passdb {{{{
  driver = static
  args = nopassword=y allow_real_nets=127.0.0.1/32
}}}}
"""

# What the tunnel is called where it logs others in.
TUNNEL = "tunnel"
TUNNEL_PASSWORD = "something long"

STARTTLS = """\
ssl = required
ssl_min_protocol = TLSv1.2
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = yes"""

PLAINTEXT = """\
ssl = no
disable_plaintext_auth = no"""

TOLD = """
haproxy_trusted_networks = 127.0.0.0/8
auth_mechanisms = plain login external
auth_ssl_username_from_cert = yes
auth_verbose = yes
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=y
}}
service imap-login {{
  inet_listener imap {{
    haproxy = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    haproxy = yes
  }}
}}
"""


class Dovecot(Daemon):
    """
    With certificates: STARTTLS only, and no login before it.  Without: no TLS, login in clear.

    One account, L{USER} with L{PASSWORD}; mail for it comes by lmtp.  With L{MASTER},
    L{NOPASSWORD} or L{EXTERNAL} there are all that the tunnel names.

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

    more = ""

    def __init__(
        self,
        directory: Path,
        certificates: ServerCertificate | None = None,
        authentication: str = PASSWORDS,
    ) -> None:
        super().__init__(directory, certificates)
        self._authentication = authentication
        self.lmtpSocket = directory / "lmtp.socket"
        self.sockets = [self.lmtpSocket]
        self.logs.append(directory / "log")

    def configure(self) -> None:
        tls = PLAINTEXT
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        text = CONFIGURATION.format(
            directory=self.directory,
            host=self.HOST,
            tls=tls,
            authentication=self._authentication.format(directory=self.directory),
            haproxy="yes" if self._authentication is EXTERNAL else "no",
            **self.ports,
        )
        self.write("dovecot.conf", text + self.more.format(directory=self.directory))
        self.write("users", f"{USER}:{PASSWORD}::::::\n")
        self.write("masters", f"{TUNNEL}:{TUNNEL_PASSWORD}::::::\n")
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


class ToldDovecot(Dovecot):
    """
    Is told by headers of the PROXY protocol who is there, and believes a certificate in them for a
    login.
    """

    more = TOLD
