"""Augmentation of training samples: scale jitter, crop, flip and photometric distortion.

It is built on ``torchvision.transforms.v2``: the picture is a ``tv_tensors.Image``, its labels are
a ``tv_tensors.Mask``, and both undergo the same geometric changes. All random numbers come from
torch's default CPU generator, which the loader seeds for every sample. Nothing is padded: a picture
is never resized below an absolute crop, so all samples of a batch have the same size.
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
from clipmask.data.resizing import test_scale
from clipmask.errors import UserError

CROP_DRAWS = 10  # the number of attempts to find a crop below SINGLE_CATEGORY_MAX_AREA


class TrainTransform:
    """Augments a picture together with its labels.

    Args:
        scale_range: INPUT.SCALE_RANGE, (low, high), 0 < low <= high; the scale factor is drawn
            log-uniformly between them.
        crop: INPUT.CROP; None: the whole picture is the sample.
        flip: INPUT.RANDOM_FLIP, horizontal or vertical (for half of all samples), or none.
        color_aug: INPUT.COLOR_AUG.
        lighting: INPUT.LIGHTING_AUG, the probability of each change of ``LightingJitter``, in [0,
            1].
        test_size: INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST; the scale factor is then relative to the
            size of the picture in tests, so that large and small pictures get similar sizes. None:
            it is relative to the picture's own size.
        shorter_side: INPUT.MIN_SIZE_TRAIN, which replaces ``scale_range`` and ``test_size``; None:
            these two are used.

    Raises:
        UserError: a value is out of range; the message names its key.
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
        """Returns an augmented copy of a picture and its labels.

        Args:
            image: uint8 (3, H, W), RGB. A view of an array (H, W, 3) is resized faster.
            labels: (H, W), of an integer type.

        Returns:
            The picture, uint8 (3, h, w), contiguous; and the labels (h, w), of the same type, with
            the same geometric changes.
        """
        scale = self._draw_scale(labels.shape)
        if self.crop is not None:
            scale = max(scale, self.crop.smallest_scale(labels.shape))
        height, width = (max(1, round(side * scale)) for side in labels.shape)
        window, size = (0, 0, *labels.shape), (height, width)
        if self.crop is not None:
            window, size = self.crop.draw(labels, scale)
        # The window is cut out before it is resized, so that a large photograph costs no more than
        # the crop.
        image = v2.functional.resized_crop_image(
            image, *window, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True
        ).contiguous()  # the colour changes are faster on contiguous channels
        labels = v2.functional.resized_crop_image(
            labels[None], *window, size, interpolation=v2.InterpolationMode.NEAREST_EXACT
        )[0]
        image, labels = self.flip_and_distort(tv_tensors.Image(image), tv_tensors.Mask(labels))
        return image.as_subclass(Tensor), labels.as_subclass(Tensor)

    def _draw_scale(self, size: Sequence[int]) -> float:
        """Draws the scale factor for a picture of the given (height, width)."""
        if self.shorter_side is not None:
            return test_scale(size, self.shorter_side.draw(), self.shorter_side.max_size)
        low, high = self.scale_range
        scale = low * (high / low) ** torch.rand(()).item()
        if self.test_size is None:
            return scale
        return scale * test_scale(size, *self.test_size)


class ShorterSide:
    """Draws the shorter side of training pictures, as Detectron2 does.

    Args:
        sizes: INPUT.MIN_SIZE_TRAIN, in pixels; with the size 0, a picture is not resized.
        max_size: INPUT.MAX_SIZE_TRAIN, the largest longer side in pixels; it takes precedence over
            the shorter side.
        sampling: INPUT.MIN_SIZE_TRAIN_SAMPLING; choice: one of ``sizes``; range: a number from the
            first to the second.

    Raises:
        UserError: a value is out of range; the message names its key.
    """

    def __init__(self, sizes: Sequence[int], max_size: int, sampling: str) -> None:
        if sampling not in ("choice", "range"):
            raise UserError(
                f"INPUT.MIN_SIZE_TRAIN_SAMPLING is {sampling!r}; it must be choice or range"
            )
        wanted = "numbers of pixels"
        fits = len(sizes) > 0 and all(isinstance(size, int) and size >= 0 for size in sizes)
        if sampling == "range":
            wanted = "two numbers of pixels, the smaller first"
            fits = fits and len(sizes) == 2 and sizes[0] <= sizes[1]
        if not fits:
            raise UserError(
                f"INPUT.MIN_SIZE_TRAIN is {tuple(sizes)}; it must be {wanted}, or (0,) to use"
                " INPUT.SCALE_RANGE instead"
            )
        if max_size < 1:
            raise UserError(f"INPUT.MAX_SIZE_TRAIN is {max_size}; it must be 1 or more")
        self.sizes, self.max_size, self.sampling = tuple(sizes), max_size, sampling

    def draw(self) -> int:
        """Draws a size in pixels from torch's default CPU generator."""
        if self.sampling == "range":
            return int(torch.randint(self.sizes[0], self.sizes[1] + 1, ()))
        return self.sizes[int(torch.randint(len(self.sizes), ()))]


