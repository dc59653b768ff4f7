"""
Services and their ports, for machines whose own list of services lacks them.
"""

from __future__ import annotations

#: The services of our dialects and their implicit TLS ports, as IANA registered them.
SERVICES = {
    "ftp": 21,
    "ftps": 990,
    "http": 80,
    "https": 443,
    "imap": 143,
    "imaps": 993,
    "ipp": 631,
    "irc": 6667,
    "ircs": 6697,
    "ircs-u": 6697,
    "ldap": 389,
    "ldaps": 636,
    "lmtp": 24,
    "managesieve": 4190,
    "munin": 4949,
    "mysql": 3306,
    "nats": 4222,
    "nbd": 10809,
    "nnsp": 433,
    "nntp": 119,
    "nntps": 563,
    "nut": 3493,
    "pop3": 110,
    "pop3s": 995,
    "postgresql": 5432,
    "rfb": 5900,
    "sieve": 4190,
    "smtp": 25,
    "smtps": 465,
    "submission": 587,
    "submissions": 465,
    "telnet": 23,
    "telnets": 992,
    "xmpp-client": 5222,
    "xmpp-server": 5269,
    "xmpps-client": 5223,
    "xmpps-server": 5270,
}
