"""The augmentation of training samples: scale jitter, crop, flip and photometric distortion.

Built on ``torchvision.transforms.v2``: the picture is a ``tv_tensors.Image``, its labels a
``tv_tensors.Mask``, and both go through the same geometry. All chance comes from torch's default
CPU generator, which the loader seeds for every sample. Nothing is padded: a picture is never made
smaller than an absolute crop, so that all samples of a batch have one size and no part of it is
spent on padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from clipmask.data.band_jitter import ColorOrBandJitter
from clipmask.data.hue import HueJitter
from clipmask.data.lighting import LightingJitter
from clipmask.errors import UserError

CROP_DRAWS = 10  # how often a crop is drawn to get below SINGLE_CATEGORY_MAX_AREA


class TrainTransform:
    """Augments one picture with its labels.

    Args:
        scale_range: INPUT.SCALE_RANGE, (low, high), 0 < low <= high; the factor is drawn
            log-uniformly.
        crop: INPUT.CROP; None: the whole picture.
        flip: INPUT.RANDOM_FLIP, horizontal or vertical (half of all samples), or none.
        color_aug: INPUT.COLOR_AUG.
        lighting: INPUT.LIGHTING_AUG, the probability of each change of ``LightingJitter``, in [0,
            1].
        test_size: INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST, for scales that count from the size that
            the picture would be tested at, so that large and small pictures are seen alike; None:
            from its own.
        shorter_side: INPUT.MIN_SIZE_TRAIN, in place of ``scale_range`` and ``test_size``; None:
            those.

    Raises:
        UserError: a value makes no sense; the message names its key.
    """

    def __init__(
        self,
        *,
        scale_range: Sequence[float],
        crop: ScaledCrop | None,
        flip: str,
        color_aug: bool,
        lighting: float = 0.0,
        test_size: tuple[int, int] | None = None,
        shorter_side: ShorterSide | None = None,
    ) -> None:
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise UserError(
                f"INPUT.SCALE_RANGE is {list(scale_range)}; it must be [low, high] with 0 < low <="
                " high"
            )
        if flip not in ("horizontal", "vertical", "none"):
            raise UserError(
                f"INPUT.RANDOM_FLIP is {flip!r}; it must be horizontal, vertical or none"
            )
        if not 0 <= lighting <= 1:
            raise UserError(f"INPUT.LIGHTING_AUG is {lighting}; it must be a probability, 0 to 1")
        self.scale_range = (float(scale_range[0]), float(scale_range[1]))
        self.crop, self.test_size, self.shorter_side = crop, test_size, shorter_side
        flips = {
            "vertical": v2.RandomVerticalFlip(0.5),
            "horizontal": v2.RandomHorizontalFlip(0.5),
            "none": v2.RandomHorizontalFlip(0.0),
        }
        self.flip_and_distort = v2.Compose(
            [
                flips[flip],
                ColorOrBandJitter(_photometric_distortion()) if color_aug else v2.Identity(),
                LightingJitter(lighting) if lighting else v2.Identity(),
            ]
        )

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns an augmented copy.

        Args:
            image: uint8 (3, H, W), RGB; as a view of (H, W, 3), the order of files, it is resized
                faster.
            labels: (H, W) of a whole-number type.

        Returns:
            uint8 (3, h, w), contiguous, and (h, w) of the same types; the labels are some of those
            given, moved with the picture.
        """
        scale = self._draw_scale(labels.shape)
        if self.crop is not None:
            scale = max(scale, self.crop.smallest_scale(labels.shape))
        height, width = (max(1, round(side * scale)) for side in labels.shape)
        window, size = (0, 0, *labels.shape), (height, width)
        if self.crop is not None:
            window, size = self.crop.draw(labels, scale)
        # The window is cut out before it is resized: the work is that of the crop, not of a large
        # photograph.
        image = v2.functional.resized_crop_image(
            image, *window, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True
        ).contiguous()  # colours are changed channel by channel
        labels = v2.functional.resized_crop_image(
            labels[None], *window, size, interpolation=v2.InterpolationMode.NEAREST_EXACT
        )[0]
        image, labels = self.flip_and_distort(tv_tensors.Image(image), tv_tensors.Mask(labels))
        return image.as_subclass(Tensor), labels.as_subclass(Tensor)

    def _draw_scale(self, size: Sequence[int]) -> float:
        """Returns the factor by which a picture of (height, width) ``size`` is resized."""
        if self.shorter_side is not None:
            return test_scale(size, self.shorter_side.draw(), self.shorter_side.max_size)
        low, high = self.scale_range
        scale = low * (high / low) ** torch.rand(()).item()
        return scale if self.test_size is None else scale * test_scale(size, *self.test_size)


