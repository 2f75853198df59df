"""What comes with the package and is found by its name: the configs and the trained models.

They stand at the top level of a checkout and inside the package where it was installed from a
wheel.
"""

from __future__ import annotations

import io
from pathlib import Path, PurePath
from typing import IO

import yaml
from fvcore.common.config import CfgNode

from clipmask.errors import UserError, did_you_mean
from clipmask.paths import refuse_special, user_path
from clipmask.plain_yaml import load_yaml

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(kind: str) -> Path:
    """Returns the folder of what comes with the package.

    Args:
        kind: ``configs`` or ``models``.
    """
    inside = _PACKAGE / kind
    if inside.is_dir():
        return inside
    return _PACKAGE.parent / kind


def shipped_configs() -> list[str]:
    """Returns the names of the configs that come with the package, such as
    ``camvid/clipmask_r50.yaml``.
    """
    folder = shipped_folder("configs")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


def find_config(path: str | Path) -> Path | None:
    """Returns the file that a command line names, of configs and of the Python files that stand
    beside them.

    Args:
        path: of a file, which is looked for from the working folder; or the name of one that comes
            with the package, with ``configs/`` before it or without.

    Returns:
        The file; None where there is neither.
    """
    own = user_path(path)
    if own.is_file():
        return own
    name = PurePath(path)
    if name.parts[:1] == ("configs",):
        name = PurePath(*name.parts[1:])
    if name.is_absolute() or ".." in name.parts:
        return None
    shipped = shipped_folder("configs") / name
    if not shipped.is_file():
        return None
    return shipped


def config_file(path: str | Path) -> Path:
    """Returns the config that a command line names, see ``find_config``.

    Raises:
        UserError: there is none; the nearest names of configs that come with the package are named.
    """
    found = find_config(path)
    if found is not None:
        return found
    names = shipped_configs()
    name = Path(path).as_posix().removeprefix("configs/")
    hint = did_you_mean(name, names, f"the configs are {', '.join(_leaves(names))}", most=3)
    raise UserError(
        f"config file {path}: no such file, and no config of that name comes with ClipMask; {hint}"
    )


def _leaves(names: list[str]) -> list[str]:
    """The configs that people train with, of all names."""
    experiments = ("ablations", "drives", "open_vocabulary", "paper")
    return [
        name
        for name in names
        if not name.endswith("base.yaml") and PurePath(name).parts[0] not in experiments
    ]


def base_files(path: Path, content: dict[str, object]) -> list[Path]:
    """Returns the files that the ``_BASE_`` of a config names.

    Each is looked for from the folder of the config, then by its name among those that come with
    the package.

    Args:
        path: of the config.
        content: of the config.
    """
    names = content.get("_BASE_", [])
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list):
        return []
    files = []
    for name in names:
        beside = path.parent / user_path(str(name))
        files.append(beside if beside.is_file() else find_config(str(name)) or beside)
    return files


class ConfigReader(CfgNode):
    """fvcore's reader of configs, whose ``_BASE_`` may be the name of a config that comes with the
    package.
    """

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        path = Path(filename)
        refuse_special(path, "config file")
        text = path.read_text(encoding="utf-8")
        content = load_yaml(text)
        if not isinstance(content, dict) or "_BASE_" not in content:
            return io.StringIO(text)
        bases = [str(base.absolute()) for base in base_files(path, content)]
        return io.StringIO(yaml.safe_dump({**content, "_BASE_": bases}))
