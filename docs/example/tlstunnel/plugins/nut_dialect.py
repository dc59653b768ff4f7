"""
NUT, the protocol of upsd, which watches power supplies (RFC 9271)::

    C: STARTTLS
    S: OK STARTTLS
    == TLS ==                       no greeting, neither before nor inside; the client begins
"""

from tlstunnel.errors import Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole


class NUTClient(ClientRole):
    """Asks a remote upsd for TLS."""

    async def negotiate(self) -> None:
        """One line each way; whatever is not the right answer is a refusal."""
        self.write(b"STARTTLS\n")
        answer = await self.readLine()
        if answer != b"OK STARTTLS":
            raise Refused("expected OK STARTTLS", answer)


class NUTServer(ServerRole):
    """Offers the client of an upsd TLS, and nothing else before it."""

    async def negotiate(self) -> None:
        """Returns when TLS is to begin; the client may log out before."""
        while True:
            command = await self.readCommand()
            if command == b"STARTTLS":
                self.goAhead(b"OK STARTTLS")
                return
            if command == b"LOGOUT":
                self.sendLine(b"OK Goodbye")
                raise Quit
            self.refuse(b"ERR ACCESS-DENIED")


nut = Dialect("nut", NUTClient, NUTServer, "power supplies (RFC 9271)", ports=(3493,))
