"""Protection of files that ClipMask did not write, or that were changed since."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from clipmask.errors import UserError, listed
from clipmask.weights.checkpoint import write_atomically

# the list of the results in an output folder, with their sizes and times
LIST = ".clipmask_results.json"


class OwnResults:
    """The results in an output folder; as a context, it saves the list of results at the end.

    Args:
        folder: the output folder, which may be missing; None: a single file is written, without a
            list.
        force: True: any file may be replaced.
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
            with contextlib.suppress(UserError):  # the results are valid without the list
                write_atomically(self.folder / LIST, lambda file: file.write(content))

    def refuse_others(self, places: Iterable[Path]) -> None:
        """Refuses to replace files that ClipMask did not write.

        Args:
            places: the files and folders that will be written.

        Raises:
            UserError: one of them exists, and ClipMask did not write it, or it was changed since,
                or it is a link. If ``folder`` is None, every existing file is refused.
        """
        others = [place for place in places if not (self.force or self._free(place))]
        if others:
            what = "is there already"
            if others[0].is_symlink():
                what = "is a link"
            if self.folder is not None:
                what += ", and ClipMask did not write it"
            raise UserError(
                f"--output {listed(others, 1)}: {what}; name another, or use --force to replace it"
            )

    def add(self, place: Path) -> None:
        """Adds a file or folder that was written to the list of results."""
        if self.folder is not None:
            self._known[self._name(place)] = _state(place)

    def _free(self, place: Path) -> bool:
        if not os.path.lexists(place):
            return True
        if self.folder is None or place.is_symlink():
            return False
        return self._known.get(self._name(place)) == _state(place)

    def _name(self, place: Path) -> str:
        return Path(os.path.relpath(place, self.folder)).as_posix()


def _state(place: Path) -> list[int]:
    """Returns the size and time of a file; an empty list for a folder, whose files may change."""
    if place.is_dir():
        return []
    found = place.stat()
    return [found.st_size, found.st_mtime_ns]


def _read(path: Path) -> dict[str, list[int]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return content
