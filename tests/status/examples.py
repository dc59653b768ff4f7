"""
Facts of processes that do not run, for tests of what is made of them.
"""

from __future__ import annotations

from typing import Any

from tlstunnel.status.counts import BOUNDS
from tlstunnel.status.facts import (
    BackendFacts,
    ConnectionFacts,
    FailureFacts,
    IdentityFacts,
    PullFacts,
    Snapshot,
    TunnelFacts,
)

NOW = 1_800_000_000.0
DAY = 86400.0

_CLASSES = len(BOUNDS) + 1


def identity(**facts: Any) -> IdentityFacts:
    """
    An identity that is valid.
    """
    known: IdentityFacts = {
        "identity": "www.example.org",
        "not_before": NOW - DAY,
        "not_after": NOW + 90 * DAY,
        "is_due": False,
        "is_leased": False,
    }
    return known | facts  # type: ignore[return-value]


def backend(**facts: Any) -> BackendFacts:
    """
    A place that serves.
    """
    known: BackendFacts = {
        "up": True,
        "heard": NOW - 5,
        "open": 2,
        "connections": 10,
        "failures": 1,
    }
    return known | facts  # type: ignore[return-value]


def tunnel(**facts: Any) -> TunnelFacts:
    """
    A tunnel that has carried something.
    """
    known: TunnelFacts = {
        "name": "web",
        "state": "up",
        "mode": "server",
        "dialect": "smtp",
        "local": ["[::]:443"],
        "remote": ["127.0.0.1:80"],
        "expected": None,
        "identities": [identity()],
        "withdrawn": [],
        "revocation_lists": [{"issuer": '"CN=Private"', "next_update": NOW + DAY}],
        "connections": 10,
        "refused": {"denied": 4, "per-address": 0, "rate": 1},
        "open": 2,
        "outcomes": {"clean": 5, "tls": 3},
        "negotiation": {"counts": [0] * _CLASSES, "seconds": 0.0},
        "handshake": {"counts": [1] * _CLASSES, "seconds": 60.0},
        "resumed": 4,
        "to_network": 2000,
        "to_plain": 1000,
        "backends": {"127.0.0.1:80": backend()},
        "rates": {
            "connections": [1, 2],
            "failures": [0, 1],
            "to_network": [100, 200],
            "to_plain": [10, 20],
        },
    }
    return known | facts  # type: ignore[return-value]


def following(**facts: Any) -> PullFacts:
    """
    A directory that the pool follows.
    """
    known: PullFacts = {
        "url": "ldap://ldap.example.org/ou=pool,dc=example",
        "fresh": True,
        "entries": 7,
        "changed": NOW - 60,
        "failure": None,
    }
    return known | facts  # type: ignore[return-value]


def connection(**facts: Any) -> ConnectionFacts:
    """
    A connection that is open.
    """
    known: ConnectionFacts = {
        "tunnel": "web",
        "worker": None,
        "began": NOW - 60,
        "age": 60.0,
        "stage": "relaying",
        "peer": "192.0.2.1:50000",
        "backend": "127.0.0.1:80",
        "identity": "client@example.org",
        "sni": "www.example.org",
        "alpn": "h2",
        "dialect": "smtp",
        "version": "TLSv1.3",
        "suite": "TLS_AES_256_GCM_SHA384",
        "group": "X25519",
        "resumed": False,
        "to_network": 2000,
        "to_plain": 1000,
    }
    return known | facts  # type: ignore[return-value]


def failure(**facts: Any) -> FailureFacts:
    """
    A connection that failed.
    """
    known: FailureFacts = {
        "time": NOW - 5,
        "tunnel": "web",
        "worker": None,
        "peer": "192.0.2.1:50000",
        "backend": None,
        "stage": "handshaking",
        "outcome": "tls",
        "detail": "tls: no shared cipher",
        "hint": "let it speak TLS 1.2",
    }
    return known | facts  # type: ignore[return-value]


def snapshot(worker: int | None = None, **facts: Any) -> Snapshot:
    """
    A process.
    """
    known: Snapshot = {
        "time": NOW,
        "process": {
            "worker": worker,
            "pid": 100 + (worker or 0),
            "started": NOW - 3600,
            "cpu_seconds": 12.5,
            "resident_bytes": 64 * 1024 * 1024,
            "virtual_bytes": 128 * 1024 * 1024,
            "open_files": 30,
            "max_files": 20000,
            "log_lines_dropped": 1,
        },
        "tunnels": [tunnel()],
        "connections": [connection(worker=worker)],
        "failures": [failure(worker=worker)],
        "pool_pull": None,
        "reloads": [],
        "results": {"applied": 0, "failed": 0},
    }
    return known | facts  # type: ignore[return-value]
