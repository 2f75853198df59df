"""Reading of a file of class colours, for ``--colors``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clipmask.errors import UserError
from clipmask.plain_yaml import load_yaml

_LINE = re.compile(r"(\d+)[\s,;]+(\d+)[\s,;]+(\d+)[\s:,;]+(\S.*)")  # 128 64 128 road
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


def read_colors(path: Path) -> dict[str, list[int]]:
    """Reads the colours of some classes.

    Args:
        path: a .json, .yaml or .yml file with a mapping of class names to ``[r, g, b]`` or
            ``"#rrggbb"``; or a text file with one class per line, ``name: [r, g, b]`` or ``r g b
            name``, in which ``#`` begins a comment line.

    Returns:
        Class name -> [r, g, b], each 0..255.

    Raises:
        UserError: the file is missing or not text, has no colours, or has a wrong value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--colors {path}: can't be read as UTF-8 text ({error})") from error
    whole = path.suffix.lower() in (".json", ".yaml", ".yml")
    content = _parsed(path, text) if whole else _lines(path, text)
    if not content:
        raise UserError(
            f"--colors {path}: holds no colour; write one class per line, such as 'road: [128, 64,"
            " 128]'"
        )
    return {str(name).strip(): _color(path, str(name), value) for name, value in content.items()}


def _parsed(path: Path, text: str) -> Mapping[Any, Any]:
    try:
        content = json.loads(text) if path.suffix.lower() == ".json" else load_yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"--colors {path}: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise UserError(
            f"--colors {path}: must map class names to colours, such as 'road: [128, 64, 128]'"
        )
    return content or {}


def _lines(path: Path, text: str) -> Mapping[Any, Any]:
    colors: dict[Any, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        name, _, value = line.rpartition(":")
        if match is not None:
            colors[match[4]] = [int(match[channel]) for channel in (1, 2, 3)]
        elif name.strip():
            numbers = [int(part) for part in re.findall(r"\d+", value)]
            colors[name.strip()] = value if "#" in value else numbers
        else:
            raise UserError(
                f"--colors {path}, line {number}: {line!r} is neither 'name: [r, g, b]' nor 'r g b"
                " name'"
            )
    return colors


def _color(path: Path, name: str, value: Any) -> list[int]:
    match = _HEX.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        return [int(part, 16) for part in match.groups()]
    whole = isinstance(value, list) and all(
        isinstance(x, int) and not isinstance(x, bool) for x in value
    )
    if not whole or len(value) != 3 or not all(0 <= x <= 255 for x in value):
        raise UserError(
            f"--colors {path}: {name}: {value!r} is not [r, g, b] with whole numbers from 0 to 255"
        )
    return list(value)
