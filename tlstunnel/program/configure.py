"""
From the values of settings to the description of a tunnel: what concerns several of them at once.

Nothing is bound, and nothing is read but a chat script.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tlstunnel.address import DescriptorAddress, Listening, Remote, SRVAddress, UNIXAddress
from tlstunnel.chat.dialect import chatDialect
from tlstunnel.chat.escapes import Values
from tlstunnel.chat.parse import ScriptOptions
from tlstunnel.chat.source import makeScript, readFile
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.interfaces import IDialect
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.remotes import FIRST
from tlstunnel.program.bridges import acceptedSide, bridge, connectedSide
from tlstunnel.program.compose import Parts, compose
from tlstunnel.program.entrance import checkAccess
from tlstunnel.program.options import TUNNEL_OPTIONS
from tlstunnel.program.ourselves import localIDs
from tlstunnel.protocols import registry
from tlstunnel.protocols.options import checkOptions, nameOf
from tlstunnel.tunnel.bridge import OF_ACCEPTED, OF_CONNECTED, checkBridge, errorOf
from tlstunnel.tunnel.description import PSK, Mode, Tunnel
from tlstunnel.tunnel.disclosures import checkDisclosure
from tlstunnel.tunnel.expected import checkRemoteID, identityOfRemote
from tlstunnel.tunnel.leased import checkAgent
from tlstunnel.tunnel.negotiation import checkNegotiation
from tlstunnel.tunnel.programs import checkPrograms
from tlstunnel.tunnel.psk import checkPSK
from tlstunnel.tunnel.servedname import ServedName
from tlstunnel.tunnel.servernames import checkNames
from tlstunnel.tunnel.showing import checkShowing
from tlstunnel.tunnel.trust import checkDANE
from tlstunnel.tunnel.via import checkVia

_T = TypeVar("_T")

# The modes, as the help has them.
_MODES = "server", "client", "bridge"

# What is looked at elsewhere where it has the same value twice; and networks, whose lists come from
# elsewhere and say the same in several ways.
_MAY_REPEAT = frozenset(
    ("local", "local-id", "remote", "dialect-option", "exec-limit", "allow", "deny")
)


class _Mistakes:
    """
    What is wrong with the parts of a tunnel.
    """

    def __init__(self) -> None:
        self.found: list[ConfigurationError] = []

    def part(self, make: Callable[..., _T], *arguments: Any) -> _T | None:
        """
        What C{make} returns; C{None} where it finds a mistake.
        """
        try:
            return make(*arguments)
        except ConfigurationError as error:
            self.found.append(error)
            return None


def describe(
    values: Mapping[str, Any], chatWords: Sequence[str] = (), names: Sequence[ServedName] = ()
) -> Tunnel:
    """
    The tunnel that C{values} make.

    @param values: those of L{TUNNEL_OPTIONS}, by their names.
    @param chatWords: a chat script, as the words of a command line.
    @param names: what it serves in another way than all else.
    @raise ConfigurationError: they make none.
    """
    tunnel, mistakes = examine(values, chatWords, names=names)
    if tunnel is None:
        raise mistakes[0]
    return tunnel


def examine(
    values: Mapping[str, Any],
    chatWords: Sequence[str] = (),
    name: str = "",
    names: Sequence[ServedName] = (),
) -> tuple[Tunnel | None, list[ConfigurationError]]:
    """
    The tunnel that C{values} make, or everything that is wrong with them, as far as one thing can
    be judged without another.

    @param name: what the tunnel is called, where there are several.
    @param names: what it serves in another way than all else.
    """
    mistakes = _Mistakes()
    mode = mistakes.part(_mode, values)
    mistakes.found += _missing(values)
    mistakes.found += _repeated(values)
    ours = mistakes.part(localIDs, mode, values["local-id"], PSK in values["trust"])
    access = mistakes.part(_access, values)
    mistakes.part(_checkLocal, values["local"], name)
    if mode is None:
        mistakes.part(_checkDialect, values)
        return None, mistakes.found
    if mode is Mode.BRIDGE:
        return _examineBridge(values, name, names)
    mistakes.found += _meaningless(mode, values)
    mistakes.part(_checkNamed, mode, names)
    remotes = [*values["remote"], *(remote for each in names for remote in each.allRemotes)]
    mistakes.part(_checkBalance, values["balance"], remotes)
    remoteID = mistakes.part(_remoteID, mode, values["remote-id"])
    denyID = mistakes.part(deniedClients, values["deny-id"])
    mistakes.part(checkAccess, mode, values)
    localID = ours[0] if ours else None
    dialect = mistakes.part(_dialect, values, chatWords, mode, localID, remoteID)
    if dialect is None:
        return None, mistakes.found
    options = mistakes.part(checkOptions, values["dialect-option"], dialect, mode.value)
    if mistakes.found:
        return None, mistakes.found
    assert not (ours is None or access is None or denyID is None or options is None)
    parts = Parts(mode, ours, access, remoteID, denyID, dialect, options)
    return _examineWhole(compose(values, parts, name, names))


def _examineWhole(tunnel: Tunnel) -> tuple[Tunnel | None, list[ConfigurationError]]:
    """
    The same, once all parts are there: how they go together.
    """
    mistakes = _Mistakes()
    for check in _CHECKS:
        mistakes.part(check, tunnel)
    return None if mistakes.found else tunnel, mistakes.found


def _examineBridge(
    values: Mapping[str, Any], name: str, names: Sequence[ServedName]
) -> tuple[Tunnel | None, list[ConfigurationError]]:
    """
    The same of a bridge, each side of which is examined as a tunnel of its own.
    """
    accepted, ofAccepted = examine(acceptedSide(values), name=name, names=names)
    connected, ofConnected = examine(connectedSide(values), name=name)
    mistakes = _meaningless(Mode.BRIDGE, values)
    mistakes += [errorOf(each, OF_ACCEPTED) for each in ofAccepted]
    mistakes += [errorOf(each, OF_CONNECTED) for each in ofConnected]
    # What both sides have is wrong once.
    mistakes = list({each.args: each for each in mistakes}.values())
    if mistakes or accepted is None or connected is None:
        return None, mistakes
    tunnel = bridge(accepted, connected)
    try:
        checkBridge(tunnel)
    except ConfigurationError as error:
        return None, [error]
    return tunnel, []


def _mode(values: Mapping[str, Any]) -> Mode:
    given = [each for each in Mode if values[each.value]]
    checkModes([each.value for each in given])
    return given[0]


def checkModes(given: Sequence[str]) -> None:
    """
    A tunnel has one mode.

    @param given: the names of those that it was given.
    @raise ConfigurationError: they are none, or several.
    """
    if len(given) > 1:
        raise ConfigurationError(
            ", ".join(f"`{each}`" for each in _MODES if each in given),
            "exclude each other, as a tunnel has one mode",
            "leave out all but one",
        )
    if not given:
        raise ConfigurationError(
            ", ".join(f"`{each}`" for each in _MODES),
            "one of them is needed",
            "give `server` to accept TLS, `client` to connect with TLS, or `bridge` for both",
        )


def _missing(values: Mapping[str, Any]) -> list[ConfigurationError]:
    """
    What every tunnel has.
    """
    return [
        ConfigurationError(f"`{key}`", "is missing", f"say {what}")
        for key, what in (("local", "where to listen"), ("remote", "where to forward to"))
        if not values[key]
    ]


def _repeated(values: Mapping[str, Any]) -> list[ConfigurationError]:
    """
    What was given twice, so that another value may have been meant; of places to connect to, which
    only count once then, there is a warning.
    """
    return [
        ConfigurationError(f"`{option.name}` {value}", f"is given {times} times", "give it once")
        for option in TUNNEL_OPTIONS
        if option.isRepeatable and option.name not in _MAY_REPEAT
        for value, times in Counter(values[option.name]).items()
        if times > 1
    ]


def _meaningless(mode: Mode, values: Mapping[str, Any]) -> list[ConfigurationError]:
    """
    What was given although it has a meaning in the other mode alone.
    """
    return [
        ConfigurationError(f"`{option.name}`", f"means nothing with `{mode.value}`", "leave it out")
        for option in TUNNEL_OPTIONS
        if not option.means(mode) and values[option.name] != option.default
    ]


def _checkNamed(mode: Mode, names: Sequence[ServedName]) -> None:
    """
    Names are those of a server.
    """
    if names and mode is Mode.CLIENT:
        raise ConfigurationError("`name`", "means nothing with `client`", "leave these tables out")


def _checkExpected(tunnel: Tunnel) -> None:
    """
    Whom it connects to.
    """
    if tunnel.mode is Mode.CLIENT:
        checkRemoteID(tunnel)


def _checkLocal(local: Sequence[Listening], name: str) -> None:
    """
    What is one connection leaves no place for others.
    """
    for each in local:
        if isinstance(each, DescriptorAddress) and (name or len(local) > 1):
            where = "a file is" if name else "several addresses are"
            raise ConfigurationError(
                f"`local` {each}",
                f"is one connection, made for this process alone, and {where} for many",
                "give it alone, on a command line of its own",
            )


def _access(values: Mapping[str, Any]) -> SocketAccess:
    """
    Who may connect to the UNIX sockets, of which there has to be one then.
    """
    given = {key: values[f"socket-{key}"] for key in ("mode", "owner", "group")}
    if not any(isinstance(each, UNIXAddress) for each in values["local"]):
        for key, value in given.items():
            if value is not None:
                raise ConfigurationError(
                    f"`socket-{key}`",
                    "is for UNIX sockets that we make, and `local` has none",
                    "leave it out; for a socket of systemd, its unit has SocketMode=, SocketUser= "
                    "and SocketGroup=",
                )
    return SocketAccess(**given)


def _checkBalance(balance: str, remotes: Sequence[Remote]) -> None:
    """
    The records of a service have an order of their own.
    """
    for each in remotes:
        if isinstance(each, SRVAddress) and balance != FIRST:
            raise ConfigurationError(
                f"`balance` {balance}",
                f"is not for {each}: its records say themselves whom to try first",
                "leave it out, or give the hosts in `remote`",
            )


def _parsed(key: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError.of(f"`{key}`", error) from None


def _remoteID(mode: Mode, given: Sequence[str]) -> Identity | Selector | AccessList | None:
    """
    Who must be at the other end: one server, or whichever client is on a list.
    """
    if mode is Mode.SERVER:
        return clientsOf(given)
    if len(given) > 1:
        raise ConfigurationError(
            "`remote-id`",
            f"has {len(given)} values, and with `client` there is one server to expect",
            "give the one name that it proves",
        )
    return _parsed("remote-id", Identity.parse, given[0]) if given else None


def deniedClients(given: Sequence[str]) -> tuple[Selector, ...]:
    """
    Who clients must not be.

    @raise ConfigurationError: something there is no selector.
    """
    return tuple(_parsed("deny-id", Selector.parse, each) for each in given)


def clientsOf(given: Sequence[str]) -> Selector | AccessList | None:
    """
    Who clients must be; C{None} where nobody is C{given}.

    @raise ConfigurationError: something there is no selector.
    """
    selectors = [_parsed("remote-id", Selector.parse, each) for each in given]
    return AccessList(tuple(selectors)) if len(selectors) > 1 else next(iter(selectors), None)


def _checkDialect(values: Mapping[str, Any]) -> None:
    """
    What is wrong with the dialect, whatever the mode is.
    """
    if values["chat"] is None:
        dialect = registry.find(values["starttls"] or "none")
        for word in values["dialect-option"]:
            checkOptions([word], dialect, dialect.onlyIn.get(nameOf(word), Mode.CLIENT.value))


def _dialect(
    values: Mapping[str, Any],
    chatWords: Sequence[str],
    mode: Mode,
    localID: Identity | None,
    remoteID: Identity | Selector | AccessList | None,
) -> IDialect:
    if values["chat"] is None and not chatWords:
        for key in "chat-strict", "chat-files":
            if values[key]:
                raise ConfigurationError(
                    f"`{key}`", "is about a chat script, and there is none", "give `chat` too"
                )
        return registry.find(values["starttls"] or "none")
    if values["starttls"] is not None:
        raise ConfigurationError(
            "`starttls`, `chat`", "both were given", "say in one way how to upgrade to TLS"
        )
    peer = remoteID or identityOfRemote(values["remote"])
    name = None if peer is None or isinstance(peer, AccessList) else peer.domain.lstrip(".")
    options = ScriptOptions(
        side="client" if mode is Mode.CLIENT else "server",
        values=Values(
            t=name.encode() if name else None,
            u=localID.domain.encode() if localID else None,
        ),
        strict=values["chat-strict"],
        readFile=readFile if values["chat-files"] else None,
    )
    return chatDialect(lambda: makeScript(values["chat"], chatWords, options))


# What can be judged of a tunnel as a whole.
_CHECKS: tuple[Callable[[Tunnel], None], ...] = (
    checkPrograms,
    checkDisclosure,
    checkNegotiation,
    checkVia,
    _checkExpected,
    checkDANE,
    checkShowing,
    checkAgent,
    checkPSK,
    checkNames,
)
