"""
Whole hand-overs in the pool's own protocol, over real sockets: L{tlstunnel.poolservice.native}.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.logger import capturedLogs, formatEvent

from tests.loopback import (
    CLIENT,
    SERVER,
    Encrypted,
    Plain,
    Reset,
    readUntil,
    smtpClient,
    smtpServer,
)
from tests.poolservice.programs import NativeTests
from tests.poolservice.test_control import turns, until
from tests.poolservice.test_descriptors import MISTAKES, evil, setLinger
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.poolservice.handover import HandOver
from tlstunnel.poolservice.messages import MESSAGE_BYTES
from tlstunnel.poolservice.preparations import Preparations
from tlstunnel.protocols.nats import HANDSHAKE_FIRST
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.limits import Limits

Fields = dict[str, Any]

AS_CLIENT: Fields = {"role": "client", "remote": SERVER}
AS_SERVER: Fields = {"role": "server", "local": SERVER}


def exchange(network: Encrypted, plain: socket.socket) -> None:
    """
    Some bytes each way.
    """
    plain.sendall(b"hello")
    assert network.read(5) == b"hello"
    network.write(b"world")
    assert plain.recv(5) == b"world"


def longestWaitOf(program: Any) -> float:
    """
    How long a program waits at most for an answer, within two seconds.
    """
    longest = 0.0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        began = time.monotonic()
        assert program.ask("hello")[0] == "ok"
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.05)
    return longest


class CourseTests(NativeTests):
    """
    From C{tls} to C{end}.
    """

    async def test_aClientGetsPlaintextAndIdentities(self) -> None:
        """
        Of either kind of socket; and a clean end is told as such.
        """
        for kind, family in (("unix", socket.AF_UNIX), ("tcp", socket.AF_INET)):
            program = self.program()

            def run() -> Any:
                network = self.handedOver(program, **AS_CLIENT, plain=kind, alpn="h2,http/1.1")  # noqa: B023
                fields, plain = program.taken()  # noqa: B023
                with plain:
                    exchange(network, plain)
                    network.end()
                    assert plain.recv(1) == b""
                    reason = program.howEnded()  # noqa: B023
                    plain.sendall(b"more")
                    assert network.read(4) == b"more"
                assert network.atEnd()
                return fields, plain.family, reason

            fields, found, reason = await self.inThread(run)
            self.assertEqual((found, reason), (family, "closed"))
            self.assertEqual(
                list(fields),
                ["local", "remote", "name", "version", "suite", "group", "alpn", "sni"],
            )
            self.assertEqual(fields["local"], "")
            self.assertEqual(fields["remote"], str(SERVER))
            self.assertEqual(fields["name"], str(SERVER))
            self.assertEqual(fields["version"], "TLSv1.3")
            self.assertTrue(fields["suite"] and fields["group"])
            await until(lambda: not self.handOvers.open)

    async def test_aClientShowsWhomItAsksToBe(self) -> None:
        """
        And only then, if the server asks: it is told the same.
        """
        cases = ((CLIENT, True), ("-", True), (None, True), (CLIENT, False))
        for local, asks in cases:
            program = self.program()
            asked: Fields = {} if local is None else {"local": local}

            def run() -> Any:
                ours, theirs = self.pair()
                program.tls(ours, **AS_CLIENT, **asked)  # noqa: B023
                context = self.context(False)
                context.set_verify(SSL.VERIFY_PEER if asks else SSL.VERIFY_NONE)  # noqa: B023
                network = Encrypted(theirs, context, False)
                network.handshake()
                fields, plain = program.taken()  # noqa: B023
                with plain:
                    exchange(network, plain)
                shown = network.tls.get_peer_certificate()
                return fields["local"], shown is not None

            isShown = local is CLIENT and asks
            found = await self.inThread(run)
            self.assertEqual(found, (str(CLIENT) if isShown else "", isShown))

    async def test_aServerIsWhomItsClientAsksFor(self) -> None:
        """
        Where it does not say who it is.
        """
        createIdentity(self.pool, Identity(None, "other.example.org"))
        several: tuple[Fields, ...] = ({}, {"local": SERVER})
        for asked in several:
            program = self.program()

            def run() -> Any:
                network = self.handedOver(program, role="server", **asked)  # noqa: B023
                fields, plain = program.taken()  # noqa: B023
                with plain:
                    exchange(network, plain)
                return fields

            fields = await self.inThread(run)
            self.assertEqual(fields["local"], str(SERVER))
            self.assertEqual(fields["sni"], str(SERVER))
            self.assertEqual((fields["remote"], fields["name"]), ("", ""))

    async def test_aServerKnowsItsClients(self) -> None:
        """
        Where they show who they are, or have to.
        """
        table: tuple[tuple[Fields, Identity | None, str], ...] = (
            ({"client": "request"}, CLIENT, str(CLIENT)),
            ({"client": "request"}, None, ""),
            ({"client": "require"}, CLIENT, str(CLIENT)),
            ({"remote": "@example.org"}, CLIENT, str(CLIENT)),
            ({"client": "ignore"}, CLIENT, ""),
        )
        for asked, showing, remote in table:
            program = self.program()

            def run() -> Any:
                network = self.handedOver(program, showing=showing, **AS_SERVER, **asked)  # noqa: B023
                fields, plain = program.taken()  # noqa: B023
                with plain:
                    exchange(network, plain)
                return fields["remote"], fields["name"]

            with self.subTest(asked=asked):
                self.assertEqual(await self.inThread(run), (remote, remote))

    async def test_smtpIsDoneForTheClient(self) -> None:
        """
        Its program is greeted inside TLS.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, smtpServer, **AS_CLIENT, starttls="smtp")
            fields, plain = program.taken()
            with plain:
                greeting = readUntil(plain, b"\n")
                plain.sendall(b"NOOP\r\n")
                return fields["remote"], greeting[:4], network.read(6)

        self.assertEqual(await self.inThread(run), (str(SERVER), b"220 ", b"NOOP\r\n"))

    async def test_smtpIsDoneForTheServer(self) -> None:
        """
        Its program greets as a backend does.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, smtpClient, **AS_SERVER, starttls="smtp")
            _, plain = program.taken()
            with plain:
                plain.sendall(b"220 program\r\n")
                network.write(b"EHLO x\r\n")
                said = plain.recv(100)
                plain.sendall(b"250 program\r\n")
                return said, network.read(13)

        self.assertEqual(await self.inThread(run), (b"EHLO x\r\n", b"250 program\r\n"))

    async def test_mysqlNeedsItsProgramBeforeTLS(self) -> None:
        """
        The plaintext socket comes first, and the identities later.
        """
        program = self.program()
        # Protocol 10, a version, and that there is TLS (CLIENT_PROTOCOL_41, CLIENT_SSL).
        flags = 0x0200 | 0x0800 | 0x8000
        greeting = (
            b"\x0a8.0\0" + struct.pack("<I", 1) + b"a" * 8 + b"\0"
            + struct.pack("<H", flags) + b"\x21" + struct.pack("<H", 2)
            + struct.pack("<H", 0x0008) + b"\x15" + bytes(10) + b"b" * 12 + b"\0"
            + b"mysql_native_password\0"
        )  # fmt: skip

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_SERVER, starttls="mysql", remote="@example.org")
            verb, fields, plain = program.whole()
            assert (verb, fields) == ("plain", {}) and plain is not None
            with plain:
                plain.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
                heard = theirs.recv(1000)
                assert heard[4:9] == b"\x0a8.0\0"
                request = struct.pack("<IIB", flags | 0x00080000, 1 << 24, 0x21) + bytes(23)
                theirs.sendall(len(request).to_bytes(3, "little") + b"\x01" + request)
                network = self.peer(theirs, True, CLIENT)
                network.handshake()
                return program.answer()

        verb, fields = await self.inThread(run)
        self.assertEqual((verb, fields["remote"]), ("ok", str(CLIENT)))

    async def test_withTLSFirstItsProgramComesAfterIt(self) -> None:
        """
        Whatever the dialect does without its option: the answer has all at once.
        """
        tunnel = Preparations._tunnel

        def optional(*words: Any) -> Tunnel:
            return replace(tunnel(*words), options=frozenset((HANDSHAKE_FIRST,)))

        self.patch(Preparations, "_tunnel", optional)
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, **AS_SERVER, starttls="nats")
            fields, plain = program.taken()
            with plain:
                plain.sendall(b"INFO {}\r\n")
                return fields["local"], network.read(5)

        self.assertEqual(await self.inThread(run), (str(SERVER), b"INFO "))

    async def test_whatIsKnownCanBeAskedFor(self) -> None:
        """
        Keying material, which is the same at both ends; certificates; and what there is.
        """
        program = self.program()
        label = "EXPORTER-Channel-Binding"

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            with plain:
                for context, length in (None, 32), (b"", 32), (b"\x01\xff", 32), (None, 8160):
                    asked: Fields = {} if context is None else {"context": context.hex()}
                    answer = program.ask("export", label=label, length=length, **asked)
                    there = network.tls.export_keying_material(label.encode(), length, context)
                    assert answer == ("ok", {"material": there.hex()})
                program.send("certificate")
                verb, _, text = program.sock.recv(65536).partition(b"\n\n")
                hello = program.ask("hello")
            return verb, text, hello

        verb, text, hello = await self.inThread(run)
        self.assertEqual(verb, b"ok")
        found = x509.load_pem_x509_certificates(text)
        whole = (self.pool.path / str(SERVER) / "fullchain.pem").read_bytes()
        self.assertEqual(found[0], x509.load_pem_x509_certificates(whole)[0])
        self.assertEqual(hello[1]["verbs"], "tls export certificate hello")
        self.assertTrue(hello[1]["server"].startswith("tlstunnel "))

    async def test_ofManyCertificatesThoseAreToldThatFit(self) -> None:
        """
        Into one message, the peer's own first.
        """
        program = self.program()
        certificates = HandOver.certificates
        self.patch(HandOver, "certificates", lambda each: 1000 * certificates(each))

        def run() -> Any:
            self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            with plain:
                program.send("certificate")
                return program.sock.recv(2 * MESSAGE_BYTES)

        answer = await self.inThread(run)
        verb, _, text = answer.partition(b"\n\n")
        self.assertEqual(verb, b"ok")
        found = x509.load_pem_x509_certificates(text)
        self.assertLessEqual(len(answer), MESSAGE_BYTES)
        self.assertGreater(len(answer) + len(text) // len(found), MESSAGE_BYTES)

    async def test_whoHasShownNothingHasNoCertificate(self) -> None:
        """
        The answer has none.
        """
        program = self.program()

        def run() -> Any:
            self.handedOver(program, **AS_SERVER)
            _, plain = program.taken()
            with plain:
                program.send("certificate")
                return program.sock.recv(65536)

        self.assertEqual(await self.inThread(run), b"ok\n")

    async def test_severalVerbsCanBePipelined(self) -> None:
        """
        What comes behind C{tls} is answered behind it.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.send("hello")
            program.tls(ours, **AS_CLIENT)
            program.send("export", label="EXPORTER-x", length=8)
            program.send("certificate")
            assert program.answer()[0] == "ok"
            network = self.peer(theirs, False)
            network.handshake()
            _, plain = program.taken()
            with plain:
                return program.answer()[1], program.answer()[0]

        fields, verb = await self.inThread(run)
        self.assertEqual((len(fields["material"]), verb), (16, "ok"))


