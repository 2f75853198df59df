"""Markdown tables of a grid's results."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from clipmask_tools.ablation.compare import Difference, Summary, paired, summarize
from clipmask_tools.ablation.grid import Grid
from clipmask_tools.ablation.results import Result

Results = Mapping[str, Mapping[int, Result]]  # variant -> seed -> result
_UNKNOWN = "–"


def score_table(grid: Grid, results: Results) -> str:
    """Returns a table of the mIoU, mBIoU, differences and costs of each variant.

    Args:
        grid: the grid.
        results: the result of ``read_results``.
    """
    change = "difference, 95 % interval"
    head = [
        "",
        "seeds",
        "mIoU",
        change,
        "mBIoU",
        change,
        "parameters, M",
        "GFLOPs",
        "s per step, fastest seed",
    ]
    base = results.get(grid.against, {})
    rows = []
    for name, runs in results.items():
        first = _first(runs)
        costs = [f"{first.parameters / 1e6:.2f}", f"{first.flops / 1e9:.2f}", _time(runs)]
        sharp = mean_boundary_iou(runs)
        for dataset in first.scores:
            if first.of(dataset).iou.shape != first.of(first.dataset).iou.shape:
                continue  # datasets with other classes have another table
            is_main = dataset == first.dataset
            is_base = name == grid.against and is_main
            title = grid.variants[name].title if is_main else f"– tested on `{dataset}`"
            values = mean_iou(runs, dataset)
            row = [title, str(len(runs)), shown(summarize(values))]
            row.append("" if is_base else shown_difference(paired(values, mean_iou(base))))
            if is_main:
                difference = shown_difference(paired(sharp, mean_boundary_iou(base)))
                row += [shown(summarize(sharp)), "" if is_base else difference, *costs]
            else:
                row += [""] * 5
            rows.append(row)
    return table(head, rows)


def class_table(grid: Grid, results: Results) -> str:
    """Returns a table of the mean IoU of each class over the seeds, one row per variant.

    Args:
        grid, results: as for ``score_table``.
    """
    classes = list(_first(next(iter(results.values()))).iou(_dataset(results)))
    rows = []
    for name, runs in results.items():
        means = [summarize(class_iou(runs, wanted)).mean for wanted in classes]
        rows.append([grid.variants[name].title, *(_number(mean) for mean in means)])
    return table(["IoU", *classes], rows)


def mean_iou(runs: Mapping[int, Result], dataset: str | None = None) -> dict[int, float]:
    """Returns the mIoU on ``dataset`` by seed; None: the dataset of the main score."""
    return {seed: result.of(dataset or result.dataset).mean_iou for seed, result in runs.items()}


def mean_boundary_iou(runs: Mapping[int, Result]) -> dict[int, float]:
    """Returns the mBIoU on the dataset of the main score by seed; nan if it was not measured."""
    return {seed: result.mean_boundary_iou for seed, result in runs.items()}


def class_iou(
    runs: Mapping[int, Result], wanted: str, dataset: str | None = None
) -> dict[int, float]:
    """Returns the IoU of a class by seed; nan if the dataset does not have this class."""
    return {
        seed: result.iou(dataset or result.dataset).get(wanted, math.nan)
        for seed, result in runs.items()
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; bars in the cells are escaped."""
    lines = []
    for cells in (head, ["---"] * len(head), *rows):
        escaped = [cell.replace("|", "&#124;") for cell in cells]
        lines.append(f"| {' | '.join(escaped)} |")
    return "\n".join(lines)


def shown(summary: Summary) -> str:
    """Formats a summary as ``71.23 ± 0.45``, or ``71.23`` for one seed."""
    if not math.isfinite(summary.deviation):
        return _number(summary.mean)
    return f"{_number(summary.mean)} ± {_number(summary.deviation)}"


