"""The one file that a command writes: its name, its folder, and the names of classes in the line
about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from clipmask.errors import UserError
from clipmask.weights.checkpoint import write_atomically


def output_file(name: str, ending: str) -> Path:
    """Returns the path that ``--output`` names; a ``UserError`` unless it ends as the file's kind
    does.
    """
    path = Path(name)
    if path.suffix != ending:
        raise UserError(f"--output {path}: name a file that ends in {ending}")
    return path


def write_output(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes the file, whole or not at all, into a folder that is made where it is missing.

    Args:
        path: from ``output_file``.
        write: is given a binary file.

    Raises:
        UserError: folder or file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {path}: its folder can't be made ({error})") from error
    write_atomically(path, write)


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Returns the first class names, for a line of text."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
