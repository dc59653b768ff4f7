"""
The word C{smtp}: XCLIENT, with which a mail server takes the client's address, and who it has
proved to be, for those of whoever connects to it::

    T: XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=40000 LOGIN=user@example.org
    S: 220 mx.example.org ESMTP         all begins afresh, for another client

Where only XFORWARD is offered, that; then the server logs the address, and decides nothing by it.
"""

from __future__ import annotations

from tlstunnel.errors import BackendRefused
from tlstunnel.protocols.replies import readReplyLines
from tlstunnel.reveal.mail import NOT_FOR_US, MailIntroduction, notTaken
from tlstunnel.reveal.word import Word
from tlstunnel.reveal.xclient import clientAttributes, command


class ClientIntroduction(MailIntroduction):
    """
    Tells it by XCLIENT, or XFORWARD.
    """

    async def introduce(self) -> None:
        """
        Before anything else is said.
        """
        await self.meet()
        taken = self.offers.get(b"XCLIENT", [])
        if "ADDR" in taken:
            await self._tell(taken)
            self.guard()
        elif b"XFORWARD" in self.offers:
            await self.forward()
        else:
            raise BackendRefused(
                "it takes neither XCLIENT nor XFORWARD from us", cause="no XCLIENT"
            )

    async def _tell(self, taken: list[str]) -> None:
        self.backend.sendLine(command(b"XCLIENT", clientAttributes(self.facts), taken))
        lines = await readReplyLines(self.backend)
        if lines[-1][:3] in NOT_FOR_US:
            raise notTaken("XCLIENT", lines[-1])
        await self.greetWith(lines)


smtp = Word(
    name="smtp",
    summary="XCLIENT: the client's address, and user@domain as its login",
    dialects=("smtp", "lmtp"),
    introduction=ClientIntroduction,
)
