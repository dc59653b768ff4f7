"""
A client certificate is the login, and Dovecot knows where the client is: imap, pop3 and sieve.
"""

from __future__ import annotations

from tests.interop import logins
from tests.interop.servers.dovecot import EXTERNAL, MASTER, NOPASSWORD, TUNNEL, TUNNEL_PASSWORD


class MasterTests(logins.LoginTests):
    """
    The tunnel is a master user, and no user has a password.
    """

    authentication = MASTER

    def options(self) -> tuple[str, ...]:
        path = self.stage.directory("secret")
        path.write_text(f"{TUNNEL}:{TUNNEL_PASSWORD}\n")
        path.chmod(0o600)
        return ("--login-auth-file", str(path))


class NoPasswordTests(logins.LoginTests):
    """
    Whoever comes from the tunnel is let in as whom the tunnel names.
    """

    authentication = NOPASSWORD


class ExternalTests(logins.LoginTests):
    """
    The header of the PROXY protocol has the common name of the certificate, which is the identity,
    and nobody has to be trusted for anything else.
    """

    authentication = EXTERNAL

    def options(self) -> tuple[str, ...]:
        return ("--proxy-out", "v2", "--proxy-tlv", "ssl", "--proxy-tlv", "ssl-cn")
