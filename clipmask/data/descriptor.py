"""Descriptors: YAML files that describe a dataset's pictures, labels and classes.

A dataset with a descriptor can be trained on without Python code.

    name: streets                # name of the dataset; default: the name of this file
    images: images               # folder, searched with its subfolders. All paths are relative to
                                 this file
    labels: labels               # folder of the label maps, with the same subfolders
    image_suffix: .jpg           # default: any picture
    label_suffix: _mask.png      # replaces the suffix of the image's name; default: .png
    image_prefix: img_           # default: none
    label_prefix: mask_          # replaces the prefix of the image's name; default: none
    label_folders: {img: mask}   # for trees in which train/img lies beside train/mask: see
                                 FileRule; default: none
    labels_flat: true            # all label maps lie in one folder, even if the pictures have
                                 subfolders; default: false
    encoding: rgb                # ids, palette or rgb; default: ids
    ignore_id: 255               # the id of void pixels, or a list of such ids; default: 255
    void_colors: [[0, 0, 0]]     # palette, rgb: the colours of void pixels
    color_tolerance: 30          # palette, rgb: a colour within this distance of a known colour
                                 counts as the nearest known one; default: 0
    others: void                 # what all other ids and colours mean: void or error; default: error
    transparent: void            # rgb: what transparent pixels mean: void or a class's name;
                                 default: an error
    image_range: [0, 4095]       # the values that become black and white, or {percentiles: [1, 99]};
                                 default: full
    classes:                     # in the order of their ids; with ids, a name alone is enough
      # color and id may each be a list
      - {name: road, color: [128, 64, 128], id: 0, synonyms: [street], prompts: ["asphalt seen from a car"]}
    splits: {train: 0.8, val: 0.2}   # shares, text files of image paths, or subfolders of images;
                                     default: these shares
    license: CC BY 4.0           # licence of the pictures and labels, saved in checkpoints; default:
                                 unknown

With ``ids``, the pixel values of single-channel pictures are ids (of a picture with a palette, the
indices). With ``palette`` and ``rgb``, colours count, however the file stores them.
"""  # noqa: E501

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from clipmask.data.descriptor_classes import DescribedClass, read_classes
from clipmask.data.descriptor_fields import Fields, read_yaml
from clipmask.data.file_rule import FileRule
from clipmask.data.image_format import PLAIN, ImageFormat
from clipmask.data.label_format import RGB, LabelFormat, Value
from clipmask.data.splits import Source, split_paths
from clipmask.errors import UserError
from clipmask.vocabulary import Term, complete_colors

Encoding = Literal["ids", "palette", "rgb"]
DEFAULT_SPLITS: dict[str, Source] = {"train": 0.8, "val": 0.2}


