"""Mappers from a dataset dict (file names) to the input of the model (tensors)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from clipmask.data.image_format import PLAIN
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import MAX_PIXELS, check_format, read_image, read_labels
from clipmask.data.resizing import resize_shortest_edge
from clipmask.errors import UserError

if TYPE_CHECKING:
    from clipmask.data.transforms import ShorterSide, TrainTransform


class TrainMapper:
    """Reads a training sample, checks it and augments it.

    The random numbers come from torch's default CPU generator, so the same seed gives the same
    bytes.

    Args:
        transform: the augmentation.
        label_format: how the label files are read.
        format: INPUT.FORMAT, the channel order that the model takes.
        max_pixels: INPUT.MAX_PIXELS, see ``read_image``.
    """

    def __init__(
        self,
        transform: TrainTransform,
        *,
        label_format: LabelFormat,
        format: str,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_format(format)
        self.transform, self.max_pixels = transform, max_pixels
        self.label_format = label_format
        self.format = format

    @classmethod
    def from_config(cls, cfg: CfgNode, label_format: LabelFormat) -> TrainMapper:
        """Builds the mapper from the section INPUT of a config.

        Args:
            cfg: the whole config.
            label_format: how the label files are read.

        Raises:
            UserError: a value is out of range; the message names its key.
        """
        # which imports torchvision; see data/resizing.py
        from clipmask.data.transforms import ScaledCrop, TrainTransform

        crop = None
        if cfg.INPUT.CROP.ENABLED:
            crop = ScaledCrop(
                cfg.INPUT.CROP.TYPE,
                cfg.INPUT.CROP.SIZE,
                single_category_max_area=cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA,
                class_balance=cfg.INPUT.CROP.CLASS_BALANCE,
                ignore_label=label_format.ignore_label,
            )
        test_size = None
        if cfg.INPUT.SCALE_FROM_TEST_SIZE:
            test_size = (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
        transform = TrainTransform(
            scale_range=cfg.INPUT.SCALE_RANGE,
            crop=crop,
            flip=cfg.INPUT.RANDOM_FLIP,
            color_aug=cfg.INPUT.COLOR_AUG,
            lighting=cfg.INPUT.LIGHTING_AUG,
            test_size=test_size,
            shorter_side=_shorter_side(cfg),
        )
        return cls(
            transform,
            label_format=label_format,
            format=cfg.INPUT.FORMAT,
            max_pixels=cfg.INPUT.MAX_PIXELS,
        )

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Maps one sample.

        Args:
            record: a dataset dict with ``file_name`` and ``sem_seg_file_name``.

        Returns:
            A copy of ``record`` with the original ``height`` and ``width``, the augmented picture
            as ``image``, uint8 (3, h, w) in the channel order ``format``, and its augmented labels
            as ``sem_seg``, uint8 or int64 (h, w).

        Raises:
            UserError: a file is missing or wrong.
        """
        pixels, sample = _read(record, self.max_pixels)
        labels = read_labels(record["sem_seg_file_name"], self.label_format, pixels.shape[:2])
        # The permuted view is not copied here: only the cropped part is copied, in the transform.
        image, sem_seg = self.transform(
            torch.from_numpy(np.array(pixels)).permute(2, 0, 1), torch.from_numpy(labels)
        )
        sample["image"] = _ordered(image, self.format)
        sample["sem_seg"] = sem_seg.contiguous()
        return sample


