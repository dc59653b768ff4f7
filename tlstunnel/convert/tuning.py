"""
Versions of TLS, limits of time, the log, and options of OpenSSL and of sockets: what stunnel can be
told about them, and what is so in a tunnel.
"""

from __future__ import annotations

from collections.abc import Callable

from tlstunnel.convert.draft import Value
from tlstunnel.convert.settings import VERSIONS, Settings, version
from tlstunnel.convert.stunnelfile import Setting
from tlstunnel.tunnel.limits import Limits

#: Takes the name of an option, and what is to be said of it.
Say = Callable[[str, str], None]

#: The level of the log from which on stunnel tells of connections, and the one with everything.
NOTICE, DEBUG = 5, 7

#: What is to be said of the latter.
VERBOSE = (
    "verbose = true in the table [process] tells more, and also what is said in clear before TLS, "
    "passwords among it"
)

_TLS_1_2, _TLS_1_3 = VERSIONS.index("tlsv1.2"), VERSIONS.index("tlsv1.3")

_BELOW = "anything below TLS 1.2 is refused"
_1_3_TOO = "TLS 1.3 is spoken as well"

# What is so already of the options of OpenSSL that are often set.
_SO_ALREADY = frozenset(
    {
        "no.sslv2",
        "no.sslv3",
        "no.tlsv1",
        "no.tlsv1.1",
        "no.compression",
        "no.renegotiation",
        "no.ticket",
        "no.session.resumption.on.renegotiation",
        "single.dh.use",
        "single.ecdh.use",
        "cipher.server.preference",
    }
)


def _normal(value: str) -> str:
    """
    An option of OpenSSL without the differences in how its name is written.
    """
    return value.lower().replace("_", ".")


def versions(settings: Settings, values: dict[str, Value], say: Say) -> None:
    """
    Convert the versions of TLS.
    """
    least = most = None
    # Whichever is the last counts: sslVersion is both of the others.
    for setting in settings.all("sslVersion", "sslVersionMin", "sslVersionMax"):
        name = setting.name.lower()
        least = setting if name != "sslversionmax" else least
        most = setting if name != "sslversionmin" else most
    lowest = version(least) if least is not None else None
    highest = version(most) if most is not None else None
    refused = _refused(settings)
    if lowest == _TLS_1_3 or ("no.tlsv1.2" in refused and "no.tlsv1.3" not in refused):
        values["minimum-tls"] = "1.3"
    if least is not None and lowest is not None and lowest < _TLS_1_2:
        say(least.name, _BELOW)
    if most is not None and highest and highest < _TLS_1_3:
        say(
            most.name,
            _1_3_TOO
            if highest == _TLS_1_2
            else "TLS 1.2 and 1.3 are spoken; a peer that knows nothing newer is refused",
        )


def _refused(settings: Settings) -> set[str]:
    """
    The options of OpenSSL that are on in the end: one with a hyphen before it is taken back.
    """
    found: set[str] = set()
    for setting in settings.all("options"):
        name = _normal(setting.value)
        if name.startswith("-"):
            found.discard(name[1:])
        else:
            found.add(name)
    return found


def timeouts(settings: Settings, values: dict[str, Value], say: Say) -> None:
    """
    Convert the limits of time.
    """
    connect, busy = settings.seconds("TIMEOUTconnect"), settings.seconds("TIMEOUTbusy")
    close, idle = settings.seconds("TIMEOUTclose"), settings.seconds("TIMEOUTidle")
    if connect:
        remote = values.get("remote")
        values["connect-timeout"] = connect
        if connect > Limits.connectTotal:
            values["connect-total"] = connect * (len(remote) if isinstance(remote, list) else 1)
    if busy:
        if "starttls" in values:
            values["greeting-timeout"] = values["negotiation-timeout"] = busy
        values["handshake-timeout"] = busy
    if close:
        values["close-timeout"] = close
    elif close == 0:
        say("TIMEOUTclose", "an end without close_notify is always taken for a cut")
    if idle:
        values["idle-timeout"] = idle
    for name, given in (("TIMEOUTconnect", connect), ("TIMEOUTbusy", busy), ("TIMEOUTidle", idle)):
        if given == 0:
            say(name, "the default counts: see the limits in tlstunnel(8)")


def sessions(settings: Settings, values: dict[str, Value], say: Say, isClient: bool) -> None:
    """
    Convert whether sessions are resumed, as far as somebody says it: they are by default of
    stunnel, of which clients only become slower.
    """
    if settings.last("sessionResume") is None:
        return
    resumes = settings.flag("sessionResume")
    if resumes != isClient:
        values["resumption"] = "on" if resumes else "off"
    if resumes and not isClient:
        say("sessionResume", "pays with RSA keys and client certificates; off is the default")


def quietness(settings: Settings, values: dict[str, Value], say: Say) -> None:
    """
    Convert how much is told of connections.
    """
    level = settings.level("debug")
    if level is not None and level < NOTICE:
        values["quiet"] = True
    elif level == DEBUG:
        say("debug", VERBOSE)


def openSSLAdvice(setting: Setting) -> str:
    """
    What is so instead of an option of OpenSSL; empty if it is so, or if this is none.
    """
    name = _normal(setting.value)
    if setting.name.lower() != "options" or name in _SO_ALREADY:
        return ""
    if name == "-no.ticket":
        return "see resumption"
    if name.startswith("-") and name[1:] in _SO_ALREADY:
        return _BELOW if "v" in name else "it cannot be had"
    if name == "no.tlsv1.2":
        return "see minimum-tls"
    return _1_3_TOO if name == "no.tlsv1.3" else "options of OpenSSL cannot be set"


def socketAdvice(value: str, isLocal: bool) -> tuple[str, bool]:
    """
    What is so instead of an option of sockets, empty if it is so; and whether that is as safe.

    @param isLocal: whether no other host can connect.
    """
    name, _, wanted = (part.strip() for part in value.partition(":")[2].partition("="))
    if name.upper() == "SO_BINDTODEVICE":
        if isLocal and wanted == "lo":
            return "", True
        return "a tunnel listens at addresses, not at a device: give the address in accept", False
    if name.upper() in {"SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"}:
        return "connections are kept alive; keepalive = SECONDS says how", True
    if name.upper() in {"TCP_NODELAY", "SO_REUSEADDR"}:
        return "", True
    return "options of sockets cannot be set", True
