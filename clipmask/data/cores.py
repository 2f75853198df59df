"""How many processes or threads are worth starting."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Returns the cores that this process may use, 1 or more: of a batch system often not all of
    the machine's.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
