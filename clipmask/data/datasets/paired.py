"""Datasets in which a picture and its label map have the same name in two folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from clipmask.data.datasets.roots import dataset_root
from clipmask.errors import UserError


class Paired(NamedTuple):
    """The folders of the pictures and label maps of one split, below a dataset root.

    Attributes:
        dataset: the name of the dataset in the catalog.
        images: the folder of the pictures, .jpg.
        labels: the folder of the label maps, .png.
        listed: a text file with one stem per line; empty: all pictures of the folder.
        hint: how to make missing files, for the error message.
    """

    dataset: str
    images: str
    labels: str
    listed: str = ""
    hint: str = ""


def load_paired(split: Paired) -> list[dict[str, Any]]:
    """Lists the samples of a split.

    Returns:
        Dataset dicts with ``file_name`` and ``sem_seg_file_name``, sorted by name or in the order
        of the list.

    Raises:
        UserError: no root holds the folders, or there are no pictures in them.
    """
    needed = [split.images, split.labels]
    tree = f"{split.images}/*.jpg and {split.labels}/*.png"
    if split.listed:
        needed.append(split.listed)
        tree += f" with {split.listed}"
    try:
        root = dataset_root(needed, dataset=split.dataset, tree=tree)
    except UserError as error:
        raise UserError("; ".join(filter(None, [str(error), split.hint]))) from None
    images, labels = root / split.images, root / split.labels
    if split.listed:
        lines = (root / split.listed).read_text(encoding="utf-8").split("\n")
        stems = [line.split()[0] for line in lines if line.strip()]
    else:
        stems = sorted(path.stem for path in images.glob("*.jpg"))
    if not stems:
        where = root / (split.listed or split.images)
        raise UserError(f"{where}: names no picture of {split.dataset} (datasets/README.md)")
    return [_record(images, labels, Path(stem).stem) for stem in stems]


def _record(images: Path, labels: Path, stem: str) -> dict[str, Any]:
    return {
        "file_name": str(images / f"{stem}.jpg"),
        "sem_seg_file_name": str(labels / f"{stem}.png"),
    }
