"""
What two ends of one TLS know, and nobody else: keys for other uses of the connection, and what
proves to others that it is this one.
"""

from __future__ import annotations

from OpenSSL import SSL

from tlstunnel.errors import TLSFailed

#: The most bytes that are given at once.
MATERIAL_BYTES = 65_535


class ChannelBinding:
    """
    That of one connection, as long as it is open.
    """

    __slots__ = ("_connection", "_isClient", "_isResumed")

    def __init__(self, connection: SSL.Connection, isClient: bool, isResumed: bool) -> None:
        """
        @param connection: its handshake is complete.
        @param isClient: whether we are the client.
        @param isResumed: whether it resumes the session of another.
        """
        self._connection = connection
        self._isClient = isClient
        self._isResumed = isResumed

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """
        Keying material (RFC 5705; RFC 8446, section 7.5), the same at both ends.

        @param label: what it is for, as C{EXPORTER-Channel-Binding} (RFC 9266).
        @param context: L{None} for none, which in TLS 1.2 is another thing than an empty one.
        @raise TLSFailed: OpenSSL does not give it.
        """
        if not 0 < length <= MATERIAL_BYTES:
            raise TLSFailed(f"keying material has from 1 to {MATERIAL_BYTES} bytes")
        try:
            found: bytes = self._connection.export_keying_material(label, length, context)
        except SSL.Error:
            raise TLSFailed("OpenSSL gives no keying material for that label") from None
        return found

    def unique(self) -> bytes | None:
        """
        C{tls-unique} (RFC 5929, section 3): the first Finished message of the handshake; L{None}
        for TLS 1.3, in which it proves nothing (RFC 9266, section 3).
        """
        connection = self._connection
        if connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
            return None
        # The client's comes first, but where a session is resumed.
        isOurs = self._isClient != self._isResumed
        return connection.get_finished() if isOurs else connection.get_peer_finished()
