"""
The command line of a tunnel, for C{tlstunnel} and for C{twistd tlstunnel}.

Options become a L{Tunnel} here; nothing is bound, and nothing is read but a chat script.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import IService, Service
from twisted.python import usage

from tlstunnel import __version__
from tlstunnel.address import InheritedAddress, TCPAddress, parseAddress, parseListening
from tlstunnel.chat.dialect import chatDialect
from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import ScriptOptions
from tlstunnel.chat.source import makeScript, readFile, readyScripts
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.interfaces import IDialect
from tlstunnel.program.service import TunnelService
from tlstunnel.program.workers import WORKER, WorkersService, socketName
from tlstunnel.protocols import registry
from tlstunnel.tunnel.description import (
    Mode,
    Tunnel,
    checkRemoteID,
    identityOfRemote,
)
from tlstunnel.tunnel.limits import (
    Limits,
)

_T = TypeVar("_T")

_LIMITS = [
    ("connect-timeout", "connect", "SECONDS", "to connect to one address"),
    ("connect-total", "connectTotal", "SECONDS", "to connect to any address"),
    ("greeting-timeout", "greeting", "SECONDS", "for a server's greeting before STARTTLS"),
    ("negotiation-timeout", "negotiation", "SECONDS", "for the rest up to the TLS handshake"),
    ("handshake-timeout", "handshake", "SECONDS", "for the TLS handshake"),
    ("close-timeout", "close", "SECONDS", "without progress after one direction ended"),
    ("close-total", "closeTotal", "SECONDS", "for one direction after the other, in all"),
    ("idle-timeout", "idle", "SECONDS", "without traffic; 0: no limit"),
    ("max-connections", "connections", "NUMBER", "of connections at the same time"),
    ("max-unverified", "unverified", "NUMBER", "of them before verification; 0: a quarter"),
    ("max-per-address", "perAddress", "NUMBER", "of those from one address; 0: no limit"),
]

_HELP = """\
Usage: {program} -s|-c -l ADDR -r ADDR [options]

Put TLS around connections of programs that know none, or take it off for servers that know none.

  Take TLS off, before a web server that knows none:
    tlstunnel -s -l [::]:443 -L www.example.org -r 127.0.0.1:80
  Put TLS around, for a mail program that knows none:
    tlstunnel -c -l 127.0.0.1:2525 -r mail.example.org:587 --starttls smtp

Mode, exactly one:
  -s, --server               the network is on the accepted side
  -c, --client               the network is on the connected side

Addresses (127.0.0.1:25, [::1]:443, host:service, :443, /unix/socket), each repeatable:
  -l, --local ADDR           listen here; systemd:NAME for a socket that systemd hands us
  -r, --remote ADDR          forward there; several are tried in order
      --skip-resolve         start even if a host in -r does not resolve now

Identities (domain, or user@domain):
  -L, --local-id ID          who we are; required with -s
  -R, --remote-id ID         who must be at the other end. With -c the server's identity, by
                             default the host name in -r; with -s a selector (domain, .domain,
                             @domain, ...): given, clients must show a certificate it matches
      --pool DIR             where identities and trust are kept
                             (default: {pool})
      --trust FILE|DIR|system
                             whom to believe about remote identities, instead of the pool's word

Protocol:
      --starttls NAME        upgrade to TLS as this protocol does
      --chat FILE|NAME       upgrade as this chat(8) script has it; NAME is a ready script:
                             {scripts}
      --chat-strict          with hyphens and keywords as chat(8) has them
      --chat-files           with @file read, at start-up
      -- [-t N] [-T S] [-U S] [-e] [-E] [-v] -f FILE | EXPECT SEND ...
                             the same, as chat(8) is called
      --dialect-option WORD  an option of that protocol; see --list-protocols
      --list-protocols       show all protocols and their options
      --alpn ID[,ID...]      ALPN ids to offer or select, instead of the protocol's own

TLS (1.2 and 1.3, nothing weaker):
      --minimum-tls 1.2|1.3  the lowest version (default: 1.2)
      --any-name             with -s, also serve clients that ask for a name we do not have
      --require-alpn         with -s, refuse clients that offer no ALPN

Limits:
{limits}
Processes:
      --workers N|auto       share the listening sockets among so many; auto: one a core
                             (default: 1; the limits are for each)

Help:
      --version              show the version
      --help                 show this text
