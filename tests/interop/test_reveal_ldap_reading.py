"""
Whether OpenLDAP slapd reads what passes C{--reveal ldap} as it is written: many requests, whole and
broken, of which its log has each that it has served, and for whom.
"""

from __future__ import annotations

import re
import socket
from typing import ClassVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interop.harness import InteropTestCase, Stage, until
from tests.interop.servers.openldap import PEOPLE, TUNNEL, TUNNEL_PASSWORD, ProxiedOpenLDAP
from tests.reveal.ldaprequests import Tree, bindRequest, canonical, messages
from tlstunnel.errors import TunnelError
from tlstunnel.protocols.ber import elements, measure
from tlstunnel.protocols.ldap import ABANDON_REQUEST, BIND_REQUEST, UNBIND_REQUEST
from tlstunnel.protocols.ldap import message as answered
from tlstunnel.reveal.ldapcontrols import actingFor, objection, passing
from tlstunnel.reveal.ldapmessages import readRequest

ALICE = actingFor(b"u:alice@test.example")

_UNANSWERED = {UNBIND_REQUEST, ABANDON_REQUEST, BIND_REQUEST}

# An entry, a reference, an intermediate response.
_UNFINISHED = {0x64, 0x73, 0x79}

_LINE = re.compile(r"(conn=\d+ op=\d+) (.*)")
_SERVED = re.compile(r"(SRCH base|MOD dn|ADD dn|DEL dn|CMP dn|MODRDN dn|EXT oid)")


def passed(tree: Tree, changes: list[tuple[float, int]]) -> bytes:
    """
    What passes of a request of which some bytes are others; empty if it does not.

    @param changes: where, as a part of the whole, and what stands there.
    """
    written = bytearray(canonical(tree))
    start, length = measure(written) or (0, 0)
    for where, byte in changes:
        written[start + int(where * (length - 1))] = byte
    try:
        request = readRequest(bytes(written[start:]))
    except TunnelError:
        return b""
    if objection(request) is not None or request.operation in _UNANSWERED:
        return b""
    return request.written((ALICE, *passing(request.controls)))


class ReadingTests(InteropTestCase):
    """
    A directory that is spoken to as the tunnel does it.
    """

    slapd: ClassVar[ProxiedOpenLDAP]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.slapd = stage.start(ProxiedOpenLDAP(stage.directory("slapd")))

    def setUp(self) -> None:
        super().setUp()
        self.connect()

    def connect(self) -> None:
        """
        Bind as the tunnel.
        """
        self.sock = socket.create_connection(("127.0.0.1", self.slapd.port), 10)
        self.addCleanup(self.sock.close)
        self.sock.sendall(bindRequest(1, TUNNEL.encode(), (0x80, TUNNEL_PASSWORD.encode())))
        self.sock.recv(1000)

    def say(self, request: bytes) -> None:
        """
        Send a request, and wait for its last response; a server that closes has not served it.
        """
        said = b""
        try:
            self.sock.sendall(request)
            while not self.isFinished(said):
                more = self.sock.recv(65536)
                if not more:
                    raise ConnectionResetError
                said += more
        except (ConnectionResetError, BrokenPipeError):
            self.sock.close()
            self.connect()

    def isFinished(self, said: bytes) -> bool:
        """
        Whether there is a last response in what was said.
        """
        try:
            return any(answered(each)[1] not in _UNFINISHED for _, each in elements(said))
        except TunnelError:
            return False

    def test_whatIsServedIsServedForWhomItIs(self) -> None:
        """
        Each request that passes, however it was broken.
        """
        byte = st.sampled_from([*range(8), 0x30, 0x31, *range(0x80, 0x88), *range(0xA0, 0xAA)])
        changes = st.lists(st.tuples(st.floats(0, 1), byte | st.integers(0, 255)), max_size=3)
        sent = 0

        @settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(messages, changes)
        def ask(tree: Tree, changes: list[tuple[float, int]]) -> None:
            nonlocal sent
            request = passed(tree, changes)
            if request:
                sent += 1
                self.say(request)

        ask()
        self.sock.close()
        ended = self.slapd.log.count(" ACCEPT ")
        until(lambda: self.slapd.log.count(" closed") == ended, "the end of all connections")
        proxied: dict[str, str] = {}
        served = 0
        for operation, what in _LINE.findall(self.slapd.log):
            if what.startswith("PROXYAUTHZ"):
                proxied[operation] = what
            elif _SERVED.match(what):
                served += 1
                who = proxied.get(operation)
                self.assertEqual(who, f'PROXYAUTHZ dn="uid=alice,{PEOPLE}"', (operation, what))
        self.assertGreater(sent, 200)
        self.assertGreater(served, 50)
