"""
Programs that speak the TLS Pool's protocol V2, over real sockets and with real TLS, in both roles:
what stands for the library runs in threads, as the library does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from tests.loopback import CLIENT, SERVER, Encrypted, Plain, Reset
from tests.poolservice.tlspool import BASE, INFO, PRNG, STARTTLS, Library, Refused, build
from tests.poolservice.v2tls import IGNORING, IS_CLIENT, IS_SERVER, KEY, V2TLSTests
from tlstunnel.identity.names import Identity


class CourseTests(V2TLSTests):
    """
    Whole exchanges.
    """

    async def test_aClientTalksToAServerThatWasVerified(self) -> None:
        def story() -> Any:
            library = self.program()
            answer, plain, peer = self.meet(
                library, IS_CLIENT | 0x100, remoteid=b"SERVER.example.org.", ctlkey=KEY
            )
            self.talk(plain, peer)
            return answer

        answer = await self.run_(story)
        self.assertEqual(answer["remoteid"], b"server.example.org")
        self.assertEqual((answer["localid"], answer["ctlkey"]), (b"", KEY))

    async def test_aClientShowsWhomItAsksFor(self) -> None:
        """If the server asks, too: else it is told that it is nobody."""

        def story(mode: int) -> Any:
            sock, theirs = self.pair()
            context = self.context(False)
            context.set_verify(mode)
            peer = Encrypted(theirs, context, False)
            thread = threading.Thread(target=peer.handshake)
            thread.start()
            answer, plain = self.program().startTLS(
                sock, flags=IS_CLIENT, localid=str(CLIENT).encode(), remoteid=str(SERVER).encode()
            )
            thread.join()
            self.talk(Plain(plain), peer)
            plain.close()
            return answer["localid"]

        asking = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        self.assertEqual(await self.run_(lambda: story(asking)), str(CLIENT).encode())
        self.assertEqual(await self.run_(lambda: story(SSL.VERIFY_NONE)), b"")

    async def test_aServerIsWhomItSays(self) -> None:
        def story() -> Any:
            answer, plain, peer = self.meet(
                self.program(), IGNORING, localid=str(SERVER).encode(), ipproto=0
            )
            self.talk(plain, peer)
            return answer["localid"], answer["remoteid"]

        self.assertEqual(await self.run_(story), (str(SERVER).encode(), b""))

    async def test_aServerWithoutANameIsWhomItsClientAsksFor(self) -> None:
        def story() -> Any:
            answer, plain, peer = self.meet(self.program(), IGNORING)
            self.talk(plain, peer)
            return answer["localid"]

        self.assertEqual(await self.run_(story), str(SERVER).encode())

    async def test_aServerIsAskedForItsName(self) -> None:
        """And its plaintext comes with the answer."""

        def story() -> Any:
            answer, plain, peer = self.meet(self.program(), IGNORING | 0x10000)
            self.talk(plain, peer)
            return answer["localid"]

        self.assertEqual(await self.run_(story), str(SERVER).encode())

    async def _met(self, flags: int, showing: Any, **fields: Any) -> bytes:
        def story() -> Any:
            answer, plain, peer = self.meet(
                self.program(), IS_SERVER | flags, showing, localid=str(SERVER).encode(), **fields
            )
            self.talk(plain, peer)
            return answer["remoteid"]

        found: bytes = await self.run_(story)
        return found

    async def test_clientsShowCertificatesAsTheFlagsSay(self) -> None:
        client = str(CLIENT).encode()
        self.assertEqual(await self._met(0x1000, CLIENT), b"")
        self.assertEqual(await self._met(0x1000 | 0x800, CLIENT), b"")
        self.assertEqual(await self._met(0x800, CLIENT), client)
        self.assertEqual(await self._met(0x800, None), b"")
        self.assertEqual(await self._met(0, CLIENT), client)
        self.assertEqual(await self._met(0, CLIENT, remoteid=b"@.org"), client)

    async def _number(self, **fields: Any) -> int:
        def story() -> int:
            sock, theirs = self.pair()
            flags = fields.pop("flags")
            context = self.context(not flags & 1)
            context.set_verify(SSL.VERIFY_NONE)
            peer = Encrypted(theirs, context, not flags & 1, str(SERVER).encode())

            def handshake() -> None:
                try:
                    peer.handshake()
                    peer.read(1)
                except Exception:  # noqa: BLE001 - whatever it is, we look at the program
                    pass

            thread = threading.Thread(target=handshake)
            thread.start()
            try:
                self.program().startTLS(sock, flags=flags, **fields)
            except Refused as refused:
                return refused.number
            finally:
                sock.close()
                with contextlib.suppress(OSError):
                    theirs.shutdown(socket.SHUT_RDWR)
                thread.join()
            return 0

        found: int = await self.run_(story)
        return found

    async def test_failuresAreToldByTheirNumbers(self) -> None:
        """Of the handshake, and of what is asked for."""
        local = str(SERVER).encode()
        table: list[tuple[dict[str, Any], int]] = [
            ({"flags": IS_CLIENT, "remoteid": b"evil.example.org"}, BASE + 24),
            ({"flags": IS_SERVER, "localid": local}, BASE + 24),
            ({"flags": IS_SERVER, "localid": local, "remoteid": b"@.test"}, BASE + 24),
            ({"flags": IS_CLIENT}, errno.EDESTADDRREQ),
            ({"flags": IS_CLIENT, "remoteid": b"a b"}, errno.EINVAL),
            ({"flags": IS_CLIENT, "remoteid": b"\xff"}, errno.EINVAL),
            ({"flags": IS_CLIENT, "remoteid": local, "localid": b"@x.test"}, errno.EINVAL),
            ({"flags": 0, "remoteid": local}, errno.EINVAL),
            ({"flags": 0x1 | 0x4, "remoteid": local}, errno.EINVAL),
            ({"flags": 0x3, "remoteid": local}, BASE + 9),
            ({"flags": 0x3 | 0xC, "remoteid": local}, BASE + 9),
            ({"flags": IGNORING, "remoteid": b"a.test"}, errno.EINVAL),
            ({"flags": IS_CLIENT | 0x20000, "remoteid": local}, BASE + 19),
            ({"flags": IS_CLIENT | 0x200, "remoteid": local}, BASE + 9),
            ({"flags": IS_CLIENT | 0x100, "remoteid": local, "ipproto": 17}, BASE + 9),
            ({"flags": IS_CLIENT, "remoteid": local, "ipproto": 132}, BASE + 9),
            ({"flags": IGNORING, "localid": b"nobody.example.org"}, BASE + 22),
        ]
        for fields, number in table:
            self.assertEqual(await self._number(**fields), number, fields)

    async def test_eitherRoleIsThatWhichTheOtherHasNot(self) -> None:
        def story() -> Any:
            answer, plain, peer = self.meet(
                self.program(), 0x3 | 0x8, remoteid=str(SERVER).encode()
            )
            self.talk(plain, peer)
            return answer["remoteid"]

        self.assertEqual(await self.run_(story), str(SERVER).encode())

    async def test_twoProgramsOfThePoolTalkToEachOther(self) -> None:
        def story() -> Any:
            one, other = self.pair()
            found: list[Any] = []

            def serve() -> None:
                found.append(self.program().startTLS(one, flags=IS_SERVER | 0x10000))

            thread = threading.Thread(target=serve)
            thread.start()
            answer, client = self.program().startTLS(
                other,
                flags=IS_CLIENT,
                localid=str(CLIENT).encode(),
                remoteid=str(SERVER).encode(),
            )
            thread.join()
            served, server = found[0]
            client.sendall(b"x" * 1_000_000)
            client.shutdown(socket.SHUT_WR)
            got = Plain(server).read(2_000_000)
            client.close()
            server.close()
            assert isinstance(got, bytes)
            return len(got), answer["remoteid"], served["localid"], served["remoteid"]

        server, client = str(SERVER).encode(), str(CLIENT).encode()
        self.assertEqual(await self.run_(story), (1_000_000, server, server, client))

    async def test_oneConnectionHasManyRequestsAtATime(self) -> None:
        """Four threads, twenty requests, eight of them refused."""

        def story() -> Any:
            library = self.program()
            frames: dict[int, list[bytes]] = {each: [] for each in range(20)}
            news = threading.Condition()
            found: dict[int, Any] = {}

            def hear() -> None:
                while frame := library.receive():
                    with news:
                        frames[struct.unpack_from("=H", frame)[0]].append(frame)
                        news.notify_all()

            def work(reqids: list[int]) -> None:
                for reqid in reqids:
                    one = _OfOne(library, reqid, frames[reqid], news)
                    remote = b"evil.example.org" if reqid % 5 in (1, 3) else str(SERVER).encode()
                    sock, theirs = self.pair()
                    peer = threading.Thread(target=self._serve, args=(theirs,))
                    peer.start()
                    try:
                        _, plain = one.startTLS(sock, flags=IS_CLIENT, remoteid=remote, reqid=reqid)
                    except Refused as refused:
                        found[reqid] = refused.number
                    else:
                        plain.sendall(b"hello")
                        found[reqid] = plain.recv(5)
                        plain.close()
                    peer.join()

            hearing = threading.Thread(target=hear)
            hearing.start()
            workers = [
                threading.Thread(target=work, args=([*range(each, 20, 4)],)) for each in range(4)
            ]
            for each in workers:
                each.start()
            for each in workers:
                each.join()
            library.sock.shutdown(socket.SHUT_RDWR)
            hearing.join()
            return found

        found = await self.run_(story)
        self.assertEqual(sorted(found), [*range(20)])
        self.assertEqual([*found.values()].count(BASE + 24), 8)
        self.assertEqual([*found.values()].count(b"hello"), 12)

    def _serve(self, theirs: socket.socket) -> None:
        peer = self.peer(theirs, False)
        try:
            peer.handshake()
            data = peer.read(5)
            assert isinstance(data, bytes)
            peer.write(data)
        except (OSError, SSL.Error):
            pass

    async def test_packetsCarryMegabytes(self) -> None:
        """As the TLS Pool's own test server hands over such a socket."""

        def story() -> Any:
            library = self.program()
            sock, theirs = self.pair()
            peer = self.peer(theirs, False)
            thread = threading.Thread(target=peer.handshake)
            thread.start()
            library.send(
                build(STARTTLS, cmd=0x24, flags=IS_CLIENT, remoteid=str(SERVER).encode()),
                sock.fileno(),
            )
            question = library.receive()
            sock.close()
            ours, plain = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            library.send(question, plain.fileno())
            library.receive()
            plain.close()
            thread.join()
            for _ in range(20):
                ours.send(b"a" * 50_000)
            assert peer.read(1_000_000) == b"a" * 1_000_000
            sending = threading.Thread(target=peer.write, args=(b"b" * 1_000_000,))
            sending.start()
            got = 0
            while got < 1_000_000:
                got += len(ours.recv(8192))
            sending.join()
            peer.end()
            assert ours.recv(10) == b""
            ours.close()

        await self.run_(story)

    async def test_aCutConnectionIsNoCleanEnd(self) -> None:
        """Where the plaintext can show it."""

        def story() -> Any:
            _, plain, peer = self.meet(self.program(), IS_CLIENT, remoteid=str(SERVER).encode())
            plain.write(b"x")
            assert peer.read(1) == b"x"
            peer.truncate()
            return plain.read(1)

        self.assertIs(await self.run_(story), Reset)


