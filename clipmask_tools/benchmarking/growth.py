"""Measures how ClipMask's cost grows with pixels, classes and queries, and the cost of one very
large picture.
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
    """A series of measurements in which one quantity grows and the others stay the same.

    Attributes:
        title: title of the axis.
        mode: train or infer.
        values: values of the quantity.
        settings: the setting for each value.
        options: config keys and values for each value.
    """

    title: str
    mode: str
    values: tuple[int, ...]
    settings: tuple[Setting, ...]
    options: tuple[tuple[str, ...], ...]


def curves(device: str = "cpu", autocast: torch.dtype | None = None) -> list[Curve]:
    """Returns the curves to measure.

    Inference has curves over pixels, classes and queries; training over classes and queries.
    """

    def at(size: tuple[int, int], num_classes: int) -> Setting:
        return Setting(size, num_classes, device, autocast)

    sizes = ((256, 512), (512, 1024), (1024, 2048), (2048, 4096))
    classes, queries = (19, 150, 400, 1000), (50, 100, 200, 300)
    no_options: tuple[tuple[str, ...], ...] = ((),) * 4
    query_options = tuple(("MODEL.CLIPMASK.NUM_QUERIES", str(count)) for count in queries)
    pixels = tuple(height * width for height, width in sizes)
    found = [Curve("pixels", "infer", pixels, tuple(at(size, 19) for size in sizes), no_options)]
    for mode, size in (("infer", (512, 1024)), ("train", (360, 480))):
        settings = tuple(at(size, count) for count in classes)
        found.append(Curve("classes", mode, classes, settings, no_options))
        found.append(Curve("queries", mode, queries, (at(size, 19),) * 4, query_options))
    return found


def measure_growth(wanted: Sequence[Curve], threads: int | None) -> list[dict[str, object]]:
    """Measures time and memory of every point of the curves, each in a process of its own.

    Returns:
        For each curve ``title``, ``mode``, ``values``, ``seconds``, ``megabytes`` (MiB above the
        built model) and ``steepest``, which holds ``steepest()`` of the seconds and of the
        megabytes.
    """
    results: list[dict[str, object]] = []
    total = sum(len(curve.values) for curve in wanted)
    with tqdm(total=total, desc="growth", leave=False, file=sys.stderr) as bar:
        for curve in wanted:
            seconds, above = [], []
            for setting, options in zip(curve.settings, curve.options, strict=True):
                point = memory(
                    "ClipMask", curve.mode, setting, options=options, timed=3, threads=threads
                )
                seconds.append(point["seconds"])
                above.append(point["above"])
                bar.update()
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
    """Returns the steepest growth of a cost between two neighbouring values.

    It is the factor by which the cost grows, divided by the factor by which the value grows: at
    most 1 where growth is linear or slower.
    """
    factors = []
    pairs = itertools.pairwise(zip(values, costs, strict=True))
    for (value, cost), (next_value, next_cost) in pairs:
        factors.append((next_cost / cost) / (next_value / value))
    return max(factors)


def large_picture(
    device: str, precision: torch.dtype | None, threads: int | None
) -> dict[str, dict[str, float]]:
    """Measures the prediction of one picture of 4096x2048 pixels, whole and in sliding windows.

    Returns:
        For each of the two ways, the result of ``memory``.
    """
    setting = Setting((2048, 4096), 19, device, precision)
    ways: dict[str, tuple[str, ...]] = {
        "whole": (),
        "windows of 1024x512": ("TEST.SLIDING_WINDOW.ENABLED", "True"),
    }
    return {
        way: memory("ClipMask", "infer", setting, options=options, timed=1, threads=threads)
        for way, options in ways.items()
    }
