"""Search for the files below a folder, and detection of paths that lead to the same file."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from clipmask.paths import special_kind

Skip = Callable[[Path, Sequence[str]], bool]
Identity = tuple[int, int]  # device and inode: equal for all paths to one file

# Up to this many files of one folder, os.stat for each is quicker than listing the folder.
_FEW = 16


def files_below(folder: Path, skip: Skip = lambda folder, names: False) -> Iterator[Path]:
    """Yields the files of a folder and its subfolders, relative to ``folder``.

    The order depends on the names alone. Links to folders are followed after all real folders. Each
    folder is searched once, even if several links lead to it; links to ``folder`` itself or to a
    folder above it are ignored. Files and folders whose names begin with a dot are left out, and
    so are pipes and devices.

    Args:
        folder: where to search; if it is missing or can't be read, nothing is yielded.
        skip: is called with each folder and the names in it; if it returns True, that folder is
            left out.
    """
    seen = set(map(_identity, folder.resolve().parents))
    real, linked = [Path()], list[Path]()
    while real or linked:
        inside = real.pop() if real else linked.pop(0)
        identity = _identity(folder / inside)
        if identity is None or identity in seen:
            continue
        seen.add(identity)
        folders = []
        entries = _entries(folder / inside)
        if skip(folder / inside, [entry.name for entry in entries]):
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                # a broken link is yielded, so that the reader reports the missing file
                if entry.is_file() or special_kind(entry.path) is None:
                    yield inside / entry.name
            elif entry.is_symlink():
                linked.append(inside / entry.name)
            else:
                folders.append(inside / entry.name)
        real.extend(reversed(folders))


def identities(paths: Sequence[str]) -> list[Identity | None]:
    """Returns for each path the device and inode of its file; None if there is no file.

    Folders that hold many of the files are listed, which is much faster than a call of ``os.stat``
    for each file.

    Args:
        paths: the paths of files.
    """
    folders: defaultdict[str, list[int]] = defaultdict(list)
    for number, path in enumerate(paths):
        folders[os.path.dirname(path)].append(number)
    found: list[Identity | None] = [None] * len(paths)
    for folder, numbers in folders.items():
        listed = _listed(folder) if len(numbers) > _FEW else {}
        for number in numbers:
            identity = listed.get(os.path.basename(paths[number]))
            # a file system may accept other spellings of a name than the one it lists
            found[number] = identity or _identity(paths[number], folders=False)
    return found


def _listed(folder: str) -> Mapping[str, Identity]:
    """Returns the files of a folder by name, without links."""
    device = _identity(folder or ".")
    if device is None:
        return {}
    return {
        entry.name: (device[0], entry.inode())
        for entry in _entries(folder or ".", ordered=False)
        if entry.is_file(follow_symlinks=False)
    }


def _entries(folder: str | Path, ordered: bool = True) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            if ordered:
                return sorted(entries, key=lambda entry: entry.name)
            return list(entries)
    except OSError:
        return []


def _identity(path: str | Path, folders: bool = True) -> Identity | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(found.st_mode) and not folders:
        return None
    return found.st_dev, found.st_ino