class _OfOne(Library):
    """
    One of several threads that share a connection.
    """

    def __init__(
        self, library: Library, reqid: int, frames: list[bytes], news: threading.Condition
    ) -> None:
        super().__init__(library.sock)
        self._reqid = reqid
        self._frames = frames
        self._news = news

    def receive(self) -> bytes:
        """The next frame about our request."""
        with self._news:
            assert self._news.wait_for(lambda: self._frames, 20)
            return self._frames.pop(0)


class KnowledgeTests(V2TLSTests):
    """
    What both ends know, and what certificates say.
    """

    async def test_bothEndsHaveTheSameKeyingMaterial(self) -> None:
        """With a context, with an empty one, and without."""

        def story() -> Any:
            library = self.program()
            for version in None, SSL.TLS1_2_VERSION:
                key = os.urandom(16)
                _, plain, peer = self.meet(
                    library, IS_CLIENT, version=version, remoteid=str(SERVER).encode(), ctlkey=key
                )
                label = b"EXPORTER-Channel-Binding"
                for context in None, b"", b"context":
                    asked = library.ask(
                        PRNG,
                        cmd=0x2B,
                        labelBytes=len(label),
                        contextBytes=-1 if context is None else len(context),
                        wantedBytes=48,
                        buffer=key + label + (context or b""),
                    )
                    theirs = peer.tls.export_keying_material(label, 48, context)
                    assert asked["buffer"] == theirs.ljust(350, b"\0"), (version, context)
                plain.close()

        await self.run_(story)

    async def test_certificatesAndBindingsAreToldAndCompared(self) -> None:
        def story() -> Any:
            library = self.program()
            context_ = {"version": SSL.TLS1_2_VERSION, "ctlkey": KEY}
            _, plain, peer = self.meet(
                library, IS_SERVER, CLIENT, localid=str(SERVER).encode(), **context_
            )
            finished = peer.tls.get_finished()
            assert finished is not None
            found = self.tell(library)
            theirs = self.certificate(CLIENT)
            ours = self.certificate(SERVER)
            expected = {
                0x52800000: theirs.subject.public_bytes(),
                0x52800001: theirs.issuer.public_bytes(),
                0x52800002: self.alternatives(theirs),
                0x52800100: ours.subject.public_bytes(),
                0x52800101: ours.issuer.public_bytes(),
                0x52800102: self.alternatives(ours),
                0x59290000: finished,
                0x59290001: ours.fingerprint(hashes.SHA256()),
            }
            for kind, value in expected.items():
                said = library.ask(
                    INFO, cmd=0x2C, ctlkey=KEY, kind=kind, size=len(value), buffer=value
                )
                assert said["size"] == len(value)
            plain.close()
            return found, expected

        found, expected = await self.run_(story)
        self.assertEqual(found, expected)

    async def test_underTLS13ThereIsNoUniqueAndTheServerIsThePeer(self) -> None:
        def story() -> Any:
            library = self.program()
            _, plain, _ = self.meet(library, IS_CLIENT, remoteid=str(SERVER).encode(), ctlkey=KEY)
            found = self.tell(library)
            plain.close()
            return found

        found = await self.run_(story)
        self.assertEqual(found[0x59290000], BASE + 29)
        self.assertEqual(found[0x52800100], BASE + 29)
        self.assertEqual(found[0x59290001], self.certificate(SERVER).fingerprint(hashes.SHA256()))

    def tell(self, library: Library) -> dict[int, Any]:
        """All that there is to know."""
        found: dict[int, Any] = {}
        for kind in (*range(0x52800000, 0x52800003), *range(0x52800100, 0x52800103)):
            found[kind] = self.info(library, kind)
        for kind in 0x59290000, 0x59290001:
            found[kind] = self.info(library, kind)
        return found

    def info(self, library: Library, kind: int) -> Any:
        """What it is, or the number of an error."""
        try:
            said = library.ask(INFO, cmd=0x2C, ctlkey=KEY, kind=kind, size=0xFFFF)
        except Refused as refused:
            return refused.number
        return said["buffer"][: said["size"]]

    def certificate(self, identity: Identity) -> x509.Certificate:
        """That of the pool."""
        path = self.pool.path / str(identity) / "fullchain.pem"
        return x509.load_pem_x509_certificate(path.read_bytes())

    def alternatives(self, certificate: x509.Certificate) -> bytes:
        """Its names, in DER."""
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return found.value.public_bytes()
