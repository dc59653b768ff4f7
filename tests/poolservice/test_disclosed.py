"""
Who programs that hand over connections are to servers, by the rules of the pool.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from tests.loopback import CLIENT, SERVER, Encrypted
from tests.poolservice.stage import ME, HandOverTests, Program
from tlstunnel.errors import TunnelError
from tlstunnel.identity.caller import Caller
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.poolservice.refusals import BadPool, NotForCaller, Undisclosed

#: A user of whom nothing else is known.
STRANGER = Caller(64001)


class DisclosedTests(HandOverTests):
    """
    Programs that are clients.
    """

    def rule(self, selector: str, *lines: object) -> None:
        """Write a rule."""
        self._write(self.pool.path / "disclose" / f"{selector}.txt", lines)

    def allow(self, identity: Identity, *lines: str) -> None:
        """Say who may use an identity."""
        self._write(self.pool.usersFile(identity), lines)

    def _write(self, file: Any, lines: Any) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"{each}\n" for each in lines))
        file.chmod(0o644)

    async def shown(self, caller: Caller = ME, asks: bool = True, **fields: Any) -> Identity | None:
        """Who a program is to the server, which asks for that or does not."""
        sock, theirs = self.pair()
        program = Program(self.handOvers, caller)
        handOver = self.handOvers.begin(program, self.wanted(True, **fields), sock)
        context = self.context(False)
        context.set_verify(SSL.VERIFY_PEER if asks else SSL.VERIFY_NONE)
        network = Encrypted(theirs, context, False)
        await deferToThread(network.handshake)
        await program.met
        found = handOver.local
        program.sock.close()
        handOver.end(TunnelError("the test is over"))
        await program.over
        return found

    def refused(self, kind: type[Exception], caller: Caller, **fields: Any) -> str:
        """A program that is refused."""
        sock, _ = self.pair()
        self.addCleanup(sock.close)
        begin = self.handOvers.begin
        program = Program(self.handOvers, caller)
        return str(self.assertRaises(kind, begin, program, self.wanted(True, **fields), sock))

    async def test_whomTheRuleShows(self) -> None:
        """To the programs of the user who may use it; those of others are nobody."""
        self.allow(CLIENT, "user 64001")
        self.rule(str(SERVER), CLIENT)
        self.assertEqual(await self.shown(STRANGER), CLIENT)
        self.assertIsNone(await self.shown(Caller(64002)))
        self.assertIsNone(await self.shown(STRANGER, isNobody=True))

    async def test_whoIsNotAskedIsNobody(self) -> None:
        """Whatever the rule, or the program, says."""
        self.rule(str(SERVER), CLIENT)
        for local in None, CLIENT:
            self.assertIsNone(await self.shown(asks=False, local=local))
            self.assertEqual(await self.shown(local=local), CLIENT)

    async def test_anotherRuleCountsAtOnce(self) -> None:
        """Nothing has to be reloaded."""
        self.rule(str(SERVER), CLIENT)
        self.assertEqual(await self.shown(), CLIENT)
        self.rule(str(SERVER), "-")
        self.assertIsNone(await self.shown())

    async def test_aPseudonym(self) -> None:
        """One for each user."""
        self.rule(".", "@example.test")
        first, second = await self.shown(STRANGER), await self.shown(Caller(64002))
        self.assertEqual(await self.shown(STRANGER), first)
        self.assertNotEqual(first, second)
        self.assertEqual(str(first).partition("@")[2], "example.test")

    def test_whatIsAskedFor(self) -> None:
        """It has to be theirs, and in the rule."""
        self.allow(CLIENT, "user 64001")
        self.rule(str(SERVER), "-")
        self.refused(NotForCaller, Caller(64002), local=CLIENT)
        said = self.refused(Undisclosed, STRANGER, local=CLIENT)
        self.assertIn(f"disclose --pool {self.pool.path} {SERVER}' shows what decides", said)

    def test_whatIsBrokenIsTold(self) -> None:
        """And refuses."""
        self.rule(str(SERVER), "non sense")
        self.assertIn("line 1", self.refused(BadPool, ME))
        self.rule(str(SERVER), CLIENT)
        self.allow(CLIENT, "non sense")
        self.assertIn("users, line 1", self.refused(BadPool, STRANGER))

    def test_anIdentityThatIsForOthers(self) -> None:
        """Whether it is there is not told."""
        createIdentity(self.pool, Identity.parse("carol@example.test"))
        for name in "carol", "dave":
            said = self.refused(NotForCaller, STRANGER, local=Identity(name, "example.test"))
            self.assertIn("user 64001 may not be", said)
            self.assertIn(f"allow --pool {self.pool.path} {name}@example.test user:64001", said)
