"""
The C{tlstunnel} program: a command if the first word is one, else a tunnel in the foreground.
"""

from __future__ import annotations

import re
import sys
import warnings
from importlib import import_module

from tlstunnel.commands import COMMANDS, INTERRUPTED
from tlstunnel.program import signals
from tlstunnel.program.output import complain, isConnection, openStandard, outliveReaders
from tlstunnel.program.unreadable import beUnreadable

_TUNNEL = ("run", "RunOptions", "")

# The commands that serve until a signal ends them, as a tunnel does.
_SERVING = ["pool", "serve"], ["pool", "pull"], ["identity", "agent"]

# What says that there is a connection already, in whatever way it is attached to its option.
_ONE_CONNECTION = re.compile(r"\A(?:-[a-zA-Z]*l|--l[a-z]*=)?(?:stdio|fd:[0-9]+)\Z")

# The options that only look at a file, --check and --show, as short as they may be written.
_LOOKING = ("--che", "--sh")


def main(arguments: list[str] | None = None) -> int:
    """
    Run the program.

    @return: its exit code: that of the command, 2 for a mistake in C{arguments}, or 130
        where Ctrl-C has ended it.
    """
    openStandard()
    beUnreadable()
    if isConnection():
        # Only now: it takes its time, and hardly anybody needs it.
        from tlstunnel.program.inetd import partFromConnection

        partFromConnection()
    outliveReaders()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        # Of a command that has nothing to leave in order.
        return INTERRUPTED
    except OSError as error:
        # Something that everybody needs is not to be had, such as descriptors, or room on a disk.
        about = f"{error.filename}: " if error.filename else ""
        complain(f"{about}{error.strerror or error}")
        return 1


def _run(words: list[str]) -> int:
    name = words[0] if words and words[0] in COMMANDS else ""
    if not name or words[:2] in _SERVING:
        signals.hold(codeWhenInterrupted(words))
    if not sys.warnoptions:
        # What libraries tell programmers is nothing for the screens of administrators.
        warnings.simplefilter("ignore")
    # Only now: what is imported takes its time.
    from twisted.python import usage

    from tlstunnel.tls import openssl

    openssl.configure()
    module, options, _ = COMMANDS[name] if name else _TUNNEL
    command = import_module(f"tlstunnel.commands.{module}")
    parsed = getattr(command, options)()
    try:
        parsed.parseOptions(words[1:] if name else words)
    except usage.UsageError as error:
        program = " ".join(filter(None, ("tlstunnel", name, parsed.subCommand)))
        complain(f"{error}\nsee '{program} --help'")
        return 2
    code: int = command.main(parsed)
    return code


def codeWhenInterrupted(words: list[str]) -> int:
    """
    The exit code of a process that a signal ends before it serves.
    """
    if any(map(_ONE_CONNECTION.search, words)):
        # Who waits for the end of a connection must not take this for a good one.
        return 1
    return INTERRUPTED if any(each.startswith(_LOOKING) for each in words) else 0


if __name__ == "__main__":
    sys.exit(main())
