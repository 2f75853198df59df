"""How ClipMask's cost grows with pixels, classes and queries, and what a very large picture
takes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from tqdm import tqdm

from clipmask_tools.benchmarking.measure import Setting, memory


class Curve(NamedTuple):
    """One quantity that grows while the others stay.

    Attributes:
        title: of the axis.
        mode: train or infer.
        values: of the quantity.
        settings: of each value.
        options: config keys and values of each value.
    """

    title: str
    mode: str
    values: tuple[int, ...]
    settings: tuple[Setting, ...]
    options: tuple[tuple[str, ...], ...]


def curves(device: str = "cpu", autocast: torch.dtype | None = None) -> list[Curve]:
    """The curves measured: pixels, classes and queries in inference, classes and queries in
    training.
    """

    def at(size: tuple[int, int], num_classes: int) -> Setting:
        return Setting(size, num_classes, device, autocast)

    sizes = ((256, 512), (512, 1024), (1024, 2048), (2048, 4096))
    classes, queries = (19, 150, 400, 1000), (50, 100, 200, 300)
    found = [
        Curve(
            "pixels",
            "infer",
            tuple(h * w for h, w in sizes),
            tuple(at(s, 19) for s in sizes),
            ((),) * 4,
        )
    ]
    for mode, size in (("infer", (512, 1024)), ("train", (360, 480))):
        found.append(
            Curve("classes", mode, classes, tuple(at(size, count) for count in classes), ((),) * 4)
        )
        options = tuple(("MODEL.CLIPMASK.NUM_QUERIES", str(count)) for count in queries)
        found.append(Curve("queries", mode, queries, (at(size, 19),) * 4, options))
    return found


def measure_growth(wanted: Sequence[Curve], threads: int | None) -> list[dict[str, object]]:
    """Measures every point in a process of its own.

    Returns:
        Per curve ``title``, ``mode``, ``values``, ``seconds`` and ``megabytes`` above the built
        model, and ``steepest``, for both the largest factor by which they grow between two
        neighbours, as a share of the factor by which the quantity grows: at most 1 where growth is
        linear or slower.
    """
    results: list[dict[str, object]] = []
    with tqdm(
        total=sum(len(curve.values) for curve in wanted),
        desc="growth",
        leave=False,
        file=sys.stderr,
    ) as bar:
        for curve in wanted:
            points = []
            for setting, options in zip(curve.settings, curve.options, strict=True):
                points.append(
                    memory(
                        "ClipMask", curve.mode, setting, options=options, timed=3, threads=threads
                    )
                )
                bar.update()
            seconds = [point["seconds"] for point in points]
            above = [point["above"] for point in points]
            results.append(
                {
                    "title": curve.title,
                    "mode": curve.mode,
                    "values": list(curve.values),
                    "seconds": seconds,
                    "megabytes": above,
                    "steepest": {
                        "seconds": steepest(curve.values, seconds),
                        "megabytes": steepest(curve.values, above),
                    },
                }
            )
    return results


def steepest(values: Sequence[float], costs: Sequence[float]) -> float:
    """Returns the steepest growth between neighbours, relative to linear growth."""
    pairs = list(zip(values, costs, strict=True))
    return max((b[1] / a[1]) / (b[0] / a[0]) for a, b in itertools.pairwise(pairs))


def large_picture(
    device: str, precision: torch.dtype | None, threads: int | None
) -> dict[str, dict[str, float]]:
    """Predicts one picture of 4096x2048, whole and in windows; see ``memory`` for the results."""
    setting = Setting((2048, 4096), 19, device, precision)
    ways: dict[str, tuple[str, ...]] = {
        "whole": (),
        "windows of 1024x512": ("TEST.SLIDING_WINDOW.ENABLED", "True"),
    }
    return {
        way: memory("ClipMask", "infer", setting, options=options, timed=1, threads=threads)
        for way, options in ways.items()
    }
