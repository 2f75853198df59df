"""The open-vocabulary experiment: scores on classes that were void in training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from clipmask_tools.ablation.compare import paired, summarize
from clipmask_tools.ablation.grid import Grid
from clipmask_tools.ablation.results import Result
from clipmask_tools.ablation.tables import class_iou, shown, shown_difference, table

Results = Mapping[str, Mapping[int, Result]]
_MOST = 3  # number of confused classes that are listed for each class


def unseen_table(grid: Grid, results: Results, full: Mapping[int, Result] | None = None) -> str:
    """Returns a table of the IoU of each unseen class on the dataset with all classes.

    Args:
        grid: a grid whose variants were trained on some classes and tested on more.
        results: the result of ``read_results``.
        full: runs that were trained with all classes and tested on this dataset, for comparison.
    """
    first = _first(results.get(grid.against) or next(iter(results.values())))
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
    """Returns the IoU of a class, in percent, for two predictions that ignore the picture.

    p is the share of the class. If each pixel gets one of the K classes at random, q = 1 / K, the
    IoU is p q / (p + q - p q). If all pixels get the class, the IoU is p, the largest value without
    looking at the picture.
    """
    counts = np.array(result.scores[dataset]["confusion"], dtype=np.float64).sum(axis=1)
    p, q = counts[result.scores[dataset]["classes"].index(wanted)] / counts.sum(), 1 / len(counts)
    return 100 * p * q / (p + q - p * q), 100 * p


def taken_for(runs: Mapping[int, Result], dataset: str, wanted: str) -> list[tuple[str, float]]:
    """Returns the predictions for the pixels of a class: classes with percentages of its pixels.

    The most frequent class comes first.
    """
    classes: Sequence[str] = _first(runs).scores[dataset]["classes"]
    place = classes.index(wanted)
    row = np.zeros(len(classes), dtype=np.int64)
    for run in runs.values():
        row += np.array(run.scores[dataset]["confusion"])[place]
    shares = 100 * row / max(1, row.sum())
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
    """Returns the mean IoU of ``classes`` by seed."""
    every = [class_iou(runs, wanted, dataset) for wanted in classes]
    means = {}
    for seed in runs:
        means[seed] = float(np.nanmean([values[seed] for values in every]))
    return means


def _full(classes: Sequence[str], full: Mapping[int, Result] | None, dataset: str) -> str:
    runs = {seed: run for seed, run in (full or {}).items() if dataset in run.scores}
    return shown(summarize(_mean(runs, classes, dataset) if runs else {0: math.nan}))


def _first(runs: Mapping[int, Result]) -> Result:
    return next(iter(runs.values()))