"""


class Options(usage.Options):
    """
    The options of one tunnel.
    """

    optFlags = [
        ["server", "s", "the network is on the accepted side"],
        ["client", "c", "the network is on the connected side"],
        ["skip-resolve", None, "start even if a host in --remote does not resolve now"],
        ["any-name", None, "with -s, also serve clients that ask for a name we do not have"],
        ["require-alpn", None, "with -s, refuse clients that offer no ALPN"],
        ["chat-strict", None, "read the chat script as chat(8) does"],
        ["chat-files", None, "let @file in the chat script send a file"],
        ["list-protocols", None, "show all protocols and their options"],
    ]
    optParameters = [
        ["local-id", "L", None, "who we are"],
        ["remote-id", "R", None, "who must be at the other end"],
        ["pool", None, None, "where identities and trust are kept"],
        ["trust", None, None, "whom to believe about remote identities"],
        ["starttls", None, "none", "upgrade to TLS as this protocol does"],
        ["chat", None, None, "upgrade to TLS as this chat(8) script has it"],
        ["alpn", None, None, "ALPN ids to offer or select"],
        ["workers", None, "1", "processes that share the listening sockets"],
        ["minimum-tls", None, "1.2", "the lowest version of TLS"],
        *([name, None, None, meaning] for name, _, _, meaning in _LIMITS),
    ]
    program = "tlstunnel"

    def __init__(self) -> None:
        super().__init__()
        self["local"] = []
        self["remote"] = []
        self["dialect-option"] = []
        self["chat-words"] = []
        self.words: list[str] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Like Twisted's, but what stands behind C{--} is a chat script, and not for us to read.
        """
        words = self.words = list(sys.argv[1:] if options is None else options)
        if "--" in words:
            at = words.index("--")
            self["chat-words"] = words[at + 1 :]
            words = words[:at]
        super().parseOptions(words)

    def opt_local(self, address: str) -> None:
        """
        listen here
        """
        self["local"].append(_parsed("--local", parseListening, address))

    opt_l = opt_local

    def opt_remote(self, address: str) -> None:
        """
        forward there
        """
        self["remote"].append(_parsed("--remote", parseAddress, address))

    opt_r = opt_remote

    def opt_dialect_option(self, word: str) -> None:
        """
        an option of the protocol
        """
        self["dialect-option"].append(word)

    def parseArgs(self, *words: str) -> None:
        """
        There are only options.
        """
        if words:
            raise usage.UsageError(f"{words[0]!r} is neither an option nor a command")

    def opt_version(self) -> None:
        """
        show the version
        """
        sys.stdout.write(f"tlstunnel {__version__}\n")
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """
        The help text, for people.
        """
        defaults = Limits()
        limits = "".join(
            f"      --{name} {unit}".ljust(37)
            + f"{meaning} (default: {getattr(defaults, field):g})\n"
            for name, field, unit, meaning in _LIMITS
        )
        return _HELP.format(
            program=self.program,
            pool=defaultPool().path,
            scripts=", ".join(readyScripts()),
            limits=limits,
        )

    def getSynopsis(self) -> str:
        """
        Nothing: the help text has it.
        """
        return ""

    def postOptions(self) -> None:
        """
        Check that the options make a tunnel, which is then in C{self["tunnel"]}.

        @raise usage.UsageError: if they do not; the message names the option.
        """
        if self["list-protocols"]:
            sys.stdout.write(listProtocols())
            raise SystemExit(0)
        try:
            self["tunnel"] = self._tunnel()
            self["workers"] = _workers(self["workers"])
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None

    def _tunnel(self) -> Tunnel:
        if self["server"] == self["client"]:
            raise ConfigurationError(
                "--server, --client",
                "both were given" if self["server"] else "none was given",
                "give exactly one of -s and -c",
            )
        mode = Mode.SERVER if self["server"] else Mode.CLIENT
        for option in ("trust", "pool"):
            if self[option] == "":
                raise ConfigurationError(f"--{option}", "is empty", "name a file or a directory")
        if not self["local"]:
            raise ConfigurationError("--local", "is missing", "say with -l where to listen")
        if not self["remote"]:
            raise ConfigurationError("--remote", "is missing", "say with -r where to forward to")
        for address in self["remote"]:
            if isinstance(address, TCPAddress) and not (address.host and address.port):
                raise ConfigurationError(f"--remote {address}", "names no place to connect to")
        localID = _optional("--local-id", Identity.parse, self["local-id"])
        if mode is Mode.SERVER and localID is None:
            raise ConfigurationError("--local-id", "is missing", "a server tunnel needs -L")
        parse: Callable[[str], Identity | Selector] = (
            Selector.parse if mode is Mode.SERVER else Identity.parse
        )
        remoteID = _optional("--remote-id", parse, self["remote-id"])
        dialect = self._dialect(mode, localID, remoteID)
        tunnel = Tunnel(
            mode=mode,
            local=tuple(self["local"]),
            remote=tuple(self["remote"]),
            dialect=dialect,
            localID=localID,
            remoteID=remoteID,
            pool=Pool(Path(self["pool"])) if self["pool"] else defaultPool(),
            trust=self["trust"] or "",
            alpn=_alpn(self["alpn"]),
            options=self._dialectOptions(dialect),
            anyName=bool(self["any-name"]),
            requireALPN=bool(self["require-alpn"]),
            minimum=_choice("--minimum-tls", self["minimum-tls"], ("1.2", "1.3")),
            skipResolve=bool(self["skip-resolve"]),
            limits=self._limits(),
        )
        if mode is Mode.CLIENT:
            checkRemoteID(tunnel)
        return tunnel

    def _dialect(
        self, mode: Mode, localID: Identity | None, remoteID: Identity | Selector | None
    ) -> IDialect:
        if self["chat"] is None and not self["chat-words"]:
            return registry.find(self["starttls"])
        if self["starttls"] != "none":
            raise ConfigurationError(
                "--starttls, --chat", "both were given", "say in one way how to upgrade to TLS"
            )
        peer = remoteID or identityOfRemote(self["remote"])
        settings = ScriptOptions(
            side=mode.value,
            values=Values(
                t=(peer.domain.lstrip(".").encode() or None) if peer else None,
                u=localID.domain.encode() if localID else None,
            ),
            strict=bool(self["chat-strict"]),
            readFile=readFile if self["chat-files"] else None,
        )
        return chatDialect(lambda: makeScript(self["chat"], self["chat-words"], settings))

    def _dialectOptions(self, dialect: IDialect) -> frozenset[str]:
        for word in self["dialect-option"]:
            if word not in dialect.options:
                known = ", ".join(dialect.options) or "none"
                raise ConfigurationError(
                    f"--dialect-option {word}",
                    f"{dialect.name} has no such option",
                    f"it has: {known}",
                )
        return frozenset(self["dialect-option"])

    def _limits(self) -> Limits:
        given: dict[str, Any] = {}
        for name, field, unit, _ in _LIMITS:
            text = self[name]
            if text is not None:
                kind = int if unit == "NUMBER" else float
                given[field] = _number(f"--{name}", kind, text, field in _ZERO_ALLOWED)
        return Limits(**given)


