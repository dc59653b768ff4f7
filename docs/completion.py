"""
Writes what completes command lines in bash and zsh, from the table of settings and the commands.

C{python docs/completion.py DIRECTORY} writes two files; C{make docs} does so in docs/completion.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tlstunnel.chat.source import readyScripts
from tlstunnel.commands import COMMANDS
from tlstunnel.commands.chatcheck import ChatCheckOptions
from tlstunnel.commands.convert import ConvertOptions
from tlstunnel.commands.demo import DemoOptions
from tlstunnel.commands.health import HealthOptions
from tlstunnel.commands.identity import IdentityOptions
from tlstunnel.commands.pool import PoolCommandOptions
from tlstunnel.commands.probe import ProbeOptions
from tlstunnel.commands.status import StatusOptions
from tlstunnel.commands.unit import UNITS, UnitOptions
from tlstunnel.program.option import Option
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.syntax import ProgramOptions
from tlstunnel.program.tableoptions import TableOptions, asOption
from tlstunnel.protocols.registry import ALIASES, BUILT_IN, builtIn
from tlstunnel.reveal.registry import WORDS
from tlstunnel.reveal.tlvs import TLVS

#: The words that an option can have whose value the table does not list.
NAMES = {
    "starttls": sorted({*BUILT_IN, *ALIASES}),
    "chat": readyScripts(),
    "dialect-option": sorted({name for dialect in builtIn() for name in dialect.options}),
    "reveal": WORDS,
    "proxy-tlv": TLVS,
}

#: The options of a command of which the table knows nothing, with what their value is.
VALUES = {
    "pool": "DIR",
    "cert": "FILE",
    "pkcs11-module": "FILE",
    "key": "FILE",
    "status": "ADDR",
    "config": "FILE",
    "output": "FILE",
    "pem": "FILE",
    "trust": "FILE",
}

#: The commands that take a file besides their options.
WITH_FILES = frozenset({"identity trust", "chat-check", "convert"})

#: The words that a command takes besides its options.
WITH_WORDS = {"unit": UNITS}

_NOTE = "# Completion of tlstunnel(8); written by docs/completion.py from the table of settings.\n"


@dataclass(frozen=True)
class Word:
    """
    An option, as it is completed.

    @ivar names: how it is written.
    @ivar help: what it means.
    @ivar values: what can stand behind it: words, C{FILE}, C{DIR}, or another text in upper case
        that nothing is known of; empty if it takes no value.
    @ivar isRepeatable: whether it can be given again.
    """

    names: tuple[str, ...]
    help: str
    values: tuple[str, ...] = ()
    isRepeatable: bool = False


def ofTable(options: Iterable[Option]) -> Iterator[Word]:
    """
    Options of the table.
    """
    for option in options:
        names = (f"-{option.short}", f"--{option.name}") if option.short else (f"--{option.name}",)
        text = re.sub("`([a-z0-9-]+)`", lambda found: asOption(found[1]), option.help)
        values = tuple(filter(None, option.argument.split("|")))
        if option.name in NAMES:
            values = (
                *NAMES[option.name],
                *(each for each in values if each not in {"NAME", "WORD", "NAME[=VALUE]"}),
            )
        yield Word(names, text.partition(". ")[0], values, option.isRepeatable)


def ofCommand(options: ProgramOptions) -> Iterator[Word]:
    """
    The options of a command.
    """
    if isinstance(options, TableOptions):
        yield from ofTable(options.settings)
        return
    for each in options.longOpt:
        name = each.rstrip("=")
        short = [key for key, long in options.synonyms.items() if long == name and len(key) == 1]
        names = (*(f"-{letter}" for letter in short), f"--{name}")
        values = (VALUES.get(name, "TEXT"),) if each.endswith("=") else ()
        if values and name in NAMES:
            values = tuple(NAMES[name])
        text = " ".join((options.docs[name] or "").split()).rstrip(".")
        yield Word(names, text[0].lower() + text[1:], values)


def commands() -> dict[str, list[Word]]:
    """
    The options of every command, by its name; those of a tunnel under the empty one.
    """
    found = {
        f"{group} {name}": list(ofCommand(kind()))
        for group, within in GROUPS.items()
        for name, _, kind, _ in within
    }
    found["chat-check"] = list(ofCommand(ChatCheckOptions()))
    found["status"] = list(ofCommand(StatusOptions()))
    found["health"] = list(ofCommand(HealthOptions()))
    found["unit"] = list(ofCommand(UnitOptions()))
    found["convert"] = list(ofCommand(ConvertOptions()))
    found["probe"] = list(ofCommand(ProbeOptions()))
    found["demo"] = list(ofCommand(DemoOptions()))
    found[""] = list(ofTable(OPTIONS))
    return found


#: The commands that have others within them.
GROUPS = {"identity": IdentityOptions.subCommands, "pool": PoolCommandOptions.subCommands}


def _isWord(value: str) -> bool:
    return not value.isupper()


_BASH = """\
_tlstunnel() {
    local word=$2 before=$3 command=${COMP_WORDS[1]} words= files= each
    [[ $command == @(%s) && $COMP_CWORD -gt 2 ]] && command+=" ${COMP_WORDS[2]}"
    [[ $COMP_CWORD -eq 1 ]] && command=
    case $command in
%s    esac
    [[ $COMP_CWORD -eq 1 ]] && words+=' %s'
    COMPREPLY=()
    while IFS= read -r each; do COMPREPLY+=("$each"); done < <(
        compgen -W "$words" -- "$word"
        [[ -n $files && $word != -* ]] && compgen $files -- "$word"
    )
    [[ -z $files ]] || compopt -o filenames 2>/dev/null
}
complete -F _tlstunnel tlstunnel
"""


def bash() -> str:
    """
    The function for bash.
    """
    cases = "".join(_case(command, options) for command, options in commands().items())
    cases = "".join(f"    {group}) words='{_namesIn(group)}' ;;\n" for group in GROUPS) + cases
    return _NOTE + _BASH % ("|".join(GROUPS), cases, " ".join(COMMANDS))


def _namesIn(group: str) -> str:
    return " ".join(name for name, *_ in GROUPS[group])


def _case(command: str, options: list[Word]) -> str:
    """
    What completes the options of a command, and their values.
    """
    text = f"    {repr(command) if command else '*'})\n        case $before in\n"
    unknown = []
    for option in options:
        words = " ".join(filter(_isWord, option.values))
        files = "-f" if "FILE" in option.values else "-d" if "DIR" in option.values else ""
        if words or files:
            text += f"        {'|'.join(option.names)}) words='{words}' files={files} ;;\n"
        elif option.values:
            unknown.append("|".join(option.names))
    # One option a line, so that changes to several do not meet.
    if unknown:
        text += "        " + "|\\\n        ".join(unknown) + ") ;;\n"
    offered = [*WITH_WORDS.get(command, ()), *(" ".join(option.names) for option in options)]
    names = "\n            ".join(offered)
    files = "-f" if command in WITH_FILES else ""
    return text + f"        *) files={files} words='{names}' ;;\n        esac\n        ;;\n"


def _spec(option: Word) -> str:
    """
    An option, as zsh's _arguments wants it.
    """
    names = option.names
    about = re.sub(r"([\[\]:\\])", r"\\\1", option.help).replace("'", "'\\''")
    words = " ".join(filter(_isWord, option.values))
    files = "_files" if "FILE" in option.values else "_files -/" if "DIR" in option.values else ""
    action = f"({words})" if words and not files else files
    if words and files:
        action = f"{{compadd - {words}; {files}}}"
    value = f":{option.names[-1].lstrip('-')}:{action}" if option.values else ""
    prefix = "'*'" if option.isRepeatable else f"'({' '.join(names)})'"
    braces = f"{{{','.join(names)}}}" if len(names) > 1 else names[0]
    return f"{prefix}{braces}'[{about}]{value}'"


_ZSH = """\