class ShorterSide:
    """Draws the shorter side of training pictures, as Detectron2 does.

    Args:
        sizes: INPUT.MIN_SIZE_TRAIN, pixels; 0 among them leaves a picture as it is.
        max_size: INPUT.MAX_SIZE_TRAIN, the most for the longer side; it wins where both can't hold.
        sampling: INPUT.MIN_SIZE_TRAIN_SAMPLING; choice: one of ``sizes``, range: from the first to
            the second.

    Raises:
        UserError: a value makes no sense; the message names its key.
    """

    def __init__(self, sizes: Sequence[int], max_size: int, sampling: str) -> None:
        if sampling not in ("choice", "range"):
            raise UserError(
                f"INPUT.MIN_SIZE_TRAIN_SAMPLING is {sampling!r}; it must be choice or range"
            )
        whole = all(isinstance(size, int) and size >= 0 for size in sizes)
        if (
            not whole
            or not sizes
            or (sampling == "range" and (len(sizes) != 2 or sizes[0] > sizes[1]))
        ):
            raise UserError(
                f"INPUT.MIN_SIZE_TRAIN is {tuple(sizes)}; it must be "
                + (
                    "two numbers of pixels, the smaller first"
                    if sampling == "range"
                    else "numbers of pixels"
                )
                + ", or (0,) for INPUT.SCALE_RANGE instead"
            )
        if max_size < 1:
            raise UserError(f"INPUT.MAX_SIZE_TRAIN is {max_size}; it must be 1 or more")
        self.sizes, self.max_size, self.sampling = tuple(sizes), max_size, sampling

    def draw(self) -> int:
        """Returns a size, from torch's default CPU generator."""
        if self.sampling == "range":
            return int(torch.randint(self.sizes[0], self.sizes[1] + 1, ()))
        return self.sizes[int(torch.randint(len(self.sizes), ()))]


