"""
What the log says of a tunnel when it is up, and as time goes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tlstunnel.errors import asLongOption, inWords
from tlstunnel.net.deadlines import Deadline
from tlstunnel.net.port import ListeningPort
from tlstunnel.program.mistakes import mistakes
from tlstunnel.program.problems import asKey
from tlstunnel.program.risks import farBackends, risks
from tlstunnel.proxy import ProxyFactory
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.notices import noticesOf

DAY_SECONDS = 86400.0


class Announcements:
    """
    Says it for one tunnel.
    """

    _log = Logger()

    def __init__(self, factory: ProxyFactory) -> None:
        """
        @param factory: what serves it.
        """
        self._factory = factory
        self._reactor = factory.reactor
        self._daily: Deadline | None = None
        self._isOver = False

    def stop(self) -> None:
        """
        Say nothing more.
        """
        self._isOver = True
        # It knows us, and nobody is to wait for the garbage collector.
        daily, self._daily = self._daily, None
        if daily is not None:
            daily.cancel()

    def announce(self, ports: Sequence[ListeningPort]) -> None:
        """
        Say that all is up, and what should be said of it.

        @param ports: where the tunnel listens.
        """
        tunnel = self._factory.tunnel
        prepared = self._factory.prepared
        self.notice(ports)
        self._noticeLater()
        for port in ports:
            self._log.info(
                "{mode} tunnel up: {local} to {remote}{through}, {how}, {who}, {whom}",
                event="start",
                log_system=tunnel.name or None,
                tunnel=tunnel.name or None,
                mode=tunnel.mode.value,
                local=port.name,
                remote=" or ".join(map(str, tunnel.remote)),
                through=f" via {tunnel.via}" if tunnel.via is not None else "",
                via=str(tunnel.via) if tunnel.via is not None else None,
                how=self._how(),
                dialect=tunnel.protocol,
                who=self._who(),
                local_id=str(tunnel.localID) if tunnel.localID else None,
                whom=self._whom(),
                expected=prepared.whom or None,
                client_expected=prepared.clients or None,
                anchors=prepared.anchors or None,
            )

    def _notice(self, sentence: str) -> None:
        name = self._factory.tunnel.name or None
        self._log.warn("{notice}", event="notice", tunnel=name, log_system=name, notice=sentence)

    def notice(self, ports: Sequence[ListeningPort]) -> None:
        """
        Say what should be said of the tunnel.

        @param ports: where it listens.
        """
        # Of sockets that were handed down only now the ports are known.
        local = tuple(port.address for port in ports)
        tunnel = replace(self._factory.tunnel, local=local)
        mention = asKey if tunnel.name else asLongOption
        probably = [each.inWords(mention) for each in mistakes(tunnel)]
        for notice in (*probably, *risks(self._factory.tunnel, local)):
            self._notice(inWords(notice, mention))
        self.warn()
        Deferred.fromCoroutine(self._noticeFarBackends()).addErrback(
            lambda failure: self._log.failure("looking up the backends failed", failure)
        )

    async def _noticeFarBackends(self) -> None:
        for notice in await farBackends(self._factory.tunnel, self._factory.hosts):
            if not self._isOver:
                self._notice(notice)

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)

    def _noticeLater(self) -> None:
        """
        Look once a day how long our certificate will still be good.
        """
        before = self._today()
        if self._daily is not None:
            self._daily.cancel()

        def look() -> None:
            if not self._isOver:
                self._noticeLater()
                self.warn(before)

        self._daily = self._factory.deadlines.after(DAY_SECONDS, look)

    def warn(self, since: datetime | None = None) -> None:
        """
        Say what should be said of our certificate and of the anchors.

        @param since: given, what was said then is not repeated.
        """
        for notice in noticesOf(self._factory.prepared, self._today(), since):
            self._notice(notice)

    def _how(self) -> str:
        ways = ["implicit TLS" if each == "none" else each for each in self._dialects()]
        return f"{ways[0]} in and {ways[1]} out" if len(ways) > 1 else ways[0]

    def _dialects(self) -> list[str]:
        return [each.dialect.name for each in self._factory.tunnel.sides]

    def _who(self) -> str:
        tunnel = self._factory.tunnel
        if tunnel.byRules:
            shown = ", ".join(map(str, self._factory.prepared.certificates))
            return f"as whom the rules of the pool show{f' ({shown})' if shown else ''}"
        names = {each.name for each in tunnel.names} | {str(each) for each in tunnel.localIDs}
        more = len(names) - 1
        if more < 1:
            return f"as {tunnel.localID}" if tunnel.localID else "showing no certificate"
        return f"as {tunnel.localID} and {more} other name{'s' if more > 1 else ''}"

    def _whom(self) -> str:
        prepared, tunnel = self._factory.prepared, self._factory.tunnel
        if tunnel.mode is Mode.SERVER and not prepared.whom:
            return "serving all clients"
        by = f" by the anchors of {prepared.anchors}" if prepared.anchors else ""
        by = " by pre-shared keys" if tunnel.sides[-1].sharesKeys else by
        server = (
            f"expecting {prepared.whom}{by}" if prepared.whom else "expecting whom the app names"
        )
        if tunnel.onward is None:
            return server
        clients = prepared.clients or "all clients"
        return f"serving {clients}, {server.replace('the app', 'the client')}"
