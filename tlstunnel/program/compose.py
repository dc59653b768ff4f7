"""
The description of a tunnel, put together from parts that were judged, and from values of settings
that need no judgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlstunnel.identity.access import AccessList
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool, defaultPool
from tlstunnel.interfaces import IDialect
from tlstunnel.net.access import SocketAccess
from tlstunnel.net.networks import Networks
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.ourselves import isByRules
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.execution import Execution
from tlstunnel.tunnel.limits import Limits
from tlstunnel.tunnel.servedname import ServedName


@dataclass(frozen=True)
class Parts:
    """
    What is made of several values, or may be wrong.

    @ivar ours: who we are, the preferred identity first.
    """

    mode: Mode
    ours: tuple[Identity, ...]
    access: SocketAccess
    remoteID: Identity | Selector | AccessList | None
    denyID: tuple[Selector, ...]
    dialect: IDialect
    options: frozenset[str]


def compose(
    values: Mapping[str, Any], parts: Parts, name: str, names: Sequence[ServedName]
) -> Tunnel:
    """
    The tunnel that C{values} describe.

    @param values: those of L{TUNNEL_OPTIONS}, by their names.
    @param name: what the tunnel is called, where there are several.
    @param names: what it serves in another way than all else.
    """
    pool = values["pool"]
    return Tunnel(
        mode=parts.mode,
        local=values["local"],
        access=parts.access,
        remote=values["remote"],
        dialect=parts.dialect,
        localID=parts.ours[0] if parts.ours else None,
        otherIDs=parts.ours[1:],
        byRules=isByRules(parts.mode, values["local-id"]),
        names=tuple(names),
        remoteID=parts.remoteID,
        remoteIDFiles=values["remote-id-file"],
        denyID=parts.denyID,
        denyIDFiles=values["deny-id-file"],
        pins=values["pin"],
        pool=defaultPool() if pool is None else Pool(Path(pool)),
        trust=values["trust"],
        daneResolver=values["dane-resolver"],
        alpn=values["alpn"],
        options=parts.options,
        anyName=values["any-name"],
        requireSNI=values["require-sni"],
        requireALPN=values["require-alpn"],
        ocspStapling=values["ocsp-stapling"],
        requireStaple=values["require-staple"],
        minimum=values["minimum-tls"],
        resumption={"on": True, "off": False}.get(values["resumption"]),
        balance=values["balance"],
        skipResolve=values["skip-resolve"],
        quiet=values["quiet"],
        closesWithdrawn=values["close-withdrawn"],
        negotiatesOnly=values["negotiate-only"],
        trace=_path(values["trace"]),
        keyLog=_path(values["key-log"]),
        agent=_path(values["agent"]),
        via=values["via"],
        viaAuthFile=values["via-auth-file"] and Path(values["via-auth-file"]),
        allow=Networks.of(values["allow"]),
        deny=Networks.of(values["deny"]),
        limits=Limits(**{each.limit: values[each.name] for each in OPTIONS if each.limit}),
        name=name,
        execution=Execution(
            values["exec-user"] or "", values["exec-pty"], tuple(values["exec-limit"])
        ),
        disclosure=_disclosure(values),
        proxyFrom=Networks.of(each for each in values["proxy-from"] if each is not None),
        proxyFromUNIX=None in values["proxy-from"],
    )


def _disclosure(values: Mapping[str, Any]) -> Disclosure:
    """
    What the plaintext side is told.
    """
    return Disclosure(
        proxyOut=values["proxy-out"] or "",
        toNetwork=values["proxy-out-to"] == "network",
        proxyTLVs=values["proxy-tlv"],
        words=tuple(dict.fromkeys(values["reveal"])),
        identityMap=_path(values["identity-map"]),
        loginAuthFile=_path(values["login-auth-file"]),
        webircPasswordFile=_path(values["webirc-password-file"]),
        ldapBindDN=values["ldap-bind-dn"] or "",
        ldapBindPasswordFile=_path(values["ldap-bind-password-file"]),
        httpHeaders=dict(values["http-header"]),
    )


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