def shown_difference(difference: Difference) -> str:
    """Formats a difference as ``-1.20 (-2.01 to -0.39)``, in bold if the interval excludes 0.

    Without an interval, it is the mean only.
    """
    if not math.isfinite(difference.mean):
        return _UNKNOWN
    if not difference.high > difference.low:  # one seed, or equal differences for all seeds
        return f"{difference.mean:+.2f}"
    text = f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"
    return f"**{text}**" if difference.clear else text


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else _UNKNOWN


def _time(runs: Mapping[int, Result]) -> str:
    """Returns the time of the fastest seed, because other work on the machine only adds time."""
    return f"{min(result.seconds_per_step for result in runs.values()):.2f}"


def _first(runs: Mapping[int, Result]) -> Result:
    return next(iter(runs.values()))


def _dataset(results: Results) -> str:
    return _first(next(iter(results.values()))).dataset


def provenance(grid: Grid, results: Results) -> str:
    """Returns a few lines about the settings and hardware of the runs, and the missing variants.

    Args:
        grid: the grid.
        results: the result of ``read_results``, with at least one run.
    """
    runs: list[Result] = []
    for by_seed in results.values():
        runs.extend(by_seed.values())
    first = runs[0]

    def each(value: Callable[[Result], object], between: str = ", ") -> str:
        return between.join(dict.fromkeys(str(value(result)) for result in runs))

    views = "single scale"
    if first.settings.get("TEST.AUG.ENABLED"):
        views = "with test-time augmentation"
    lines = [
        (
            f"{each(lambda run: run.iterations)} steps of {each(lambda run: run.images_per_step)}"
            f" crops of {each(_crop)} (height x width), trained on"
            f" {each(functools.partial(_trained_on, folds=grid.folds), '; or on ')}, scored on"
            f" {_scored_on(runs, grid.folds)} at {first.size[1]}x{first.size[0]}, {views}"
        ),
        f"backbone {each(_backbone, '; or ')}; text from {each(_text)}",
        (
            f"seeds {', '.join(map(str, sorted({run.seed for run in runs})))};"
            f" {each(lambda run: _device(run.hardware))} for each run, torch"
            f" {each(lambda run: run.versions.get('torch'))};"
            f" {sum(run.training_seconds for run in runs) / 3600:.1f} hours of training in all"
        ),
    ]
    missing = dict.fromkeys(
        variant.title for name, variant in grid.variants.items() if name not in results
    )
    if missing:
        lines.append(f"not run: {'; '.join(missing)}")
    return "\n".join(f"- {line}" for line in lines)


def _crop(run: Result) -> str:
    return " x ".join(map(str, run.settings.get("INPUT.CROP.SIZE", ["?"])))


def _trained_on(run: Result, folds: Sequence[str]) -> str:
    """Returns the training datasets, with ``{fold}`` instead of the name of the run's fold."""
    names = [_without_fold(name, folds) for name in run.settings["DATASETS.TRAIN"]]
    return ", ".join(f"`{name}`" for name in names)


def _scored_on(runs: Sequence[Result], folds: Sequence[str]) -> str:
    names = dict.fromkeys(_without_fold(run.dataset, folds) for run in runs)
    return ", ".join(f"`{name}`" for name in names)


def _without_fold(dataset: str, folds: Sequence[str]) -> str:
    for fold in folds:
        dataset = dataset.replace(fold, "{fold}")
    return dataset


def _backbone(run: Result) -> str:
    name = run.settings.get("MODEL.BACKBONE.TIMM_NAME", "resnet50")
    return f"{name} from {run.settings.get('MODEL.BACKBONE.WEIGHTS', 'its pretrained weights')}"


def _text(run: Result) -> str:
    file = run.settings.get("MODEL.CLIP.EMBEDDINGS")
    return file or f"CLIP {run.settings.get('MODEL.CLIP.NAME', 'ViT-B-16')}"


def _device(hardware: Mapping[str, object]) -> str:
    if hardware["device"] == "cuda":
        return f"{hardware['count']} {hardware['name']}"
    return f"{hardware['count']} core of {hardware['name']}"