class ScaledCrop:
    """Draws the window of a rescaled picture that becomes the training sample.

    Args:
        kind: INPUT.CROP.TYPE. absolute: ``size`` is in pixels. relative: ``size`` is in shares of
            the rescaled picture. relative_range: the shares of height and width are drawn
            independently between ``size`` and 1. absolute_range: height and width are drawn
            independently between the two numbers of ``size``, but not above the picture's own.
        size: INPUT.CROP.SIZE, (height, width); for absolute_range, (least, most).
        single_category_max_area: INPUT.CROP.SINGLE_CATEGORY_MAX_AREA, the largest share of the
            labelled pixels that one class may have, 0 < share <= 1; 1: no limit.
        class_balance: INPUT.CROP.CLASS_BALANCE, in [0, 1]: the probability that one of the
            picture's classes is drawn, each equally likely, and the window holds a pixel of it.
        ignore_label: the id of void pixels.

    Raises:
        UserError: a value is out of range; the message names its key.
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
            wanted = "whole numbers of pixels, 1 or more"
            fits = len(size) == 2 and all(side >= 1 and side == int(side) for side in size)
        else:
            wanted = "shares of the picture, above 0 and at most 1"
            fits = len(size) == 2 and all(0 < side <= 1 for side in size)
        if kind == "absolute_range":
            fits = fits and size[0] <= size[1]
        if not fits:
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
        """Returns the smallest scale factor at which a picture covers the sample.

        Args:
            full: the (height, width) of the picture.
        """
        if self.kind != "absolute":
            return 0.0
        return max(side / whole for side, whole in zip(self.size, full, strict=True))

    def draw(
        self, labels: Tensor, scale: float
    ) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """Draws a window.

        If one class has too large a share of the window, up to ten windows are drawn, and the one
        with the smallest such share is returned.

        Args:
            labels: (H, W), before rescaling.
            scale: the scale factor of the picture.

        Returns:
            The window (top, left, height, width) in pixels of ``labels``, and the (height, width)
            of the sample.
        """
        full = labels.shape
        size = self._sample_size([max(1, round(side * scale)) for side in full])
        height, width = (
            _window_side(side, wanted, scale) for side, wanted in zip(full, size, strict=True)
        )
        if self.class_balance and torch.rand(()).item() < self.class_balance:
            pixel = self._pixel_of_a_class(labels)
            if pixel is not None:
                top = _start_around(pixel[0], height, full[0])
                left = _start_around(pixel[1], width, full[1])
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
        """Draws one of the classes of a picture, then one of its pixels.

        Returns:
            The (row, column) of the pixel; None if the whole picture is void.
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
        """Returns the (height, width) of the sample in a rescaled picture.

        Args:
            scaled: the (height, width) of the rescaled picture.
        """
        if self.kind == "absolute":
            sides = [int(side) for side in self.size]
        elif self.kind == "absolute_range":
            least, most = map(int, self.size)
            sides = [
                int(torch.randint(min(side, least), min(side, most) + 1, ())) for side in scaled
            ]
        else:
            shares = torch.tensor(self.size)
            if self.kind == "relative_range":
                shares = shares + (1 - shares) * torch.rand(2)
            sides = [
                max(1, round(side * float(share)))
                for side, share in zip(scaled, shares, strict=True)
            ]
        return min(sides[0], scaled[0]), min(sides[1], scaled[1])

    def _largest_share(self, labels: Tensor) -> float:
        """Returns the share of the most frequent class among the labelled pixels.

        It is 2, worse than any share, if all pixels are void.
        """
        if labels.dtype != torch.uint8:  # void may be negative, which bincount refuses
            labels = labels[labels != self.ignore_label]
        counts = torch.bincount(labels.flatten(), minlength=max(self.ignore_label, 0) + 1)
        if self.ignore_label >= 0:
            counts[self.ignore_label] = 0
        labelled = int(counts.sum())
        if labelled:
            return int(counts.max()) / labelled
        return 2.0


def _window_side(side: int, wanted: int, scale: float) -> int:
    """Returns the side of the window, before rescaling, that becomes ``wanted`` pixels."""
    if wanted >= round(side * scale):
        return side
    return min(side, max(1, round(wanted / scale)))


def _start_around(place: int, side: int, whole: int) -> int:
    """Draws the start of a window of ``side`` pixels that holds ``place``, within ``whole``."""
    lowest, highest = max(0, place - side + 1), min(place, whole - side)
    return int(torch.randint(lowest, highest + 1, ()))


def _photometric_distortion() -> v2.Transform:
    """Returns a transform that changes brightness, contrast, saturation and hue.

    Each change applies to half of all samples; their order is random.
    """
    changes = (
        v2.ColorJitter(brightness=0.25),
        v2.ColorJitter(contrast=0.4),
        v2.ColorJitter(saturation=0.4),
        HueJitter(0.05),
    )
    return v2.RandomOrder([v2.RandomApply([change], p=0.5) for change in changes])
