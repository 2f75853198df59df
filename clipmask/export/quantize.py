"""Static quantisation of an exported network to 8 bits, by ONNX Runtime.

    q = round(x / s) + z        weights: a scale s for each output channel, z = 0; maps: s and z
                                from the range of their values on sample pictures

Only the convolutions compute in 8 bits. Attention, normalisations, class logits and the enlarged
masks stay in 32 bits: they are a small part of the work, and rounding them costs most of the
accuracy.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.inference.runtimes import load_package
from clipmask.weights.exported import IMAGE, TEXT

MOST_PICTURES = 64  # for the calibration; more pictures hardly change the ranges
# Weights in 7 bits: the instructions of processors without VNNI add pairs of products in 16 bits,
# which 8 bits would overflow.
REDUCE_RANGE = True


def spread_evenly(paths: list[Path], most: int = MOST_PICTURES) -> list[Path]:
    """Returns at most ``most`` of the paths, evenly spaced in the list."""
    count = min(most, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def quantize(
    path: Path, pictures: Iterable[NDArray[np.uint8]], text: NDArray[np.float32] | None
) -> None:
    """Makes the convolutions of an ONNX file compute in 8 bits.

    Args:
        path: the file, which is replaced; its metadata are kept.
        pictures: for the calibration: uint8 (H, W, 3), RGB, like those of real use, of sizes that
            the network accepts.
        text: T (K, D), for a network that takes it as an input; else None.

    Raises:
        UserError: onnx or ONNX Runtime is not installed.
    """
    onnx = load_package("onnx")
    tools = load_package("onnxruntime.quantization")
    metadata = {item.key: item.value for item in onnx.load(path).metadata_props}
    made = path.with_name(f"{path.stem}.int8.onnx")
    with _quietly():
        tools.quantize_static(
            str(path),
            str(made),
            _Pictures(pictures, text),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=REDUCE_RANGE,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
    model = onnx.load(made)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    made.unlink()


class _Pictures:
    """Gives ONNX Runtime the inputs of each run, in the form that it expects."""

    def __init__(
        self, pictures: Iterable[NDArray[np.uint8]], text: NDArray[np.float32] | None
    ) -> None:
        self._pictures, self._text = iter(pictures), text

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Returns the inputs of the next run; None after the last one."""
        picture = next(self._pictures, None)
        if picture is None:
            return None
        inputs: dict[str, NDArray[Any]] = {
            IMAGE: np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
        }
        if self._text is None:
            return inputs
        return {**inputs, TEXT: self._text}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences the hints of ONNX Runtime, which go to the root logger and to stdout."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
