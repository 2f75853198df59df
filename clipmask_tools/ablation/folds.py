"""Tables of a grid with folds: every variant on each drive that it was trained without, and the
mean over them; and of what all runs are tested on besides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from clipmask_tools.ablation.compare import paired, summarize
from clipmask_tools.ablation.grid import Grid
from clipmask_tools.ablation.results import Result
from clipmask_tools.ablation.tables import class_iou, mean_iou, shown, shown_difference, table

Results = Mapping[str, Mapping[int, Result]]  # variant -> seed -> result


def fold_table(grid: Grid, results: Results) -> str:
    """Returns the mIoU of each variant in each fold, the mean over the folds, and how far that is
    from the grid's base.

    Args:
        grid: with folds.
        results: from ``read_results``. A variant's mean is of the seeds that have every fold.
    """
    base = fold_means(grid, results, grid.against)
    rows = []
    for name, title in _titles(grid).items():
        own = [results.get(f"{name}_{fold}", {}) for fold in grid.folds]
        if not any(own):
            continue
        means = fold_means(grid, results, name)
        difference = "" if name == grid.against else shown_difference(paired(means, base))
        cells = [shown(summarize(mean_iou(runs))) for runs in own]
        rows.append(
            [
                title,
                str(max(len(runs) for runs in own)),
                *cells,
                shown(summarize(means)),
                difference,
            ]
        )
    head = ["", "seeds", *grid.folds, "mean of the folds", "difference, 95 % interval"]
    return table(head, rows)


def fold_class_table(grid: Grid, results: Results) -> str:
    """Returns the IoU of each class, the mean over folds and seeds; ``grid`` and ``results`` as
    above.
    """
    first = next(iter(next(iter(results.values())).values()))
    classes = list(first.iou(first.dataset))
    rows = []
    for name, title in _titles(grid).items():
        runs = [results[f"{name}_{fold}"] for fold in grid.folds if f"{name}_{fold}" in results]
        if len(runs) < len(grid.folds):
            continue
        means = []
        for wanted in classes:
            values = [value for of_fold in runs for value in class_iou(of_fold, wanted).values()]
            means.append(shown(summarize(dict(enumerate(values)))).split(" ")[0])
        rows.append([title, *means])
    return table(["IoU", *classes], rows)


def dataset_table(grid: Grid, results: Results, dataset: str) -> str:
    """Returns mIoU and the IoU of each class on one dataset, variants by rows.

    Args:
        grid: of the runs. Where it has folds, a seed's value is the mean over its folds.
        results: from ``read_results``; runs that were not tested on the dataset are left out.
        dataset: one that the runs were tested on, by whichever key.
    """
    means: dict[str, dict[int, float]] = {}
    classes: dict[str, dict[str, dict[int, float]]] = {}  # variant -> class -> seed -> IoU
    titles = _titles(grid)
    for name in titles:
        runs = _runs_on(grid, results, name, dataset)
        if not any(runs):
            continue
        means[name] = _over_folds([mean_iou(of_fold, dataset) for of_fold in runs])
        first = next(iter(next(of_fold for of_fold in runs if of_fold).values()))
        classes[name] = {
            wanted: _over_folds([class_iou(of_fold, wanted, dataset) for of_fold in runs])
            for wanted in first.iou(dataset)
        }
    if not means:
        return f"*No run was tested on `{dataset}` yet.*"
    base = means.get(grid.against, {})
    rows = []
    for name, values in means.items():
        difference = "" if name == grid.against else shown_difference(paired(values, base))
        own = [shown(summarize(of_class)).split(" ")[0] for of_class in classes[name].values()]
        rows.append([titles[name], str(len(values)), shown(summarize(values)), difference, *own])
    names = next(iter(classes.values()))
    return table(["", "seeds", "mIoU", "difference, 95 % interval", *names], rows)


def _runs_on(grid: Grid, results: Results, name: str, dataset: str) -> list[dict[int, Result]]:
    """Returns, for each fold of a variant, seed to the result that has scores on ``dataset``."""
    full_names = [f"{name}_{fold}" for fold in grid.folds] or [name]
    return [
        {
            seed: result
            for seed, result in results.get(full_name, {}).items()
            if dataset in result.scores
        }
        for full_name in full_names
    ]


def _over_folds(by_fold: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Returns seed to the mean over the folds, for the seeds that have a value in some fold."""
    seeds = sorted({seed for values in by_fold for seed in values})
    means = {}
    for seed in seeds:
        known = [values[seed] for values in by_fold if seed in values]
        means[seed] = math.fsum(known) / len(known)
    return means


def fold_means(grid: Grid, results: Results, name: str) -> dict[int, float]:
    """Returns seed to the mean of mIoU over the folds, for the seeds that have all of them."""
    by_fold = [mean_iou(results.get(f"{name}_{fold}", {})) for fold in grid.folds]
    seeds = [seed for seed in by_fold[0] if all(seed in values for values in by_fold)]
    return {seed: math.fsum(values[seed] for values in by_fold) / len(by_fold) for seed in seeds}


def _titles(grid: Grid) -> dict[str, str]:
    """Name to title of each variant, without its folds."""
    return {name.removesuffix(f"_{each.fold}"): each.title for name, each in grid.variants.items()}
