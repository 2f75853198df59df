"""Files that are called as weights are but hold something else: what they are, and the way out."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

_CLASS = re.compile(r"GLOBAL ([\w.]+)")


def told_apart(path: Path, error: BaseException | None = None) -> str | None:
    """Returns what a file without weights is, and what to do; None if that cannot be recognised.

    Args:
        path: the file.
        error: what torch raised when it read the file.
    """
    if path.is_dir():
        return "is a folder; name the file in it"
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "damaged: it is empty; was a copy or a download cut short?"
    if start.startswith(b"version https://git-lfs"):
        return (
            "is a pointer of Git LFS, not the file itself; `git lfs pull` in its repository fetches"
            " that"
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not weights: download the file itself"
    if _is_script(path):
        return (
            "is a TorchScript program, not weights. Where it was made, save those:"
            " torch.save(model.state_dict(), 'weights.pth')"
        )
    if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
        found = _CLASS.search(str(error))
        what = f" ({found[1]})" if found else ""
        return (
            f"holds Python objects{what}, which could run code, so it was not opened. If it is a"
            " whole model that you trust, save its weights where it was made:"
            " torch.save(model.state_dict(), 'weights.pth')"
        )
    return None


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/__torch__" in name for name in archive.namelist())
    # of an archive that is damaged, or none; a name in it may be no UTF-8
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return False
