"""
From the command line to the process that does what it says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tlstunnel.net import inherit
from tlstunnel.program.commandline import TunnelOptions
from tlstunnel.program.fleet import Fleet
from tlstunnel.program.keyproviders import loadProvider
from tlstunnel.program.keys import PROCESS_KEYS
from tlstunnel.program.lookups import abandonAtEnd
from tlstunnel.program.process import Process
from tlstunnel.program.sources import CommandLineSource, FileSource, ISource
from tlstunnel.program.supervision import Supervision
from tlstunnel.program.tableoptions import TableOptions
from tlstunnel.program.tunnels import Tunnels
from tlstunnel.program.unused import UnusedSockets
from tlstunnel.program.workers import Workers

#: The settings of the log, which workers are told on their command line.
_LOG_SETTINGS = ("verbose", "log-json")


def makeProcess(source: ISource, reactor: Any, ownLog: bool) -> tuple[Process, Mapping[str, Any]]:
    """
    The process that serves what C{source} describes, by itself or with workers.

    @param ownLog: whether workers log to standard error themselves.
    @return: the process, and the values of the settings that are about it.
    @raise ConfigurationError: there is something wrong with the configuration file, or with what
        was handed down to us.
    """
    abandonAtEnd(reactor)
    configuration = source.read()
    settings = configuration.process
    loadProvider(configuration)
    isVerbose = settings["verbose"]
    process = Process(reactor)
    supervision = Supervision(os.environ, reactor, process.tally)
    serving: Any = Tunnels(reactor, isVerbose)
    if settings["workers"] > 1:
        words = [f"--{each}" for each in _LOG_SETTINGS if settings[each]]
        serving = Workers(reactor, settings["workers"], words, ownLog)
        if supervision.isHeard:
            serving.watch(supervision.watchdogSeconds)
    fleet = Fleet(source, configuration, reactor, serving)
    process.addService(fleet)
    unused = UnusedSockets(inherit.offered(), lambda: serving.plan)
    for observer in (supervision, unused):
        process.observers.append(observer)
        fleet.reloads.observers.append(observer)
    return process, settings


def sourceOf(options: TunnelOptions) -> ISource:
    """
    Where the tunnels of a command line are described.
    """
    if options["config"] is not None:
        return FileSource(options.configuration)
    return CommandLineSource(options.given, options.chatWords, processSettings(options))


def processSettings(options: TableOptions) -> dict[str, Any]:
    """
    The values of the settings of the process, where all is given on the command line.
    """
    settings = {each.name: options.get(each.name, each.default) for each in PROCESS_KEYS}
    # Who does so says when it is to be read again.
    settings["reload-on-change"] = False
    return settings