_ZERO_ALLOWED = frozenset({"idle", "unverified", "perAddress"})


def _parsed(option: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise usage.UsageError(f"{option}: {error}") from None


def _optional(option: str, parse: Callable[[str], _T], text: str | None) -> _T | None:
    return None if text is None else _parsed(option, parse, text)


def _number(option: str, kind: Callable[[str], float], text: str, zero: bool) -> float:
    try:
        number = kind(text)
    except ValueError:
        number = -1
    if not (0 <= number < 1e9) or (number == 0 and not zero):
        raise ConfigurationError(f"{option} {text}", "is not a number that makes sense here")
    return number


def _workers(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return int(_number("--workers", int, text, zero=False))


def _choice(option: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise ConfigurationError(f"{option} {text}", f"must be one of {', '.join(allowed)}")
    return text


def _alpn(text: str | None) -> tuple[bytes, ...] | None:
    if text is None:
        return None
    ids = tuple(part.encode() for part in text.split(",") if part)
    if any(len(each) > 255 for each in ids):
        raise ConfigurationError("--alpn", "an id is longer than 255 bytes")
    return ids


def listProtocols() -> str:
    """
    All dialects, a line each, with their options below them.
    """
    lines = [f"{'name':16}{'roles':16}{'ports':12}{'implicit':10}aliases; what it is"]
    for dialect in [*registry.builtIn(), *registry.plugins()]:
        ports = ",".join(map(str, dialect.ports)) or "-"
        aliases = ", ".join(dialect.aliases)
        about = f"{aliases}; {dialect.summary}" if aliases else dialect.summary
        lines.append(
            f"{dialect.name:16}{'client server':16}{ports:12}"
            f"{dialect.implicitPort or '-'!s:<10}{about}"
        )
        lines += [
            f"{'':16}--dialect-option {word}: {meaning}"
            for word, meaning in dialect.options.items()
        ]
    return "\n".join(lines) + "\n"


def serviceFor(options: Options, reactor: Any, ownLog: bool) -> Service:
    """
    What runs the tunnel of C{options}: in this process, in workers, or as one of these.

    @param ownLog: whether workers log to standard error themselves.
    """
    tunnel: Tunnel = options["tunnel"]
    if WORKER in os.environ:
        handed = (InheritedAddress(socketName(index)) for index in range(len(tunnel.local)))
        return TunnelService(replace(tunnel, local=tuple(handed)), reactor)
    if options["workers"] > 1:
        return WorkersService(tunnel, reactor, options["workers"], options.words, ownLog)
    return TunnelService(tunnel, reactor)


def makeService(options: Options) -> IService:
    """
    The service for twistd, with its keys read and its sockets bound, so that what is wrong is said
    in one line before twistd goes to the background.
    """
    from twisted.internet import reactor

    service = serviceFor(options, reactor, ownLog=False)
    try:
        service.privilegedStartService()
    except ConfigurationError as error:
        raise SystemExit(f"tlstunnel: {error}") from None
    return service
