"""
Asks a process that runs how it is, as the commands do: one request, within a time limit.
"""

from __future__ import annotations

import json
import re
import socket
import time

from tlstunnel.address import TCPAddress, UNIXAddress
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.permission import ourName
from tlstunnel.status.document import VERSION, Document
from tlstunnel.status.words import ALL_UP, clean

#: Seconds for all of it.
ASK_SECONDS = 10.0

_MAX_BYTES = 64 * 1024 * 1024

# The first line of an answer (RFC 9112, section 4).
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})[ \r]")

#: The most characters that are shown of what was answered.
_MAX_SHOWN = 1000


def ask(address: TCPAddress | UNIXAddress, path: str) -> tuple[int, bytes]:
    """
    What is answered at C{address}.

    @return: the code of HTTP, and the body.
    @raise ConfigurationError: nobody answers, or nobody whom we understand.
    """
    try:
        said = _exchange(address, path)
    except TimeoutError:
        raise _silent(address, f"does not answer within {ASK_SECONDS:g} s") from None
    except PermissionError as error:
        raise ConfigurationError(
            f"`status` {address}",
            f"user {ourName()} may not ask there ({error.strerror})",
            "ask as root, or as the user that it runs as",
        ) from None
    except OSError as error:
        raise _silent(address, f"nothing answers there ({error.strerror or error})") from None
    head, separator, body = said.partition(b"\r\n\r\n")
    found = _STATUS_LINE.match(head + b"\r")
    if found is None or not separator:
        raise foreign(address)
    return int(found[1]), body


def document(address: TCPAddress | UNIXAddress) -> Document:
    """
    C{/status.json} of the process at C{address}.

    @raise ConfigurationError: nobody answers, or nobody whom we understand.
    """
    _, body = ask(address, "/status.json")
    try:
        found = json.loads(body)
        version = found["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise foreign(address) from None
    if version != VERSION:
        shown = clean(str(version)[:_MAX_SHOWN])
        raise ConfigurationError(
            f"`status` {address}",
            f"answers with version {shown} of the status, and this program knows {VERSION}",
            "use the tlstunnel that runs there",
        )
    known: Document = found
    return known


def problemAt(address: TCPAddress | UNIXAddress) -> str:
    """
    What is wrong with the process at C{address}, in one line; empty if nothing is.

    @raise ConfigurationError: nobody answers, or nobody whom we understand.
    """
    code, body = ask(address, "/health")
    line = body.decode("utf-8", "replace").partition("\n")[0].strip()
    if code == 200 and line == ALL_UP:
        return ""
    if code == 200 or not line:
        raise foreign(address)
    return clean(line[:_MAX_SHOWN])


def foreign(address: TCPAddress | UNIXAddress) -> ConfigurationError:
    """
    What answers at C{address} is something else.
    """
    return _silent(address, "what answers there is not the status of tlstunnel")


def _silent(address: TCPAddress | UNIXAddress, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"`status` {address}", problem, "see whether it runs, and what [status] in its file says"
    )


def _exchange(address: TCPAddress | UNIXAddress, path: str) -> bytes:
    due = time.monotonic() + ASK_SECONDS
    host = "localhost"
    if isinstance(address, UNIXAddress):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(ASK_SECONDS)
        sock.connect(address.path)
    else:
        # Without a host it listens at all addresses, this among them.
        sock = socket.create_connection((address.host or host, address.port), ASK_SECONDS)
        host = str(address) if address.host else host
    with sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        said = bytearray()
        while len(said) < _MAX_BYTES:
            left = due - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            chunk = sock.recv(65536)
            if not chunk:
                break
            said += chunk
    return bytes(said)
