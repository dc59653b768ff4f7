"""
Where a chat script comes from: C{--chat}, or the words after C{--} as in chat(8).

C{--chat NAME} is one of the ready scripts in L{tlstunnel}'s directory C{scripts}, else a file.
After C{--} stand the options of chat(8), and then either nothing, or C{-f FILE}, or the script
itself, a word for each argument.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from tlstunnel.chat.parse import ScriptOptions, parseScript, parseWords
from tlstunnel.chat.steps import Notice, Script
from tlstunnel.chat.words import MAX_SCRIPT_BYTES, Position, ScriptError, Word, argumentWords

_SUFFIX = ".chat"
#: Options of chat(8) that have a value.
_VALUED = frozenset(b"fTUtr")
_FLAGS = frozenset(b"eEvVsS")
#: Those that chat(8) needs because it has several logs.
_POINTLESS = frozenset(b"sSr")


def readyScripts() -> list[str]:
    """The names of the scripts that are installed with the package."""
    return sorted(
        entry.name.removesuffix(_SUFFIX)
        for entry in files("tlstunnel.chat").joinpath("scripts").iterdir()
        if entry.name.endswith(_SUFFIX)
    )


def readScript(name: str) -> tuple[bytes, str]:
    """
    The text of a ready script, or of a file; and how errors call it.

    @param name: of the ready script, or the file's path.
    @raise ScriptError: there is neither.
    """
    if name in readyScripts():
        ready = name + _SUFFIX
        return files("tlstunnel.chat").joinpath("scripts", ready).read_bytes(), ready
    return _readScriptFile(name, f"give a file, or one of {', '.join(readyScripts())}")


def _readScriptFile(name: str, remedy: str = "see whether its name is right") -> tuple[bytes, str]:
    try:
        content = _contentOf(Path(name), MAX_SCRIPT_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ScriptError(
            Position(name, 0, 0), f"cannot read the script: {problem}", remedy
        ) from None
    if not content.strip():
        problem = "the script is empty"
        raise ScriptError(Position(name, 0, 0), problem, "write into it what is said before TLS")
    return content, name


def readFile(name: bytes) -> bytes:
    """
    Read a file that C{@file} names; for L{ScriptOptions.readFile}, where that is wanted.

    @raise OSError: it cannot be read.
    """
    return _contentOf(Path(os.fsdecode(name)), MAX_SCRIPT_BYTES)


def _contentOf(path: Path, most: int) -> bytes:
    """
    @raise OSError: it cannot be read, or is a pipe with a name, at whose other end nobody may ever
        be.
    """
    if path.is_fifo() and os.path.lexists(os.path.realpath(path)):
        raise OSError(errno.EINVAL, "is a pipe")
    with path.open("rb") as file:
        return file.read(most)


def makeScript(chat: str | None, arguments: Sequence[str], options: ScriptOptions) -> Script:
    """
    The script that a command line asks for.

    @param chat: the value of C{--chat}, if it is given.
    @param arguments: what stands after C{--}.
    @param options: how to read it, before the options among C{arguments} are applied.
    @raise ScriptError: there is no script, or more than one, or it cannot be run.
    """
    words = list(argumentWords([os.fsencode(argument) for argument in arguments]))
    given = _given(words, options)
    if given.file is not None and given.words:
        raise given.words[0].error(
            "-f FILE and a script in words exclude each other", "give one of them"
        )
    if chat is not None and (given.file is not None or given.words):
        raise (given.file or given.words[0]).error(
            "`chat` and another script exclude each other", "options alone may follow --"
        )
    if chat is not None:
        script = parseScript(*readScript(chat), given.options)
    elif given.file is not None:
        script = parseScript(*_readScriptFile(os.fsdecode(given.file.text)), given.options)
    elif given.words:
        script = parseWords(iter(given.words), "--", given.options)
    else:
        raise ScriptError(Position("", 0, len(words) + 1), "no script", "give -f FILE, or words")
    return replace(script, notices=(*given.notices, *script.notices))


@dataclass(frozen=True)
class _Given:
    """What stood after C{--}, options applied."""

    options: ScriptOptions
    file: Word | None
    words: tuple[Word, ...]
    notices: tuple[Notice, ...]


def _given(words: list[Word], options: ScriptOptions) -> _Given:
    file: Word | None = None
    notices = []
    seen: set[bytes] = set()
    rest = iter(words)
    at = 0
    for word in rest:
        if not word.text.startswith(b"-") or word.text == b"-":
            break
        at += 1
        if word.text == b"--":
            break
        letters = word.text[1:]
        while letters:
            letter, letters = letters[:1], letters[1:]
            value = None
            if letter[0] in _VALUED:
                if letter in seen:
                    raise word.error(f"-{letter.decode()} was given already", "give it once")
                seen.add(letter)
                value, letters = Word(word.position, letters), b""
                if not value.text:
                    value = next(rest, None)
                    if value is None:
                        raise word.error(
                            f"-{letter.decode()} needs a value", "write it behind the option"
                        )
                    at += 1
            elif letter[0] not in _FLAGS:
                raise word.error(
                    f"{word} is no option of chat(8)", "there are -e -E -f -r -s -S -t -T -U -v -V"
                )
            if letter[0] in _POINTLESS:
                notices.append(
                    Notice(word.position, f"-{letter.decode()} has no effect: there is one log")
                )
            elif letter == b"f":
                file = value
            else:
                options = _applied(options, letter, value)
    return _Given(options, file, tuple(words[at:]), tuple(notices))


def _applied(options: ScriptOptions, letter: bytes, value: Word | None) -> ScriptOptions:
    """C{options} with one option applied."""
    values = options.values
    match letter, value:
        case b"T", Word(text=text):
            return replace(options, values=replace(values, t=text))
        case b"U", Word(text=text):
            return replace(options, values=replace(values, u=text))
        case b"t", Word() as number:
            if not (number.text.isdigit() and len(number.text) < 10):
                raise number.error("-t needs a number of seconds", "write digits alone")
            return replace(options, timeout=int(number.text) or None)
        case b"e", _:
            return replace(options, echo=True)
        case b"E", _:
            return replace(options, values=replace(values, environment=dict(os.environb)))
        case _:
            return replace(options, verbose=True)
