"""What a command calls itself in its help: ``clipmask-train``, or ``clipmask train`` where one
command has verbs.
"""

from __future__ import annotations

import sys
from pathlib import Path

_called: list[str] = []  # the verb that the process was started with; empty: the command has none


def set_verb(verb: str) -> None:
    """Says which verb of the command ``clipmask`` runs in this process."""
    _called[:] = [verb]


def program_name() -> str:
    """Returns the name for a parser's ``prog``."""
    if _called:
        return f"clipmask {_called[0]}"
    return Path(sys.argv[0]).name
