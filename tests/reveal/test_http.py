"""
The word C{http}: what a tunnel needs that has it.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.web import OK, Web, get
from tlstunnel.address import TCPAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.interfaces import ILeg
from tlstunnel.net.deadlines import Deadlines
from tlstunnel.protocols.registry import find
from tlstunnel.reveal import http as http_
from tlstunnel.reveal import httpdialogue
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.httpdialogue import Dialogue
from tlstunnel.tunnel.description import Mode, Tunnel
from tlstunnel.tunnel.prepared import Prepared
from tlstunnel.tunnel.servedname import ServedName

SERVER = Identity(None, "server.example.org")
ANYWHERE = TCPAddress("127.0.0.1", 1)


class TunnelTests(SynchronousTestCase):
    """
    A tunnel that has it.
    """

    def setUp(self) -> None:
        """
        A pool with one identity.
        """
        self.pool = Pool(Path(self.mktemp()), asked=False)
        createIdentity(self.pool, SERVER)

    def prepared(self, dialect: str = "none", **settings: Any) -> Prepared:
        """
        It is prepared.
        """
        told = Disclosure(words=("http",), **settings.pop("told", {}))
        return Prepared(
            Tunnel(
                Mode.SERVER,
                (),
                (ANYWHERE,),
                find(dialect),
                SERVER,
                pool=self.pool,
                disclosure=told,
                **settings,
            )
        )

    def refuses(self, *words: str, **settings: Any) -> None:
        """
        It is not, for a reason with these words.
        """
        error = self.assertRaises(ConfigurationError, self.prepared, **settings)
        for word in words:
            self.assertIn(word, str(error))

    def test_onlyHTTP1IsAgreedOn(self) -> None:
        """
        Nothing else can be read, so that clients must not come with it.
        """
        options = frozenset(["allow-upgrade-desync"])
        self.assertEqual(self.prepared().alpn, (b"http/1.1", b"http/1.0"))
        self.assertEqual(self.prepared("http", options=options).alpn, (b"http/1.1",))
        self.assertEqual(self.prepared(alpn=(b"http/1.0",)).alpn, (b"http/1.0",))
        self.assertEqual(self.prepared(alpn=()).alpn, ())

    def test_HTTP2CannotBeAskedFor(self) -> None:
        """
        Neither of the tunnel, nor under one of its names.
        """
        self.refuses("--alpn h2", "--reveal http", "http/1.1", alpn=(b"http/1.1", b"h2"))
        name = ServedName("www.example.org", alpn=(b"h2",))
        self.refuses("--alpn h2", names=(name,))

    def test_withoutH11ItSaysWhatToInstall(self) -> None:
        """
        It is an extra.
        """

        def missing(name: str) -> str:
            raise PackageNotFoundError(name)

        self.patch(http_, "version", missing)
        self.refuses("--reveal http", "h11", "which is not there", "install tlstunnel[http]")

    def test_noOldH11IsTaken(self) -> None:
        """
        It was not as strict as it has to be.
        """
        self.patch(http_, "version", lambda name: "0.14.0")
        self.refuses("needs h11 0.16 or later, of which 0.14 is there", "install tlstunnel[http]")
        self.patch(http_, "version", lambda name: "1.0")
        self.prepared()

    def test_namesAreCheckedAtOnce(self) -> None:
        """
        And not when somebody comes.
        """
        self.refuses("Via", "Client-Cert", told={"httpHeaders": {"Via": "X"}})

    def test_withoutItNothingIsTouched(self) -> None:
        """
        Any protocol may be agreed on, and none is by itself.
        """
        tunnel = Tunnel(Mode.SERVER, (), (ANYWHERE,), find("none"), SERVER, pool=self.pool)
        self.assertEqual(Prepared(tunnel).alpn, ())


class MemoryTests(SynchronousTestCase):
    """
    Connections leave nothing behind.
    """

    def test_noCircleIsLeft(self) -> None:
        """
        Whoever makes and ends many would fill the memory until somebody looks for circles.
        """
        made: list[weakref.ref[Dialogue]] = []

        class Noted(Dialogue):
            def __init__(self, client: ILeg, deadlines: Deadlines) -> None:
                super().__init__(client, deadlines)
                made.append(weakref.ref(self))

        self.patch(httpdialogue, "Dialogue", Noted)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for end in self.ENDS:
            web = Web()
            web.say(get())
            end(web)
            web.clock.advance(100)
            web.settle()
            self.assertTrue(web.ended)
            self.assertIs(made[-1](), None, end.__name__)

    @staticmethod
    def _well(web: Web) -> None:
        web.answer(OK)
        web.network.end()
        web.plain.end()

    @staticmethod
    def _refused(web: Web) -> None:
        web.answer(OK)
        web.say(b"what?\r\n")

    @staticmethod
    def _outOfStep(web: Web) -> None:
        web.answer(b"what?\r\n\r\n")

    @staticmethod
    def _reset(web: Web) -> None:
        web.network.reset()

    @staticmethod
    def _inNoChunks(web: Web) -> None:
        web.answer(OK)
        web.say(get(b"Transfer-Encoding: chunked") + b"what?\r\n")

    @staticmethod
    def _withinAResponse(web: Web) -> None:
        web.answer(OK)
        web.say(get(b"Transfer-Encoding: chunked"))
        web.answer(OK[:-1])
        web.say(b"what?\r\n")

    @staticmethod
    def _inAnotherCoding(web: Web) -> None:
        web.answer(OK)
        web.say(get(b"Transfer-Encoding: gzip"))

    ENDS: tuple[Callable[[Web], None], ...] = (
        _well,
        _refused,
        _outOfStep,
        _reset,
        _inNoChunks,
        _withinAResponse,
        _inAnotherCoding,
    )
