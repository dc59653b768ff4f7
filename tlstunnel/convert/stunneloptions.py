"""
The table of stunnel's options: what becomes of each.

It has all options of the manual of stunnel 5.68, those that later versions and versions before 5
have besides, and nothing of how they are converted.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Fate(enum.Enum):
    """
    What becomes of an option.
    """

    CONVERTED = "it is read by the conversion"
    SAID = "a comment says what takes its place"
    LOST = "a protection that is not there: a comment says so, and so does the exit code"
    IMPOSSIBLE = "a service with it is left out"


@dataclass(frozen=True)
class StunnelOption:
    """
    One option.

    @ivar name: as the manual writes it.
    @ivar advice: what is so in tlstunnel, and what to do instead.
    @ivar harmless: the values with which there is nothing to say, in small letters.
    @ivar isList: whether each further line adds a value, instead of replacing the one before.
    @ivar isSecret: whether its value is to be kept out of what is written.
    """

    name: str
    fate: Fate
    advice: str = ""
    harmless: tuple[str, ...] = ()
    isList: bool = False
    isSecret: bool = False


def _converted(*names: str, isList: bool = False) -> list[StunnelOption]:
    return [StunnelOption(name, Fate.CONVERTED, isList=isList) for name in names]


def _said(advice: str, *names: str, harmless: tuple[str, ...] = ()) -> list[StunnelOption]:
    return [StunnelOption(name, Fate.SAID, advice, harmless) for name in names]


def _lost(advice: str, *names: str, harmless: tuple[str, ...] = ()) -> list[StunnelOption]:
    return [StunnelOption(name, Fate.LOST, advice, harmless) for name in names]


def _impossible(advice: str, *names: str, harmless: tuple[str, ...] = ()) -> list[StunnelOption]:
    return [StunnelOption(name, Fate.IMPOSSIBLE, advice, harmless) for name in names]


_NO = ("no",)

_LOG = (
    "the log goes to standard error, where journald, or whatever else supervises the program, "
    "takes it"
)
_RANDOM = "the system's random numbers are used; there is nothing to set"
_SESSIONS = (
    "with client = yes sessions are resumed, and otherwise where resumption is on: for two hours, "
    "with keys that are made anew at each reload and known to nobody else"
)
_ELSEWHERE = "the key is not in a file: put key and certificate into the pool, if they may leave it"
_WINDOW = "there is no window"
_SUITES = (
    "TLS 1.2 and 1.3 with the suites and groups of Mozilla's intermediate recommendation; there is "
    "no option for them"
)
_LISTS = (
    "put these lists into the folder trust of the pool, under names that end in .crl; those in a "
    "folder that is CApath too are read there"
)
_OCSP = (
    "no responder is asked about a peer: where a server staples what that has said, "
    "require-staple = true demands it"
)
_WITH_OCSP = "belongs to asking a responder of OCSP, which is not done"
_OPENSSL = "OpenSSL's own configuration file decides; see config(5ssl)"

OPTIONS = (
    # Of the process.
    *_said(
        "the unit that 'tlstunnel unit' prints keeps the process away from all other files",
        "chroot",
    ),
    *_said("TLS compression is not there, as it gives secrets away", "compression"),
    *_converted("debug"),
    *_said(_RANDOM, "EGD", "RNDbytes", "RNDfile", "RNDoverwrite"),
    *_said("keys are read from files, never from an engine", "engine", "engineDefault"),
    StunnelOption("engineCtrl", Fate.SAID, "keys are never in an engine", (), True, True),
    *_said(
        "whether FIPS's rules hold is the system's choice; see fips_module(7ssl)",
        "fips",
        harmless=_NO,
    ),
    *_said("tlstunnel stays in the foreground; systemd keeps it running", "foreground"),
    *_said(_WINDOW, "iconActive", "iconError", "iconIdle", "taskbar"),
    *_said(_LOG, "log", "output"),
    *_said(_LOG, "syslog", harmless=_NO),
    *_said("there is no such file: systemd knows the process", "pid", harmless=("",)),
    *_said("systemd's journal knows the program by its unit", "service"),
    *_converted("include", "setuid", "setgid"),
    *_said("set it in the unit, with Environment=", "setEnv"),
    *_said(_OPENSSL, "provider", "providerParameter"),
    # Of a service.
    *_converted("accept", "connect", isList=True),
    *_converted("CAfile", "CApath"),
    *_impossible(
        "certificates of authorities are read from files and folders alone: export them, and name "
        "the file in CAfile",
        "CAengine",
        "CAstore",
    ),
    *_converted("cert", "key"),
    *_converted("checkEmail", "checkHost", "checkIP", isList=True),
    *_said(_SUITES, "ciphers", "ciphersuites", "curve", "curves"),
    *_converted("client"),
    StunnelOption(
        "config",
        Fate.LOST,
        "a command to OpenSSL itself cannot be given; see whether the tunnel is as you want it",
        isList=True,
    ),
    *_lost(_LISTS, "CRLfile", "CRLpath"),
    *_lost(_OCSP, "OCSP"),
    *_lost(_OCSP, "OCSPaia", "OCSPrequire", harmless=_NO),
    *_said(_WITH_OCSP, "OCSPflag", "OCSPnonce", "TIMEOUTocsp"),
    *_said("the log gives each connection a number", "logId"),
    *_converted("delay"),
    *_impossible(_ELSEWHERE, "engineId", "engineNum"),
    *_converted("exec", "execArgs", "pty"),
    *_said("a program is started by each client, and by nobody else", "retry", harmless=_NO),
    *_converted("failover"),
    *_impossible(
        "the user at the other end is not asked for (RFC 1413): verify certificates instead",
        "ident",
    ),
    *_impossible(
        "hosts.allow and hosts.deny are not read: let the firewall, or IPAddressAllow= in the "
        "unit, decide who may connect, then remove this line and convert again",
        "libwrap",
        harmless=_NO,
    ),
    *_said("the system chooses the address to connect from: set the route's src", "local"),
    *_converted("options", "socket", isList=True),
    *_converted("protocol", "protocolHost", "protocolUsername"),
    *_said("belongs to protocolUsername", "protocolAuthentication", harmless=("basic",)),
    StunnelOption("protocolPassword", Fate.SAID, "belongs to protocolUsername", isSecret=True),
    *_said("is for NTLM, which is not spoken", "protocolDomain"),
    StunnelOption("protocolHeader", Fate.SAID, "a proxy is sent no such header", (), True, True),
    *_converted("PSKidentity", "PSKsecrets"),
    *_said("clients that are not let in are refused, with an alert that says why", "redirect"),
    *_said("TLS is never renegotiated", "renegotiation", harmless=_NO),
    *_said("a connection that broke is always passed on as a reset", "reset", harmless=("yes",)),
    *_converted("requireCert"),
    *_lost(
        "the level of OpenSSL's own configuration counts, which is 2 on most systems",
        "securityLevel",
        harmless=("0", "1", "2"),
    ),
    *_said(_SESSIONS, "session", "sessionCacheSize", "sessionCacheTimeout", "sessiond"),
    *_converted("sessionResume"),
    StunnelOption("ticketKeySecret", Fate.SAID, _SESSIONS, isSecret=True),
    StunnelOption("ticketMacSecret", Fate.SAID, _SESSIONS, isSecret=True),
    *_converted("sni", isList=True),
    *_converted("sslVersion", "sslVersionMin", "sslVersionMax"),
    *_said("there are no threads for connections, so there is no size to set", "stack"),
    *_converted("TIMEOUTbusy", "TIMEOUTclose", "TIMEOUTconnect", "TIMEOUTidle"),
    *_impossible(
        "connections neither come from the client's address nor go where iptables found them",
        "transparent",
        harmless=("no", "none"),
    ),
    *_converted("verify", "verifyChain", "verifyPeer"),
)

#: All of them, by their names in small letters.
BY_NAME = {option.name.lower(): option for option in OPTIONS}
