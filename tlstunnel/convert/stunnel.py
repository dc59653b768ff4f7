"""
A whole configuration of stunnel, converted.
"""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

from tlstunnel.convert.certificates import Credentials
from tlstunnel.convert.draft import Conversion, Draft, LeftOut, Value, nameFor, sayOnce
from tlstunnel.convert.names import Primary, SecondaryConversion
from tlstunnel.convert.services import Context, ServiceConversion
from tlstunnel.convert.settings import Settings, at, optionOf, shown, unknown
from tlstunnel.convert.stunnelfile import MOST_MISTAKES, BrokenFile, Service, Setting, StunnelFile
from tlstunnel.convert.stunneloptions import Fate
from tlstunnel.convert.tuning import DEBUG, VERBOSE, openSSLAdvice, socketAdvice
from tlstunnel.tunnel.description import PSK

_INETD = (
    "inetd mode: tlstunnel is not started for one connection; take the port from inetd, and give "
    "accept and connect in a section"
)


def convert(file: StunnelFile, folder: Path, hostName: str) -> Conversion:
    """
    Convert C{file}.

    @param folder: where relative paths begin.
    @param hostName: the name of this machine.
    @raise BrokenFile: a setting is unknown or has a value that makes no sense.
    """
    services = [each.settings for each in file.services]
    wrong = unknown(chain(file.general, *services))
    mistakes = list(islice(wrong, MOST_MISTAKES))
    if mistakes:
        raise BrokenFile(mistakes)
    result = Conversion(file.path)
    general = Settings(file.general)
    _ofProcess(file, general, result)
    credentials = Credentials(folder, hostName)
    context = Context(file.path, folder, general.text("chroot"), credentials, file.general)
    if not file.services:
        _inetd(file, result)
    primaries: dict[str, Primary] = {}
    for service in file.services:
        try:
            _ofService(service, context, primaries, result)
        except BrokenFile as error:
            mistakes += error.mistakes
    if mistakes:
        raise BrokenFile(list(dict.fromkeys(mistakes))[:MOST_MISTAKES])
    result.commands = credentials.commands
    _ofAll(result, credentials)
    return result


def _ofService(
    service: Service, context: Context, primaries: dict[str, Primary], result: Conversion
) -> None:
    """
    A tunnel, or names of one.

    @raise BrokenFile: a value makes no sense.
    """
    name = nameFor(service.name, (each.name for each in result.drafts))
    conversion = ServiceConversion(service, context, name)
    if conversion.isSecondary:
        secondary = SecondaryConversion(service, context, primaries)
        leftOut = secondary.convertNames()
        result.lost += secondary.lost
        if leftOut is not None:
            result.tunnels.append(leftOut)
        return
    tunnel = conversion.convert()
    if isinstance(tunnel, Draft):
        result.lost += conversion.lost
    result.tunnels.append(tunnel)
    if not conversion.isClient:
        primaries.setdefault(service.name, Primary(conversion, tunnel))


def _ofProcess(file: StunnelFile, general: Settings, result: Conversion) -> None:
    """
    What stands above all sections, and is to be said once.
    """
    for setting in file.general:
        option = optionOf(setting)
        advice = option.advice if option.fate in {Fate.SAID, Fate.LOST} else _adviceFor(setting)
        if not advice or setting.value.lower() in option.harmless:
            continue
        about = f"{at(setting.place, file.path)}: {shown(setting)}"
        result.notes.append(sayOnce(result.notes, about, advice))
        if option.fate is Fate.LOST and file.services:
            result.lost.append(f"{setting.place}: {option.name}: {advice}")
    debug = general.last("debug")
    if debug is not None and general.level("debug") == DEBUG:
        result.notes.append(f"{at(debug.place, file.path)}: {debug}: {VERBOSE}")


def _adviceFor(setting: Setting) -> str:
    """
    What is to be said of a setting that is converted, above all sections.
    """
    name = setting.name.lower()
    if name in {"setuid", "setgid"}:
        key = "User" if name == "setuid" else "Group"
        return f"put {key}={setting.value} into the unit that 'tlstunnel unit' prints"
    if name == "options":
        return openSSLAdvice(setting)
    if name == "socket":
        return socketAdvice(setting.value, setting.value.lower().endswith("=lo"))[0]
    return ""


def _inetd(file: StunnelFile, result: Conversion) -> None:
    if any(each.name.lower() in {"accept", "connect", "exec"} for each in file.general):
        place = str(file.general[0].place)
        result.tunnels.append(LeftOut("inetd", place, [_INETD], list(map(shown, file.general))))


def _ofAll(result: Conversion, credentials: Credentials) -> None:
    """
    What is so in all tunnels, and surprises.
    """
    certified = [each for each in result.drafts if each.values.get("trust") != [PSK]]
    modes = {each.values["mode"] for each in certified}
    if "server" in modes:
        result.notes.append(
            "Clients that ask for a name that the certificate does not have are refused; "
            "any-name = true serves them, as stunnel did."
        )
    paths = [
        *credentials.files.values(),
        *(text for each in result.drafts for text in _texts(each.values.get("trust"))),
    ]
    if any(not text.startswith("/") and text not in ("system", PSK) for text in paths):
        result.notes.append(
            "Relative paths begin at the folder of this file, and those in commands where they are "
            "run; those of stunnel began where it was started."
        )


def _texts(value: Value | None) -> list[str]:
    return value if isinstance(value, list) else []
