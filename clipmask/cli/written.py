"""Which files a command may write over: those that ClipMask has written itself, and nobody has
changed since.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from clipmask.errors import UserError
from clipmask.weights.checkpoint import write_atomically

LIST = ".clipmask_results.json"  # in the output folder: what was written there, with size and time


class OwnResults:
    """The results in an output folder; what is added is noted in the folder's list at the end.

    Args:
        folder: where results go; it may be missing. None: a single file is written, and no list.
        force: write over any file.
    """

    def __init__(self, folder: Path | None, force: bool) -> None:
        self.folder, self.force = folder, force
        self._known = {} if folder is None else _read(folder / LIST)

    def __enter__(self) -> OwnResults:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.folder is not None and self.folder.is_dir() and self._known:
            content = json.dumps(self._known, indent=0, ensure_ascii=False).encode()
            with contextlib.suppress(UserError):  # results count without their list
                write_atomically(self.folder / LIST, lambda file: file.write(content))

    def refuse_others(self, places: Iterable[Path]) -> None:
        """Refuses to write over files that are not ClipMask's own.

        Args:
            places: files and folders that are to be written.

        Raises:
            UserError: one of them is there and was not written by ClipMask, was changed since, or
                is a link. With ``folder`` None this is any file that is there.
        """
        others = [place for place in places if not (self.force or self._free(place))]
        if others:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            what = "is a link" if others[0].is_symlink() else "is there already"
            raise UserError(
                f"--output {others[0]}{more}: {what}{self._stranger}; name another, or say --force"
                " to write over it"
            )

    def add(self, place: Path) -> None:
        """Remembers that the command wrote this file or folder; the list is saved at the end."""
        if self.folder is not None:
            self._known[self._name(place)] = _state(place)

    @property
    def _stranger(self) -> str:
        return "" if self.folder is None else ", and ClipMask did not write it"

    def _free(self, place: Path) -> bool:
        if not os.path.lexists(place):
            return True
        if self.folder is None or place.is_symlink():
            return False
        return self._known.get(self._name(place)) == _state(place)

    def _name(self, place: Path) -> str:
        return Path(os.path.relpath(place, self.folder)).as_posix()


def _state(place: Path) -> list[int]:
    """Size and time of a file; of a folder nothing, for its own files come and go."""
    if place.is_dir():
        return []
    found = place.stat()
    return [found.st_size, found.st_mtime_ns]


def _read(path: Path) -> dict[str, list[int]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
