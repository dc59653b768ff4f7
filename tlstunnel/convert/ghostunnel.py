"""
A command line of ghostunnel, converted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tlstunnel.address import Listening, TCPAddress, UNIXAddress, parseAddress, parseListening
from tlstunnel.convert.certificatenames import identity
from tlstunnel.convert.certificates import Credentials, trustIn
from tlstunnel.convert.draft import Conversion, Draft, LeftOut, Value
from tlstunnel.convert.ghostwords import SECRET, BadWords, Words, parse, seconds
from tlstunnel.convert.peers import ANYBODY, LET_IN
from tlstunnel.convert.proxies import goThrough
from tlstunnel.convert.stunneloptions import Fate
from tlstunnel.identity.names import Selector
from tlstunnel.identity.pins import parsePin
from tlstunnel.identity.spiffe import SCHEME
from tlstunnel.program.addressvalues import place
from tlstunnel.tunnel.description import PINS

_ALLOWING = ("allow-dns", "allow-ip", "allow-cn", "allow-ou", "allow-uri")
_VERIFYING = ("verify-dns", "verify-ip", "verify-cn", "verify-ou", "verify-uri")

_NO_NAMES = (
    "only a domain, an address, user@domain or a SPIFFE ID in the certificate says who somebody "
    "is: have it issued with a name"
)

_ONE_SEGMENT = (
    "a pattern for one part of a path is none of ours: if all below it may come, write "
    "spiffe://DOMAIN/PATH/ into remote-id"
)

_DATES = (
    "The key decides, as in ghostunnel; but a certificate that has expired is refused here, "
    "whatever its key."
)


def convert(words: Sequence[str], folder: Path, hostName: str) -> Conversion:
    """
    Convert a command line.

    @param words: what follows C{ghostunnel}.
    @param folder: where relative paths begin.
    @param hostName: the name of this machine.
    @raise BadWords: it is none of ghostunnel.
    """
    return _Conversion(parse(words), folder, hostName).convert()


def _workloads(pattern: str) -> str:
    """
    The selector for a URI, or for a pattern of URIs that has a double asterisk at its end; empty
    if there is none.
    """
    if not pattern.startswith(SCHEME):
        return ""
    isBelow = pattern.endswith("/**")
    text = pattern.removesuffix("**") if isBelow else pattern.removesuffix("/")
    try:
        selector = Selector.parse(text)
    except ValueError:
        return ""
    return str(selector) if selector.isExact or isBelow else ""


_TLS = ("alpn", "authority", "ssl-version")

# What stands in a header of the PROXY protocol, by --proxy-protocol-mode.
_HEADERS: dict[str, tuple[str, ...]] = {
    "": (),
    "conn": (),
    "tls": _TLS,
    "tls-full": (*_TLS, "ssl-cn", "ssl-client-cert"),
}

_VERSION = (
    "--proxy-protocol-mode: the version of TLS is TLSv1.3 there, as HAProxy has it, and not TLS 1.3"
)


class _Conversion:
    def __init__(self, words: Words, folder: Path, hostName: str) -> None:
        self._words = words
        self._draft = Draft("ghostunnel")
        self._reasons: list[str] = []
        self._credentials = Credentials(folder, hostName)
        self._result = Conversion("a command line of ghostunnel")
        self._target: TCPAddress | UNIXAddress | None = None

    def convert(self) -> Conversion:
        """
        Do it.
        """
        result, words = self._result, self._words
        self._draft.values["mode"] = "client" if words.isClient else "server"
        self._table()
        self._addresses()
        if words.isClient:
            self._server()
        else:
            self._clients()
            self._header()
        self._ourselves()
        self._limits()
        self._process()
        if self._reasons:
            original = [self._shown()]
            result.tunnels = [LeftOut("ghostunnel", "command line", self._reasons, original)]
        else:
            result.tunnels = [self._draft]
            result.commands = self._credentials.commands
        return result

    def _shown(self) -> str:
        shown = ["ghostunnel", "client" if self._words.isClient else "server"]
        for flag, value in self._words.given:
            shown.append(f"--{flag.name}")
            if not flag.isSwitch:
                shown.append("..." if flag.name in SECRET else value)
        return shlex.join(shown)

    def _table(self) -> None:
        for flag, value in self._words.given:
            shown = f"--{flag.name}" + (f" {value}" if value and flag.name not in SECRET else "")
            if flag.fate is Fate.SAID:
                self._draft.notes.append(f"{shown}: {flag.advice}")
            elif flag.fate is Fate.IMPOSSIBLE:
                self._reasons.append(f"{shown}: {flag.advice}")

    def _addresses(self) -> None:
        words, values = self._words, self._draft.values
        for name in "listen", "target":
            if not words.has(name):
                raise BadWords(f"--{name} is missing; ghostunnel does not start without it")
        listen = words.last("listen")
        local: Listening
        if listen.startswith("launchd:"):
            self._reasons.append("launchd hands us no sockets; give an address in --listen")
            return
        try:
            local = parseListening(listen)
        except ValueError as error:
            raise BadWords(f"--listen: {error}") from None
        try:
            self._target = place(words.last("target"))
        except ValueError as error:
            raise BadWords(f"--target: {error}") from None
        values["local"] = [str(local)]
        values["remote"] = [str(self._target)]
        if words.has("proxy"):
            try:
                goThrough(self._draft, words.last("proxy"))
            except ValueError as error:
                self._reasons.append(f"--proxy: {error}")
        if words.has("skip-resolve"):
            values["skip-resolve"] = True

    def _server(self) -> None:
        """
        Who the server must be: the name in the target, or the one that overrides it; flags that
        verify more make fewer servers good.
        """
        words, remote = self._words, self._target
        if words.has("verify-spki-pin"):
            self._pin("verify-spki-pin")
            return
        if remote is None:
            return
        name = words.last("override-server-name") or remote.host
        host = identity(name)
        if not host:
            self._reasons.append(f"the server has no name that it could prove: {name!r} is none")
            return
        if not isinstance(remote, TCPAddress) or remote.isLiteral or remote.domain != host:
            self._draft.values["remote-id"] = [host]
        verifying = {each: words.all(each) for each in _VERIFYING if words.has(each)}
        proved = [*verifying.get("verify-dns", []), *verifying.get("verify-ip", [])]
        if verifying and host not in map(identity, proved):
            given = ", ".join(f"--{each}" for each in verifying)
            self._reasons.append(
                f"{given}: besides {host} the server had to prove another name, and a tunnel "
                "expects one; remove what is not needed"
            )
        self._draft.values["trust"] = [trustIn(words.last("cacert") or "system")]

    def _clients(self) -> None:
        """
        Who is let in: whoever has any of the names that are allowed.
        """
        words = self._words
        allowing = {each: words.all(each) for each in _ALLOWING if words.has(each)}
        ways = [
            bool(allowing or words.has("allow-policy")),
            words.has("allow-spki-pin"),
            words.has("allow-all"),
            words.has("disable-authentication"),
        ]
        if ways.count(True) != 1:
            raise BadWords(
                "ghostunnel insists on one of --allow-all, --disable-authentication and flags that "
                "allow certain clients; give one"
            )
        if words.has("disable-authentication"):
            return
        if words.has("allow-spki-pin"):
            self._pin("allow-spki-pin")
            return
        trust = trustIn(words.last("cacert") or "system")
        if words.has("allow-all"):
            allowed = ANYBODY[:1] if trust == "system" else ANYBODY
            self._draft.notes.append(LET_IN)
        else:
            allowed = self._allowed(allowing)
            if not allowed:
                self._reasons.append("there is no other name by which a client could be let in")
        self._draft.values["remote-id"] = allowed
        self._draft.values["trust"] = [trust]

    def _allowed(self, allowing: dict[str, list[str]]) -> list[str]:
        found = []
        for name, given in allowing.items():
            for value in given:
                who = identity(value) if name in {"allow-dns", "allow-ip"} else ""
                who = _workloads(value) if name == "allow-uri" else who
                if who:
                    found.append(who)
                    continue
                isPattern = value.startswith(SCHEME) and "*" in value
                why = _ONE_SEGMENT if isPattern else _NO_NAMES
                self._draft.notes.append(f"--{name} {value}: is not let in; {why}")
                self._result.lost.append(f"--{name} {value}: is not let in; {why}")
        return list(dict.fromkeys(found))

    def _header(self) -> None:
        """
        What the backend is told in a header of the PROXY protocol.
        """
        words, values = self._words, self._draft.values
        mode = words.last("proxy-protocol-mode")
        if mode not in _HEADERS:
            raise BadWords(f"--proxy-protocol-mode: {mode!r} is none; give conn, tls or tls-full")
        if mode or words.has("proxy-protocol"):
            values["proxy-out"] = "v2"
        if _HEADERS[mode]:
            values["proxy-tlv"] = [*_HEADERS[mode]]
            self._draft.notes.append(_VERSION)

    def _pin(self, name: str) -> None:
        """
        Let keys decide, and nothing else.
        """
        self._draft.values["pin"] = [*filter(None, map(self._pinned, self._words.all(name)))]
        self._draft.values["trust"] = [PINS]
        self._draft.notes.append(_DATES)

    def _pinned(self, pin: str) -> str:
        algorithm, _, digest = pin.partition(":")
        if algorithm.lower() != "sha256":
            self._reasons.append(f"{pin}: keys are known by their SHA-256; give sha256:...")
            return ""
        try:
            return str(parsePin(f"sha256//{digest}"))
        except ValueError as error:
            self._reasons.append(f"{pin}: {error}")
            return ""

    def _ourselves(self) -> None:
        words, values = self._words, self._draft.values
        if words.isClient and words.has("disable-authentication"):
            return
        if words.has("auto-acme-cert"):
            self._acme(words.last("auto-acme-cert"))
            return
        isAlone = words.has("cert") and not (words.has("key") or words.has("pkcs11-module"))
        if isAlone or (words.has("keystore") and (words.has("cert") or words.has("key"))):
            raise BadWords("give either --keystore, or --cert together with --key")
        certificate = words.last("keystore") or words.last("cert")
        if not certificate:
            if not self._reasons:
                raise BadWords(
                    "there is no --keystore and no --cert; give what the environment variables "
                    "KEYSTORE_PATH or CERT_PATH and KEY_PATH have"
                )
            return
        known = self._credentials.find(certificate, words.last("key"), (), words.isClient)
        self._draft.notes += known.notes
        values["local-id"] = known.name
        if known.pool:
            values["pool"] = known.pool
        if words.has("storepass"):
            self._result.notes.append(
                "The password of the keystore is the first line of standard input, where that is "
                "no terminal; it is not written here."
            )

    def _acme(self, name: str) -> None:
        who = identity(name)
        if not who:
            raise BadWords(f"--auto-acme-cert: {name!r} is no domain; give one")
        self._draft.values |= {"local-id": who, "pool": "/etc/letsencrypt/live"}
        self._credentials.commands.append(f"certbot certonly -d {who}")

    def _limits(self) -> None:
        values = self._draft.values
        connect = self._seconds("connect-timeout")
        if connect:
            values["connect-timeout"] = values["handshake-timeout"] = connect
        for name, key in (
            ("close-timeout", "close-timeout"),
            ("max-conn-lifetime", "max-lifetime"),
        ):
            given = self._seconds(name)
            if given:
                values[key] = given
            elif self._words.has(name):
                self._draft.notes.append(f"--{name} {self._words.last(name)}: the default counts")
        most = self._words.last("max-concurrent-conns")
        if most:
            if not (most.isascii() and most.isdigit() and len(most) < 10):
                raise BadWords(f"--max-concurrent-conns: {most!r} is no number; give one")
            if int(most):
                values["max-connections"] = int(most)
        quiet = self._words.all("quiet")
        if {"all", "conns"} & set(quiet):
            values["quiet"] = True
        elif quiet:
            self._draft.notes.append(
                f"--quiet {quiet[0]}: connections that fail are always told of"
            )

    def _seconds(self, name: str) -> Value:
        """
        The time that a flag has; 0 if it is not there.
        """
        given = self._words.last(name)
        found = seconds(name, given) if given else 0.0
        return int(found) if found.is_integer() else round(found, 6)

    def _process(self) -> None:
        drain = self._seconds("shutdown-timeout")
        if drain:
            self._result.process["drain-timeout"] = drain
        status = self._words.last("status")
        if not status:
            return
        try:
            address = parseAddress(re.sub("^https?://", "", status))
        except ValueError as error:
            raise BadWords(f"--status: {error}") from None
        if address.isLocal:
            self._result.status["local"] = str(address)
            isSocket = isinstance(address, UNIXAddress)
            where = f"behind {address}" if isSocket else f"at http://{address}/"
            self._result.notes.append(f"The status page is {where}, without TLS, and says more.")
        else:
            self._result.notes.append(
                f"--status {status}: other hosts could read it; to allow that, write a table "
                f'[status] with local = "{address}" and public = true.'
            )
