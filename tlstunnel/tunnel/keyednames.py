"""
What a server tunnel is to clients with pre-shared keys: the same under every name, as there is no
certificate that could be for one.
"""

from __future__ import annotations

from collections.abc import Iterator

from tlstunnel.identity.psk import PresharedKey, keysOf
from tlstunnel.tls.faces import Face, Faces
from tlstunnel.tls.keylog import KeyLog
from tlstunnel.tls.keyverifier import KeyVerifier
from tlstunnel.tls.psk import serverContext
from tlstunnel.tunnel.access import whoMayCome
from tlstunnel.tunnel.description import Tunnel
from tlstunnel.tunnel.judges import Judges
from tlstunnel.tunnel.servernames import ServerNames


class KeyedNames(ServerNames):
    """
    All of them, and the keys of all whom the tunnel lets in.
    """

    def prepare(self) -> Iterator[None]:
        """
        Read the keys, one a step; then C{faces} is there.

        @raise ConfigurationError: something is missing or wrong.
        """
        tunnel = self._tunnel
        expected = whoMayCome(tunnel)
        assert expected is not None
        keys: dict[bytes, PresharedKey] = {}
        for key in keysOf(tunnel.pool, expected):
            keys[key.name] = key
            yield
        if not keys:
            self.doubts = [
                "no client is let in, as none of those who may come in has a pre-shared key"
            ]
        weak = [key for key in keys.values() if key.isMadeUp]
        if weak:
            others = f", as do {len(weak) - 1} more" if len(weak) > 1 else ""
            self.doubts.append(
                f"{weak[0].source}: the key looks as if somebody had made it up{others}, and "
                "whoever records a handshake can try what people make up; run 'tlstunnel identity "
                "create --psk'"
            )
        context = serverContext(keys, tunnel.minimum, selects=bool(self._alpn))
        if self._keyLog is not None:
            self._keyLog.use(context)
        face = Face(context, KeyVerifier(expected), self._alpn, tunnel.minimum)
        self.faces = Faces(face, {}, {}, anyName=True)


def namesOf(
    tunnel: Tunnel, alpn: tuple[bytes, ...], judges: Judges, keyLog: KeyLog | None
) -> ServerNames:
    """
    Who a server tunnel is by which name.

    @param alpn: what it selects from.
    @param keyLog: writes down the secrets of TLS.
    """
    kind = KeyedNames if tunnel.sharesKeys else ServerNames
    return kind(tunnel, alpn, judges, keyLog)
