"""The dataset that is checked: its pairs, and the files without a partner."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
    """A dataset that is checked.

    Attributes:
        name: the name of the dataset, for file names.
        classes: the K class names, ``a;b`` with synonyms.
        colors: [r, g, b] of each class, or None.
        format: how the label files are read.
        splits: the names of the splits, in order; for registered datasets, their names without the
            common beginning.
        pairs: the images and label maps, both of which exist, without duplicates.
        image_format: how the pictures are read.
        files: which files count as pictures and label maps; None: only those of ``pairs``.
        unlabelled: the images without a label map, each with the path of the expected label map.
        unlabelled_stops: True: such images stop training. False: training leaves them out.
        orphans: label maps without an image.
        lost: images that are named but do not exist.
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
        """The training split: the one with a name for training, else the first."""
        for name in self.splits:
            if name.split("_")[-1] in TRAINING_NAMES:
                return name
        return self.splits[0]

    @property
    def class_names(self) -> list[str]:
        """The class names without synonyms, for messages."""
        return list(map(first_synonym, self.classes))


def open_subject(sources: Sequence[str]) -> Subject:
    """Opens the dataset that a user names.

    Args:
        sources: the path of one descriptor; or the names of registered datasets, which become the
            splits.

    Raises:
        UserError: as for ``read_descriptor`` and ``load_dataset``; or the datasets have different
            classes or label formats.
    """
    if any(map(_is_file, sources)):
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
    """Opens the dataset of a descriptor.

    Raises:
        UserError: it has no picture, or none with a label map; a list of its splits is wrong.
    """
    samples = descriptor.samples()
    pairs = _merged(samples)
    everything = [(str(image), str(labels)) for image, labels in descriptor.pairs()]
    used = {pair.image for pair in pairs}
    unlabelled, unused = [], []
    for image, labels in everything:
        if not os.path.isfile(labels):
            unlabelled.append((image, labels))
        elif image not in used:
            unused.append(image)
    labelled = {labels for _, labels in everything}
    return Subject(
        name=descriptor.name,
        classes=descriptor.class_names,
        colors=descriptor.colors,
        format=descriptor.label_format,
        splits=tuple(samples),
        pairs=pairs,
        image_format=descriptor.image_format,
        files=descriptor.files,
        unlabelled=unlabelled,
        orphans=[path for path in _label_files(descriptor) if path not in labelled],
        unused=unused,
    )


def _label_files(descriptor: Descriptor) -> list[str]:
    """Returns all files with the names of label maps that are not pictures."""
    pictures = {image for image, _ in descriptor.pairs()}
    return [str(path) for path in descriptor.files.label_files() if path not in pictures]


def from_catalog(names: Sequence[str]) -> Subject:
    """Opens registered datasets as the splits of one dataset.

    Raises:
        UserError: as for ``load_dataset``; or they have different classes or label formats.
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
    sizes: dict[tuple[str, str], tuple[int, int] | None] = {}
    for members in records.values():
        sizes.update((_files(record), _stated_size(record)) for record in members)
    pairs, unlabelled, lost = [], [], []
    for pair in _merged(records):
        if not os.path.isfile(pair.image):
            lost.append(pair.image)
        elif not os.path.isfile(pair.labels):
            unlabelled.append((pair.image, pair.labels))
        else:
            pairs.append(pair._replace(stated_size=sizes[pair.image, pair.labels]))
    colors = MetadataCatalog.get(names[0]).get("stuff_colors", None)
    if colors is not None:
        colors = list(map(list, colors))
    return Subject(
        name=common.rstrip("_-.") or names[0],
        classes=first.classes,
        colors=colors,
        format=first.label_format,
        splits=tuple(records),
        image_format=ImageFormat.from_metadata(MetadataCatalog.get(names[0])),
        pairs=pairs,
        unlabelled=unlabelled,
        unlabelled_stops=True,
        lost=lost,
    )


def _beginning(names: Sequence[str]) -> str:
    """Returns the common beginning of names that differ, up to the end of a word; else ""."""
    for place, letters in enumerate(zip(*names, strict=False)):
        if len(set(letters)) > 1:
            start = names[0][:place]
            return start[: max(map(start.rfind, "_-.")) + 1]
    return ""


def _files(record: Mapping[str, Any]) -> tuple[str, str]:
    return str(record["file_name"]), str(record["sem_seg_file_name"])


def _stated_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    if "height" not in record or "width" not in record:
        return None
    return int(record["width"]), int(record["height"])


def _merged(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Pair]:
    """Returns each pair of the dataset dicts once, with all its splits."""
    splits: dict[tuple[str, str], list[str]] = {}
    for split, records in samples.items():
        for record in records:
            splits.setdefault(_files(record), []).append(split)
    return [Pair(image, labels, tuple(within)) for (image, labels), within in splits.items()]
