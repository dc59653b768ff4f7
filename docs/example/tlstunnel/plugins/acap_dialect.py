"""
ACAP, where programs keep their settings (RFC 2244; RFC 2595, section 5)::

    S: * ACAP (SASL "PLAIN") (STARTTLS)
    C: t1 STARTTLS
    S: t1 OK "Begin TLS negotiation"
    == TLS ==
    S: * ACAP (SASL "PLAIN")            the server greets again, and that is for the app
"""

from tlstunnel.errors import Malformed, Quit, Refused
from tlstunnel.protocols.base import ClientRole, Dialect, ServerRole


class ACAPClient(ClientRole):
    """Asks a remote ACAP server for TLS."""

    async def readGreeting(self) -> None:
        """What it lists decides nothing, and is forgotten."""
        line = await self.readLine()
        if not line.startswith(b"* ACAP "):
            raise Malformed("expected * ACAP", line)

    async def negotiate(self) -> None:
        """One line each way; whatever is not the right answer is a refusal."""
        self.sendLine(b"t1 STARTTLS")
        answer = await self.readLine()
        if answer.split(b" ")[:2] != [b"t1", b"OK"]:
            raise Refused("expected t1 OK", answer)

    async def greetApp(self) -> None:
        """Wait for the second greeting, and let it pass."""
        self.putBack(await self.readSome())


class ACAPServer(ServerRole):
    """Offers an ACAP client TLS, and nothing else before it."""

    async def negotiate(self) -> None:
        """Returns when TLS is to begin; the client may log out before."""
        self.sendLine(b'* ACAP (IMPLEMENTATION "tlstunnel") (STARTTLS)')
        while True:
            line = await self.readCommand()
            tag, _, command = line.partition(b" ")
            if line.endswith(b"}"):
                raise Malformed("what follows is no command, but would be read as one", line)
            if not tag.isalnum():
                self.refuseSyntax(b'* BAD "no tag"', b'* BYE "too many errors"')
            elif command.upper() == b"STARTTLS":
                self.goAhead(tag + b' OK "Begin TLS negotiation"')
                return
            elif command.upper() == b"LOGOUT":
                self.sendLine(b'* BYE "bye"\r\n' + tag + b' OK "done"')
                raise Quit
            else:
                self.refuse(tag + b' NO (ENCRYPT-NEEDED) "STARTTLS first"')


acap = Dialect(
    "acap", ACAPClient, ACAPServer, "settings (RFC 2244)", ports=(674,), silentServer=False
)
