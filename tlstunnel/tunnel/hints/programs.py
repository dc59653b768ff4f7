"""
What to do where a program does not serve a connection.
"""

from __future__ import annotations

from tlstunnel.errors import ConnectFailed, ProgramFailed
from tlstunnel.tunnel.hints.hint import Hint

#: Of starting it, and of its end.
PROGRAM_HINTS = (
    Hint(
        (ConnectFailed,),
        "check the program in --remote: it was there when the tunnel was prepared",
        causes=("exec ENOENT ", "exec EACCES ", "exec ENOEXEC ", "exec ENOTDIR "),
    ),
    Hint(
        (ConnectFailed,),
        "raise the limit of open files (LimitNOFILE in a unit), or lower --max-connections: a "
        "program takes up to five at its start",
        causes=("exec EMFILE ", "exec ENFILE "),
    ),
    Hint(
        (ConnectFailed,),
        "there are too many processes (ulimit -u, TasksMax in a unit), or there is no memory left "
        "for another one: lower --max-connections",
        causes=("exec EAGAIN ", "exec ENOMEM "),
    ),
    Hint(
        (ConnectFailed,),
        "see whether the program in --remote can be executed by hand, as the same user",
        causes=("exec ",),
    ),
    Hint(
        (ProgramFailed,),
        "the line before says why; check that the user of --exec-user may execute the program, "
        "that a script begins with #! and an interpreter, and that --exec-limit leaves it enough",
        causes=("not executed",),
    ),
    Hint(
        (ProgramFailed,),
        "it took more than the cpu seconds of --exec-limit, or than the tunnel itself may",
        causes=("signal SIGXCPU ",),
    ),
    Hint(
        (ProgramFailed,),
        "it wrote a file larger than the fsize of --exec-limit",
        causes=("signal SIGXFSZ ",),
    ),
    Hint(
        (ProgramFailed,),
        "somebody has ended it: the system does so where memory runs out (see dmesg), and the "
        "tunnel where it stays behind its connection",
        causes=("signal SIGKILL ", "signal SIGTERM "),
    ),
    Hint(
        (ProgramFailed,),
        "that is a fault of the program: read what it said in the log, and check --exec-limit "
        "memory",
        causes=("signal ",),
    ),
)