local command=$words[2]
if [[ $command == (%s) ]]; then
    if (( CURRENT == 3 )); then
        case $command in
%s        esac
        return
    fi
    command="$command $words[3]"
    shift 2 words
    (( CURRENT -= 2 ))
elif (( CURRENT > 2 )) && [[ $command == (%s) ]]; then
    shift words
    (( CURRENT -= 1 ))
else
    (( CURRENT == 2 )) && compadd - %s
    command=
fi
case $command in
"""


def zsh() -> str:
    """
    The function for zsh.
    """
    within = "".join(f"        {group}) compadd - {_namesIn(group)} ;;\n" for group in GROUPS)
    text = f"#compdef tlstunnel\n{_NOTE}"
    text += _ZSH % ("|".join(GROUPS), within, "|".join(COMMANDS), " ".join(COMMANDS))
    for command, options in commands().items():
        specs = [_spec(option) for option in options]
        if command in WITH_FILES:
            specs.append("'*:file:_files'")
        if command in WITH_WORDS:
            specs.append(f"':name:({' '.join(WITH_WORDS[command])})'")
        text += f"'{command}')\n    _arguments -s \\\n        "
        text += " \\\n        ".join(specs) + "\n    ;;\n"
    return text + "esac\n"


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(exist_ok=True)
    (directory / "tlstunnel").write_text(bash())
    (directory / "_tlstunnel").write_text(zsh())
