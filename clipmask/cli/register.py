"""``--register``: imports a user's Python files that register datasets, backbones and keys."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from clipmask.config import add_clipmask_config, extend_config, get_cfg
from clipmask.errors import UserError
from clipmask.shipped import find_config

# the names of the functions with which Detectron2's projects add their keys to a config
_ADDS_KEYS = re.compile(r"add_\w+_config")


def register_file(path: str | Path) -> None:
    """Imports a user's Python file, which registers datasets and other things.

    The file can import modules of its own folder. If it defines or imports functions named
    ``add_..._config``, they add keys to all later configs.

    Args:
        path: the path of the file, or the name of a bundled file, such as
            ``drives/camvid_drives.py``.

    Raises:
        UserError: there is no such file, or it raises an exception; the message names the line and
            the exception.
    """
    path = Path(find_config(path) or path).resolve()
    if not path.is_file():
        raise UserError(f"--register {path}: no such file")
    spec = importlib.util.spec_from_file_location(f"clipmask_registered_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--register {path}: not a Python file (name.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        line = _failing_line(error, str(path))
        where = f"{path}, line {line}" if line else str(path)
        raise UserError(f"--register: {where}: {type(error).__name__}: {error}") from error
    _extend(module, path)


def _failing_line(error: Exception, path: str) -> int | None:
    """Returns the line of a file at which an exception was raised, or None if it is unknown."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    if not lines:
        return None
    return lines[-1]


def _extend(module: ModuleType, path: Path) -> None:
    """Adds the keys of the module's functions ``add_..._config`` to the config, and tests them."""
    for name, value in vars(module).items():
        if callable(value) and _ADDS_KEYS.fullmatch(name) and value is not add_clipmask_config:
            extend_config(value)
            try:
                get_cfg()
            except Exception as error:
                raise UserError(
                    f"--register {path}: its {name} can't add its keys to the config"
                    f" ({type(error).__name__}: {error})"
                ) from error
