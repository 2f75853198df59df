"""A small dataset in two folders, with a descriptor, in which each test breaks something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from clipmask.curation.checking.counts import Checked
from clipmask.curation.checking.finding import Finding
from clipmask.curation.checking.findings import find_all
from clipmask.curation.checking.pair import read_pair
from clipmask.curation.checking.subject import Subject, open_subject

COLORS = {"road": (128, 64, 128), "sky": (70, 130, 180), "tree": (0, 128, 0)}
SIZE = (24, 32)
TRAIN, VAL = 12, 12


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture with large shapes, which no other seed gives."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    return np.asarray(coarse)


def label_ids(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Ids of three classes in stripes."""
    return (
        np.repeat(np.arange(size[1]) * 3 // size[1], size[0])
        .reshape(size[1], size[0])
        .T.astype(np.uint8)
    )


def save(pixels: np.ndarray, path: Path) -> Path:
    """Writes a picture into a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make(root: Path, encoding: str = "rgb", **changes: Any) -> Path:
    """Writes 12 pictures for training and 12 for validation, all in order; returns the descriptor's
    path.

    Args:
        root: the folder.
        encoding: ids or rgb.
        changes: keys of the descriptor.
    """
    table = np.array(list(COLORS.values()), np.uint8)
    labels = label_ids() if encoding == "ids" else table[label_ids()]
    for number in range(TRAIN + VAL):
        name = f"{'train' if number < TRAIN else 'val'}/{number:02}.png"
        save(picture(number), root / "images" / name)
        save(labels, root / "labels" / name)
    content = {
        "name": "made",
        "images": "images",
        "labels": "labels",
        "encoding": encoding,
        "classes": [{"name": name, "color": list(color)} for name, color in COLORS.items()],
        "splits": {"train": "train", "val": "val"},
        **changes,
    }
    path = root / "made.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def make_again(path: Path, **changes: Any) -> Path:
    """Changes keys of a descriptor, and leaves its files as they are."""
    content = {**yaml.safe_load(path.read_text()), **changes}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def read_all(subject: Subject) -> Checked:
    """Reads all pairs in this process."""
    return [(pair, read_pair(pair, subject.format, subject.image_format)) for pair in subject.pairs]


def findings(path: Path) -> dict[str, Finding]:
    """Returns what is found in a dataset, by kind."""
    subject = open_subject([str(path)])
    return {finding.kind: finding for finding in find_all(subject, read_all(subject))}
