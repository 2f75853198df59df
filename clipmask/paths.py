"""Paths that a user names: what is no path, never ends, or fills the memory, is refused before it
is read.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path

from clipmask.errors import UserError

_MOST_PACKED = 100  # times that the content of an archive may be its size ...
_LEAST_BYTES = 2**28  # ... where it is larger than this: 256 MiB

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def user_path(text: str | os.PathLike[str]) -> Path:
    """Returns the path that a user means, with the home folder in place of ``~``.

    Raises:
        UserError: it names a user who is not there, holds a zero byte, or is longer than the system
            takes.
    """
    shown = str(text) if len(str(text)) < 100 else f"{str(text)[:80]}..."
    try:
        path = Path(text).expanduser()
        os.lstat(path)
    except RuntimeError as error:
        raise UserError(f"{shown}: the home folder of that user is not known") from error
    except ValueError as error:
        raise UserError(f"{shown!r}: is no path ({error})") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{shown}: is longer than a path may be") from error
    return path


def refuse_special(path: str | os.PathLike[str], what: str) -> None:
    """Refuses pipes, devices and sockets: reading one may wait for ever, or never end.

    Args:
        path: where it leads is asked of the system; one that leads nowhere is left to the reader.
        what: begins the message, such as ``image``.

    Raises:
        UserError: the path leads to such a thing.
    """
    kind = special_kind(path)
    if kind is not None:
        raise UserError(f"{what} {path}: is {kind}, not a file; save its content as a file")


def special_kind(path: str | os.PathLike[str]) -> str | None:
    """Returns what a path leads to, for reading, if it is a pipe, device or socket; else None."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)


def refuse_bomb(path: str | os.PathLike[str], what: str) -> None:
    """Refuses a zip archive, such as an .npz, that unpacks to very much more than it is.

    Numbers that mean something are packed to a tenth at best; zeros are packed to a thousandth, so
    that some megabytes would fill the memory of a machine.

    Args:
        path: of any file; what is no archive is left to the reader.
        what: begins the message, such as ``embeddings file``.

    Raises:
        UserError: the content is of more than 256 MiB and more than 100 times the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = sum(member.file_size for member in archive.infolist())
        packed = os.path.getsize(path)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return
    if content > max(_LEAST_BYTES, _MOST_PACKED * packed):
        raise UserError(
            f"{what} {path}: {packed / 2**20:.1f} MiB that unpack to {content / 2**30:.1f} GiB; it"
            " was not opened. If these numbers are what you mean, save them without compression"
        )
