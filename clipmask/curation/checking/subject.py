"""What is to be checked: the pairs of a descriptor or of registered datasets, and which files have
no partner.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipmask.curation.checking.pair import Pair
from clipmask.d2 import MetadataCatalog
from clipmask.data.catalog import load_dataset
from clipmask.data.descriptor import Descriptor, read_descriptor
from clipmask.data.file_rule import FileRule
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.label_format import LabelFormat
from clipmask.errors import UserError
from clipmask.vocabulary import first_synonym

TRAINING_NAMES = ("train", "training", "trainval")


@dataclass(frozen=True)
class Subject:
    """A dataset to look at.

    Attributes:
        name: for the names of files about it.
        classes: the K class names, ``a;b`` with synonyms.
        colors: [r, g, b] of each class, or None.
        format: how its label files are read.
        splits: their names, in order; of registered datasets without what they all begin with.
        pairs: image and label map, each once, both there.
        image_format: how its pictures are read.
        files: which files count as its pictures and label maps; None: no others than ``pairs``.
        unlabelled: (image, label map that it would need).
        unlabelled_stops: training refuses such images, rather than leave them out.
        orphans: label maps without image.
        lost: images that are named but not there.
        unused: labelled images that are in no split.
    """

    name: str
    classes: tuple[str, ...]
    colors: list[list[int]] | None
    format: LabelFormat
    splits: tuple[str, ...]
    pairs: list[Pair]
    image_format: ImageFormat = PLAIN
    files: FileRule | None = None
    unlabelled: list[tuple[str, str]] = field(default_factory=list)
    unlabelled_stops: bool = False
    orphans: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def training(self) -> str:
        """The split that trains: by its name, else the first."""
        return next(
            (name for name in self.splits if name.split("_")[-1] in TRAINING_NAMES), self.splits[0]
        )

    @property
    def class_names(self) -> list[str]:
        """The class names without synonyms, for reading."""
        return [first_synonym(name) for name in self.classes]


def open_subject(sources: Sequence[str]) -> Subject:
    """Finds out what a user names.

    Args:
        sources: one descriptor, or names of registered datasets, which are its splits.

    Raises:
        UserError: see ``read_descriptor`` and ``load_dataset``; or the datasets differ in how they
            are labelled.
    """
    if any(_is_file(source) for source in sources):
        if len(sources) > 1:
            raise UserError(
                f"{' '.join(sources)}: give one descriptor (YAML file), or names of registered"
                " datasets"
            )
        return from_descriptor(read_descriptor(sources[0]))
    return from_catalog(sources)


def _is_file(source: str) -> bool:
    return (
        Path(source).suffix.lower() in (".yaml", ".yml")
        or os.path.sep in source
        or Path(source).is_file()
    )


def from_descriptor(descriptor: Descriptor) -> Subject:
    """Lists the pairs of a descriptor.

    Raises:
        UserError: it has no picture, or none with a label map; its lists of files are wrong.
    """
    samples = descriptor.samples()
    pairs = _merged(
        {split: [_files(record) for record in records] for split, records in samples.items()}
    )
    everything = [(str(image), str(labels)) for image, labels in descriptor.pairs()]
    used = {pair.image for pair in pairs}
    labelled = {labels for _, labels in everything}
    colors = [item.color for item in descriptor.classes]
    return Subject(
        name=descriptor.name,
        classes=descriptor.class_names,
        colors=None if None in colors else [list(color) for color in colors if color is not None],
        format=descriptor.label_format,
        splits=tuple(samples),
        pairs=pairs,
        image_format=descriptor.image_format,
        files=descriptor.files,
        unlabelled=[(image, labels) for image, labels in everything if not os.path.isfile(labels)],
        orphans=[path for path in _label_files(descriptor) if path not in labelled],
        unused=[
            image for image, labels in everything if image not in used and os.path.isfile(labels)
        ],
    )


def _label_files(descriptor: Descriptor) -> list[str]:
    """Returns all files that are named as label maps are and are no pictures."""
    pictures = {image for image, _ in descriptor.pairs()}
    return [str(path) for path in descriptor.files.label_files() if path not in pictures]


def from_catalog(names: Sequence[str]) -> Subject:
    """Lists the pairs of registered datasets.

    Raises:
        UserError: see ``load_dataset``; or they have different classes or label files.
    """
    datasets = {name: load_dataset(name, labelled=True, present=False) for name in names}
    first = datasets[names[0]]
    for name, other in datasets.items():
        if other[1:] != first[1:]:
            raise UserError(
                f"{names[0]} and {name} can't be checked together, because their class names,"
                " ignore label or label mapping differ; check one after the other"
            )
    common = _beginning(list(datasets))
    records = {name[len(common) :]: dataset.records for name, dataset in datasets.items()}
    pairs = _merged(
        {split: [_files(record) for record in members] for split, members in records.items()}
    )
    sizes = {
        _files(record): _told_size(record) for members in records.values() for record in members
    }
    pairs = [pair._replace(told_size=sizes[pair.image, pair.labels]) for pair in pairs]
    here = {path: os.path.isfile(path) for pair in pairs for path in pair[:2]}
    colors = MetadataCatalog.get(names[0]).get("stuff_colors", None)
    return Subject(
        name=common.rstrip("_-.") or names[0],
        classes=first.classes,
        colors=None if colors is None else [list(color) for color in colors],
        format=first.label_format,
        splits=tuple(records),
        image_format=ImageFormat.from_metadata(MetadataCatalog.get(names[0])),
        pairs=[pair for pair in pairs if here[pair.image] and here[pair.labels]],
        unlabelled=[
            (pair.image, pair.labels)
            for pair in pairs
            if here[pair.image] and not here[pair.labels]
        ],
        unlabelled_stops=True,
        lost=[pair.image for pair in pairs if not here[pair.image]],
    )


def _beginning(names: Sequence[str]) -> str:
    """Returns what several names all begin with, up to the end of a word; nothing for one name."""
    same = next(
        (place for place, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1),
        0,
    )
    start = names[0][:same]
    return start[: max(map(start.rfind, "_-.")) + 1]


def _files(record: dict[str, str]) -> tuple[str, str]:
    return str(record["file_name"]), str(record["sem_seg_file_name"])


def _told_size(record: dict[str, Any]) -> tuple[int, int] | None:
    if "height" not in record or "width" not in record:
        return None
    return int(record["width"]), int(record["height"])


def _merged(files: dict[str, list[tuple[str, str]]]) -> list[Pair]:
    """Returns each pair once, with all splits that it is in."""
    splits: dict[tuple[str, str], list[str]] = {}
    for split, members in files.items():
        for member in members:
            splits.setdefault(member, []).append(split)
    return [Pair(image, labels, tuple(within)) for (image, labels), within in splits.items()]
