"""
Which words there are for C{reveal}, and what they are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.reveal.word import Word

#: The module in L{tlstunnel.reveal} and the attribute that hold each word.
WORDS = {
    "smtp": ("smtp", "smtp"),
    "xforward": ("xforward", "xforward"),
    "imap": ("imap", "imap"),
    "pop3": ("pop3", "pop3"),
    "sieve": ("sieve", "sieve"),
    "login": ("login", "login"),
    "xmpp": ("xmpp", "xmpp"),
    "ldap": ("ldap", "ldap"),
    "postgresql": ("postgresql", "postgresql"),
    "mysql": ("mysql", "mysql"),
    "irc": ("irc", "irc"),
    "http": ("http", "http"),
}


def find(name: str) -> Word:
    """
    The word that is called C{name}.

    @raise ConfigurationError: if there is none; the message has the nearest name.
    """
    if name not in WORDS:
        remedy = nearest(name, WORDS) or f"give one of {', '.join(WORDS)}"
        raise ConfigurationError("`reveal`", f"there is no {name!r}", remedy)
    module, attribute = WORDS[name]
    word: Word = getattr(import_module(f"tlstunnel.reveal.{module}"), attribute)
    return word


def words() -> Iterator[Word]:
    """
    All of them.
    """
    return map(find, WORDS)
