"""``--register``: Python files of the user's that register datasets, backbones and config keys."""

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

# how Detectron2's projects call what adds their keys to a config
_ADDS_KEYS = re.compile(r"add_\w+_config")


def register_file(path: str | Path) -> None:
    """Imports a user's Python file, so that it registers what it has; its own folder is importable
    from it.

    A function in it called ``add_..._config``, written there or imported, adds keys to every config
    that follows.

    Args:
        path: of the file, or the name of one that comes with the configs, such as
            ``drives/camvid_drives.py``.

    Raises:
        UserError: there is no such file, or it raises: then the line and the exception are named.
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
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        line = (
            error.lineno
            if isinstance(error, SyntaxError) and error.filename == str(path)
            else (lines or [None])[-1]
        )
        where = f"{path}, line {line}" if line else str(path)
        raise UserError(f"--register: {where}: {type(error).__name__}: {error}") from error
    _extend(module, path)


def _extend(module: ModuleType, path: Path) -> None:
    """Lets the config have the keys that the module's functions add, and tries them."""
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
