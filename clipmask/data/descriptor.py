"""A dataset described by a YAML file: which pictures, which labels, which classes. No Python is
needed to train on it.

    name: streets                # what the dataset is called; default: the file's name
    images: images               # folder, searched with its subfolders; relative to this file, as
                                 all paths here
    labels: labels               # folder of the same tree
    image_suffix: .jpg           # default: any picture
    label_suffix: _mask.png      # stands in place of an image's suffix; default: .png
    image_prefix: img_           # default: none
    label_prefix: mask_          # stands in place of an image's prefix; default: none
    label_folders: {img: mask}   # where train/img lies beside train/mask: see FileRule; default:
                                 none
    labels_flat: true            # all label maps lie in one folder, whatever the pictures' folders;
                                 default: false
    encoding: rgb                # ids, palette or rgb; default: ids
    ignore_id: 255               # of void pixels, or a list of such ids; default: 255
    void_colors: [[0, 0, 0]]     # palette, rgb: colours that are void
    color_tolerance: 30          # palette, rgb: a colour this near to a known one counts as the
                                 nearest; default: 0
    others: void                 # what other ids and colours are: void or error; default: error
    transparent: void            # rgb: what transparent pixels are: void or a class's name;
                                 default: an error
    image_range: [0, 4095]       # values that become black and white, or {percentiles: [1, 99]};
                                 default: full
    classes:                     # in the order of their ids; the name alone is enough with ids
      # color and id may be lists of several
      - {name: road, color: [128, 64, 128], id: 0, synonyms: [street], prompts: ["asphalt seen from a car"]}
    splits: {train: 0.8, val: 0.2}   # shares, text files of image paths, or subfolders of images;
                                     default: these shares
    license: CC BY 4.0           # of the pictures and labels; it goes into checkpoints; default:
                                 unknown

``ids`` takes the pixel values of single-channel pictures (of one with a palette its indices) for
ids; ``palette`` and ``rgb`` go by colours, whatever way the file stores them.
"""  # noqa: E501

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.descriptor_fields import DescribedClass, Fields, read_yaml
from clipmask.data.file_rule import FileRule
from clipmask.data.guarded import GuardedDataset
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.label_format import RGB, LabelFormat, Value
from clipmask.data.placeholders import placeholders
from clipmask.data.splits import Source, split_paths
from clipmask.errors import UserError
from clipmask.vocabulary import Term

logger = logging.getLogger(__name__)

__all__ = ["DescribedClass", "Descriptor", "read_descriptor", "register_descriptor"]

Encoding = Literal["ids", "palette", "rgb"]
DEFAULT_SPLITS: dict[str, Source] = {"train": 0.8, "val": 0.2}


