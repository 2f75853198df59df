"""The confusion matrix of a dataset, as a table and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipmask.fonts import chart_letters
from clipmask.vocabulary import shown_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# classes; a picture of more has cells and names that nobody can read, and takes gigabytes
MOST_DRAWN = 200
# inches: with room for a percentage, and for a line of the names
_FULL_CELL, _SMALL_CELL = 0.46, 0.17
_MAX_SIDE = 9.5  # inches of all cells; with more classes cells shrink down to the small size


def write_confusion(confusion: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Writes pixel counts as CSV: a row for each class of the truth, a column for each predicted
    one.

    Args:
        confusion: (K, K) pixels, truth by prediction.
        names: of the K classes; of ``car;automobile`` the first is written.
        path: the file.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        shown = shown_names(names)
        writer.writerow(["truth \\ prediction", *shown])
        writer.writerows([name, *row] for name, row in zip(shown, confusion.tolist(), strict=True))


def draw_confusion(confusion: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draws the share of each true class' pixels that was predicted as each class.

    Percentages stand in the cells while those are large enough (some 20 classes). A class that does
    not occur in the truth has a grey row.

    Args:
        confusion: (K, K) pixels, truth by prediction.
        names: of the K classes; of ``car;automobile`` the first is shown.
        path: the PNG file.
    """
    with chart_letters(names):
        _draw(confusion, shown_names(names), path)


def _draw(confusion: np.ndarray, shown: Sequence[str], path: Path) -> None:
    # The object API leaves pyplot's global state, and the backend that the user's own program
    # chose, alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    count = len(shown)
    cell = max(_SMALL_CELL, min(_FULL_CELL, _MAX_SIDE / count))
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, 100 * confusion / np.maximum(totals, 1), np.nan)
    figure = Figure(figsize=(cell * count + 3.2, cell * count + 2.2), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    # A square root: a class that loses 4 % to another shows, as 20 % of the colours' range.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    bar = figure.colorbar(image, ax=axes, shrink=0.7, ticks=[0, 1, 10, 25, 50, 75, 100])
    bar.set_label("% of the class' true pixels")
    size = 6 + (cell >= 0.3) + 2 * (cell >= 0.4)  # points: 6, 7 or 9
    axes.set_xticks(range(count), shown, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(count), shown, fontsize=size, parse_math=False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    if cell >= 0.4:
        _write_percentages(axes, shares)
    canvas.print_png(path)


def _write_percentages(axes: Axes, shares: np.ndarray) -> None:
    """Writes each share of ``shares`` (K, K) that rounds to 0.1 % or more into its cell."""
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.05:  # nan is not
            color = "white" if share > 35 else "black"
            axes.text(
                column, row, f"{share:.1f}", ha="center", va="center", fontsize=7, color=color
            )
