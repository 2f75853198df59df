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
    """Returns mIoU and mBIoU of each variant, how far from the one that all are compared with, and
    what it costs.

    Args:
        grid: with the titles.
        results: from ``read_results``.
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
                continue  # of other classes: a table of its own
            own = dataset == first.dataset
            title = grid.variants[name].title if own else f"– tested on `{dataset}`"
            values, judge = mean_iou(runs, dataset), name == grid.against and own
            row = [title, str(len(runs)), shown(summarize(values))]
            row.append("" if judge else shown_difference(paired(values, mean_iou(base))))
            if own:
                row.append(shown(summarize(sharp)))
                row.append(
                    "" if judge else shown_difference(paired(sharp, mean_boundary_iou(base)))
                )
            rows.append([*row, *costs] if own else [*row, *[""] * 5])
    return table(head, rows)


def class_table(grid: Grid, results: Results) -> str:
    """Returns the mean IoU of each class over the seeds, variants by rows; ``grid`` and ``results``
    as above.
    """
    classes = list(_first(next(iter(results.values()))).iou(_dataset(results)))
    rows = []
    for name, runs in results.items():
        means = [summarize(class_iou(runs, wanted)).mean for wanted in classes]
        rows.append([grid.variants[name].title, *(_number(mean) for mean in means)])
    return table(["IoU", *classes], rows)


def mean_iou(runs: Mapping[int, Result], dataset: str | None = None) -> dict[int, float]:
    """Returns seed to mIoU on ``dataset``; None: the one that the runs are judged by."""
    return {seed: result.of(dataset or result.dataset).mean_iou for seed, result in runs.items()}


def mean_boundary_iou(runs: Mapping[int, Result]) -> dict[int, float]:
    """Returns seed to mBIoU on the dataset that the runs are judged by, nan where it was not
    measured.
    """
    return {seed: result.mean_boundary_iou for seed, result in runs.items()}


def class_iou(
    runs: Mapping[int, Result], wanted: str, dataset: str | None = None
) -> dict[int, float]:
    """Returns seed to the IoU of the class ``wanted``, nan where the dataset has none such."""
    return {
        seed: result.iou(dataset or result.dataset).get(wanted, math.nan)
        for seed, result in runs.items()
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; a bar in a cell is written so that it stays in the cell."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def shown(summary: Summary) -> str:
    """Writes ``71.23 ± 0.45``; of one seed its value alone."""
    if not math.isfinite(summary.deviation):
        return _number(summary.mean)
    return f"{_number(summary.mean)} ± {_number(summary.deviation)}"


def shown_difference(difference: Difference) -> str:
    """Writes ``-1.20 (-2.01 to -0.39)``, in bold where the interval leaves 0 out; without an
    interval the mean.
    """
    if not math.isfinite(difference.mean):
        return _UNKNOWN
    if not difference.high > difference.low:  # of one seed, or of seeds that all say the same
        return f"{difference.mean:+.2f}"
    text = f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"
    return f"**{text}**" if difference.clear else text


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else _UNKNOWN


def _time(runs: Mapping[int, Result]) -> str:
    """Of the fastest seed: other work on the machine only ever adds."""
    return f"{min(result.seconds_per_step for result in runs.values()):.2f}"


def _first(runs: Mapping[int, Result]) -> Result:
    return next(iter(runs.values()))


def _dataset(results: Results) -> str:
    return _first(next(iter(results.values()))).dataset


def provenance(grid: Grid, results: Results) -> str:
    """Says in a few lines what the runs of a grid were made of, and which of its variants have
    none.

    Args:
        grid: with the titles.
        results: from ``read_results``, at least one.
    """
    runs = [result for of_seeds in results.values() for result in of_seeds.values()]
    first = runs[0]

    def each(value: Callable[[Result], object], between: str = ", ") -> str:
        return between.join(dict.fromkeys(str(value(result)) for result in runs))

    given = first.settings
    views = "with test-time augmentation" if given.get("TEST.AUG.ENABLED") else "single scale"
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
    """Returns the training datasets; ``{fold}`` stands for the name of the run's fold."""
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
