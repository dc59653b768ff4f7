"""
The settings that only a bridge has, where its two sides are told apart: rows of the table in
L{tlstunnel.program.options}.
"""

from __future__ import annotations

from tlstunnel.program.option import Option, Section
from tlstunnel.program.values import choice, inFolder, pin, text, trustInFolder
from tlstunnel.tunnel.description import Mode

BRIDGING = (
    Option(
        "starttls-in",
        Section.BRIDGE,
        "let clients upgrade to TLS as this protocol does; without it they begin with TLS",
        argument="NAME",
        parse=text,
        default=None,
        mode=Mode.BRIDGE,
    ),
    Option(
        "starttls-out",
        Section.BRIDGE,
        "upgrade so with the server; without it we begin with TLS there",
        "Where both are given they are the same protocol.",
        argument="NAME",
        parse=text,
        default=None,
        mode=Mode.BRIDGE,
    ),
    Option(
        "client-id",
        Section.BRIDGE,
        "who clients must be: a selector, as `remote-id` with `server`; given, they must show a "
        "certificate that one of them matches",
        "Repeatable. Without it, no certificate is asked for. Nothing is connected to before that "
        "was judged.",
        argument="ID",
        parse=text,
        default=(),
        isRepeatable=True,
        mode=Mode.BRIDGE,
    ),
    Option(
        "client-id-file",
        Section.BRIDGE,
        "a file with more of them, as `remote-id-file`",
        "Repeatable.",
        argument="FILE",
        parse=text,
        default=(),
        isRepeatable=True,
        mode=Mode.BRIDGE,
        place=inFolder,
    ),
    Option(
        "client-trust",
        Section.BRIDGE,
        "whom to believe about clients, as `trust` with `server`",
        "Repeatable. `trust` is about the server alone.",
        argument="FILE|DIR|system|pins",
        parse=text,
        default=(),
        isRepeatable=True,
        mode=Mode.BRIDGE,
        place=trustInFolder,
    ),
    Option(
        "client-pin",
        Section.BRIDGE,
        "a key that a client may have, as `pin` with `server`",
        "Repeatable. `pin` is about the server alone.",
        argument="HASH",
        parse=pin,
        default=(),
        isRepeatable=True,
        mode=Mode.BRIDGE,
    ),
    Option(
        "remote-as",
        Section.BRIDGE,
        "who we are to the server, if it wants a certificate; to clients we are `local-id`",
        "It is the same for all clients, so that the server takes each of them for it. The word "
        "auto leaves it to the rules of the pool.",
        argument="ID|auto",
        parse=text,
        default=None,
        mode=Mode.BRIDGE,
    ),
    Option(
        "client-minimum-tls",
        Section.BRIDGE,
        "the lowest version with clients, if not that of `minimum-tls`",
        argument="1.2|1.3",
        parse=choice("1.2", "1.3"),
        default=None,
        mode=Mode.BRIDGE,
    ),
    Option(
        "client-resumption",
        Section.BRIDGE,
        "let clients resume sessions, by default off; `resumption` is about the server alone",
        argument="on|off",
        parse=choice("on", "off"),
        default=None,
        mode=Mode.BRIDGE,
    ),
)
