"""
C{python -m tlstunnel.commands.worker NUMBER [--verbose] [--log-json]}: a worker, which its parent
starts; standard input is where it takes its orders.
"""

from __future__ import annotations

import socket
import sys
import warnings

from tlstunnel.program import signals
from tlstunnel.program.output import outliveReaders


def main(words: list[str]) -> int:
    """
    Serve until the parent says that it is enough.

    @return: 0 after an orderly stop, 1 if it could not serve.
    """
    signals.hold()
    outliveReaders()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Only now: what is imported takes its time.
    from tlstunnel.tls import openssl

    openssl.configure()
    from tlstunnel.commands.run import reactor, serve, startLogging
    from tlstunnel.program.lookups import abandonAtEnd
    from tlstunnel.program.worker import WorkerProcess

    number, *settings = words
    isVerbose = "--verbose" in settings
    startLogging(isVerbose, "--log-json" in settings, worker=number)
    abandonAtEnd(reactor)
    process = WorkerProcess(reactor, socket.socket(fileno=0), int(number), isVerbose)
    process.privilegedStartService()
    serve(process)
    return process.exitCode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