@dataclass(frozen=True)
class Descriptor:
    """The checked content of a descriptor; missing keys have their default values.

    Attributes:
        path: the path of the YAML file.
        name: the name of the dataset; its splits are registered as ``{name}_{split}``.
        files: which files are pictures, and where their label maps lie.
        encoding: ``ids``, ``palette`` or ``rgb``.
        ignore_ids: the ids of void pixels in files that hold ids.
        classes: the classes in the order of their class ids.
        void_colors: the colours of void pixels.
        splits: the name of each split -> its share, text file or subfolder.
        color_tolerance: the largest distance in RGB at which an unknown colour counts as the
            nearest known one.
        others_are_void: True: all other ids and colours are void. False: they are an error.
        transparent: the name of the class of transparent pixels; ``void``; or None if such pixels
            are an error.
        image_format: which values of the pictures become black and white.
        split_seed: the seed of the random split by shares.
        license: the name of the licence of pictures and labels; None: not stated.
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
        """The class names with their synonyms, such as ``car;automobile``, as in the metadata."""
        return tuple(Term((item.name, *item.synonyms)).text for item in self.classes)

    @property
    def colors(self) -> list[list[int]] | None:
        """[r, g, b] of each class, the first if it has several; None if a class has no colour."""
        return complete_colors(item.color for item in self.classes)

    @property
    def ignore_label(self) -> int:
        """The id of void in the label maps that the readers return.

        It is the first of ``ignore_ids`` if that is above the class ids, else 255 or 65535.
        """
        count = len(self.classes)
        if self.ignore_ids[0] >= count:
            return self.ignore_ids[0]
        if count <= 255:
            return 255
        return 65535

    @cached_property
    def label_format(self) -> LabelFormat:
        """Which values the pixels of the label files may have, and the class of each value."""
        table: dict[Value, int] = {}
        void = self.ignore_label
        if self.encoding == "ids":
            for class_id, item in enumerate(self.classes):
                table.update(dict.fromkeys(item.ids, class_id))
            table.update(dict.fromkeys(self.ignore_ids, void))
            if not self.others_are_void and all(value == target for value, target in table.items()):
                return LabelFormat(len(self.classes), void)
            return LabelFormat(len(self.classes), void, table, self.others_are_void)
        for class_id, item in enumerate(self.classes):
            table.update(dict.fromkeys(item.colors, class_id))
        table.update(dict.fromkeys(self.void_colors, void))
        transparent = None
        if self.transparent is not None:
            names = [item.name for item in self.classes]
            transparent = void if self.transparent == "void" else names.index(self.transparent)
        return LabelFormat(
            len(self.classes), void, table, self.others_are_void, self.color_tolerance, transparent
        )

    def pairs(self) -> list[tuple[Path, Path]]:
        """Returns all pictures in a fixed order, each with the path that its label map must have.

        The label map need not exist.

        Raises:
            UserError: there is no picture.
        """
        return [(self.images / image, self.label_path(image)) for image in self._pictures]

    def label_path(self, image: Path) -> Path:
        """Returns the path that the label map of a picture must have.

        Args:
            image: the path of the picture, relative to ``images``.
        """
        return self.files.label_path(image)

    def samples(self) -> dict[str, list[dict[str, Any]]]:
        """Returns the dataset dicts of each split, in a fixed order.

        Pictures without a label map are left out.

        Raises:
            UserError: there is no picture, or none with a label map; a text file names an image
                that does not exist.
        """
        return {split: list(map(self._record, images)) for split, images in self._split.items()}

    def _record(self, image: Path) -> dict[str, str]:
        return {
            "file_name": str(self.images / image),
            "sem_seg_file_name": str(self.label_path(image)),
        }

    @property
    def num_unlabelled(self) -> int:
        """The number of pictures without a label map, which training leaves out."""
        return len(self._pictures) - len(self._labelled)

    # The folders are searched once, so that files added during a run do not change its data.
    @cached_property
    def _pictures(self) -> list[Path]:
        """The paths of the pictures, relative to ``images``."""
        pictures = self.files.pictures()
        if not pictures:
            raise UserError(
                f"descriptor {self.path}: images: no picture in {self.images} or its subfolders:"
                f" looked for files whose names {self.files.wanted_names()}"
            )
        return pictures

    @cached_property
    def _labelled(self) -> list[Path]:
        labelled = [image for image in self._pictures if self.label_path(image).is_file()]
        if not labelled:
            raise UserError(
                f"descriptor {self.path}: none of the {len(self._pictures)} pictures in"
                f" {self.images} has a label map: that of {self._pictures[0]} would be"
                f" {self.label_path(self._pictures[0])}. Correct labels or label_suffix"
                f" ({self.files.label_suffix!r}, which replaces the suffix of the picture's name)"
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
        path: the path of the YAML file.

    Raises:
        UserError: the file is missing or not YAML; a key is unknown, missing or has a wrong value;
            a folder does not exist. The message names the file, the key and the value.
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
        classes=read_classes(fields, encoding, ignore_ids, void_colors, transparent),
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
