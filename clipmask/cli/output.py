"""The output of commands: checks of the path of a file, writing it, and progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from tqdm import tqdm

from clipmask.cli.written import OwnResults
from clipmask.errors import UserError
from clipmask.weights.checkpoint import write_atomically


def output_file(name: str, endings: Sequence[str], force: bool, beside: Sequence[str] = ()) -> Path:
    """Checks the path of ``--output`` before the work, and returns it.

    Args:
        name: the path as the user gave it.
        endings: the suffixes that the file may have; the message suggests the first.
        force: True: replace existing files.
        beside: the suffixes of other files with the same name that are written too.

    Raises:
        UserError: it has another suffix; or a file or link of this name exists.
    """
    path = Path(name)
    if path.suffix not in endings:
        raise UserError(f"--output {path}: name a file that ends in {endings[0]}")
    OwnResults(None, force).refuse_others([path, *map(path.with_suffix, beside)])
    return path


def make_folder(path: Path) -> None:
    """Creates the folder of the file of ``--output``, if it is missing.

    Raises:
        UserError: it can't be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {path}: its folder can't be created ({error})") from error


def write_output(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file atomically; a missing folder is created.

    Args:
        path: the result of ``output_file``.
        write: a function that writes into a binary file.

    Raises:
        UserError: the folder or the file can't be written.
    """
    make_folder(path)
    write_atomically(path, write)


def progress_bar(total: int | None, unit: str, what: str, *, inner: bool = False) -> tqdm:
    """Returns a progress bar on stderr.

    Args:
        total: the number of items; None: it is not known.
        unit: the name of the items.
        what: what is done to them.
        inner: True: the bar is below another one, and vanishes at its end.
    """
    terminal = sys.stderr.isatty()
    interval = 0.1 if terminal else 30.0  # in a file, each update is a new line
    position = 1 if inner and terminal else None
    return tqdm(
        total=total,
        unit=f" {unit}",
        desc=what,
        mininterval=interval,
        leave=not inner,
        position=position,
    )
