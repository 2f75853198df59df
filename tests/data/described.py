"""A small dataset with a descriptor: drawn pictures, labels in colours or ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

COLORS = {"sky": (0, 0, 255), "field": (0, 255, 0), "house": (255, 0, 0)}
VOID = (0, 0, 0)


def write_described(
    root: Path, count: int = 6, encoding: str = "rgb", size: tuple[int, int] = (48, 64)
) -> Path:
    """Writes pictures in two folders with labels of three classes and some void; returns the
    descriptor's path.
    """
    rng = np.random.default_rng(0)
    table = np.array([*COLORS.values(), VOID], np.uint8)
    for number in range(count):
        ids = np.sort(rng.integers(0, 3, size[0]))[:, None].repeat(size[1], 1)
        ids[0, :4] = 3
        noise = rng.normal(0, 10, (*size, 3))
        place = Path("ab"[number % 2], f"{number:02}.png")
        for folder in ("images", "masks"):
            (root / folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((table[ids] * 0.5 + 60 + noise).clip(0, 255).astype(np.uint8)).save(
            root / "images" / place
        )
        labels = Image.fromarray(
            table[ids] if encoding == "rgb" else np.where(ids == 3, 255, ids).astype(np.uint8)
        )
        if encoding == "palette":
            labels.putpalette(_palette())
        labels.save(root / "masks" / place.with_name(f"{place.stem}_mask.png"))
    content: dict[str, Any] = {
        "images": "images", "labels": "masks", "label_suffix": "_mask.png", "encoding": encoding,
        "classes": [{"name": name, "color": list(color)} for name, color in COLORS.items()],
    }  # fmt: skip
    if encoding != "ids":
        content["void_colors"] = [list(VOID)]
    return write_yaml(root / "fields.yaml", **content)


def write_tree(root: Path, *files: str) -> None:
    """Writes small black pictures below a folder."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)


def write_yaml(path: Path, **content: Any) -> Path:
    """Writes a descriptor."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _palette() -> list[int]:
    """Colours at the indices that hold the ids, void's at 255."""
    entries = [*COLORS.values(), *[(9, 9, 9)] * 252, VOID]
    return [channel for color in entries for channel in color]