class TestMapper:
    """Reads a test picture and resizes it. The evaluator reads the labels.

    Args:
        min_size: INPUT.MIN_SIZE_TEST, the shorter side in pixels; 0: the picture's own size.
        max_size: INPUT.MAX_SIZE_TEST, the largest longer side in pixels.
        format: INPUT.FORMAT, the channel order that the model takes.
        max_pixels: INPUT.MAX_PIXELS, see ``read_image``.

    Raises:
        UserError: a value is out of range; the message names its key.
    """

    __test__ = False  # not a test case, although its name begins with Test

    def __init__(
        self, *, min_size: int, max_size: int, format: str, max_pixels: int = MAX_PIXELS
    ) -> None:
        check_format(format)
        if min_size < 0:
            raise UserError(
                f"INPUT.MIN_SIZE_TEST is {min_size}; it must be 0 (the picture's own size) or more"
            )
        if max_size < 1:
            raise UserError(f"INPUT.MAX_SIZE_TEST is {max_size}; it must be 1 or more")
        self.max_pixels = max_pixels
        self.min_size = min_size
        self.max_size = max_size
        self.format = format

    @classmethod
    def from_config(cls, cfg: CfgNode) -> TestMapper:
        """Builds the mapper from the section INPUT of a config.

        Raises:
            UserError: as for the constructor.
        """
        return cls(
            min_size=cfg.INPUT.MIN_SIZE_TEST,
            max_size=cfg.INPUT.MAX_SIZE_TEST,
            format=cfg.INPUT.FORMAT,
            max_pixels=cfg.INPUT.MAX_PIXELS,
        )

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Maps one sample.

        Args:
            record: a dataset dict with ``file_name``.

        Returns:
            A copy of ``record`` with the original ``height`` and ``width``, and the resized picture
            as ``image``, uint8 (3, h, w) in the channel order ``format``.

        Raises:
            UserError: the file is missing or wrong.
        """
        pixels, sample = _read(record, self.max_pixels)
        return {**sample, **self.from_array(pixels)}

    def from_array(self, pixels: NDArray[np.uint8]) -> dict[str, Any]:
        """Maps a picture that is in memory.

        Args:
            pixels: uint8 (H, W, 3), RGB.

        Returns:
            ``height`` and ``width`` (H and W), and ``image`` as from ``__call__``.
        """
        image = resize_shortest_edge(_to_tensor(pixels), self.min_size, self.max_size)
        return {
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "image": _ordered(image, self.format),
        }


def _shorter_side(cfg: CfgNode) -> ShorterSide | None:
    """Returns the sizes of INPUT.MIN_SIZE_TRAIN; None if INPUT.SCALE_RANGE is used instead."""
    from clipmask.data.transforms import ShorterSide

    sizes = tuple(cfg.INPUT.MIN_SIZE_TRAIN)
    if sizes == (0,):
        return None
    if cfg.INPUT.SCALE_FROM_TEST_SIZE:
        raise UserError(
            f"INPUT.MIN_SIZE_TRAIN {sizes} and INPUT.SCALE_FROM_TEST_SIZE both set the size of"
            " training pictures; switch one of them off: MIN_SIZE_TRAIN (0,) or"
            " SCALE_FROM_TEST_SIZE False"
        )
    return ShorterSide(sizes, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING)


def _read(record: dict[str, Any], max_pixels: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Returns the picture (H, W, 3) of a record, and a copy of the record with its size.

    A record may have an ``image_format`` (see ``read_image``), which ``load_dataset`` adds.

    Raises:
        UserError: the record states another size than the file has.
    """
    image_format = record.get("image_format", PLAIN)
    pixels = read_image(record["file_name"], image_format=image_format, max_pixels=max_pixels)
    height, width = pixels.shape[:2]
    stated = (record.get("height", height), record.get("width", width))
    if stated != (height, width):
        raise UserError(
            f"image {record['file_name']}: is {width}x{height} pixels (width x height), "
            f"but the dataset says {stated[1]}x{stated[0]}"
        )
    return pixels, {**record, "height": height, "width": width}


def _to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Converts a picture (H, W, 3) to a tensor (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _ordered(image: Tensor, format: str) -> Tensor:
    """Returns an RGB picture (3, h, w) in the channel order ``format``, contiguous.

    Pictures with another number of bands keep their order.
    """
    return (image.flip(0) if format == "BGR" and len(image) == 3 else image).contiguous()
