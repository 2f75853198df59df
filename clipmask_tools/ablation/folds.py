"""Tables of a grid with folds, in which each fold leaves one drive out of the training.

They show every variant on each left-out drive with the mean over the folds, and the scores on
further test datasets.
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
    """Returns a table of the mIoU of each variant in each fold, with means and differences.

    The differences are those of the mean over the folds to that of the grid's base.

    Args:
        grid: a grid with folds.
        results: the result of ``read_results``. The mean of a variant is that of the seeds that
            have all folds.
    """
    base = fold_means(grid, results, grid.against)
    rows = []
    for name, title in _titles(grid).items():
        by_fold = [results.get(f"{name}_{fold}", {}) for fold in grid.folds]
        if not any(by_fold):
            continue
        means = fold_means(grid, results, name)
        difference = "" if name == grid.against else shown_difference(paired(means, base))
        seeds = max(len(runs) for runs in by_fold)
        cells = [shown(summarize(mean_iou(runs))) for runs in by_fold]
        rows.append([title, str(seeds), *cells, shown(summarize(means)), difference])
    head = ["", "seeds", *grid.folds, "mean of the folds", "difference, 95 % interval"]
    return table(head, rows)


def fold_class_table(grid: Grid, results: Results) -> str:
    """Returns a table of the IoU of each class, as the mean over folds and seeds.

    Args:
        grid, results: as for ``fold_table``.
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
            values: list[float] = []
            for of_fold in runs:
                values.extend(class_iou(of_fold, wanted).values())
            means.append(shown(summarize(dict(enumerate(values)))).split(" ")[0])
        rows.append([title, *means])
    return table(["IoU", *classes], rows)


def dataset_table(grid: Grid, results: Results, dataset: str) -> str:
    """Returns a table of the mIoU and the IoU of each class on one dataset, one row per variant.

    Args:
        grid: the grid of the runs. If it has folds, the value of a seed is the mean over its folds.
        results: the result of ``read_results``; runs that were not tested on the dataset are left
            out.
        dataset: a dataset on which the runs were tested.
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
        classes[name] = {}
        for wanted in first.iou(dataset):
            by_fold = [class_iou(of_fold, wanted, dataset) for of_fold in runs]
            classes[name][wanted] = _over_folds(by_fold)
    if not means:
        return f"*No run was tested on `{dataset}` yet.*"
    base = means.get(grid.against, {})
    rows = []
    for name, values in means.items():
        difference = "" if name == grid.against else shown_difference(paired(values, base))
        cells = [shown(summarize(of_class)).split(" ")[0] for of_class in classes[name].values()]
        rows.append([titles[name], str(len(values)), shown(summarize(values)), difference, *cells])
    names = next(iter(classes.values()))
    return table(["", "seeds", "mIoU", "difference, 95 % interval", *names], rows)


def _runs_on(grid: Grid, results: Results, name: str, dataset: str) -> list[dict[int, Result]]:
    """Returns, for each fold of a variant, the results with scores on ``dataset`` by seed."""
    found = []
    for full_name in [f"{name}_{fold}" for fold in grid.folds] or [name]:
        runs = results.get(full_name, {})
        found.append({seed: run for seed, run in runs.items() if dataset in run.scores})
    return found


def _over_folds(by_fold: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Returns, for each seed, the mean over the folds in which it has a value."""
    means = {}
    for seed in sorted(set().union(*by_fold)):
        known = [values[seed] for values in by_fold if seed in values]
        means[seed] = math.fsum(known) / len(known)
    return means


def fold_means(grid: Grid, results: Results, name: str) -> dict[int, float]:
    """Returns the mean mIoU over the folds by seed, for the seeds that have all folds."""
    by_fold = [mean_iou(results.get(f"{name}_{fold}", {})) for fold in grid.folds]
    means = {}
    for seed in by_fold[0]:
        values = [of_fold[seed] for of_fold in by_fold if seed in of_fold]
        if len(values) == len(by_fold):
            means[seed] = math.fsum(values) / len(values)
    return means


def _titles(grid: Grid) -> dict[str, str]:
    """Returns the title of each variant by its name without the fold."""
    return {name.removesuffix(f"_{each.fold}"): each.title for name, each in grid.variants.items()}
