"""
The word C{xforward}: a mail server hears of the client before each mail, for its log and its
filters, and decides nothing by it::

    T: XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=40000 PROTO=ESMTP HELO=client SOURCE=REMOTE
    S: 250 2.0.0 Ok                     which the client does not hear
    C: MAIL FROM:<user@example.org>
"""

from __future__ import annotations

from tlstunnel.reveal.mail import MailIntroduction
from tlstunnel.reveal.word import Word


class ForwardIntroduction(MailIntroduction):
    """
    Tells it by XFORWARD alone.
    """

    async def introduce(self) -> None:
        """
        What is offered decides whether it can be told.
        """
        await self.meet()
        await self.forward()


xforward = Word(
    name="xforward",
    summary="XFORWARD: the client's address, for the log of a mail server",
    dialects=("smtp", "lmtp"),
    introduction=ForwardIntroduction,
)
