"""Describes the machine of a measurement: the processor's name and the versions of packages."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """Returns the name of the processor, or at least its architecture."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.is_file() else []
    for line in lines:
        name = line.partition(":")[2].strip()
        if line.startswith("model name") and name:
            return name
    return platform.processor() or platform.machine()


def version(package: str) -> str:
    """Returns the version of an installed package, or ``not installed``."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
