"""
The one table of settings.

From it come the options of the command line, the help, the list in the manual page and all checks
of single values; a configuration file has the same settings under the same names.  Where a text
here mentions a setting, its key stands in backquotes, as in L{tlstunnel.errors.ConfigurationError}.
"""

from __future__ import annotations

from tlstunnel.chat.source import readyScripts
from tlstunnel.net.remotes import FIRST, POLICIES
from tlstunnel.program.addressvalues import listening, proxy, target
from tlstunnel.program.bridging import BRIDGING
from tlstunnel.program.disclosures import DISCLOSURES
from tlstunnel.program.executions import EXECUTIONS
from tlstunnel.program.identities import IDENTITIES, KEY_PROVIDERS
from tlstunnel.program.limits import LIMITS
from tlstunnel.program.option import Option, Scope, Section
from tlstunnel.program.tracing import TRACING
from tlstunnel.program.values import (
    chatInFolder,
    choice,
    inFolder,
    permissions,
    processes,
    protocolIDs,
    socketInFolder,
    text,
)
from tlstunnel.tunnel.description import Mode

OPTIONS = (
    Option(
        "config",
        Section.FILE,
        "serve the tunnels of this file, which has their options; see tlstunnel.toml(5)",
        "On the command line only options about the process may stand beside it, which then count "
        "instead of those of the file.",
        argument="FILE",
        parse=text,
        default=None,
        scope=Scope.FILE,
    ),
    Option(
        "check",
        Section.FILE,
        "look for everything that is wrong with `config`, and with what it names, and end",
        "Keys, certificates, trust and chat scripts are read; nothing is listened at, connected to "
        "or looked up. Each mistake is a line of standard output, and the exit code is 1 if there "
        "are any.",
        scope=Scope.VIEW,
    ),
    Option(
        "show",
        Section.FILE,
        "show what is in force with `config`, defaults included, and where it comes from, and end",
        "It is a configuration file again.",
        scope=Scope.VIEW,
    ),
    Option("server", Section.MODE, "the network is on the accepted side", short="s"),
    Option("client", Section.MODE, "the network is on the connected side", short="c"),
    Option(
        "bridge",
        Section.MODE,
        "it is on both: TLS is accepted, and TLS is spoken with whom we connect to",
        "Exactly one of these is given.",
        short="b",
    ),
    Option(
        "local",
        Section.ADDRESSES,
        "listen here; systemd:NAME for a socket that systemd hands us; stdio, or fd:NUMBER, for "
        "the one connection that there is already",
        "Repeatable, but for the last two: then the process ends with the connection, with 0 "
        "after a clean end, and else with 1 and the reason on standard error. stdio is standard "
        "input and output, as for ssh's ProxyCommand; fd:0 is the socket that inetd hands down.",
        short="l",
        argument="ADDR",
        parse=listening,
        default=(),
        isRepeatable=True,
        place=socketInFolder,
    ),
    Option(
        "socket-mode",
        Section.ADDRESSES,
        "permissions of UNIX sockets in `local`, such as 0660; those to write let others connect",
        "By default the umask decides.",
        argument="MODE",
        parse=permissions,
        default=None,
    ),
    Option(
        "socket-owner",
        Section.ADDRESSES,
        "whom they belong to, by name or number",
        argument="USER",
        parse=text,
        default=None,
    ),
    Option(
        "socket-group",
        Section.ADDRESSES,
        "the group that they belong to, by name or number",
        "Who is not root can give them to a group of their own only.",
        argument="GROUP",
        parse=text,
        default=None,
    ),
    Option(
        "remote",
        Section.ADDRESSES,
        "forward there; srv:_SERVICE._tcp.DOMAIN for what the DNS of a domain says; of several, "
        "`balance` says whom to try first; exec:PROGRAM ARGUMENTS starts a program with `server`",
        "Repeatable. Where one does not answer, or comes to no TLS, another one is tried. A "
        "program is started for each connection once its client is verified, with what the client "
        "says on its standard input; it stands alone.",
        short="r",
        argument="ADDR",
        parse=target,
        default=(),
        isRepeatable=True,
        place=socketInFolder,
    ),
    Option(
        "balance",
        Section.ADDRESSES,
        "which of several in `remote` to try first: in their order, in turn, or the one with the "
        "fewest connections",
        "One that failed is left alone for a while, whichever it is.",
        argument="|".join(POLICIES),
        parse=choice(*POLICIES),
        default=FIRST,
    ),
    *EXECUTIONS,
    Option(
        "via",
        Section.ADDRESSES,
        "connect to `remote` through this proxy: http://HOST:PORT or socks5://HOST:PORT",
        "It is the proxy that resolves names in `remote`. HTTP is asked with CONNECT. Before HOST "
        "may stand user@, and never a password: see `via-auth-file`.",
        argument="URL",
        parse=proxy,
        default=None,
    ),
    Option(
        "via-auth-file",
        Section.ADDRESSES,
        "how to log in there: a file with one line user:password, which nobody else can read",
        argument="FILE",
        parse=text,
        default=None,
        place=inFolder,
    ),
    Option(
        "skip-resolve",
        Section.ADDRESSES,
        "start even if a host in `remote` or `via` does not resolve now",
    ),
    *IDENTITIES,
    *KEY_PROVIDERS,
    *BRIDGING,
    Option(
        "starttls",
        Section.PROTOCOL,
        "upgrade to TLS as this protocol does; without it TLS begins with the first byte",
        argument="NAME",
        parse=text,
        default=None,
        inBridge=False,
    ),
    Option(
        "chat",
        Section.PROTOCOL,
        "upgrade as this chat(8) script has it; NAME is a ready script: "
        + ", ".join(readyScripts()),
        argument="FILE|NAME",
        parse=text,
        default=None,
        place=chatInFolder,
        inBridge=False,
    ),
    Option(
        "chat-strict",
        Section.PROTOCOL,
        "with hyphens and keywords as chat(8) has them",
        inBridge=False,
    ),
    Option(
        "chat-files",
        Section.PROTOCOL,
        "let @file in the script send a file, read at the start",
        inBridge=False,
    ),
    Option(
        "dialect-option",
        Section.PROTOCOL,
        "an option of that protocol; see `list-protocols`",
        "Repeatable.",
        argument="NAME[=VALUE]",
        parse=text,
        default=(),
        isRepeatable=True,
    ),
    Option(
        "negotiate-only",
        Section.PROTOCOL,
        "say what leads up to TLS, and leave that to the program with `client`, or to the backend "
        "with `server`: nothing is verified here",
        "For programs that speak TLS and not this protocol.",
        inBridge=False,
    ),
    Option(
        "list-protocols",
        Section.PROTOCOL,
        "show all protocols, their ports and their options; with `verbose` also what is said "
        "before TLS",
        scope=Scope.ACTION,
    ),
    Option(
        "alpn",
        Section.PROTOCOL,
        "ALPN ids to offer or select, with commas between them, instead of the protocol's own",
        argument="IDS",
        parse=protocolIDs,
        default=None,
    ),
    Option(
        "minimum-tls",
        Section.TLS,
        "the lowest version",
        argument="1.2|1.3",
        parse=choice("1.2", "1.3"),
        default="1.2",
    ),
    Option(
        "resumption",
        Section.TLS,
        "resume sessions with servers, by default on; or let clients resume theirs, by default off",
        "A session ends with the certificates that its peer was verified by, after two hours, and "
        "at a reload.",
        argument="on|off",
        parse=choice("on", "off"),
        default=None,
    ),
    Option(
        "any-name",
        Section.TLS,
        "also serve clients that ask for a name that our certificate does not have",
        "By default they get the alert unrecognized_name.",
        mode=Mode.SERVER,
    ),
    Option(
        "require-sni",
        Section.TLS,
        "refuse clients that ask for no name (SNI)",
        "They get the alert missing_extension. By default they are served as the first `local-id`.",
        mode=Mode.SERVER,
    ),
    Option(
        "require-alpn",
        Section.TLS,
        "refuse clients that offer no ALPN",
        mode=Mode.SERVER,
    ),
    Option(
        "ocsp-stapling",
        Section.TLS,
        "fetch the word of our certificate authority that our certificate is good (OCSP), and send "
        "it to clients with the certificate",
        "The responder is the one that the certificate names; until it has answered, nothing is "
        "sent.",
        mode=Mode.SERVER,
    ),
    Option(
        "require-staple",
        Section.TLS,
        "refuse servers that do not send such a word with their certificate",
        mode=Mode.CLIENT,
    ),
    *DISCLOSURES,
    *LIMITS,
    Option(
        "workers",
        Section.PROCESSES,
        "share the listening sockets among so many; auto: one a core. The limits are for each",
        "At most four a core. With 1 there is no further process. A worker that dies is replaced.",
        argument="NUMBER|auto",
        parse=processes,
        default=1,
        scope=Scope.PROCESS,
    ),
    Option("log-json", Section.LOG, "one JSON object a line", scope=Scope.LOG),
    Option(
        "verbose",
        Section.LOG,
        "also what is of interest in search of a fault, such as what is said in clear before TLS",
        "A client that logs in before TLS has its password there, too.",
        short="v",
        scope=Scope.LOG,
    ),
    *TRACING,
    Option("quiet", Section.LOG, "no line for each connection"),
    Option("version", Section.HELP, "show the version", short="V", scope=Scope.ACTION),
    Option("help", Section.HELP, "show a summary of all options", short="h", scope=Scope.ACTION),
)

#: What a tunnel can be told, wherever it runs.
TUNNEL_OPTIONS = tuple(each for each in OPTIONS if each.scope in {Scope.TUNNEL, Scope.PROCESS})

#: Where the tunnels are described, if it is not here.
FILE_OPTIONS = tuple(each for each in OPTIONS if each.scope is Scope.FILE)

#: What only a program in the foreground can be told.
LOG_OPTIONS = tuple(each for each in OPTIONS if each.scope is Scope.LOG)

#: What only a program in the foreground shows.
VIEW_OPTIONS = tuple(each for each in OPTIONS if each.scope is Scope.VIEW)
