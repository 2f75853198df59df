"""The one file that a command writes: its name, its folder, whether it may take another's place,
and the names of classes in the line about it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from clipmask.cli.written import OwnResults
from clipmask.errors import UserError
from clipmask.weights.checkpoint import write_atomically


def add_force(parser: argparse.ArgumentParser) -> None:
    """Adds ``--force``, which ``output_file`` takes."""
    parser.add_argument(
        "--force", action="store_true", help="write over the output file if it is there already"
    )


def output_file(name: str, endings: Sequence[str], force: bool, beside: Sequence[str] = ()) -> Path:
    """Returns the path that ``--output`` names; called before the work, whose result is to go
    there.

    Args:
        name: as the user gave it.
        endings: that the file's kind may have; the first is suggested.
        force: write over files that are there.
        beside: endings of other files that are written beside it, under the same name.

    Raises:
        UserError: it ends otherwise; or something of that name is there, a link included.
    """
    path = Path(name)
    if path.suffix not in endings:
        raise UserError(f"--output {path}: name a file that ends in {endings[0]}")
    OwnResults(None, force).refuse_others([path, *map(path.with_suffix, beside)])
    return path


def make_folder(path: Path) -> None:
    """Makes the folder of the file that ``--output`` names where it is missing.

    Raises:
        UserError: it can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {path}: its folder can't be made ({error})") from error


def write_output(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes the file, whole or not at all, into a folder that is made where it is missing.

    Args:
        path: from ``output_file``.
        write: is given a binary file.

    Raises:
        UserError: folder or file can't be written.
    """
    make_folder(path)
    write_atomically(path, write)


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Returns the first class names, for a line of text."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
