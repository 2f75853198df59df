"""The open-vocabulary experiment: how well classes are found that were void in training, by their
names alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from clipmask_tools.ablation.compare import paired, summarize
from clipmask_tools.ablation.grid import Grid
from clipmask_tools.ablation.results import Result
from clipmask_tools.ablation.tables import class_iou, shown, shown_difference, table

Results = Mapping[str, Mapping[int, Result]]
_MOST = 3  # classes that another is told to be taken for


def unseen_table(grid: Grid, results: Results, full: Mapping[int, Result] | None = None) -> str:
    """Returns the IoU of each unseen class on the dataset that knows all names.

    Args:
        grid: its variants were trained on some classes and then tested on a dataset with more.
        results: from ``read_results``.
        full: runs that were trained with all classes and scored on that dataset, for comparison.
    """
    first = _first(
        results[grid.against] if grid.against in results else next(iter(results.values()))
    )
    dataset = list(first.scores)[-1]
    seen = first.scores[first.dataset]["classes"]
    unseen = [name for name in first.scores[dataset]["classes"] if name not in seen]
    titles = [grid.variants[name].title for name in results]
    others = [name for name in results if name != grid.against and grid.against in results]
    head = [
        "IoU",
        *titles,
        *(f"{grid.variants[name].title}: difference, 95 % interval" for name in others),
    ]
    head += ["drawn by lot / everywhere", "trained with it"]
    rows = []
    for wanted in unseen:
        values = {name: class_iou(runs, wanted, dataset) for name, runs in results.items()}
        lot, everywhere = chance(first, dataset, wanted)
        row = [f"{wanted} (unseen)", *(shown(summarize(values[name])) for name in results)]
        row += [shown_difference(paired(values[name], values[grid.against])) for name in others]
        row += [f"{lot:.1f} / {everywhere:.1f}", _full([wanted], full, dataset)]
        rows.append(row)
    values = {name: _mean(runs, seen, dataset) for name, runs in results.items()}
    row = ["mean of the seen", *(shown(summarize(values[name])) for name in results)]
    row += [shown_difference(paired(values[name], values[grid.against])) for name in others]
    rows.append([*row, "", _full(seen, full, dataset)])
    return table(head, rows) + "\n\n" + _taken(grid, results, unseen, dataset)


def chance(result: Result, dataset: str, wanted: str) -> tuple[float, float]:
    """Returns the IoU of a class, in percent, for who knows nothing of the picture.

    With p the class' share of the pixels, one who draws every pixel's class by lot among all K, q =
    1 / K each, has p q / (p + q - p q); one who calls every pixel so has p, the most that is to be
    had without looking.
    """
    counts = np.array(result.scores[dataset]["confusion"], dtype=np.float64).sum(axis=1)
    p, q = counts[result.scores[dataset]["classes"].index(wanted)] / counts.sum(), 1 / len(counts)
    return 100 * p * q / (p + q - p * q), 100 * p


def taken_for(runs: Mapping[int, Result], dataset: str, wanted: str) -> list[tuple[str, float]]:
    """Returns what the pixels of a class were taken for: classes and percent of its pixels, the
    most frequent first.
    """
    classes: Sequence[str] = _first(runs).scores[dataset]["classes"]
    row = sum(
        np.array(run.scores[dataset]["confusion"])[classes.index(wanted)] for run in runs.values()
    )
    shares = 100 * np.asarray(row) / max(1, np.sum(row))
    return [(classes[index], float(shares[index])) for index in np.argsort(-shares, kind="stable")]


def _taken(grid: Grid, results: Results, unseen: Sequence[str], dataset: str) -> str:
    rows = []
    for wanted in unseen:
        cells = []
        for runs in results.values():
            most = taken_for(runs, dataset, wanted)[:_MOST]
            cells.append(", ".join(f"{name} {share:.0f} %" for name, share in most if share >= 0.5))
        rows.append([wanted, *cells])
    return table(
        ["its pixels are taken for", *(grid.variants[name].title for name in results)], rows
    )


def _mean(runs: Mapping[int, Result], classes: Sequence[str], dataset: str) -> dict[int, float]:
    """Seed to the mean IoU of ``classes``."""
    every = [class_iou(runs, wanted, dataset) for wanted in classes]
    return {seed: float(np.nanmean([values[seed] for values in every])) for seed in runs}


def _full(classes: Sequence[str], full: Mapping[int, Result] | None, dataset: str) -> str:
    own = {seed: run for seed, run in (full or {}).items() if dataset in run.scores}
    return shown(summarize(_mean(own, classes, dataset) if own else {0: math.nan}))


def _first(runs: Mapping[int, Result]) -> Result:
    return next(iter(runs.values()))
