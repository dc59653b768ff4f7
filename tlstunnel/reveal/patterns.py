"""
Regular expressions of the administrator's that are matched with what peers say.

They are those of PostgreSQL's pg_ident.conf, as far as they mean the same there and in Python, and
as far as no peer can make one take long: of the ways to match, the number is known beforehand.
"""

from __future__ import annotations

import re

#: The most characters of what is matched: longer ones match nothing.
LONGEST_SUBJECT = 320

#: The most characters of an expression, and the most ways that it may have to match, which is what
#: three repetitions without a limit have.
LONGEST_PATTERN = 256
_MOST_WAYS = LONGEST_SUBJECT**3

# A character, what stands for several, or one of a set; and how often it may be there.
_SET = r"\[\^?(?:\\[dws.\\-]|(?!--|&&|~~|\|\|)[^\[\]\\^])+\]"
_ATOM = rf"(?:\\[dDwWsS]|\\[^\w\s]|{_SET}|[^\\\[\](){{}}|*+?^$])"
_OFTEN = r"(?:[*+?]|\{\d{1,2}(?:,\d{0,2})?\})"
_PIECES = rf"(?:{_ATOM}{_OFTEN}?)*"

# A group is there once, and has none in it.
_GROUP = rf"\((?:\?:)?{_PIECES}(?:\|{_PIECES})*\)"
_WHOLE = re.compile(rf"\^(?:{_ATOM}{_OFTEN}?|{_GROUP})*\$")
_STEP = re.compile(rf"{_ATOM}(?P<often>{_OFTEN})?|(?P<other>[(|)])|\?:")


class Pattern:
    """
    One of them: from C{^} to C{$}, of characters, C{.}, sets, C{\\d}, C{\\w}, C{\\s} and what is
    repeated of these, and of groups that are not repeated.

    @ivar captures: whether it has a group that stands for C{\\1}.
    """

    def __init__(self, text: str) -> None:
        """
        @raise ValueError: it is not of that kind; the message is a sentence for the user.
        """
        if len(text) > LONGEST_PATTERN:
            raise ValueError(
                f"an expression has more than {LONGEST_PATTERN} characters; shorten it"
            )
        if not (text.startswith("^") and text.endswith("$")):
            raise ValueError(
                f"{text!r} would match a part of a name; write it from ^ to $, with .* where "
                "anything may be"
            )
        if not _WHOLE.fullmatch(text):
            raise ValueError(
                f"{text!r} is more than is understood here; use characters, ., sets, \\d, \\w and "
                "\\s, each with how often it is there, and groups that are there once"
            )
        body = text[1:-1]
        if _waysOf(body) > _MOST_WAYS:
            raise ValueError(
                f"{text!r} can match in too many ways; have three repetitions without limit at most"
            )
        try:
            self._compiled = re.compile(body, re.ASCII)
        except re.error as error:
            raise ValueError(f"{text!r} is no regular expression: {error}; correct it") from None
        self.captures = self._compiled.groups > 0

    def match(self, subject: str) -> re.Match[str] | None:
        """
        Match all of C{subject}.
        """
        if len(subject) > LONGEST_SUBJECT:
            return None
        return self._compiled.fullmatch(subject)


def _waysOf(body: str) -> int:
    """
    In how many ways an expression may match at most: all choices that it has, multiplied.
    """
    ways = branches = 1
    for step in _STEP.finditer(body):
        match step["other"]:
            case "(":
                branches = 1
            case "|":
                branches += 1
            case ")":
                ways *= branches
            case _:
                ways *= _choicesOf(step["often"] or "")
    return ways


def _choicesOf(often: str) -> int:
    """
    How many numbers a repetition stands for.
    """
    if often in ("*", "+") or often.endswith(",}"):
        return LONGEST_SUBJECT
    if often == "?":
        return 2
    least, comma, most = often[1:-1].partition(",")
    return max(1, int(most) - int(least) + 1) if comma else 1
