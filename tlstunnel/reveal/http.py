"""
HTTP: every request tells who is there, in C{Client-Cert} and C{Client-Cert-Chain} (RFC 9440),
C{Forwarded} (RFC 7239), and what everybody had before that, C{X-Forwarded-*}.

It takes h11, an extra, which is imported where this is used: what looks at requests and responses
is in L{tlstunnel.reveal.httprequests} and L{tlstunnel.reveal.httpresponses}.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from tlstunnel.errors import ConfigurationError
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.httpfields import FieldNames, Told
from tlstunnel.reveal.word import Introduction, Word


class HTTPIntroduction(Introduction):
    """
    Has nothing to say, and looks at all that is said.
    """

    async def converse(self) -> None:
        """
        From here on requests are read.
        """
        from tlstunnel.reveal.httpdialogue import Dialogue
        from tlstunnel.reveal.httprequests import Requests
        from tlstunnel.reveal.httpresponses import Responses

        dialogue = Dialogue(self.client.transport, self.client.deadlines)
        self.toPlain.append(Requests(dialogue, Told(self.known, self.facts)))
        self.toNetwork.append(Responses(dialogue))


# Those before it take anything for the end of a chunk (CVE-2025-43859).
_H11 = (0, 16)


def _installed() -> tuple[int, ...]:
    """
    Which h11 is there, in two numbers; none, where none is.
    """
    try:
        return tuple(map(int, version("h11").split(".")[:2]))
    except PackageNotFoundError:
        return ()


def _prepare(disclosure: Disclosure) -> FieldNames:
    """
    What the fields are called.

    @raise ConfigurationError: not all can be called so, or h11 is missing, or too old.
    """
    found = _installed()
    if found < _H11:
        problem = f"of which {found[0]}.{found[1]} is" if found else "which is not"
        raise ConfigurationError(
            "`reveal` http", f"needs h11 0.16 or later, {problem} there", "install tlstunnel[http]"
        )
    return FieldNames.of(disclosure.httpHeaders)


http = Word(
    name="http",
    summary="fields in each request (Client-Cert, Forwarded, X-Forwarded-For and others)",
    dialects=("http",),
    introduction=HTTPIntroduction,
    prepare=_prepare,
    alpn=(b"http/1.1", b"http/1.0"),
)
