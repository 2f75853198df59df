"""Draws a small Cityscapes in the official layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

# what the official label maps hold; -1, the licence plate, is never drawn
LABEL_IDS = tuple(range(34))
CITIES = {"train": ("aachen", "bochum"), "val": ("frankfurt",), "test": ("berlin",)}
BLOCK = 8  # pixels; label maps are squares of one id


def draw_tree(
    root: Path,
    splits: Sequence[str] = ("train", "val", "test"),
    size: tuple[int, int] = (64, 128),
    *,
    images: int = 2,
    train_ids: bool = False,
) -> Path:
    """Draws ``root``/cityscapes/{leftImg8bit,gtFine}.

    Pictures show the ids as shades of grey with noise, so that a model can learn them. At the
    default size every label id occurs in every label map. Those of test are blank, as the official
    ones.

    Args:
        root: the dataset root; made if need be.
        splits: those to draw.
        size: (H, W) of the pictures.
        images: per city; train has two cities, the others one.
        train_ids: add what Detectron2's own loader of Cityscapes wants: ``*_labelTrainIds.png``
            (0..18, 255 for void), as the official scripts make them, and the files of the
            instances, empty.

    Returns:
        The folder ``cityscapes``.
    """
    folder = root / "cityscapes"
    rng = np.random.default_rng(0)
    for split in splits:
        for city in CITIES[split]:
            pictures, truth = (folder / kind / split / city for kind in ("leftImg8bit", "gtFine"))
            pictures.mkdir(parents=True)
            truth.mkdir(parents=True)
            for index in range(images):
                stem, ids = f"{city}_{index:06d}_000019", _label_ids(size, rng)
                shades = 7 * ids[..., None].astype(int) + rng.integers(0, 10, (*size, 3))
                Image.fromarray(shades.astype(np.uint8)).save(pictures / f"{stem}_leftImg8bit.png")
                ids = np.zeros_like(ids) if split == "test" else ids
                Image.fromarray(ids).save(truth / f"{stem}_gtFine_labelIds.png")
                if train_ids:
                    _add_train_ids(truth, stem, ids)
    return folder


def _label_ids(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Returns squares of all label ids in chance order, (H, W) uint8."""
    height, width = size
    grid = (-(-height // BLOCK), -(-width // BLOCK))
    squares = np.resize(rng.permutation(np.array(LABEL_IDS, np.uint8)), grid)
    return np.kron(squares, np.ones((BLOCK, BLOCK), np.uint8))[:height, :width]


def _add_train_ids(truth: Path, stem: str, ids: np.ndarray) -> None:
    """Writes the further files of one picture."""
    classes = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    labels = np.full_like(ids, 255)
    for train_id, label_id in enumerate(classes):
        labels[ids == label_id] = train_id
    Image.fromarray(labels).save(truth / f"{stem}_gtFine_labelTrainIds.png")
    Image.fromarray(ids.astype(np.uint16)).save(truth / f"{stem}_gtFine_instanceIds.png")
    height, width = ids.shape
    polygons = {"imgHeight": height, "imgWidth": width, "objects": []}
    (truth / f"{stem}_gtFine_polygons.json").write_text(json.dumps(polygons))
