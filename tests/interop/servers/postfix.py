"""
Postfix: smtp.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import ClassVar

from tests.interop.harness import Daemon, ServerCertificate, until

#: Every address in this domain is delivered.
DOMAIN = "test.example"

MAIN = """\
compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{domain}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = static:inbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:8
virtual_gid_maps = static:8
alias_maps =
{tls}
"""

STARTTLS = """\
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {key}, {chain}
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
"""

SMTPD = """\
127.0.0.1:{port} inet n - n - - smtpd
"""

POSTSCREEN = """\
127.0.0.1:{port} inet n - n - 1 postscreen
smtpd     pass - - n - - smtpd
dnsblog   unix - - n - 0 dnsblog
tlsproxy  unix - - n - 0 tlsproxy
"""

TEASER = """\
postscreen_access_list =
postscreen_greet_banner = Wait for the second line
postscreen_greet_wait = 2s
postscreen_greet_action = enforce
postscreen_cache_map =
"""

MASTER = """\
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
proxymap  unix - - n - - proxymap
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
lmtp      unix - - n - - lmtp
anvil     unix - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""

QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush"),
    *("hold", "incoming", "private", "saved", "trace"),
)

#: What postfix(1) creates at its first start: owner, group, mode.
DIRECTORIES = {
    "queue": ("root", "root", 0o755),
    "queue/pid": ("root", "root", 0o755),
    "queue/maildrop": ("postfix", "postdrop", 0o730),
    "queue/public": ("postfix", "postdrop", 0o710),
    **{f"queue/{name}": ("postfix", "root", 0o700) for name in QUEUES},
    "data": ("postfix", "root", 0o700),
    "mail": ("mail", "mail", 0o755),
}


class Postfix(Daemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS.
    """

    packages = ("postfix",)
    title = "Postfix"
    program = "/usr/lib/postfix/sbin/master"
    services: ClassVar[tuple[str, ...]] = ("smtp",)
    needsRoot = True

    front = SMTPD
    settings = ""

    def __init__(self, directory: Path, certificates: ServerCertificate | None = None) -> None:
        super().__init__(directory, certificates)
        self.inbox = directory / "mail" / "inbox" / "new"
        self.logs.append(directory / "log")

    def configure(self) -> None:
        tls = "smtpd_tls_security_level = none"
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        main = MAIN.format(directory=self.directory, domain=DOMAIN, tls=tls)
        self.write("main.cf", main + self.settings)
        self.write("master.cf", self.front.format(port=self.port) + MASTER)
        for name, (owner, group, mode) in DIRECTORIES.items():
            path = self.directory / name
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
            shutil.chown(path, owner, group)

    def command(self) -> Sequence[str]:
        # postfix(1) would put its master in a session of its own, where we do not find it again.
        return [self.executable, "-s", "-c", str(self.directory)]

    def received(self, subject: str) -> Message:
        """
        Wait for the mail with this subject to be delivered.

        @raise AssertionError: it is not, in time.
        """
        found: list[Message] = []

        def arrived() -> bool:
            mails = self.inbox.glob("*") if self.inbox.exists() else ()
            messages = (message_from_bytes(mail.read_bytes()) for mail in mails)
            found.extend(message for message in messages if message["Subject"] == subject)
            return bool(found)

        until(arrived, f"the mail {subject!r} is delivered")
        return found[0]


class ImpatientPostfix(Postfix):
    """
    With the shortest limit there is for a client that says nothing.
    """

    settings = "smtpd_timeout = 1s\n"


class RejectingPostfix(Postfix):
    """
    Wants none of its clients, and says so instead of its greeting.
    """

    settings = "smtpd_delay_reject = no\nsmtpd_client_restrictions = reject\n"


class Postscreen(Postfix):
    """
    With postscreen in front: a greeting of two lines, two seconds apart, and no mail for clients
    that talk in between.
    """

    title = "Postfix postscreen"
    front = POSTSCREEN
    settings = TEASER


class ToldPostfix(Postfix):
    """
    Is told by headers of the PROXY protocol who is there.
    """

    settings = "smtpd_upstream_proxy_protocol = haproxy\n"


class ToldPostscreen(Postscreen):
    """
    The same of postscreen.
    """

    settings = TEASER + "postscreen_upstream_proxy_protocol = haproxy\n"
