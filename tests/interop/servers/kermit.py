"""
C-Kermit, by whose authors telnet START_TLS is: telnet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, Outcome, run

GREETING = "who are you?"
QUESTION = "a boojum you see"
ANSWER = "then softly vanish away"

SERVER = """\
set tcp address 127.0.0.1
{tls}
set host * {port} {kind}
lineout {greeting}
input 10 {question}
lineout {answer}
input 5 bye
exit
"""

STARTTLS = """\
set authentication tls dsa-cert-file {chain}
set authentication tls dsa-key-file {key}
set authentication tls verify no
set telopt /server start-tls required
set telopt /server authentication refused"""

PLAINTEXT = """\
set telopt /server start-tls refused
set telopt /server authentication refused"""

CLIENT = """\
{tls}
set host localhost {port} /telnet
if fail exit 1
input 10 {greeting}
if fail exit 2
lineout {question}
input 10 {answer}
if fail exit 3
exit 0
"""

CLIENT_STARTTLS = """\
set authentication tls verify-file {anchors}
set authentication tls verify fail-if-no-peer-cert
set telopt start-tls required"""

#: Else it would ask for TLS by another option, AUTHENTICATION.
CLIENT_PLAINTEXT = """\
set telopt start-tls refused
set telopt authentication refused"""


class Kermit(Daemon):
    """
    A telnet server for one connection, on which it exchanges L{GREETING}, L{QUESTION} and
    L{ANSWER}.  With certificates: START_TLS, and nothing without.  Without: no TLS.
    """

    packages = ("ckermit",)
    title = "C-Kermit"
    program = "kermit"
    services = ("telnet",)

    def configure(self) -> None:
        tls = PLAINTEXT
        if self.certificates is not None:
            tls = STARTTLS.format(chain=self.certificates.chain, key=self.certificates.key)
        # Without TLS it waits for no answers to options, which clients of TLS alone do not give.
        kind = "/no-telnet-init" if self.certificates is None else "/telnet"
        text = SERVER.format(
            tls=tls, kind=kind, port=self.port, greeting=GREETING, question=QUESTION, answer=ANSWER
        )
        self.write("server.ksc", text)

    def command(self) -> Sequence[str]:
        return [self.executable, str(self.directory / "server.ksc"), "-Y"]


def call(script: Path, port: int, anchors: Path | None) -> Outcome:
    """
    Have the conversation as the client, C-Kermit as well.

    @param script: where its script is written.
    @param anchors: START_TLS with a good certificate for C{localhost}; None: no TLS.
    """
    tls = CLIENT_PLAINTEXT if anchors is None else CLIENT_STARTTLS.format(anchors=anchors)
    text = CLIENT.format(tls=tls, port=port, greeting=GREETING, question=QUESTION, answer=ANSWER)
    script.write_text(text)
    return run(["kermit", str(script), "-Y"])
