"""Toy street: small drawn street scenes, for a first run, tests and demos without a download.

The scenes are drawn on first use and written below the first dataset root as ordinary PNG files:

    toy_street/VERSION           the version of the generator
    toy_street/{train,val}/      images 0000.png ...
    toy_street/{train,val}annot/ label maps with the same names: ids 0..8, 255 for void
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from clipmask.data.cores import usable_cores
from clipmask.data.datasets import registering
from clipmask.data.datasets.roots import dataset_roots
from clipmask.data.toy.canvas import HEIGHT, VOID, WIDTH
from clipmask.data.toy.objects import CLASSES
from clipmask.data.toy.scene import draw_scene
from clipmask.errors import UserError

_logger = logging.getLogger(__name__)

# Change it with every change to the scenes: scenes of an older version are drawn again.
VERSION = "2"
SIZES = {"train": 400, "val": 60}
COLORS = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (90, 90, 90),
    "sky": (70, 130, 180),
    "tree": (107, 142, 35),
    "pole": (190, 170, 110),
    "sign": (220, 220, 0),
    "car": (0, 0, 142),
    "pedestrian": (220, 20, 60),
}
ALIASES = {
    "sidewalk": ["pavement"],
    "building": ["house"],
    "tree": ["vegetation"],
    "pole": ["post"],
    "sign": ["traffic sign", "sign symbol"],
    "car": ["automobile"],
    "pedestrian": ["person"],
}


def register() -> None:
    """Registers ``toy_street_sem_seg_{train,val}``."""
    for split in SIZES:
        name = f"toy_street_sem_seg_{split}"
        registering.register(
            name,
            functools.partial(load_toy_street, split),
            stuff_classes=list(CLASSES),
            stuff_colors=[list(COLORS[name]) for name in CLASSES],
            ignore_label=VOID,
            evaluator_type="sem_seg",
            license="Apache-2.0",  # drawn by this project's own code
            class_aliases=ALIASES,
        )


def load_toy_street(split: str) -> list[dict[str, Any]]:
    """Lists the scenes of a split; on first use, all scenes are drawn before.

    Args:
        split: train or val.

    Returns:
        Dataset dicts with ``file_name``, ``sem_seg_file_name``, ``height`` and ``width``.

    Raises:
        UserError: the scenes can't be written below the first dataset root.
    """
    roots = dataset_roots()
    folder = next((root / "toy_street" for root in roots if _is_current(root / "toy_street")), None)
    if folder is None:
        folder = roots[0] / "toy_street"
        try:
            _write(folder)
        except OSError as error:
            raise UserError(
                f"the drawn scenes of toy_street_sem_seg_{split} can't be written to"
                f" {folder.absolute()} ({error}); set CLIPMASK_DATASETS to a folder that you may"
                " write to"
            ) from error
    return [
        {
            "file_name": str(folder / split / f"{index:04d}.png"),
            "sem_seg_file_name": str(folder / f"{split}annot" / f"{index:04d}.png"),
            "height": HEIGHT,
            "width": WIDTH,
        }
        for index in range(SIZES[split])
    ]


def _is_current(folder: Path) -> bool:
    """Returns whether a folder holds the scenes of this version of the generator."""
    try:
        return (folder / "VERSION").read_text(encoding="utf-8").strip() == VERSION
    except OSError:
        return False


def _write(folder: Path) -> None:
    """Draws all scenes beside ``folder`` and moves them there when they are complete.

    An interrupted run leaves nothing at ``folder``. If several processes draw at the same time, all
    use the files of the first that is ready; the files of the others are equal.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _logger.info("drawing the scenes of toy_street into %s, once", folder.absolute())
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".toy_street-") as workshop:
        fresh, stale = Path(workshop, "fresh"), Path(workshop, "stale")
        _draw_all(fresh)
        while not _is_current(folder):
            try:
                os.rename(fresh, folder)
            except OSError:
                if not folder.exists():
                    raise
                _set_aside(folder, stale)


def _set_aside(folder: Path, stale: Path) -> None:
    """Moves a folder with scenes of an older version to ``stale``."""
    if not _is_current(folder):
        shutil.rmtree(stale, ignore_errors=True)
        os.rename(folder, stale)


def _draw_all(folder: Path) -> None:
    """Draws every scene of both splits into a new folder, on up to four cores.

    The file VERSION is written last.
    """
    for split in SIZES:
        (folder / split).mkdir(parents=True)
        (folder / f"{split}annot").mkdir()
    scenes = _Scenes(folder)
    loader: DataLoader[int] = DataLoader(
        scenes, batch_size=None, num_workers=min(4, usable_cores()), generator=torch.Generator()
    )
    for _ in tqdm(
        loader,
        total=len(scenes),
        desc="drawing toy_street",
        unit="scene",
        leave=False,
        disable=None,
    ):
        pass
    (folder / "VERSION").write_text(f"{VERSION}\n", encoding="utf-8")


class _Scenes(Dataset[int]):
    """A dataset whose item i draws scene i into its files.

    With it, the workers of a loader draw scenes in parallel.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scenes: list[tuple[str, int]] = []
        for split, size in SIZES.items():
            self.scenes.extend((split, index) for index in range(size))

    def __getitem__(self, number: int) -> int:
        split, index = self.scenes[number]
        picture, labels = draw_scene(split, index)
        Image.fromarray(picture).save(self.folder / split / f"{index:04d}.png", compress_level=3)
        Image.fromarray(labels).save(self.folder / f"{split}annot" / f"{index:04d}.png")
        return number

    def __len__(self) -> int:
        return len(self.scenes)
