"""How picture files are converted to 8 bits: which of their values become black and white."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError

_BINS = 1 << 16  # of the histogram that percentiles of 16-bit values are read from


@dataclass(frozen=True)
class ImageFormat:
    """Converts picture files to 8-bit pictures. The value is immutable.

    Attributes:
        range: the values that become 0 and 255; values beyond are clipped. None: 0 and the largest
            value of the file's number type, so that 8-bit pictures do not change.
        percentiles: these percentiles, 0..100, of the picture's own values in all bands replace
            ``range``.
        bands: the numbers of the bands that the model sees, which count from 1; three bands are
            treated as red, green and blue. None: the files are colour or grey pictures.

    Raises:
        UserError: the range or the percentiles are not in rising order, or out of range.
    """

    range: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None
    bands: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise UserError(
                f"image_range is {list(self.range)}; the first value must be below the second"
            )
        if (
            self.percentiles is not None
            and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100
        ):
            raise UserError(
                f"image_range has the percentiles {list(self.percentiles)}; they must be two"
                " numbers from 0 to 100, the lower first"
            )

    @classmethod
    def from_metadata(cls, metadata: Any) -> ImageFormat:
        """Returns the format of ``image_range`` and ``bands`` in metadata or in a checkpoint.

        Args:
            metadata: an object with the method ``get``. ``image_range`` is ``full`` (or absent),
                ``[low, high]`` or ``{"percentiles": [low, high]}``; ``bands`` is a list of numbers
                from 1 (or absent).

        Raises:
            UserError: one of the two has another form.
        """
        bands = metadata.get("bands", None)
        if bands is None:
            return cls._from_range(metadata.get("image_range", None))
        whole = isinstance(bands, list | tuple) and all(
            isinstance(band, int) and band >= 1 for band in bands
        )
        if not whole or not bands or any(isinstance(band, bool) for band in bands):
            raise UserError(
                f"bands is {bands!r}; it must be a list of numbers from 1: the bands of red, green"
                " and blue, such as [4, 3, 2], or all bands that the model sees, such as [1, 2, 3,"
                " 4]"
            )
        return dataclasses.replace(
            cls._from_range(metadata.get("image_range", None)), bands=tuple(bands)
        )

    @classmethod
    def _from_range(cls, value: Any) -> ImageFormat:
        if value is None or (isinstance(value, str) and value == "full"):
            return cls()
        if (
            isinstance(value, Mapping)
            and list(value) == ["percentiles"]
            and _is_pair(value["percentiles"])
        ):
            low, high = value["percentiles"]
            return cls(percentiles=(float(low), float(high)))
        if _is_pair(value):
            low, high = value
            return cls(range=(float(low), float(high)))
        raise UserError(
            f"image_range is {value!r}; it must be full, [low, high] (the values that become black"
            " and white) or {percentiles: [1, 99]} (of each picture)"
        )

    def as_metadata(self) -> dict[str, Any]:
        """Returns plain values for the metadata, which ``from_metadata`` reads.

        The default format gives an empty dict.
        """
        bands = {} if self.bands is None else {"bands": list(self.bands)}
        if self.percentiles is not None:
            return {"image_range": {"percentiles": list(self.percentiles)}, **bands}
        if self.range is None:
            return bands
        return {"image_range": list(self.range), **bands}

    @property
    def channels(self) -> int:
        """The number of channels of the pictures that the readers return."""
        if self.bands is None:
            return 3
        return len(self.bands)

    @property
    def scales(self) -> bool:
        """Whether ``range`` or ``percentiles`` scale the values."""
        return self.range is not None or self.percentiles is not None

    def to_8_bits(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Scales values to 0..255.

        Args:
            pixels: an array of any shape, of unsigned integers of up to 16 bits; of any numbers if
                ``scales`` is true.
        """
        if not self.scales:
            if pixels.dtype == np.uint8:
                return pixels
            return (pixels.astype(np.int64) // 257).astype(np.uint8)
        low, high = self.range or self._own_range(pixels)
        wide = pixels.astype(np.float32)
        wide -= low
        wide *= 255 / max(high - low, 1e-6)
        return np.nan_to_num(wide, nan=0.0).clip(0, 255).round().astype(np.uint8)

    def of_counts(self, counts: NDArray[np.int64]) -> ImageFormat:
        """Returns the format with the percentiles of a picture as its range.

        Args:
            counts: (65536,) how often the picture has each value from 0, in all bands.
        """
        low, high = self._range_of_counts(counts)
        # as to_8_bits does with an empty range
        return dataclasses.replace(self, range=(low, max(high, low + 1e-6)), percentiles=None)

    def _own_range(self, pixels: NDArray[Any]) -> tuple[float, float]:
        """Returns the values at ``percentiles``; NaN and infinite values are left out."""
        assert self.percentiles is not None
        if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
            return self._range_of_counts(np.bincount(pixels.ravel(), minlength=_BINS))
        finite = pixels[np.isfinite(pixels)]
        if not finite.size:
            return 0.0, 1.0
        low, high = np.percentile(finite, self.percentiles)
        return float(low), float(high)

    def _range_of_counts(self, counts: NDArray[np.int64]) -> tuple[float, float]:
        """Returns the values at ``percentiles`` of a histogram of whole numbers from 0."""
        assert self.percentiles is not None
        ends = np.cumsum(counts)
        low, high = (
            int(np.searchsorted(ends, max(1, share / 100 * ends[-1]))) for share in self.percentiles
        )
        return float(low), float(min(high, _BINS - 1))


def shown(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a picture (H, W, C) as colours (H, W, 3) for drawing.

    Of more than three bands, the first three are used. Of fewer, the last one is repeated.
    """
    count = pixels.shape[-1]
    if count == 3:
        return pixels
    places = [min(place, count - 1) for place in range(3)]
    return np.ascontiguousarray(pixels[..., places])


PLAIN = ImageFormat()  # 8-bit values do not change; others are scaled by the range of their type


def _is_pair(value: Any) -> bool:
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 2:
        return False
    return all(
        isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in value
    )
