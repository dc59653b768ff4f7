"""
What stands in the rows, cards and entries of the page: the slots of its template, by their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.web.template import Flattenable, tags

from tlstunnel.status.document import BackendStatus, Identity
from tlstunnel.status.facts import ConnectionFacts, FailureFacts, ReloadFacts
from tlstunnel.status.words import WITHDRAWN, inBytes, inDays, inNumbers, inTime, moment, protocolOf

#: By the name of each slot, what stands there.
Slots = Mapping[str, Flattenable]


def refusalsOf(refused: Mapping[str, int]) -> str:
    """
    How many were refused for where they came from, if any.
    """
    reasons = [f"{inNumbers(count)} {reason}" for reason, count in refused.items() if count]
    return f"refused: {', '.join(reasons)}" if reasons else ""


def backendsOf(backends: Sequence[BackendStatus]) -> Flattenable:
    """
    Where the connections go to, if that needs to be said.
    """
    if len(backends) < 2 and all(each["state"] == "up" for each in backends):
        return ""
    return [
        tags.span(
            f"{each['backend']}: {inNumbers(each['open'])} open, ",
            f"{inNumbers(each['failures'])} failed ",
            tags.span(each["state"], class_=f"state {each['state']}"),
            class_="small muted",
        )
        for each in backends
    ]


def identityCard(shown: tuple[Identity, list[str]]) -> Slots:
    """
    One of our identities, and the tunnels that show it.
    """
    identity, tunnels = shown
    names = ", ".join(filter(None, tunnels))
    if identity["state"] == WITHDRAWN:
        left, when = WITHDRAWN, "not in use"
    elif identity["state"] == "early":
        left, when = "not valid yet", f"from {moment(identity['not_before'])}"
    else:
        days = identity["days_left"]
        left, when = (
            inDays(days),
            ("until " if days >= 0 else "on ") + moment(identity["not_after"]),
        )
    return {
        "class": f"card {'expired' if left == WITHDRAWN else identity['state']}",
        "identity": identity["identity"],
        "left": left,
        "about": f"{when}; {names}" if names else when,
    }


def connectionRow(connection: ConnectionFacts) -> Slots:
    """
    A connection that is open.
    """
    tls = filter(None, (connection["version"], connection["group"]))
    more = filter(None, (connection["suite"], connection["alpn"]))
    worker = connection["worker"]
    name = connection["sni"]
    return {
        "peer": connection["peer"],
        "identity": connection["identity"]
        or tags.span(f"asked for {name}" if name else "nobody in particular", class_="muted"),
        "tunnel": connection["tunnel"],
        "dialect": protocolOf(connection["dialect"]),
        "worker": "" if worker is None else f"worker {worker}",
        "version": ", ".join(tls) or connection["stage"],
        "suite": ", ".join(more),
        "backend": connection["backend"] or "",
        "toNetwork": inBytes(connection["to_network"]),
        "toPlain": inBytes(connection["to_plain"]),
        "age": inTime(connection["age"]),
    }


def failureEntry(failure: FailureFacts) -> Slots:
    """
    A connection that failed, below what it has in common with others.
    """
    return {
        "time": moment(failure["time"]),
        "tunnel": failure["tunnel"],
        "way": f"{failure['peer']} to {failure['backend'] or 'nowhere'}",
        "detail": failure["detail"],
    }


def reloadRow(reload: ReloadFacts) -> Slots:
    """
    A reload.
    """
    lines = [*reload["changes"], *reload["problems"]] or ["nothing changed"]
    return {
        "class": reload["result"],
        "result": reload["result"],
        "time": moment(reload["time"]),
        "lines": [tags.li(each) for each in lines],
    }
