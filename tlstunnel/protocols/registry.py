"""
Which dialects there are: the built-in ones from a plain table, others from plugins.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from twisted.plugin import getPlugins

from tlstunnel.errors import ConfigurationError, nearest
from tlstunnel.interfaces import IDialect

#: The module in L{tlstunnel.protocols} and the attribute that hold each built-in dialect.
BUILT_IN = {
    "none": ("implicit", "implicit"),
    "smtp": ("smtp", "smtp"),
    "lmtp": ("smtp", "lmtp"),
    "xmpp-client": ("xmpp", "xmppClient"),
    "xmpp-server": ("xmpp", "xmppServer"),
    "http": ("http", "http"),
    "postgresql": ("postgresql", "postgresql"),
    "ldap": ("ldap", "ldap"),
    "mysql": ("mysql", "mysql"),
    "imap": ("imap", "imap"),
    "pop3": ("pop3", "pop3"),
    "sieve": ("sieve", "sieve"),
    "nntp": ("nntp", "nntp"),
    "ftp": ("ftp", "ftp"),
    "irc": ("irc", "irc"),
    "telnet": ("telnet", "telnet"),
    "nut": ("nut", "nut"),
    "munin": ("munin", "munin"),
    "nbd": ("nbd", "nbd"),
    "nats": ("nats", "nats"),
    "vnc": ("vnc", "vnc"),
}

#: Their other names.
ALIASES = {
    "submission": "smtp",
    "xmpp": "xmpp-client",
    "jabber": "xmpp-client",
    "xmpp-s2s": "xmpp-server",
    "http-upgrade": "http",
    "postgres": "postgresql",
    "pgsql": "postgresql",
    "mariadb": "mysql",
    "imap4": "imap",
    "pop": "pop3",
    "managesieve": "sieve",
    "ftpes": "ftp",
    "upsd": "nut",
    "rfb": "vnc",
}

#: Where servers listen that upgrade, and the built-in dialect that they speak.
STARTTLS_PORTS = {
    21: "ftp",
    23: "telnet",
    24: "lmtp",
    25: "smtp",
    80: "http",
    110: "pop3",
    119: "nntp",
    143: "imap",
    389: "ldap",
    433: "nntp",
    587: "smtp",
    631: "http",
    3306: "mysql",
    3493: "nut",
    4190: "sieve",
    4222: "nats",
    4949: "munin",
    5222: "xmpp-client",
    5269: "xmpp-server",
    5432: "postgresql",
    5900: "vnc",
    6667: "irc",
    10809: "nbd",
}

#: The same for servers with TLS from the first byte.
IMPLICIT_PORTS = {
    443: "http",
    465: "smtp",
    563: "nntp",
    636: "ldap",
    990: "ftp",
    992: "telnet",
    993: "imap",
    995: "pop3",
    5223: "xmpp-client",
    5270: "xmpp-server",
    5432: "postgresql",
    6697: "irc",
}


def find(name: str) -> IDialect:
    """
    The dialect that is called C{name}, or has it as an alias.

    @raise ConfigurationError: if there is none; the message has the nearest name.
    """
    wanted = name.lower()
    wanted = ALIASES.get(wanted, wanted)
    if wanted in BUILT_IN:
        return _load(wanted)
    others = list(plugins())
    for dialect in others:
        if wanted == dialect.name or wanted in dialect.aliases:
            return dialect
    known = [*BUILT_IN, *ALIASES, *(dialect.name for dialect in others)]
    remedy = nearest(wanted, known) or "see 'tlstunnel --list-protocols'"
    raise ConfigurationError("`starttls`", f"there is no protocol {name!r}", remedy)


def _load(name: str) -> IDialect:
    module, attribute = BUILT_IN[name]
    dialect: IDialect = getattr(import_module(f"tlstunnel.protocols.{module}"), attribute)
    return dialect


def builtIn() -> Iterator[IDialect]:
    """
    All built-in dialects.
    """
    return map(_load, BUILT_IN)


def plugins() -> Iterator[IDialect]:
    """
    All dialects that plugin modules add.
    """
    import tlstunnel.plugins

    yield from getPlugins(IDialect, tlstunnel.plugins)
