"""
Programs of many users at once, in the pool's own protocol: each sees only what is its own, and
none holds up the others.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.loopback import SERVER
from tests.poolservice.programs import NativeTests, parse
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity

#: How many users there are, and the number of the first.
USERS = 50
FIRST = 31000

#: A process that is a user, and asks for two identities: its own, and that of another.
_USER = """
import os, socket, sys
path, uid, mine, other = sys.argv[1:]
os.setgroups([])
os.setresgid(int(uid), int(uid), int(uid))
os.setresuid(int(uid), int(uid), int(uid))
control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
control.connect(path)
control.settimeout(30)
for local in mine, other:
    one, peer = socket.socketpair()
    text = f"tls\\nrole=server\\nlocal={local}\\n"
    socket.send_fds(control, [text.encode()], [one.fileno()])
    one.close()
    peer.shutdown(socket.SHUT_WR)
    print(control.recv(65536).decode().split("\\n")[1])
    peer.close()
"""


class UserTests(NativeTests):
    """
    Many of them.
    """

    async def test_eachOfManyUsersSeesOnlyItsOwn(self) -> None:
        """
        All at the same time.
        """
        if os.geteuid():
            raise SkipTest("only root can be somebody else")
        directory = Path(self.path).parent
        directory.chmod(0o755)
        Path(self.path).chmod(0o666)
        several = [Identity(None, f"host{number}.example.org") for number in range(USERS)]
        for number, identity in enumerate(several):
            createIdentity(self.pool, identity)
            users = self.pool.path / str(identity) / "users"
            users.write_text(f"user {FIRST + number}\n")

        def run() -> list[str]:
            running = []
            for number, identity in enumerate(several):
                other = several[(number + 1) % USERS]
                words = [self.path, str(FIRST + number), str(identity), str(other)]
                running.append(
                    subprocess.Popen(
                        [sys.executable, "-c", _USER, *words], stdout=subprocess.PIPE, text=True
                    )
                )
            return [each.communicate(timeout=50)[0] for each in running]

        for said in await self.inThread(run):
            # That its client ends before it has said anything is another matter.
            mine, other = said.split()
            self.assertIn(mine, ("reason=tls", "reason=closed"))
            self.assertEqual(other, "reason=not-yours")

    async def test_whomAUserMayNotBeIsNotSaidToBeThere(self) -> None:
        """
        Nor may it show whom the rules do not show there.
        """
        client = Identity(None, "client.example.org")
        createIdentity(self.pool, client)
        disclose = self.pool.path / "disclose"
        disclose.mkdir()
        (disclose / "server.example.org.txt").write_text("-\n")
        program = self.program()

        def run() -> Any:
            program.tls(self.pair()[0], role="client", remote=SERVER, local=client)
            return program.refused()

        reason, detail = await self.inThread(run)
        self.assertEqual(reason, "not-disclosed")
        self.assertIn("client.example.org", detail)

    async def test_whoeverFloodsHoldsUpNobody(self) -> None:
        """
        Neither with questions, nor with nonsense, nor with descriptors.
        """
        over = threading.Event()

        def flood(data: bytes, *descriptors: int) -> None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.connect(self.path)
                sock.settimeout(1)
                while not over.is_set():
                    try:
                        socket.send_fds(sock, [data], list(descriptors))
                        sock.recv(65536)
                    except OSError:
                        return

        def run() -> list[float]:
            with open(os.devnull) as file:  # noqa: PTH123
                threads = [
                    threading.Thread(target=flood, args=each)
                    for each in (
                        (b"hello\n",),
                        (b"\xff",),
                        (b"",),
                        (b"tls\nrole=client\n", *[file.fileno()] * 20),
                    )
                ]
                for each in threads:
                    each.start()
                program = self.program()
                times = []
                for _ in range(50):
                    began = time.monotonic()
                    program.send("hello")
                    assert parse(program.sock.recv(65536))[0] == "ok"
                    times.append(time.monotonic() - began)
                over.set()
                for each in threads:
                    each.join()
            return times

        times = sorted(await self.inThread(run))
        self.assertLess(times[len(times) // 2], 1.0)
