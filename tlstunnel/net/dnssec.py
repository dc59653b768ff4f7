"""
Questions to a resolver that validates: what it says of a name, and whether DNSSEC proves that.

The resolver says so by a bit of its answer (AD: RFC 4035, section 3.2.3), which anybody on the way
could set.  So it has to be one of this host.  What of an answer counts is in
L{tlstunnel.net.dnsmessages}.
"""

from __future__ import annotations

from typing import Any

from tlstunnel.address import TCPAddress
from tlstunnel.net.dnsmessages import Answer, LookupFailed, Question, judged
from tlstunnel.net.question import asked

#: Seconds that the resolver has to answer, at the first and at the last try: who looks up a name
#: for the first time has to ask several servers.
TRY_SECONDS = (3.0, 5.0)


class ValidatingResolver:
    """
    A resolver of this host.

    @ivar address: where it is.
    """

    def __init__(self, reactor: Any, address: TCPAddress) -> None:
        self._reactor = reactor
        self.address = address

    async def ask(self, name: str, kind: int) -> Answer:
        """
        Look up the records of a name.

        @param kind: their type (RFC 1035, section 3.2.2).
        @raise LookupFailed: it is not known what there is; that is no reason to believe less.
        """
        server = self.address.host, self.address.port
        for seconds in TRY_SECONDS:
            # Another number, and from another port: old answers are none.
            question = Question(name, kind)
            try:
                heard = await asked(self._reactor, server, question, seconds)
            except OSError as error:
                raise LookupFailed(f"a resolver cannot be asked: {error.strerror}") from None
            if heard is not None:
                return judged(question, heard)
        raise LookupFailed(f"the resolver at {self.address} does not answer", "unreachable")
