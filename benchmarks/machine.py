"""
Where it was measured.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path


def raiseDescriptorLimit(wanted: int = 65_536) -> int:
    """@return: how many descriptors this process and its children may open from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        except (ValueError, OSError):
            continue
        return limit
    return hard


def _line(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].partition("=")[2] or line.partition(":")[2].strip()
    return "unknown"


def describe() -> dict[str, str]:
    """@return: the facts that a reader of the figures wants to know."""
    system = platform.freedesktop_os_release()
    return {
        "processor": _line("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "system": system.get("PRETTY_NAME", "unknown"),
        "python": sys.version.split()[0],
        "descriptors": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
    }
