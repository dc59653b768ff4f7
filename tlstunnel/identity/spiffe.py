"""
SPIFFE IDs as text: the names of workloads, C{spiffe://TRUST-DOMAIN/PATH}.

The rules are those of U{https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md}, and one
more: of dots in a trust domain each stands between others.  What a certificate needs to prove an ID
is the business of L{tlstunnel.identity.presented}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: What all of them begin with.
SCHEME = "spiffe://"

#: The most bytes of an ID, and of a trust domain.
MOST_BYTES, MOST_BYTES_OF_DOMAIN = 2048, 255

_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")


def isURI(text: str) -> bool:
    """Whether C{text} wants to be a URI, and therefore neither a domain nor a user."""
    return "://" in text


def split(text: str) -> tuple[str, str]:
    """
    Take an ID, or the beginning of several, apart.

    @return: the trust domain; and the path, from the slash onwards: empty if there is none, and
        with a slash at its end only if C{text} has one.
    @raise ValueError: it is none; the message is a sentence for the user.
    """
    if not text.startswith(SCHEME):
        raise ValueError(
            f"{_shown(text)} is no identity: of all URIs only those of SPIFFE are; write "
            f"{SCHEME}DOMAIN/PATH, in lower case up to the path"
        )
    if len(text) > MOST_BYTES:
        raise ValueError(f"{_shown(text)} is longer than {MOST_BYTES} bytes; give a shorter one")
    domain, slash, path = text.removeprefix(SCHEME).partition("/")
    if len(domain) > MOST_BYTES_OF_DOMAIN or not _DOMAIN.fullmatch(domain):
        raise ValueError(
            f"{_shown(text)} has no trust domain; it is made of lower-case letters, digits, "
            "hyphens, underscores and single dots, without user, port and escapes"
        )
    segments = path.removesuffix("/").split("/") if path else []
    for each in segments:
        if not _SEGMENT.fullmatch(each) or each in {".", ".."}:
            raise ValueError(
                f"{_shown(text)} is no SPIFFE ID: {_shown(each)} is no part of a path; it is made "
                "of letters, digits, dots, hyphens and underscores, and is neither . nor .."
            )
    return domain, slash + path


def above(path: str) -> Iterator[str]:
    """
    What C{path} is below: the longest beginning first, each with the slash at its end, up to the
    slash alone.
    """
    at = len(path)
    while (at := path.rfind("/", 0, at)) >= 0:
        yield path[: at + 1]


def _shown(text: str) -> str:
    """A part of it that is enough to know it by."""
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}..."
