"""
C{/metrics}: the document in the words of Prometheus.

The names are an interface, described in C{docs/status.md}.  The library is an extra,
C{tlstunnel[status]}; only here is it imported, and everything else does without.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

from tlstunnel.errors import reasons
from tlstunnel.status.counts import BOUNDS
from tlstunnel.status.document import Document, TunnelStatus
from tlstunnel.status.facts import Durations, ProcessFacts, PullFacts
from tlstunnel.status.source import UP
from tlstunnel.tunnel.record import CLEAN

try:
    from prometheus_client import exposition
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
except ImportError:
    exposition = None  # type: ignore[assignment]

#: What to do where the library is missing.
MISSING = "/metrics needs prometheus-client; install tlstunnel[status], and restart"

#: What the answer is.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: What is made at once, in a turn of the reactor.
SAMPLES_PER_TEXT = 250

#: Tunnels whose metrics are put together at once.
TUNNELS_PER_STEP = 10

# HELP and TYPE.
_HEADER_LINES = 2

_CONNECTIONS = "tlstunnel_connections"

_NEVER = dict.fromkeys((CLEAN, *sorted(reasons())), 0)


def isAvailable() -> bool:
    """
    Whether the library is installed.
    """
    return exposition is not None


class _One:
    """
    A registry of one family: so that the text of all can be made in several steps.
    """

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """
        What it has.
        """
        yield self._family


def texts(document: Document) -> Generator[None, None, bytes]:
    """
    The metrics of C{document}, some samples a step.
    """
    tunnels = document["tunnels"]
    parts: list[list[bytes]] = []
    for start in range(0, len(tunnels) or 1, TUNNELS_PER_STEP):
        for number, family in enumerate(_ofTunnels(tunnels[start : start + TUNNELS_PER_STEP])):
            if not start:
                parts.append([])
            for text in _textsOf(family, goesOn=start > 0):
                parts[number].append(text)
                yield
    for family in (*_program(document), *_processes(document["processes"])):
        parts.append([*_textsOf(family, goesOn=False)])
        yield
    return b"".join(chain.from_iterable(parts))


def _textsOf(family: Metric, goesOn: bool) -> Iterator[bytes]:
    """
    @param goesOn: whether the name and the kind of the family were told before.
    """
    samples = family.samples
    for start in range(0, len(samples) or 1, SAMPLES_PER_TEXT):
        family.samples = samples[start : start + SAMPLES_PER_TEXT]
        text: bytes = exposition.generate_latest(_One(family))
        isToldAlready = goesOn or start
        yield text.split(b"\n", _HEADER_LINES)[_HEADER_LINES] if isToldAlready else text


def _ofTunnels(tunnels: Sequence[TunnelStatus]) -> Iterator[Metric]:
    """
    The metrics of C{tunnels}; always the same ones, in the same order.
    """

    def perTunnel(family: Any, value: Callable[[TunnelStatus], float]) -> Metric:
        for each in tunnels:
            family.add_metric([each["name"]], value(each))
        return family  # type: ignore[no-any-return]

    yield perTunnel(
        CounterMetricFamily(_CONNECTIONS, "Connections accepted.", labels=["tunnel"]),
        lambda each: each["connections"],
    )
    yield perTunnel(
        GaugeMetricFamily(f"{_CONNECTIONS}_open", "Connections open now.", labels=["tunnel"]),
        lambda each: each["open"],
    )
    ended = CounterMetricFamily(
        f"{_CONNECTIONS}_ended", "Connections ended, by outcome.", labels=["tunnel", "outcome"]
    )
    refused = CounterMetricFamily(
        f"{_CONNECTIONS}_refused",
        "Connections refused for where they came from, by reason.",
        labels=["tunnel", "reason"],
    )
    carried = CounterMetricFamily(
        "tlstunnel_bytes", "Bytes carried inside TLS.", labels=["tunnel", "direction"]
    )
    expiry = GaugeMetricFamily(
        "tlstunnel_identity_not_after_seconds",
        "When the certificate of an identity expires, in seconds since 1970.",
        labels=["tunnel", "identity"],
    )
    leases = GaugeMetricFamily(
        "tlstunnel_lease_not_after_seconds",
        "When the certificate expires that an agent gave for an identity, in seconds since 1970.",
        labels=["tunnel", "identity"],
    )
    lists = GaugeMetricFamily(
        "tlstunnel_revocation_list_next_update_seconds",
        "When the next revocation list of an issuer is due, in seconds since 1970.",
        labels=["tunnel", "issuer"],
    )
    for each in tunnels:
        # All of them from the start: a counter that is not there before its first event looks as if
        # that had been long ago, and no alert would tell of it.
        for outcome, count in (_NEVER | each["ended"]).items():
            ended.add_metric([each["name"], outcome], count)
        for reason, count in each["refused"].items():
            refused.add_metric([each["name"], reason], count)
        carried.add_metric([each["name"], "to_network"], each["to_network"])
        carried.add_metric([each["name"], "to_plain"], each["to_plain"])
        for identity in each["identities"]:
            family = leases if identity["is_leased"] else expiry
            family.add_metric([each["name"], identity["identity"]], identity["not_after"])
        for one in each["revocation_lists"]:
            lists.add_metric([each["name"], one["issuer"]], one["next_update"])
    yield ended
    yield refused
    yield _histogram(
        "tlstunnel_negotiation_seconds",
        "How long negotiations before TLS took.",
        [(each["name"], each["negotiation"]) for each in tunnels],
    )
    yield _histogram(
        "tlstunnel_handshake_seconds",
        "How long TLS handshakes took, verification included.",
        [(each["name"], each["handshake"]) for each in tunnels],
    )
    yield perTunnel(
        GaugeMetricFamily(
            "tlstunnel_identities_withdrawn",
            "Identities of a tunnel that are withdrawn.",
            labels=["tunnel"],
        ),
        lambda each: len(each["withdrawn"]),
    )
    yield perTunnel(
        CounterMetricFamily(
            "tlstunnel_handshakes_resumed",
            "Handshakes that resumed a session.",
            labels=["tunnel"],
        ),
        lambda each: each["resumed"],
    )
    yield carried
    yield expiry
    yield leases
    yield lists
    yield from _backends(tunnels)


def _backends(tunnels: Sequence[TunnelStatus]) -> Iterator[Metric]:
    """
    What is known of the places that are connected to.
    """
    family: Any
    for kind, name, about, value in (
        (
            GaugeMetricFamily,
            "up",
            "Whether a backend served when it was tried last.",
            lambda each: each["state"] == UP,
        ),
        (
            GaugeMetricFamily,
            "connections_open",
            "Connections to a backend open now.",
            lambda each: each["open"],
        ),
        (
            CounterMetricFamily,
            "connections",
            "Connections to a backend.",
            lambda each: each["connections"],
        ),
        (
            CounterMetricFamily,
            "failures",
            "Times that a backend did not serve.",
            lambda each: each["failures"],
        ),
    ):
        family = kind(f"tlstunnel_backend_{name}", about, labels=["tunnel", "backend"])
        for tunnel in tunnels:
            for each in tunnel["backends"]:
                family.add_metric([tunnel["name"], each["backend"]], value(each))
        yield family


def _histogram(name: str, about: str, durations: list[tuple[str, Durations]]) -> Metric:
    family = HistogramMetricFamily(name, about, labels=["tunnel"])
    bounds = [*map(str, BOUNDS), "+Inf"]
    for tunnel, each in durations:
        buckets = list(zip(bounds, accumulate(each["counts"]), strict=True))
        family.add_metric([tunnel], buckets, each["seconds"])
    return family


def _program(document: Document) -> Iterator[Metric]:
    reloads = CounterMetricFamily(
        "tlstunnel_reloads", "Times the configuration was read again.", labels=["result"]
    )
    reloads.add_metric(["applied"], document["reloads"]["applied"])
    reloads.add_metric(["failed"], document["reloads"]["failed"])
    yield reloads
    yield CounterMetricFamily(
        "tlstunnel_log_lines_dropped",
        "Lines of the log for which there was no room.",
        value=document["log_lines_dropped"],
    )
    yield from _poolPull(document["pool_pull"])
    software = document["software"]
    build = GaugeMetricFamily(
        "tlstunnel_build_info", "What runs.", labels=["version", "openssl", "python"]
    )
    build.add_metric([software["version"], software["openssl"], software["python"]], 1)
    yield build


def _poolPull(facts: PullFacts | None) -> Iterator[Metric]:
    """
    How the directory is that the pool follows.
    """
    if facts is None:
        return
    for name, about, value in (
        ("fresh", "Whether the pool is as the directory has it now.", facts["fresh"]),
        ("entries", "Entries that the directory has for the pool.", facts["entries"]),
        (
            "changed_seconds",
            "When the pool was changed last, in seconds since 1970; 0 if it was not.",
            facts["changed"] or 0,
        ),
    ):
        yield GaugeMetricFamily(f"tlstunnel_pool_pull_{name}", about, value=value)


def _processes(processes: list[ProcessFacts]) -> Iterator[Metric]:
    """
    The names that client libraries give what they tell of a process; workers have their number.
    """
    family: Any
    for kind, name, about, value in (
        (
            CounterMetricFamily,
            "cpu_seconds",
            "CPU time, user and system.",
            lambda each: each["cpu_seconds"],
        ),
        (
            GaugeMetricFamily,
            "start_time_seconds",
            "When it started, in seconds since 1970.",
            lambda each: each["started"],
        ),
        (
            GaugeMetricFamily,
            "resident_memory_bytes",
            "Resident memory.",
            lambda each: each["resident_bytes"],
        ),
        (
            GaugeMetricFamily,
            "virtual_memory_bytes",
            "Virtual memory.",
            lambda each: each["virtual_bytes"],
        ),
        (GaugeMetricFamily, "open_fds", "Open descriptors.", lambda each: each["open_files"]),
        (
            GaugeMetricFamily,
            "max_fds",
            "The most open descriptors.",
            lambda each: each["max_files"],
        ),
    ):
        family = kind(f"process_{name}", about, labels=["worker"])
        for each in processes:
            known = value(each)
            if known is not None:
                worker = "" if each["worker"] is None else str(each["worker"])
                family.add_metric([worker], known)
        yield family
