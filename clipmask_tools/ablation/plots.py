"""Plots of a grid's results: learning curves, and the differences of each class."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipmask_tools.ablation.compare import Difference, paired, summarize
from clipmask_tools.ablation.grid import Grid
from clipmask_tools.ablation.results import Result
from clipmask_tools.ablation.tables import class_iou, mean_iou

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = Mapping[str, Mapping[int, Result]]
_COLUMNS = 5  # largest number of panels in a row
_OWN, _BASE = "#1f6fb4", "0.45"


def draw_curves(grid: Grid, results: Results, path: Path) -> None:
    """Draws the mIoU over the steps, in one panel for each variant.

    The variant of comparison is drawn in grey in each panel. Lines are means over the seeds, and
    bands show one standard deviation.

    Args:
        grid: the grid.
        results: the result of ``read_results``.
        path: the PNG file.
    """
    names = [name for name in results if name != grid.against] or list(results)
    rows = -(-len(names) // _COLUMNS)
    columns = -(-len(names) // rows)
    figure = _figure(2.4 * columns + 0.6, 2.1 * rows + 0.7)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        if grid.against in results and name != grid.against:
            _curve(axes, results[grid.against], _BASE)
        _curve(axes, results[name], _OWN)
        axes.set_title(grid.variants[name].title, fontsize=9, color=_OWN, parse_math=False)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    for axes in panels.flat[max(0, len(names) - columns) : len(names)]:
        axes.tick_params(labelbottom=True)  # needed if the panel below is empty
    figure.supxlabel("steps", fontsize=10)
    figure.supylabel("mIoU, %", fontsize=10)
    if grid.against in results:
        figure.suptitle(f"grey: {grid.variants[grid.against].title}", fontsize=10, color=_BASE)
    _save(figure, path)


def draw_differences(grid: Grid, results: Results, path: Path) -> None:
    """Draws a coloured table of the differences in IoU to the variant of comparison, by class.

    Numbers are means of the paired differences; bold ones have a 95 % interval that excludes 0.

    Args:
        grid: the grid.
        results: the result of ``read_results``, with the variant of comparison and another one.
        path: the PNG file.
    """
    base = results[grid.against]
    names = [name for name in results if name != grid.against]
    first = next(iter(base.values()))
    columns: dict[str, Callable[[Mapping[int, Result]], dict[int, float]]] = {"mIoU": mean_iou}
    for wanted in first.iou(first.dataset):
        columns[wanted] = functools.partial(class_iou, wanted=wanted)
    cells: list[list[Difference]] = []
    means = np.full((len(names), len(columns)), np.nan)
    for row, name in enumerate(names):
        cells.append([paired(values(results[name]), values(base)) for values in columns.values()])
        means[row] = [cell.mean for cell in cells[row]]
    # The few largest differences may exceed the colour scale, so that small ones are visible.
    limit = 1.0
    if np.isfinite(means).any():
        limit = max(limit, float(np.nanpercentile(np.abs(means), 90)))
    figure = _figure(0.62 * len(columns) + 3.4, 0.36 * len(names) + 1.6)
    axes = figure.subplots()
    axes.imshow(means, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(
        range(len(columns)),
        list(columns),
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        fontsize=9,
    )
    axes.set_yticks(
        range(len(names)),
        [grid.variants[name].title for name in names],
        fontsize=9,
        parse_math=False,
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # a gap between the mIoU and the classes
    axes.axvline(0.5, color="white", linewidth=4)
    for row, differences in enumerate(cells):
        for column, difference in enumerate(differences):
            _write(axes, column, row, difference, limit)
    title = (
        f"IoU less that of: {grid.variants[grid.against].title} (bold: the 95 % interval leaves 0"
        " out)"
    )
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    _save(figure, path)


def _curve(axes: Axes, runs: Mapping[int, Result], color: str) -> None:
    """Draws the mean and the band of the curves of one variant."""
    points: dict[int, dict[int, float]] = {}
    for seed, result in runs.items():
        for step, value in result.curve:
            points.setdefault(int(step), {})[seed] = value
    steps = sorted(points)
    summaries = [summarize(points[step]) for step in steps]
    means = np.array([summary.mean for summary in summaries])
    width = np.nan_to_num([summary.deviation for summary in summaries])
    axes.fill_between(steps, means - width, means + width, color=color, alpha=0.25, linewidth=0)
    axes.plot(steps, means, color=color, linewidth=1.6, marker="o", markersize=3)


def _write(axes: Axes, column: int, row: int, difference: Difference, limit: float) -> None:
    if not math.isfinite(difference.mean):
        return
    color = "white" if abs(difference.mean) > 0.65 * limit else "black"
    weight = "bold" if difference.clear else "normal"
    text = f"{difference.mean:+.1f}".replace("-0.0", "+0.0")
    axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color, weight=weight)


def _figure(width: float, height: float) -> Figure:
    # the object API does not change pyplot's global state
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    # without a date and a version, equal results give equal bytes
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
