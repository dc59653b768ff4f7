"""
What is wrong with a pool service, and with a directory that a pool follows, beyond the words of
their tables: with the pool, and with the users and groups that they name.

All is read as it will be when it starts; nothing is listened at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from tlstunnel.errors import ConfigurationError
from tlstunnel.poolservice.description import NAME
from tlstunnel.poolservice.inventory import Inventory
from tlstunnel.program.configuration import Configuration
from tlstunnel.program.problems import Problem
from tlstunnel.program.pullsettings import POOL_PULL


def checkPoolService(configuration: Configuration, now: datetime) -> Iterator[Problem]:
    """
    Find everything that is wrong with the pool service of C{configuration}, if it has one, and what
    is worth a warning.
    """
    described = configuration.poolService
    if described is None:
        return
    for key in ("owner", "group"):
        try:
            replace(described.access, **{key: None}).numbers()
        except ConfigurationError as error:
            yield configuration.problemOf(NAME, error)
    inventory = Inventory(described)
    try:
        for _ in inventory.steps():
            pass
    except ConfigurationError as error:
        yield configuration.problemOf(NAME, error, "pool")
        return
    for sentence in (*inventory.notices, *inventory.warnings(now)):
        doubt = ConfigurationError.of("", ValueError(sentence))
        yield replace(configuration.problemOf(NAME, doubt, "pool"), isWarning=True)


def checkPoolPull(configuration: Configuration) -> Iterator[Problem]:
    """
    Find what is wrong with the directory that a pool follows, if one does: with who we are there,
    and with whom to believe about it.
    """
    place = configuration.poolPull
    if place is not None and not place.isLocal:
        try:
            place.prepare()
        except ConfigurationError as error:
            yield configuration.problemOf(POOL_PULL, error)
