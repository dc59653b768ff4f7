"""
All that C{openssl s_client -starttls} knows, in server mode: there is nothing that it can and we
cannot.
"""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from typing import ClassVar

from tests.interop.harness import InteropTestCase, Stage, openssl, record, run
from tests.interop.tunnel import TunnelsProcess
from tlstunnel.protocols.registry import find

NAME = "all.test.example"

#: What those need that ask for a domain which is not that of the host.
MORE = {"xmpp": ("-xmpphost", NAME), "xmpp-server": ("-xmpphost", NAME)}

#: The greeting of a server of MySQL's protocol, with the least that it must have.
MYSQL = (
    b"\x0a8.0.0\0" + b"\1\0\0\0" + b"saltsalt\0" + b"\0\x82\x2d\2\0\x08\0\x15" + bytes(10)
    + b"saltsaltsalt\0" + b"mysql_native_password\0"
)  # fmt: skip


def known() -> list[str]:
    """
    The protocols that it has a name for, which it lists when it is asked for another.
    """
    listed = run(["openssl", "s_client", "-starttls", "?"])
    listed.expectFailure("Value must be one of:")
    names = listed.text.partition("Value must be one of:")[2].split()
    return names[: names.index("s_client:")] if "s_client:" in names else names


class OpenSSLTests(InteropTestCase):
    """
    Behind all tunnels is a server that greets as one of MySQL's, which alone is asked before TLS,
    and has no more to say.
    """

    names: ClassVar[list[str]]
    tunnels: ClassVar[TunnelsProcess]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        cls.names = known()
        stage.authority.issue(NAME)
        listener = socket.create_server(("127.0.0.1", 0))

        def greet() -> None:
            packet = len(MYSQL).to_bytes(3, "little") + b"\0" + MYSQL
            with closing(listener):
                for _ in cls.names:
                    with closing(listener.accept()[0]) as connection:
                        connection.sendall(packet)

        threading.Thread(target=greet, daemon=True).start()
        common = {"mode": "server", "local-id": NAME}
        common["remote"] = f"127.0.0.1:{listener.getsockname()[1]}"
        tunnels = {name: {**common, "starttls": name} for name in cls.names}
        cls.tunnels = stage.start(
            TunnelsProcess(stage.directory("tunnels"), stage.authority.pool, tunnels)
        )

    def test_eachHasADialect(self) -> None:
        """
        Under the same name.
        """
        self.assertIn("postgres", self.names)
        for name in self.names:
            find(name)

    def test_eachIsUpgraded(self) -> None:
        """
        To TLS with a good certificate.
        """
        for name in self.names:
            outcome = openssl(
                self.tunnels.ports[name],
                NAME,
                self.stage.authority.anchors,
                *MORE.get(name, ()),
                starttls=name,
            )
            self.assertIn("Verification: OK", outcome.text, name)
            record(find(name).name, "server", "openssl", "verified")
