"""
Servers with pre-shared keys and no certificate, of one version of TLS each: two that show web
pages, and a broker of MQTT, which has a listener without TLS, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.harness import Daemon
from tests.interop.servers.web import PAGE


class KeyedDaemon(Daemon):
    """
    What they have in common.

    @ivar client: what its one client is called.
    @ivar key: in hexadecimal digits.
    @ivar version: C{1.2} or C{1.3}.
    """

    def __init__(self, directory: Path, client: str, key: str, version: str) -> None:
        super().__init__(directory)
        self.client = client
        self.key = key
        self.version = version


class KeyedOpenSSL(KeyedDaemon):
    """
    C{openssl s_server -psk}.
    """

    packages = ("openssl",)
    title = "openssl s_server"
    program = "openssl"
    services = ("https",)

    def configure(self) -> None:
        self.write("page.txt", PAGE)

    def command(self) -> Sequence[str]:
        return [
            *(self.executable, "s_server", "-accept", f"127.0.0.1:{self.port}", "-WWW", "-nocert"),
            *("-psk", self.key, "-psk_identity", self.client),
            f"-tls{self.version.replace('.', '_')}",
        ]


class KeyedGnuTLS(KeyedDaemon):
    """
    C{gnutls-serv --pskpasswd}.
    """

    packages = ("gnutls-bin",)
    title = "gnutls-serv"
    program = "gnutls-serv"
    services = ("https",)

    def configure(self) -> None:
        self.write("psk.txt", f"{self.client}:{self.key}\n")

    def command(self) -> Sequence[str]:
        return [
            *(self.executable, "--http", "--port", str(self.port), "--disable-client-cert"),
            *("--pskpasswd", str(self.directory / "psk.txt")),
            *("--priority", priority(self.version)),
        ]


def priority(version: str) -> str:
    """
    What lets GnuTLS use keys, with this version of TLS.
    """
    return f"NORMAL:-VERS-ALL:+VERS-TLS{version}:-KX-ALL:+ECDHE-PSK"


def onlyVersion(directory: Path, version: str) -> Mapping[str, str]:
    """
    The environment in which programs with OpenSSL speak one version of TLS alone.
    """
    directory.mkdir(mode=0o755, exist_ok=True)
    file = directory / "openssl.cnf"
    file.write_text(
        "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n"
        f"[all]\nMinProtocol = TLSv{version}\nMaxProtocol = TLSv{version}\n"
    )
    return {"OPENSSL_CONF": str(file)}


class KeyedMosquitto(KeyedDaemon):
    """
    mosquitto with C{psk_file}.

    @ivar port: with TLS.
    @ivar clear: without.
    """

    packages = ("mosquitto",)
    title = "mosquitto"
    program = "mosquitto"
    services = ("mqtts", "mqtt")

    def configure(self) -> None:
        self.write("psk.txt", f"{self.client}:{self.key}\n")
        self.write(
            "mosquitto.conf",
            f"""\
per_listener_settings true
persistence false
listener {self.ports["mqtts"]} 127.0.0.1
allow_anonymous true
psk_file {self.directory}/psk.txt
psk_hint tests
listener {self.ports["mqtt"]} 127.0.0.1
allow_anonymous true
""",
        )

    def command(self) -> Sequence[str]:
        return [self.executable, "-c", str(self.directory / "mosquitto.conf")]

    def environment(self) -> Mapping[str, str]:
        # It knows the lowest version alone.
        return onlyVersion(self.directory, self.version)
