"""An exported network beside the model that it was made from: the same pictures, the same
answers.
"""

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

# Share of the pixels that must have the model's class, by how the network computes: in 32 bits,
# with weights in 16 bits, with convolutions in 8 bits.
LEAST_AGREEMENT = {"full": 0.998, "half": 0.98, "int8": 0.9}
ROUNDS = 3  # runs of which the fastest counts


@dataclass
class Agreement:
    """How far a network's answers are from those of its model.

    Attributes:
        labels: share of the pixels with the model's class, in [0, 1].
        difference: largest difference of a score; None where the network gives labels.
        seconds: of a picture in the network and in the model, the fastest of a few runs each, on
            the CPU with as many threads as torch has; None where it was not measured.
        pictures: how many were compared.
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
    """Shows both the same pictures.

    Args:
        predictor: of the model.
        run: the network.
        pictures: uint8 (H, W, 3), RGB, of sizes that the network takes.
        text: T (K, D) of the predictor's vocabulary, for a network that takes it.
        timed: whether to measure the time of the first picture.
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
    """Raises a ``UserError`` where a network disagrees with its model, so that its file is not
    handed on.

    Args:
        agreement: what was found.
        precision: of the network, a key of ``LEAST_AGREEMENT``.
    """
    least = LEAST_AGREEMENT[precision]
    if agreement.labels < least:
        hint = (
            "Give --int8 more pictures, such as the model will see"
            if precision == "int8"
            else "Another --format may do, or another version of torch or of the runtime"
        )
        raise UserError(
            f"the exported network disagrees with its model and was not kept: {agreement}; at least"
            f" {100 * least:g} % are asked. {hint}"
        )


def made_pictures(sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    """Makes pictures of soft coloured areas, the same ones each time: uint8 (H, W, 3) of each
    size.
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