class ScaledCrop:
    """Chooses the window of a rescaled picture that becomes the training sample.

    Args:
        kind: INPUT.CROP.TYPE. absolute: ``size`` in pixels; relative: ``size`` as shares of the
            rescaled picture; relative_range: shares drawn between ``size`` and 1, height and width
            each for itself; absolute_range: pixels drawn between the two of ``size``, likewise, but
            never more than the picture has.
        size: INPUT.CROP.SIZE, (height, width); absolute_range: (least, most).
        single_category_max_area: INPUT.CROP.SINGLE_CATEGORY_MAX_AREA, 0 < share <= 1 of the
            labelled pixels that one class may have; 1: any.
        class_balance: INPUT.CROP.CLASS_BALANCE, the probability that a window is put around a pixel
            of a class that is drawn evenly from those of the picture, in [0, 1].
        ignore_label: the id of unlabelled pixels.

    Raises:
        UserError: a value makes no sense; the message names its key.
    """

    def __init__(
        self,
        kind: str,
        size: Sequence[float],
        *,
        single_category_max_area: float = 1.0,
        class_balance: float = 0.0,
        ignore_label: int = 255,
    ) -> None:
        if kind not in ("absolute", "absolute_range", "relative", "relative_range"):
            raise UserError(
                f"INPUT.CROP.TYPE is {kind!r}; it must be absolute, absolute_range, relative or"
                " relative_range"
            )
        shape = "[least, most]" if kind == "absolute_range" else "[height, width]"
        if kind.startswith("absolute"):
            fits, wanted = (
                all(side >= 1 and side == int(side) for side in size),
                "whole numbers of pixels, 1 or more",
            )
            fits = fits and (kind == "absolute" or len(size) != 2 or size[0] <= size[1])
        else:
            fits, wanted = (
                all(0 < side <= 1 for side in size),
                "shares of the picture, above 0 and at most 1",
            )
        if len(size) != 2 or not fits:
            raise UserError(
                f"INPUT.CROP.SIZE is {list(size)}; with INPUT.CROP.TYPE {kind} it must be {shape}"
                f" as {wanted}"
            )
        if not 0 < single_category_max_area <= 1:
            raise UserError(
                f"INPUT.CROP.SINGLE_CATEGORY_MAX_AREA is {single_category_max_area}; it must be"
                " above 0 and at most 1"
            )
        if not 0 <= class_balance <= 1:
            raise UserError(
                f"INPUT.CROP.CLASS_BALANCE is {class_balance}; it must be a probability, 0 to 1"
            )
        self.kind = kind
        self.size = (size[0], size[1])
        self.class_balance = class_balance
        self.max_area = single_category_max_area
        self.ignore_label = ignore_label

    def smallest_scale(self, full: Sequence[int]) -> float:
        """Returns the factor below which a picture of (height, width) ``full`` would be smaller
        than the sample.
        """
        if self.kind != "absolute":
            return 0.0
        return max(side / whole for side, whole in zip(self.size, full, strict=True))

    def draw(
        self, labels: Tensor, scale: float
    ) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """Draws a window; if one class has too large a share of it, up to ten times, and keeps the
        best.

        Args:
            labels: (H, W), not rescaled yet.
            scale: the factor that the picture is resized by.

        Returns:
            The window (top, left, height, width) in pixels of ``labels``, and the (height, width)
            of the sample.
        """
        full = labels.shape
        size = self._sample_size([max(1, round(side * scale)) for side in full])
        height, width = (
            min(side, max(1, round(wanted / scale))) if wanted < round(side * scale) else side
            for side, wanted in zip(full, size, strict=True)
        )
        if self.class_balance and torch.rand(()).item() < self.class_balance:
            place = self._pixel_of_a_class(labels)
            if place is not None:
                top, left = (
                    _start_around(at, side, whole)
                    for at, side, whole in zip(place, (height, width), full, strict=True)
                )
                return (top, left, height, width), size
        best, lowest = (0, 0, height, width), float("inf")
        for _ in range(CROP_DRAWS):
            top = int(torch.randint(full[0] - height + 1, ()))
            left = int(torch.randint(full[1] - width + 1, ()))
            if self.max_area == 1.0:
                return (top, left, height, width), size
            share = self._largest_share(labels[top : top + height, left : left + width])
            if share < lowest:
                best, lowest = (top, left, height, width), share
            if share <= self.max_area or (height, width) == tuple(full):
                break
        return best, size

    def _pixel_of_a_class(self, labels: Tensor) -> tuple[int, int] | None:
        """Draws a class from those of a picture, all alike, then one of its pixels (row, column);
        None where nothing is labelled.
        """
        present = labels.unique()
        present = present[present != self.ignore_label]
        if not len(present):
            return None
        drawn = present[torch.randint(len(present), ())]
        places = (labels == drawn).flatten().nonzero()
        place = int(places[torch.randint(len(places), ())])
        return divmod(place, labels.shape[1])

    def _sample_size(self, scaled: Sequence[int]) -> tuple[int, int]:
        """Returns the (height, width) of the sample in a picture of the size ``scaled``."""
        shares = torch.ones(2)
        if self.kind == "absolute":
            height, width = (int(side) for side in self.size)
        elif self.kind == "absolute_range":
            height, width = (
                int(
                    torch.randint(
                        min(side, int(self.size[0])), min(side, int(self.size[1])) + 1, ()
                    )
                )
                for side in scaled
            )
        else:
            if self.kind == "relative_range":
                shares = torch.rand(2)
                low = torch.tensor(self.size)
                shares = low + (1 - low) * shares
            else:
                shares = torch.tensor(self.size)
            height, width = (
                max(1, round(side * float(share)))
                for side, share in zip(scaled, shares, strict=True)
            )
        return min(height, scaled[0]), min(width, scaled[1])

    def _largest_share(self, labels: Tensor) -> float:
        """Returns the largest class's share of the labelled pixels; 2 (worse than any) where none
        is labelled.
        """
        if labels.dtype != torch.uint8:  # void may be negative, which can't be counted
            labels = labels[labels != self.ignore_label]
        counts = torch.bincount(labels.flatten(), minlength=max(self.ignore_label, 0) + 1)
        if self.ignore_label >= 0:
            counts[self.ignore_label] = 0
        labelled = int(counts.sum())
        return int(counts.max()) / labelled if labelled else 2.0


def _start_around(place: int, side: int, whole: int) -> int:
    """Draws the start of a window of ``side`` pixels that holds ``place``, within ``whole``."""
    lowest, highest = max(0, place - side + 1), min(place, whole - side)
    return int(torch.randint(lowest, highest + 1, ()))


def _photometric_distortion() -> v2.Transform:
    """Returns brightness, contrast, saturation and hue changes, each for half of all samples, in
    any order.
    """
    changes = (
        v2.ColorJitter(brightness=0.25),
        v2.ColorJitter(contrast=0.4),
        v2.ColorJitter(saturation=0.4),
        HueJitter(0.05),
    )
    return v2.RandomOrder([v2.RandomApply([change], p=0.5) for change in changes])


def test_scale(size: Sequence[int], min_size: int, max_size: int) -> float:
    """Returns the factor by which ``resize_shortest_edge`` resizes a picture of (height, width)
    ``size``.
    """
    return min(min_size / min(size), max_size / max(size)) if min_size else 1.0


def resize_shortest_edge(image: Tensor, min_size: int, max_size: int) -> Tensor:
    """Resizes a test picture so that its shorter side is ``min_size``, its longer at most
    ``max_size`` pixels.

    Args:
        image: uint8 (3, H, W).
        min_size: INPUT.MIN_SIZE_TEST; 0 leaves the picture as it is.
        max_size: INPUT.MAX_SIZE_TEST; it wins where both can't hold.

    Returns:
        uint8 (3, h, w).
    """
    if min_size == 0:
        return image
    height, width = image.shape[-2:]
    scale = test_scale((height, width), min_size, max_size)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    return v2.functional.resize_image(
        image, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True
    )
