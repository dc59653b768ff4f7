"""
How a proxy of SOCKS 5 is asked for a connection (RFC 1928), with a user and a password (RFC 1929).
"""

from __future__ import annotations

from ipaddress import ip_address

from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConnectFailed, quote
from tlstunnel.net.via import Login
from tlstunnel.net.viaexchange import Story, notThis

_VERSION, _LOGIN_VERSION = 5, 1

# Methods (RFC 1928, section 3).
_NO_LOGIN, _PASSWORD, _NONE_ACCEPTABLE = 0, 2, 0xFF

# Commands and types of addresses (RFC 1928, sections 4 and 5), with the bytes that those have.
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_LENGTHS = {_IPV4: 4, _IPV6: 16}
_PORT_LENGTH = 2

# RFC 1928, section 6, each with the cause by which there is a hint.
_REPLIES = {
    1: ("general SOCKS server failure", "proxy cannot"),
    2: ("connection not allowed by ruleset", "proxy forbids"),
    3: ("network unreachable", "proxy cannot"),
    4: ("host unreachable", "proxy cannot"),
    5: ("connection refused", "proxy cannot"),
    6: ("TTL expired", "proxy cannot"),
    7: ("command not supported", "proxy refuses"),
    8: ("address type not supported", "proxy refuses"),
}


def connect(target: TCPAddress, login: Login | None) -> Story:
    """
    Ask for a connection to C{target}, whose name the proxy resolves.
    """
    methods = bytes((_NO_LOGIN,) if login is None else (_NO_LOGIN, _PASSWORD))
    answer = yield bytes((_VERSION, len(methods))) + methods, 2
    version, method = answer
    if version != _VERSION:
        raise notThis(answer, "socks5")
    if method == _NONE_ACCEPTABLE:
        raise _loginRefused(login)
    if method not in methods:
        raise _malformed(f"chooses method {method}, which we did not offer")
    if method == _PASSWORD:
        assert login is not None
        version, status = yield _password(login), 2
        if version != _LOGIN_VERSION:
            raise _malformed(f"answers a login with version {version}")
        if status:
            raise _loginRefused(login)
    answer = yield bytes((_VERSION, _CONNECT, 0)) + _destination(target), 2
    version, reply = answer
    if version != _VERSION:
        raise _malformed(f"says {quote(answer)} where its answer is due")
    if reply:
        words, cause = _REPLIES.get(reply, ("which means nothing", "proxy refuses"))
        raise ConnectFailed(f"the proxy answers {reply}: {words}", cause=cause)
    # Of where it has bound its end, only the length matters.
    _, kind = yield b"", 2
    if kind == _NAME:
        (length,) = yield b"", 1
    elif kind in _LENGTHS:
        length = _LENGTHS[kind]
    else:
        raise _malformed(f"has bound an address of type {kind}, which there is not")
    yield b"", length + _PORT_LENGTH


def _password(login: Login) -> bytes:
    return b"".join(
        (
            bytes((_LOGIN_VERSION, len(login.user))),
            login.user,
            bytes((len(login.password),)),
            login.password,
        )
    )


def _destination(target: TCPAddress) -> bytes:
    """
    An address or, for the proxy to resolve, a name; and the port.
    """
    port = target.port.to_bytes(_PORT_LENGTH, "big")
    if target.isLiteral:
        packed = ip_address(target.host).packed
        return bytes((_IPV4 if len(packed) == _LENGTHS[_IPV4] else _IPV6,)) + packed + port
    name = target.host.encode()
    return bytes((_NAME, len(name))) + name + port


def _malformed(what: str) -> ConnectFailed:
    return ConnectFailed(f"the proxy {what}", cause="proxy broken")


def _loginRefused(login: Login | None) -> ConnectFailed:
    if login is None:
        return ConnectFailed("the proxy wants a login", cause="proxy no login")
    return ConnectFailed("the proxy does not take our login", cause="proxy login")
