"""
The grammar of ghostunnel's command line, and the table of its flags: what becomes of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlstunnel.convert.stunneloptions import Fate
from tlstunnel.errors import nearest


class BadWords(Exception):
    """
    It is no command line of ghostunnel; the message says why, and what to do.
    """


@dataclass(frozen=True)
class Flag:
    """
    One flag.

    @ivar name: as it is documented.
    @ivar fate: what becomes of it.
    @ivar advice: what is so in tlstunnel, and what to do instead.
    @ivar isSwitch: whether it takes no value.
    @ivar aliases: its older names.
    """

    name: str
    fate: Fate = Fate.CONVERTED
    advice: str = ""
    isSwitch: bool = False
    aliases: tuple[str, ...] = ()


def _switch(name: str, fate: Fate = Fate.CONVERTED, advice: str = "") -> Flag:
    return Flag(name, fate, advice, True)


_SAID, _IMPOSSIBLE = Fate.SAID, Fate.IMPOSSIBLE

_SUITES = (
    "TLS 1.2 and 1.3 with the suites and groups of Mozilla's intermediate recommendation; there is "
    "no option for them"
)
_METRICS = "metrics are not sent: Prometheus fetches them at 'local' of the table [status]"
_ELSEWHERE = "keys are read from files, not from a token, a keychain or SPIFFE's Workload API"
_ACME = "certbot asks for certificates, and has options for that"
_POLICY = "there are no policies in Rego; remote-id says who is let in"

FLAGS = (
    Flag("listen"),
    Flag("target"),
    Flag("target-status", _SAID, "the backend's own health is not asked for"),
    _switch("proxy-protocol"),
    Flag("proxy-protocol-mode"),
    _switch("unsafe-target", _SAID, "a backend on another host is allowed, with a warning"),
    _switch("unsafe-listen", _SAID, "other hosts may connect, with a warning"),
    _switch("allow-all"),
    Flag("allow-cn"),
    Flag("allow-ou"),
    Flag("allow-dns", aliases=("allow-dns-san",)),
    Flag("allow-ip", aliases=("allow-ip-san",)),
    Flag("allow-uri", aliases=("allow-uri-san",)),
    Flag("allow-policy", _IMPOSSIBLE, _POLICY),
    Flag("allow-query", _SAID, "belongs to --allow-policy"),
    Flag("allow-spki-pin"),
    Flag("verify-cn"),
    Flag("verify-ou"),
    Flag("verify-dns", aliases=("verify-dns-san",)),
    Flag("verify-ip", aliases=("verify-ip-san",)),
    Flag("verify-uri", aliases=("verify-uri-san",)),
    Flag("verify-spki-pin"),
    Flag("verify-policy", _IMPOSSIBLE, _POLICY),
    Flag("verify-query", _SAID, "belongs to --verify-policy"),
    _switch("disable-authentication"),
    Flag("auto-acme-cert"),
    Flag("auto-acme-email", _SAID, _ACME),
    _switch("auto-acme-agree-to-tos", _SAID, _ACME),
    Flag("auto-acme-ca", _SAID, _ACME),
    Flag("auto-acme-testca", _SAID, _ACME),
    Flag("auto-acme-renew-check-interval", _SAID, _ACME),
    Flag("auto-acme-alt-tls-alpn-port", _SAID, _ACME),
    Flag("override-server-name"),
    Flag("proxy", aliases=("connect-proxy",)),
    Flag("keystore"),
    Flag("cert"),
    Flag("key"),
    Flag("storepass"),
    Flag("cacert"),
    _switch("use-workload-api", _IMPOSSIBLE, _ELSEWHERE),
    Flag("use-workload-api-addr", _IMPOSSIBLE, _ELSEWHERE),
    Flag("use-workload-api-timeout", _SAID, "belongs to --use-workload-api"),
    Flag("keychain-identity", _IMPOSSIBLE, _ELSEWHERE),
    Flag("keychain-issuer", _IMPOSSIBLE, _ELSEWHERE),
    _switch("keychain-require-token", _IMPOSSIBLE, _ELSEWHERE),
    Flag("pkcs11-module", _IMPOSSIBLE, _ELSEWHERE),
    Flag("pkcs11-token-label", _SAID, "belongs to --pkcs11-module"),
    Flag("pkcs11-pin", _SAID, "belongs to --pkcs11-module"),
    Flag("cipher-suites", _SAID, _SUITES),
    _switch("allow-unsafe-cipher-suites", _SAID, _SUITES),
    Flag("max-tls-version", _SAID, "TLS 1.3 is spoken as well"),
    _switch("skip-resolve"),
    Flag("timed-reload", _SAID, "certificates that change on disk are taken up by themselves"),
    Flag("shutdown-timeout"),
    Flag("connect-timeout"),
    Flag("close-timeout"),
    Flag("max-conn-lifetime"),
    Flag("max-concurrent-conns"),
    Flag("metrics-graphite", _SAID, _METRICS),
    Flag("metrics-url", _SAID, _METRICS),
    Flag("metrics-prefix", _SAID, "the names of metrics are fixed"),
    Flag("metrics-interval", _SAID, _METRICS),
    Flag("status"),
    _switch("enable-pprof", _SAID, "there is no profiler"),
    _switch("enable-shutdown", _SAID, "SIGTERM ends it; the status page only shows"),
    Flag("quiet"),
    _switch("syslog", _SAID, "the log goes to standard error, where journald takes it"),
    Flag("eventlog", _SAID, "the log goes to standard error"),
    _switch("use-landlock", _SAID, "the unit that 'tlstunnel unit' prints confines the process"),
    _switch("disable-landlock", _SAID, "the unit that 'tlstunnel unit' prints has no such switch"),
)

_BY_NAME = {name: flag for flag in FLAGS for name in (flag.name, *flag.aliases)}

# The flags that only one of the two commands has, and those that may be there several times.
_ONLY_SERVER = re.compile(
    r"allow-(?!unsafe-)|auto-acme-|proxy-protocol|target-status|unsafe-target"
)
_ONLY_CLIENT = re.compile(r"verify-|override-server-name|proxy\Z|unsafe-listen")
_REPEATABLE = re.compile(r"(allow|verify)-(cn|ou|dns|ip|uri|spki-pin)|quiet")

#: The flags whose values are nobody's business.
SECRET = frozenset({"storepass", "pkcs11-pin", "proxy", "metrics-url"})


@dataclass(frozen=True)
class Words:
    """
    A command line, taken apart.

    @ivar isClient: which of its two commands it is.
    @ivar given: each flag with its value, in their order; the value of a switch is empty.
    """

    isClient: bool
    given: tuple[tuple[Flag, str], ...]

    def all(self, name: str) -> list[str]:
        """
        Every value of a flag.
        """
        return [value for flag, value in self.given if flag.name == name]

    def last(self, name: str) -> str:
        """
        The last value of a flag; empty if it is not there.
        """
        return next(reversed(self.all(name)), "")

    def has(self, name: str) -> bool:
        """
        Whether a flag is there.
        """
        return bool(self.all(name))


def parse(words: Sequence[str]) -> Words:
    """
    Take a command line apart.

    @param words: what follows the name of the program.
    @raise BadWords: it is none, or one that ghostunnel refuses.
    """
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        raise BadWords("the words are not UTF-8; write them anew") from None
    commands, given = [], []
    rest = iter(words)
    for word in rest:
        if word.startswith("--") and word != "--":
            given += _flag(word, rest)
        elif word in {"server", "client"}:
            commands.append(word)
        else:
            raise BadWords(
                f"{word!r} is no flag of ghostunnel; give 'server' or 'client', and flags"
            )
    if len(commands) != 1:
        raise BadWords("give exactly one of 'server' and 'client' behind ghostunnel")
    found = Words(commands[0] == "client", tuple(given))
    _check(found)
    return found


def _check(words: Words) -> None:
    """
    See whether ghostunnel would take the flags together.

    @raise BadWords: it would not.
    """
    others, whose = (_ONLY_SERVER, "server") if words.isClient else (_ONLY_CLIENT, "client")
    seen = set()
    for flag, _ in words.given:
        if others.match(flag.name):
            raise BadWords(f"--{flag.name} is a flag of 'ghostunnel {whose}' alone; remove it")
        if flag.name in seen and not (flag.isSwitch or _REPEATABLE.fullmatch(flag.name)):
            raise BadWords(f"--{flag.name} is there twice; leave one of them")
        seen.add(flag.name)


def _flag(word: str, rest: Iterator[str]) -> list[tuple[Flag, str]]:
    name, equals, value = word[2:].partition("=")
    flag = _BY_NAME.get(name)
    if flag is None:
        off = _BY_NAME.get(name.removeprefix("no-"))
        if off is not None and off.isSwitch and not equals:
            return []
        near = nearest(f"--{name}", (f"--{each}" for each in _BY_NAME))
        raise BadWords(f"ghostunnel has no flag --{name}; {near or 'see ghostunnel --help'}")
    if flag.isSwitch:
        if equals:
            raise BadWords(f"--{name} takes no value; write it alone")
        return [(flag, "")]
    if not equals:
        value = next(rest, "")
    if not value:
        raise BadWords(f"--{name} has no value; give one")
    return [(flag, value)]


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:([0-9]{1,12}(?:\.[0-9]{0,9})?)(ms|us|µs|ns|h|m|s))", re.ASCII)


def seconds(name: str, text: str) -> float:
    """
    A duration as Go writes it, C{1h30m} or C{1.5s}.

    @raise BadWords: it is none.
    """
    pieces = list(_DURATION.finditer(text))
    if "".join(piece[0] for piece in pieces) != text or not pieces:
        if text == "0":
            return 0.0
        raise BadWords(f"--{name}: {text!r} is no duration; give one such as 10s or 1h30m")
    total = sum(float(piece[1]) * _UNITS[piece[2]] for piece in pieces)
    if total > 999_999_999:
        raise BadWords(f"--{name}: {text!r} is longer than makes sense; give less")
    return total