@dataclass(frozen=True)
class Descriptor:
    """What a descriptor says, checked, with its defaults filled in.

    Attributes:
        path: of the YAML file.
        name: of the dataset; its splits are registered as ``{name}_{split}``.
        files: which files are pictures, and where their label maps lie.
        encoding: ``ids``, ``palette`` or ``rgb``.
        ignore_ids: of void in the files, where they hold ids.
        classes: in the order of class ids.
        void_colors: that are void.
        splits: name to share, text file or subfolder.
        color_tolerance: the distance up to which a colour counts as the nearest one of those that
            are known.
        others_are_void: what other ids and colours are: void, or an error.
        transparent: the name of the class that transparent pixels are, ``void``, or None for an
            error.
        image_format: which values of the pictures become black and white.
        split_seed: of shares; another one gives another draw.
        license: name of the licence of pictures and labels; None: not stated.
    """

    path: Path
    name: str
    files: FileRule
    encoding: Encoding
    ignore_ids: tuple[int, ...]
    classes: tuple[DescribedClass, ...]
    void_colors: tuple[RGB, ...]
    splits: dict[str, Source]
    color_tolerance: float = 0.0
    others_are_void: bool = False
    transparent: str | None = None
    image_format: ImageFormat = PLAIN
    split_seed: int = 0
    license: str | None = None

    @property
    def images(self) -> Path:
        """The folder of the pictures."""
        return self.files.images

    @property
    def labels(self) -> Path:
        """The folder of the label maps."""
        return self.files.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes with their synonyms, ``car;automobile``, as metadata hold them."""
        return tuple(Term((item.name, *item.synonyms)).text for item in self.classes)

    @property
    def ignore_label(self) -> int:
        """The id of void in label maps as they are read: the first of ``ignore_ids``, if it is
        above the class ids.
        """
        count = len(self.classes)
        if self.ignore_ids[0] >= count:
            return self.ignore_ids[0]
        return 255 if count <= 255 else 65535

    @cached_property
    def label_format(self) -> LabelFormat:
        """What the pixels of the label files may be, and what each stands for."""
        table: dict[Value, int] = {}
        void = self.ignore_label
        if self.encoding == "ids":
            table.update((id, place) for place, item in enumerate(self.classes) for id in item.ids)
            table.update(dict.fromkeys(self.ignore_ids, void))
            if not self.others_are_void and all(value == target for value, target in table.items()):
                return LabelFormat(len(self.classes), void)
            return LabelFormat(len(self.classes), void, table, self.others_are_void)
        table.update(
            (color, place) for place, item in enumerate(self.classes) for color in item.colors
        )
        table.update(dict.fromkeys(self.void_colors, void))
        transparent = None
        if self.transparent is not None:
            names = [item.name for item in self.classes]
            transparent = void if self.transparent == "void" else names.index(self.transparent)
        return LabelFormat(
            len(self.classes), void, table, self.others_are_void, self.color_tolerance, transparent
        )

    def pairs(self) -> list[tuple[Path, Path]]:
        """Returns all pictures in a fixed order, each with the path of its label map, whether that
        is there or not.

        Raises:
            UserError: there is no picture.
        """
        return [(self.images / image, self.label_path(image)) for image in self._pictures]

    def label_path(self, image: Path) -> Path:
        """Returns where the label map of a picture, given relative to ``images``, has to be."""
        return self.files.label_path(image)

    def samples(self) -> dict[str, list[dict[str, Any]]]:
        """Returns the dataset dicts of each split in a fixed order; pictures without a label map
        are left out.

        Raises:
            UserError: there is no picture, or none with a label map; a text file names an image
                that is not there.
        """
        return {split: list(map(self._record, images)) for split, images in self._split.items()}

    def _record(self, image: Path) -> dict[str, str]:
        return {
            "file_name": str(self.images / image),
            "sem_seg_file_name": str(self.label_path(image)),
        }

    @property
    def num_unlabelled(self) -> int:
        """How many pictures have no label map; training leaves them out."""
        return len(self._pictures) - len(self._labelled)

    # Searched once: what a run trains on must not change while someone adds files.
    @cached_property
    def _pictures(self) -> list[Path]:
        """The pictures, relative to ``images``."""
        pictures = self.files.pictures()
        if not pictures:
            files = self.files
            wanted = (
                f"end in {files.image_suffix!r} (image_suffix)"
                if files.image_suffix
                else "end as a picture's"
            )
            if files.image_prefix:
                wanted = f"begin with {files.image_prefix!r} (image_prefix) and {wanted}"
            others = (
                f", and not in {files.label_suffix!r} (label_suffix)" if files.labels_inside else ""
            )
            raise UserError(
                f"descriptor {self.path}: images: no picture in {self.images} or its subfolders:"
                f" looked for files whose names {wanted}{others}"
            )
        return pictures

    @cached_property
    def _labelled(self) -> list[Path]:
        labelled = [image for image in self._pictures if self.label_path(image).is_file()]
        if not labelled:
            raise UserError(
                f"descriptor {self.path}: none of the {len(self._pictures)} pictures in"
                f" {self.images} has a label map: {self._pictures[0]} would need"
                f" {self.label_path(self._pictures[0])}. Correct labels or label_suffix"
                f" ({self.files.label_suffix!r}, which stands in place of the picture's suffix)"
            )
        return labelled

    @cached_property
    def _split(self) -> dict[str, list[Path]]:
        return split_paths(
            self.splits, self._pictures, self._labelled, self.path, self.images, self.split_seed
        )


def read_descriptor(path: str | os.PathLike[str]) -> Descriptor:
    """Reads and checks a descriptor.

    Args:
        path: of the YAML file.

    Raises:
        UserError: the file is missing or no YAML; a key is unknown, missing or has a wrong value; a
            folder is not there. The message names file, key and value.
    """
    path = Path(path)
    fields = Fields(path, read_yaml(path))
    encoding = fields.choice("encoding", ("ids", "palette", "rgb"), "ids")
    ignore_ids = fields.ids("ignore_id", 255)
    void_colors = fields.colors("void_colors")
    transparent = fields.part("transparent", None, "void, or the name of a class")
    files = _file_rule(fields)
    return Descriptor(
        path=path,
        name=fields.name("name", path.stem),
        files=files,
        encoding=cast(Encoding, encoding),
        ignore_ids=ignore_ids,
        classes=fields.classes(encoding, ignore_ids, void_colors, transparent),
        void_colors=void_colors,
        splits=fields.splits(files.images, DEFAULT_SPLITS),
        color_tolerance=fields.number("color_tolerance"),
        others_are_void=fields.choice("others", ("error", "void"), "error") == "void",
        transparent=transparent,
        image_format=fields.image_format(),
        split_seed=fields.split_seed(),
        license=fields.text("license"),
    )


def _file_rule(fields: Fields) -> FileRule:
    return FileRule(
        images=fields.folder("images"),
        labels=fields.folder("labels"),
        image_suffix=fields.part("image_suffix", None, ".png or _image.png"),
        label_suffix=fields.part("label_suffix", ".png", ".png or _mask.png") or ".png",
        image_prefix=fields.part("image_prefix", "", "img_") or "",
        label_prefix=fields.part("label_prefix", "", "mask_") or "",
        label_folders=fields.folder_names("label_folders"),
        flat=fields.flag("labels_flat"),
    )


_registered: dict[str, Descriptor] = {}  # dataset name -> where it came from


def register_descriptor(path: str | os.PathLike[str]) -> dict[str, str]:
    """Registers the splits of a descriptor in ``DatasetCatalog`` and ``MetadataCatalog``.

    The same file may be registered again; what has changed in it since counts.

    Args:
        path: of the YAML file.

    Returns:
        Split to the name of its dataset, ``{name}_{split}``.

    Raises:
        UserError: see ``read_descriptor``; or another dataset has that name.
    """
    descriptor = read_descriptor(path)
    names = {split: f"{descriptor.name}_{split}" for split in descriptor.splits}
    for name in names.values():
        known = _registered.get(name)
        if name in DatasetCatalog.list() and (
            known is None or known.path.resolve() != descriptor.path.resolve()
        ):
            other = "already" if known is None else f"by {known.path}"
            raise UserError(
                f"descriptor {path}: a dataset {name!r} is registered {other}; give another 'name:'"
            )
    tell = functools.cache(functools.partial(_tell_left_out, descriptor))
    for split, name in names.items():
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
        if name in MetadataCatalog.list():
            MetadataCatalog.remove(name)
        load = functools.partial(_samples, descriptor, split, tell)
        plain = descriptor.label_format.holds_class_ids
        DatasetCatalog.register(name, load if plain else GuardedDataset(load))
        MetadataCatalog.get(name).set(**_metadata(descriptor))
        _registered[name] = descriptor
    return names


def refuse_among_pictures(folder: Path, names: Sequence[str]) -> None:
    """Refuses a folder for results in which pictures would count as those of a described dataset.

    Args:
        folder: OUTPUT_DIR.
        names: of registered datasets, described or not.

    Raises:
        UserError: a picture in a folder of ``folder`` would be one of the dataset's.
    """
    for name in names:
        known = _registered.get(name)
        if known is not None and known.files.takes(folder / "pictures" / "0" / "0.png"):
            raise UserError(
                f"OUTPUT_DIR {folder}: lies in {known.images}, where {known.path} looks for"
                " pictures: those of the run would be trained on. Name another folder"
            )


def _tell_left_out(descriptor: Descriptor) -> None:
    """Warns of pictures without labels, and of class names without meaning."""
    if descriptor.num_unlabelled:
        logger.warning(
            "descriptor %s: %d of %d pictures have no label map and are left out; clipmask-data"
            " check lists them",
            descriptor.path,
            descriptor.num_unlabelled,
            len(descriptor.pairs()),
        )
    empty = placeholders(descriptor.class_names)
    if empty:
        logger.warning(
            "descriptor %s: the class name%s %s mean%s nothing to CLIP, which embeds names: write"
            " what is to be seen",
            descriptor.path,
            "s" * (len(empty) > 1),
            ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else ""),
            "s" * (len(empty) == 1),
        )


def _samples(descriptor: Descriptor, split: str, tell: Callable[[], None]) -> list[dict[str, Any]]:
    samples = descriptor.samples()[split]
    tell()  # once, however often a run asks
    if not samples:
        raise UserError(
            f"descriptor {descriptor.path}: the split {split!r} ({descriptor.splits[split]}) has no"
            f" labelled picture; {descriptor.images} has"
            f" {len(descriptor.pairs()) - descriptor.num_unlabelled} in all"
        )
    return samples


def _metadata(descriptor: Descriptor) -> dict[str, Any]:
    """Returns what the catalog keeps of a dataset, see ``clipmask.data.catalog``."""
    metadata: dict[str, Any] = {
        "stuff_classes": list(descriptor.class_names),
        "ignore_label": descriptor.ignore_label,
        "label_format": descriptor.label_format,
        "evaluator_type": "sem_seg",
        **descriptor.image_format.as_metadata(),
    }
    if descriptor.license:
        metadata["license"] = descriptor.license
    colors = [item.color for item in descriptor.classes]
    if None not in colors:
        metadata["stuff_colors"] = [list(cast(RGB, color)) for color in colors]
    prompts = {
        name: list(item.prompts)
        for name, item in zip(descriptor.class_names, descriptor.classes, strict=True)
        if item.prompts
    }
    if prompts:
        metadata["class_prompts"] = prompts
    members = {
        name: list(item.includes)
        for name, item in zip(descriptor.class_names, descriptor.classes, strict=True)
        if item.includes
    }
    if members:
        metadata["class_members"] = members
    return metadata
