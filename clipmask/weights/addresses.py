"""Weights by address: ``https://``, ``http://`` and ``detectron2://`` are downloaded once.

Paths are returned unchanged.

Files go through iopath's ``PathManager``, as in Detectron2, and into the same cache:
``$FVCORE_CACHE``, else ``~/.torch/iopath_cache``. If a name ends in the first digits of a SHA-256,
like ``resnet50-0676ba61.pth`` of torch's hub, the content of the file is checked against it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import Any

from clipmask.errors import UserError

SCHEMES = ("https://", "http://", "detectron2://")
DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/"  # what detectron2:// stands for
_CHECKSUM = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def is_address(source: str) -> bool:
    """Returns whether ``source`` begins like an address, such as ``https://``, and is no path."""
    return re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE) is not None


def local_file(source: str | Path, key: str = "MODEL.WEIGHTS") -> Path:
    """Returns the path of a file on this machine. An address is downloaded if it was not before.

    Args:
        source: a path, or an address that begins with one of ``SCHEMES``.
        key: the config key that names it, for errors.

    Raises:
        UserError: the address begins otherwise, the file can't be fetched, or it is not what its
            name says. A path is returned whether there is a file or not.
    """
    if not is_address(str(source)):
        return Path(source)
    address = str(source)
    if not address.startswith(SCHEMES):
        raise UserError(
            f"{key} {address}: use a path, or an address that begins with {', '.join(SCHEMES)}"
        )
    url = address
    if address.startswith("detectron2://"):
        url = DETECTRON2 + address.removeprefix("detectron2://")
    try:
        path = Path(_manager().get_local_path(url))
    except Exception as error:  # iopath hands on what the network, the server and the disk say
        reason = " ".join(str(error).split()) or "no message"
        raise UserError(
            f"{key} {address}: can't be fetched from {url} ({type(error).__name__}: {reason});"
            " fetch it on a machine with network, and name the local file"
        ) from error
    _check(path, address, key)
    return path


@functools.cache
def _manager() -> Any:
    from iopath.common.file_io import HTTPURLHandler, PathManager

    manager = PathManager()
    manager.register_handler(HTTPURLHandler())
    return manager


def _check(path: Path, address: str, key: str) -> None:
    """Removes a fetched file that does not have the checksum in its name, and says so."""
    wanted = _CHECKSUM.search(path.name)
    if wanted is None:
        return
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    if not digest.hexdigest().startswith(wanted[1]):
        path.unlink()
        raise UserError(
            f"{key} {address}: what was fetched has the SHA-256 {digest.hexdigest()[:16]}..., not"
            f" {wanted[1]} as its name says; it is deleted again. Try once more"
        )