class EndTests(NativeTests):
    """
    How it ends, and who is told.
    """

    async def test_truncationIsToldAndATCPSocketIsReset(self) -> None:
        """
        A UNIX socket ends, as C{end} says that this was not all; once something was said on it, it
        is reset as well.
        """
        for kind, speaks, seen in (
            ("unix", False, b""),
            ("unix", True, Reset),
            ("tcp", False, Reset),
            ("tcp", True, Reset),
        ):
            program = self.program()

            def run() -> Any:
                network = self.handedOver(program, **AS_CLIENT, plain=kind)  # noqa: B023
                _, plain = program.taken()  # noqa: B023
                with plain:
                    if speaks:  # noqa: B023
                        plain.sendall(b"GET")
                        assert network.read(3) == b"GET"
                    network.write(b"half")
                    assert plain.recv(4) == b"half"
                    network.truncate()
                    return Plain(plain).read(1), program.howEnded()  # noqa: B023

            with self.subTest(kind=kind, speaks=speaks):
                self.assertEqual(await self.inThread(run), (seen, "truncated"))
        self.assertEqual(len(self.handOvers.unixLegs.hold), 0)

    async def test_whyItEndedIsToldInWords(self) -> None:
        """
        In TLS 1.3 a server refuses a client after the handshake of that.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_CLIENT, minimum="1.3")
            context = self.context(False)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
            with contextlib.suppress(SSL.Error):
                Encrypted(theirs, context, False).handshake()
            _, plain = program.taken()
            with plain:
                return program.answer()

        alert = "the server refused us (alert: certificate_required)"
        self.assertEqual(await self.inThread(run), ("end", {"reason": "tls", "detail": alert}))

    async def test_whoeverDoesNotWaitForTheEndIsNotToldThatThisWasAll(self) -> None:
        """
        Its UNIX socket stays open, as that of a backend does, until it says something.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            program.close()
            with plain:
                network.write(b"half")
                assert plain.recv(4) == b"half"
                network.truncate()
                plain.settimeout(0.3)
                try:
                    return plain.recv(1)
                except TimeoutError:
                    plain.settimeout(20)
                    plain.sendall(b"x")
                    return Plain(plain).read(1)

        self.assertIs(await self.inThread(run), Reset)

    async def test_theEndIsToldAlthoughTheProgramHasClosedItsSocket(self) -> None:
        """
        Once.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            plain.close()
            assert network.atEnd()
            network.write(b"late")
            network.end()
            network.sock.shutdown(socket.SHUT_WR)
            reason = program.howEnded()
            verb, fields = program.ask("export", label="x", length=1)
            return reason, verb, fields["reason"]

        self.assertEqual(await self.inThread(run), ("closed", "error", "gone"))

    async def test_aResetIsTold(self) -> None:
        """
        By its name.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            with plain:
                network.reset()
                return program.howEnded()

        self.assertIn(await self.inThread(run), ("reset", "truncated"))

    async def test_toCloseTheControlConnectionEndsNothing(self) -> None:
        """
        And the slot is free only when the connection has ended as well.
        """
        self.quotas.perUser = 1
        program, other = self.program(), None

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            program.close()
            exchange(network, plain)
            return network, plain

        network, plain = await self.inThread(run)
        self.assertEqual(len(self.quotas), 1)
        plain.close()
        await self.inThread(network.atEnd)
        network.close()
        await until(lambda: len(self.quotas) == 0)
        self.assertEqual(self.programs.open, set())
        self.assertIsNone(other)

    async def test_aStopIsTold(self) -> None:
        """
        Whoever is served then knows why it ends.
        """
        program = self.program()

        def run() -> Any:
            self.handedOver(program, **AS_CLIENT)
            return program.taken()[1]

        plain = await self.inThread(run)
        self.addCleanup(plain.close)
        await self.handOvers.stop()
        self.assertEqual(await self.inThread(program.howEnded), "stopped")
        self.programs.close()
        self.assertEqual(await self.inThread(lambda: program.sock.recv(1)), b"")

    async def test_theControlConnectionIsLeftAfterTheEnd(self) -> None:
        """
        What it was told can still be read then.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            plain.close()
            network.end()
            network.read(1)
            network.close()

        await self.inThread(run)
        await until(lambda: not self.handOvers.open)
        (served,) = self.programs.open
        served.close()
        await until(lambda: not self.programs.open)
        self.assertEqual(await self.inThread(program.howEnded), "closed")
        self.assertEqual(await self.inThread(lambda: program.sock.recv(1)), b"")


class RefusalTests(NativeTests):
    """
    Whoever does not get what it asks for.
    """

    perUser = 20

    async def test_whatIsNoConnectionIsRefused(self) -> None:
        """
        The table of what may be handed over; and each time another may be tried.
        """
        program = self.program()

        def run() -> Any:
            found = {}
            for what, (make, words) in MISTAKES.items():
                descriptor = make()
                program.send("tls", descriptor, **AS_CLIENT)
                os.close(descriptor)
                found[what] = *program.refused(), words
            for count in (0, 3, 60):
                descriptor = os.open("/dev/null", os.O_RDONLY)
                program.send("tls", *[descriptor] * count, **AS_CLIENT)
                os.close(descriptor)
                found[str(count)] = *program.refused(), f"not {count or 'none'}"
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            with plain:
                exchange(network, plain)
            return found

        for what, (reason, detail, words) in (await self.inThread(run)).items():
            with self.subTest(what=what):
                self.assertEqual(reason, "not-connected")
                self.assertIn(words, detail)

    async def test_whatIsAskedWronglyIsRefused(self) -> None:
        """
        Each in its words, and the connection goes on.
        """
        program = self.program()
        table: list[tuple[bytes, int, str, str]] = [
            (b"\xff\n", 0, "syntax", "not UTF-8"),
            (b"x" * 150_000, 0, "syntax", "more than 65536 bytes"),
            (b"helo\n", 0, "syntax", "did you mean hello?"),
            (b"quit\n", 0, "syntax", "there are tls, export, certificate, hello"),
            (b"hello\n", 1, "syntax", "no descriptor may come with hello"),
            (b"hello\na=b\n", 0, "syntax", "hello has no field a=; there are: none"),
            (b"export\nlabl=b\n", 0, "syntax", "there are: label=, context=, length="),
            (b"export\nlabel=x\nlength=1\n", 0, "syntax", "ask for tls first"),
            (b"certificate\n", 0, "syntax", "ask for tls first"),
            (b"export\nlength=1\n", 0, "syntax", "add label="),
            (b"export\nlabel=x\n", 0, "syntax", "add length="),
            (b"export\nlabel=x\nlength=0\n", 0, "syntax", "add length="),
            (b"export\nlabel=x\nlength=8161\n", 0, "syntax", "from 1 to 8160"),
            (b"export\nlabel=x\nlength=1\ncontext=abc\n", 0, "syntax", "two digits for each byte"),
            (b"tls\nrole=client\n", 1, "no-remote", "add remote="),
            (b"tls\nrole=server\nlocal=-\n", 1, "syntax", "has to be somebody"),
            (b"tls\nrole=client\nremote=a.test\nq=1\n", 1, "syntax", "no field q="),
            (b"tls\nrole=client\nremote=a.test\nlocal=b.test\n", 1, "config", "b.test"),
            (b"tls\nrole=server\nlocal=b.test\n", 1, "config", "b.test"),
        ]

        def run() -> Any:
            found = []
            for data, count, _, _ in table:
                ours, theirs = self.pair()
                socket.send_fds(program.sock, [data], [ours.fileno()] * count)
                ours.close()
                found.append(program.refused())
                if count:
                    # It is closed, whatever was wrong.
                    assert theirs.recv(1) == b""
            assert program.ask("hello")[0] == "ok"
            return found

        for (data, _, reason, words), refused in zip(table, await self.inThread(run), strict=True):
            with self.subTest(data=data[:40]):
                self.assertEqual(refused[0], reason)
                self.assertIn(words, refused[1])

    async def test_whoeverIsNotWhoItHasToBeIsRefused(self) -> None:
        """
        The program is told what was there, and gets no plaintext.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, role="client", remote="shop.example.org")
            try:
                self.peer(theirs, False).handshake()
            except (SSL.Error, ConnectionError):
                pass
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "identity")
        self.assertIn("server.example.org", detail)

    async def test_aClientWithoutACertificateIsRefused(self) -> None:
        """
        Where it has to have one.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_SERVER, client="require")
            try:
                network = self.peer(theirs, True)
                network.handshake()
                network.read(1)
            except (SSL.Error, ConnectionError):
                pass
            return program.refused()[0]

        self.assertIn(await self.inThread(run), ("identity", "tls"))

    async def test_whoeverSpeaksNoTLSIsRefused(self) -> None:
        """
        Also in the words of its protocol.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_CLIENT)
            theirs.sendall(b"220 mx ESMTP\r\n")
            first = program.refused()[0]
            ours, theirs = self.pair()
            program.tls(ours, **AS_CLIENT, starttls="smtp")
            theirs.sendall(b"220 mx ESMTP\r\n")
            readUntil(theirs, b"\n")
            theirs.sendall(b"250 mx\r\n")
            readUntil(theirs, b"\n")
            theirs.sendall(b"502 no\r\n")
            second = program.refused()[0]
            ours, theirs = self.pair()
            program.tls(ours, **AS_CLIENT)
            theirs.close()
            return first, second, program.refused()[0]

        first, second, third = await self.inThread(run)
        self.assertEqual((first, second), ("foreign-protocol", "refused"))
        self.assertIn(third, ("tls", "closed", "truncated", "reset"))

    async def test_aProgramHasItsOwnTimeLimit(self) -> None:
        """
        Which is never more than that of the service.
        """
        program = self.program()

        def run() -> Any:
            ours, _ = self.pair()
            program.tls(ours, **AS_CLIENT, timeout=1)
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "timeout")
        self.assertIn("1 s", detail)
        limits = Limits(handshake=0.2)
        self.handOvers.use(replace(self.handOvers.description, limits=limits))

        def again() -> Any:
            ours, _ = self.pair()
            program.tls(ours, **AS_CLIENT, timeout=60)
            return program.refused()

        self.assertEqual((await self.inThread(again))[0], "timeout")

    async def test_whatCanBeDoneIsTold(self) -> None:
        """
        By the fields that a program has.
        """
        program = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            program.tls(ours, **AS_SERVER, client="require")
            network = self.peer(theirs, True)
            with contextlib.suppress(SSL.Error, OSError):
                network.handshake()
                network.read(1)
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "tls")
        self.assertEqual(
            detail,
            "the client has shown no certificate; let the client show a certificate, or the "
            "program leave out remote= and say client=request",
        )

    async def test_oneControlConnectionServesOne(self) -> None:
        """
        Another one is refused, and the first goes on; also after its end.
        """
        program = self.program()

        def run() -> Any:
            network = self.handedOver(program, **AS_CLIENT)
            _, plain = program.taken()
            program.tls(self.pair()[0], **AS_CLIENT)
            first = program.refused()
            exchange(network, plain)
            plain.close()
            network.end()
            network.read(1)
            network.close()
            program.howEnded()
            program.tls(self.pair()[0], **AS_CLIENT)
            return first, program.refused()

        for reason, detail in await self.inThread(run):
            self.assertEqual(reason, "syntax")
            self.assertIn("connect again", detail)

    async def test_whoeverHasTooMuchIsTold(self) -> None:
        """
        As the answer to what it asks; and others are served.
        """
        programs = [self.program() for _ in range(self.perUser)]
        await self.inThread(lambda: [each.ask("hello") for each in programs])
        more = self.program()

        def run() -> Any:
            ours, theirs = self.pair()
            more.tls(ours, **AS_CLIENT)
            refused = more.refused()
            assert theirs.recv(1) == b""
            assert more.sock.recv(1) == b""
            return refused

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "limit")
        self.assertIn(f"has {self.perUser} connections here already", detail)
        programs[0].close()
        await until(lambda: len(self.programs.open) < self.perUser)
        self.assertEqual(await self.inThread(lambda: self.program().ask("hello")[0]), "ok")

    async def test_whatIsSaidGoesCutIntoTheLog(self) -> None:
        """
        Programs must not fill it.
        """
        program = self.program()

        def run() -> None:
            program.tls(self.pair()[0], role="client", remote="a." * 30_000)
            program.refused()

        with capturedLogs() as events:
            await self.inThread(run)
        lengths = [len(formatEvent(each)) for each in events]
        self.assertTrue(100 < max(lengths) < 3000, lengths)

    async def test_notEvenThoseWhoAreTurnedAwayHaveNoLimit(self) -> None:
        """
        More of them are closed without a word.
        """
        self.quotas.perUser = 1
        programs = [self.program() for _ in range(120)]
        await until(lambda: len(self.programs._turnedAway) == 100)

        def run() -> Any:
            return [each.sock.recv(1) for each in programs[-5:]]

        self.assertEqual(await self.inThread(run), [b""] * 5)
        for each in programs:
            each.close()
        await until(lambda: not self.programs._turnedAway)

    async def test_aPoolThatIsFullSaysSo(self) -> None:
        """
        The limit is that of all programs.
        """
        described = replace(self.handOvers.description, limits=Limits(connections=1))
        self.handOvers.use(described)
        first, second = self.program(), self.program()

        def run() -> Any:
            self.handedOver(first, **AS_CLIENT)
            plain = first.taken()[1]
            second.tls(self.pair()[0], **AS_CLIENT)
            with plain:
                return second.refused()[0]

        self.assertEqual(await self.inThread(run), "limit")

    async def test_aProgramThatIsGoneIsNotWaitedFor(self) -> None:
        """
        Its connection ends when it does, as nobody could get the plaintext.
        """
        program = self.program()
        ours, theirs = self.pair()
        program.tls(ours, **AS_CLIENT)
        await until(lambda: self.handOvers.open)
        program.close()
        await until(lambda: not (self.handOvers.open or self.programs.open))

        def run() -> Any:
            said = b""
            try:
                while piece := theirs.recv(65536):
                    said += piece
            except ConnectionResetError:
                pass
            return said[:1]

        self.assertEqual(await self.inThread(run), b"\x16")

    async def test_theProgramMayKeepACopy(self) -> None:
        """
        What it handed over ends nevertheless.
        """
        program = self.program()
        ours, theirs = self.pair()
        program.send("tls", ours.fileno(), **AS_CLIENT, q=1)
        self.assertEqual((await self.inThread(program.refused))[0], "syntax")
        self.assertEqual(await self.inThread(lambda: theirs.recv(1)), b"")
        ours.close()

    async def test_aSocketThatLingersHoldsUpNobody(self) -> None:
        """
        Although its program sets that when it has handed it over already.
        """
        program, other = self.program(), self.program()
        sock, peer = evil()
        self.addCleanup(peer.close)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def run() -> float:
            copy = sock.dup()
            program.tls(sock, **AS_SERVER, timeout=1)
            assert other.ask("hello")[0] == "ok"
            setLinger(copy)
            copy.close()
            assert program.refused()[0] == "timeout"
            return longestWaitOf(other)

        self.assertLess(await self.inThread(run), 1.0)

    async def test_aSocketThatIsMadeToBlockHoldsUpNobody(self) -> None:
        """
        Its program has a copy, and shares its flags; that is easily done by mistake.
        """
        program, other = self.program(), self.program()

        def run() -> float:
            ours, theirs = self.pair()
            copy = ours.dup()
            self.addCleanup(copy.close)
            program.tls(ours, **AS_CLIENT)
            assert other.ask("hello")[0] == "ok"
            network = self.peer(theirs, False)
            network.handshake()
            plain = program.taken()[1]
            self.addCleanup(plain.close)
            copy.setblocking(True)
            # A record of which the rest does not come.
            theirs.sendall(b"\x17\x03\x03")
            return longestWaitOf(other)

        self.assertLess(await self.inThread(run), 1.5)

    async def test_aBrokenKeyIsToldAsTheMistakeThatItIs(self) -> None:
        """
        It is the administrator's mistake, and the program is told whose.
        """
        path = Path(self.pool.path / str(CLIENT) / "privkey.pem")
        path.write_text("nonsense")
        path.chmod(0o600)
        program = self.program()

        def run() -> Any:
            program.tls(self.pair()[0], **AS_CLIENT, local=CLIENT)
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "config")
        self.assertIn("privkey.pem", detail)
        await turns()
