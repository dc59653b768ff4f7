"""
Mail servers that believe what they are told of a client: Postfix, and the submission and lmtp
services of Dovecot.
"""

from __future__ import annotations

from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from tests.interop.harness import Daemon, find, until
from tests.interop.servers.postfix import MASTER, Postfix

# All clients of these tests come from here, so that Postfix believes also those whom it was told
# of: nothing but the tunnel keeps them from telling more.
NETWORK = "127.0.0.0/8"

FRONT = """\
127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{forward} inet n - n - - smtpd
  -o smtpd_authorized_xclient_hosts=
127.0.0.1:{distrustful} inet n - n - - smtpd
  -o smtpd_authorized_xclient_hosts=
  -o smtpd_authorized_xforward_hosts=
127.0.0.1:{both} inet n - n - - smtpd
  -o inet_protocols=all
127.0.0.1:{choosy} inet n - n - - smtpd
  -o smtpd_delay_reject=no
  -o smtpd_client_restrictions=check_client_access,cidr:{directory}/clients
"""

SETTINGS = f"""\
smtpd_authorized_xclient_hosts = {NETWORK}
smtpd_authorized_xforward_hosts = {NETWORK}
smtpd_client_port_logging = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_auth_enable = yes
smtpd_sasl_authenticated_header = yes
default_transport = virtual
"""

#: Whom C{choosy} does not greet.
UNWANTED = "127.0.0.66"


class BelievingPostfix(Postfix):
    """
    Takes mail for its domain, and for others of those who have logged in.

    Of its services C{smtp} takes XCLIENT, C{forward} only XFORWARD, C{distrustful} neither;
    C{both} knows addresses of IPv6, and C{choosy} does not greet everybody.
    """

    services = ("smtp", "forward", "distrustful", "both", "choosy")
    settings = SETTINGS

    def configure(self) -> None:
        super().configure()
        self.write("master.cf", FRONT.format(directory=self.directory, **self.ports) + MASTER)
        self.write("clients", f"{UNWANTED}/32 REJECT not you\n")


class RelayingPostfix(Postfix):
    """
    Gives all mail to another server, over STARTTLS.
    """

    title = "Postfix as a client"

    def __init__(self, directory: Path, anchors: Path, relay: int) -> None:
        """
        @param anchors: whom it trusts.
        @param relay: the port of the other server.
        """
        super().__init__(directory)
        self.settings = (
            f"relayhost = [127.0.0.1]:{relay}\n"
            "virtual_mailbox_domains =\n"
            "smtp_tls_security_level = verify\n"
            "smtp_tls_verify_cert_match = mail.test.example\n"
            f"smtp_tls_CAfile = {anchors}\n"
            "smtp_bind_address = 127.0.0.7\n"
        )

    def configure(self) -> None:
        super().configure()
        front = self.front.format(port=self.port)
        self.write("master.cf", front + MASTER + "smtp unix - - n - - smtp\n")


CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols = lmtp submission
listen = {host}
ssl = no
disable_plaintext_auth = no
login_trusted_networks = 127.0.0.0/8
login_log_format_elements = user=<%u> method=%m rip=%r rport=%b lip=%l lport=%a
auth_mechanisms = plain
auth_verbose = yes
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
hostname = mail.test.example
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
lmtp_add_received_header = yes

service submission-login {{
  inet_listener submission {{
    port = {submission}
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
"""

USER = "reader"
PASSWORD = "a horse, not a battery"


class BelievingDovecot(Daemon):
    """
    Believes what it is told from this host.

    @ivar lmtpSocket: the same service as the port C{lmtp}.
    """

    packages = ("dovecot-core", "dovecot-lmtpd", "dovecot-submissiond")
    title = "Dovecot"
    program = "dovecot"
    services = ("submission", "lmtp")
    needsRoot = True

    HOST = "127.0.0.2"

    def __init__(self, directory: Path, relay: int) -> None:
        """
        @param relay: the port at which mail is submitted to another server.
        """
        super().__init__(directory)
        self.relay = relay
        self.lmtpSocket = directory / "lmtp.socket"
        self.sockets = [self.lmtpSocket]
        self.logs.append(directory / "log")

    @property
    def executable(self) -> str:
        find("/usr/lib/dovecot/submission-login", "dovecot-submissiond")
        return super().executable

    def configure(self) -> None:
        text = CONFIGURATION.format(
            directory=self.directory, host=self.HOST, relay=self.relay, **self.ports
        )
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

    def delivered(self, subject: str) -> Message:
        """
        The mail with this subject.

        @raise AssertionError: it is not there.
        """
        found: list[Message] = []

        def arrived() -> bool:
            for path in (self.directory / "mail" / USER / "Maildir").glob("*/*"):
                message = message_from_bytes(path.read_bytes()) if path.is_file() else None
                if message is not None and message["Subject"] == subject:
                    found.append(message)
            return bool(found)

        until(arrived, f"the mail {subject!r} is delivered")
        return found[0]
