"""
TLS for shells, and for servers that inetd starts: C{python3 -m tlstunnel.client}.

It hands a connection over to the pool, and starts a program with the plaintext, or stands between
that and standard input and output.  What it ends with says how the connection did.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tlstunnel.client import Options, Plaintext, PoolError, Proven, asClient, asServer, hello

#: What it ends with, as C{tlstunnel probe} does where that has a code for it.
GOOD, UNPROVEN, USAGE, NO_TLS, NO_CONNECTION, CUT = range(6)

# The same by the reasons of the pool; for all others there is no TLS.
_CODES = {
    "identity": UNPROVEN,
    "syntax": USAGE,
    "no-remote": USAGE,
    "gone": NO_CONNECTION,
}

_EPILOG = f"""\
exit codes:
  {GOOD}  the peer has ended the connection, or PROGRAM has, and ended with 0
  {UNPROVEN}  the peer is not who it has to be
  {USAGE}  the command is wrong
  {NO_TLS}  there is no TLS, for another reason
  {NO_CONNECTION}  there is no connection, or no pool
  {CUT}  the connection was cut
  or what PROGRAM has ended with

PROGRAM finds in its environment who is there: TLS_IDENTITY, TLS_VERSION, TLS_CIPHER, TLS_SNI.
"""

# Where a client of UCSPI reads and writes, and every other program.
_UCSPI, _STANDARD = (6, 7), (0, 1)

# Signals of whoever wants to end the program; that of a terminal it gets itself.
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)

#: The longest time, in seconds.
LONGEST = 86400

# What a program is told, and must not have from anybody else.
_NAMES = (
    *("PROTO", "TLS_IDENTITY", "TLS_VERSION", "TLS_CIPHER", "TLS_SNI"),
    *("REMOTE_HOST", "REMOTE_PORT", "REMOTE_USER"),
    *("TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALPORT"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    @return: the exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    words: list[str] = []
    if "--" in arguments:
        where = arguments.index("--")
        arguments, words = arguments[:where], arguments[where + 1 :]
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.command == "accept" and not words:
        parser.error("say behind -- which program to start")
    try:
        return _hello(asked) if asked.command == "hello" else _serve(asked, words)
    except PoolError as error:
        return _fail(str(error), _CODES.get(error.reason, NO_TLS))
    except ValueError as error:
        return _fail(str(error), USAGE)
    except OSError as error:
        return _fail(str(error), NO_TLS)


def _fail(why: str, code: int) -> int:
    sys.stderr.write(f"tlstunnel.client: {why}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    looks: dict[str, Any] = {
        "epilog": _EPILOG,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }
    what = "Hand a connection over to the pool, for a program that knows no TLS."
    parser = argparse.ArgumentParser("python3 -m tlstunnel.client", description=what, **looks)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    connect = commands.add_parser(
        "connect",
        usage="%(prog)s [OPTIONS] HOST PORT [-- PROGRAM ARGUMENT...]",
        help="connect, and be the client; without PROGRAM for standard input and output",
        **looks,
    )
    connect.add_argument("host", metavar="HOST")
    connect.add_argument("port", metavar="PORT")
    connect.add_argument("--remote", metavar="ID", help="who must be there, if that is not HOST")
    connect.add_argument("--local", metavar="ID", help="who to be; - for none")
    connect.add_argument(
        "--stdio", action="store_true", help="PROGRAM gets the connection as 0 and 1, not 6 and 7"
    )
    connect.add_argument(
        "--half-close",
        action="store_true",
        help="at the end of input end our direction, which some servers take for the end of all",
    )
    accept = commands.add_parser(
        "accept",
        usage="%(prog)s [OPTIONS] -- PROGRAM [ARGUMENT...]",
        help="be the server of the connection that is standard input",
        **looks,
    )
    accept.add_argument("--local", metavar="ID", help="who to be, if not whom the client asks for")
    accept.add_argument("--remote", metavar="SELECTOR", help="who may come")
    accept.add_argument("--client", choices=("require", "request", "ignore"))
    for each in connect, accept:
        each.add_argument("--starttls", metavar="NAME", help="the protocol that begins in clear")
        each.add_argument("--alpn", metavar="ID,...", default="")
        each.add_argument("--minimum", metavar="VERSION", help="of TLS: 1.2 or 1.3")
        each.add_argument("--plain", choices=("unix", "tcp"), help="what PROGRAM gets; else tcp")
        each.add_argument("--timeout", metavar="SECONDS", type=_time, help="until there is TLS")
    asks = commands.add_parser("hello", help="ask the pool who it is", **looks)
    for each in connect, accept, asks:
        each.add_argument("--pool", metavar="PATH", help="its socket, if not $TLSTUNNEL_POOL")
    return parser


def _time(said: str) -> float:
    """
    @raise argparse.ArgumentTypeError: it is none within which anything could happen.
    """
    with suppress(ValueError):
        if 0.0 < float(said) <= LONGEST:
            return float(said)
    raise argparse.ArgumentTypeError(f"{said!r} is no time; give seconds, up to {LONGEST}")


def _hello(asked: argparse.Namespace) -> int:
    for key, value in hello(asked.pool).items():
        sys.stdout.write(f"{key}={value}\n")
    return GOOD


def _serve(asked: argparse.Namespace, words: list[str]) -> int:
    """
    Get the connection, hand it over, and let its plaintext be used.
    """
    isClient = asked.command == "connect"
    try:
        sock = _dialled(asked) if isClient else _inherited()
        addresses = _addresses(sock)
    except OSError as error:
        why = error.strerror or str(error)
        if isClient:
            what = f"there is no connection to {asked.host} port {asked.port}: {why}"
        else:
            what = f"standard input is no connection: {why}; let inetd start this, or the like"
        return _fail(what, NO_CONNECTION)
    options: Options = {
        "starttls": asked.starttls,
        "alpn": [each for each in asked.alpn.split(",") if each],
        "minimum": asked.minimum,
        "timeout": asked.timeout,
        # A program reads from the descriptor, which has to tell it of a cut.
        "plain": asked.plain or ("tcp" if words else None),
        "path": asked.pool,
    }
    if isClient:
        remote = asked.remote or asked.host
        plain = asClient(sock, remote, local=asked.local, **options)
    else:
        plain = asServer(sock, asked.local, client=asked.client, remote=asked.remote, **options)
    with plain:
        plain.settimeout(None)
        if not words:
            return _relay(plain, asked.half_close)
        environment = {key: value for key, value in os.environ.items() if key not in _NAMES}
        environment.update(addresses)
        environment.update(_facts(plain.proven, isClient))
        places = _UCSPI if isClient and not asked.stdio else _STANDARD
        return _run(plain, words, places, environment)


def _dialled(asked: argparse.Namespace) -> socket.socket:
    return socket.create_connection((asked.host, asked.port), asked.timeout)


def _inherited() -> socket.socket:
    """
    The connection that is standard input, and may be standard output and error, too: of which
    nothing is left, so that nobody can say anything on it in clear.
    """
    sock = socket.socket(fileno=os.dup(0))
    sock.settimeout(None)
    connection = os.fstat(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in 0, 1, 2:
        with suppress(OSError):
            if os.path.samestat(os.fstat(number), connection):
                os.dup2(nothing, number)
    return sock


def _addresses(sock: socket.socket) -> dict[str, str]:
    """
    Both ends of the connection, as servers of UCSPI and CGI call them.
    """
    said = {"PROTO": "SSL"}
    for where, address in ("REMOTE", sock.getpeername()), ("LOCAL", sock.getsockname()):
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            said[f"TCP{where}IP"], said[f"TCP{where}PORT"] = address[0], str(address[1])
    if "TCPREMOTEIP" in said:
        said["REMOTE_HOST"], said["REMOTE_PORT"] = said["TCPREMOTEIP"], said["TCPREMOTEPORT"]
    return said


def _facts(proven: Proven, isClient: bool) -> dict[str, str]:
    """
    What is known of the connection.
    """
    remote = proven.remote or ""
    isUser = "@" in remote and "/" not in remote
    said = {
        "TLS_IDENTITY": proven.remote,
        "TLS_VERSION": proven.version,
        "TLS_CIPHER": proven.suite,
        "TLS_SNI": proven.sni,
        "REMOTE_USER": remote if isUser and not isClient else None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _relay(plain: Plaintext, isEnded: bool) -> int:
    """
    Be between the plaintext and standard input and output, until the peer has ended.

    @param isEnded: whether to tell the peer when standard input has ended.
    """

    def send() -> None:
        # Why it cannot be sent, the other direction learns.
        with suppress(OSError):
            while True:
                data = os.read(0, 65536)
                if not data:
                    break
                plain.sendall(data)
            if isEnded:
                plain.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    try:
        while True:
            data = memoryview(plain.recv(65536))
            if not data:
                return GOOD
            while data:
                data = data[os.write(1, data) :]
    except OSError as error:
        return _fail(str(error), CUT)


def _run(
    plain: Plaintext, words: list[str], places: Sequence[int], environment: dict[str, str]
) -> int:
    """
    Start a program, and wait for it.

    @param places: the descriptors that it gets the plaintext as.
    """
    descriptor = fcntl.fcntl(plain.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(plain.detach())
    # Where whoever has started us does not care about its children, we could not wait for ours.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # They wait until it is known whom they are for.
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    try:
        pid = os.posix_spawnp(
            words[0],
            words,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, place) for place in places],
            setsigdef=[signal.SIGPIPE],
            setsigmask=former,
        )
    except OSError as error:
        return _fail(f"{words[0]}: {error.strerror}", USAGE)
    finally:
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, former)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        return os.WEXITSTATUS(status)
    # It has ended by itself, and need not have waited for the end of the connection.
    with suppress(PoolError):
        reason = plain.howEnded(0)
        if reason != "closed":
            return _fail(f"{reason}: the connection was cut", CUT)
    return GOOD


if __name__ == "__main__":
    sys.exit(main())
