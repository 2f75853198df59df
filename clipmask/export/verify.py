"""Compares an exported network with the model from which it was made, on the same pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.inference.runtimes import Run

# The share of the pixels that must have the model's class, for networks that compute in 32 bits,
# with weights in 16 bits, or with convolutions in 8 bits.
LEAST_AGREEMENT = {"full": 0.998, "half": 0.98, "int8": 0.9}
ROUNDS = 3  # runs of which the fastest counts


@dataclass
class Agreement:
    """How well the results of a network agree with those of its model.

    Attributes:
        labels: share of the pixels that have the same class in both, in [0, 1].
        difference: largest difference of a score; None if the network returns labels.
        seconds: time for a picture in the network and in the model, the fastest of a few runs each,
            on the CPU with as many threads as torch uses; None if it was not measured.
        pictures: number of pictures that were compared.
    """

    labels: float
    difference: float | None
    seconds: tuple[float, float] | None
    pictures: int

    def __str__(self) -> str:
        summary = (
            f"{100 * self.labels:.3f} % of the pixels of {self.pictures} picture(s) have the"
            " model's class"
        )
        if self.difference is not None:
            summary += f", scores differ by {self.difference:.1e} at most"
        if self.seconds is not None:
            summary += (
                f"; {1000 * self.seconds[0]:.0f} ms a picture, {1000 * self.seconds[1]:.0f} ms in"
                " PyTorch"
            )
        return summary


def compare(
    predictor: Predictor,
    run: Run,
    pictures: Iterable[NDArray[np.uint8]],
    text: NDArray[np.float32] | None = None,
    *,
    timed: bool = False,
) -> Agreement:
    """Runs a network and its model on the same pictures, and compares the results.

    Args:
        predictor: applies the model.
        run: applies the network.
        pictures: uint8 (H, W, 3), RGB, of sizes that the network accepts.
        text: T (K, D) of the predictor's vocabulary, for a network that takes it as an input.
        timed: whether to measure the time for the first picture.
    """
    same = total = count = 0
    difference: float | None = None
    seconds = None
    for picture in pictures:
        image = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
        if timed and seconds is None:
            seconds = (_fastest(partial(run, image, text)), _fastest(partial(predictor, picture)))
        answer = run(image, text)[0]
        if answer.ndim == 3:
            (result,) = predictor.stream([picture], scores=True)
            difference = max(difference or 0.0, float(np.abs(answer - result.scores()).max()))
            answer = answer.argmax(0)
        else:
            result = predictor(picture)
        same += int((answer == result.labels).sum())
        total += answer.size
        count += 1
    return Agreement(same / max(1, total), difference, seconds, count)


def check(agreement: Agreement, precision: str) -> None:
    """Refuses a network that differs too much from its model.

    Args:
        agreement: the result of ``compare``.
        precision: that of the network, a key of ``LEAST_AGREEMENT``.

    Raises:
        UserError: too few pixels have the same class.
    """
    least = LEAST_AGREEMENT[precision]
    if agreement.labels < least:
        hint = "Try another --format, or another version of torch or of the runtime"
        if precision == "int8":
            hint = "Give --int8 more pictures, like those of real use"
        raise UserError(
            f"the exported network disagrees with its model and was not kept: {agreement}; at least"
            f" {100 * least:g} % are required. {hint}"
        )


def made_pictures(sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    """Makes one picture (H, W, 3), uint8, of soft coloured areas for each size.

    Every call makes the same pictures.
    """
    from PIL import Image

    generator = np.random.default_rng(0)
    pictures = []
    for height, width in sizes:
        coarse = Image.fromarray(
            generator.integers(0, 256, (height // 24 + 2, width // 24 + 2, 3), dtype=np.uint8)
        )
        pictures.append(np.array(coarse.resize((width, height), Image.Resampling.BICUBIC)))
    return pictures


def _fastest(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
