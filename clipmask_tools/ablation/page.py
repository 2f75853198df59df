"""Writing of docs/results.md: the blocks between its marks come from the result files.

    <!-- ablate: scores configs/ablations/grid.yaml -->
    ...
    <!-- /ablate -->

The mark names the kind of the block (``scores``, ``classes``, ``curves``, ``differences``,
``folds``, ``dataset``, ``unseen``, ``published``) and the files from which it is made, relative to
the repository's root. After ``dataset``, the name of a dataset follows. Without results, the block
says how to get them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clipmask.errors import UserError
from clipmask_tools.ablation.compare import summarize
from clipmask_tools.ablation.folds import dataset_table, fold_class_table, fold_table
from clipmask_tools.ablation.grid import Grid, read_grid
from clipmask_tools.ablation.plots import draw_curves, draw_differences
from clipmask_tools.ablation.results import Result, read_results
from clipmask_tools.ablation.tables import (
    class_iou,
    class_table,
    mean_iou,
    provenance,
    score_table,
    shown,
    table,
)
from clipmask_tools.ablation.unseen import unseen_table

Results = Mapping[str, Mapping[int, Result]]
_BLOCK = re.compile(
    r"(<!-- ablate: (?P<words>[^\n]*?) -->\n)(?P<content>.*?)(<!-- /ablate -->)", re.DOTALL
)


class Page:
    """A page with marked blocks.

    Args:
        path: the path of the Markdown file.
        root: the root of the repository, to which the files in marks are relative.
        results: the folder of the result files and plots.

    Raises:
        UserError: the folder of the results is not below that of the page, so the page could not
            show the plots.
    """

    def __init__(self, path: Path, root: Path, results: Path) -> None:
        if not results.resolve().is_relative_to(path.resolve().parent):
            raise UserError(
                f"--results {results}: {path.name} shows the plots of a folder below {path.parent};"
                " for results elsewhere there is clipmask_tools.ablate table"
            )
        self._path, self._root, self._results = path, root, results
        self._kinds: dict[str, Callable[..., str]] = {
            "scores": self._scores,
            "classes": self._classes,
            "curves": self._curves,
            "differences": self._differences,
            "folds": self._folds,
            "dataset": self._dataset,
            "unseen": self._unseen,
            "published": self._published,
        }

    def text(self) -> str:
        """Returns the text of the page with new blocks, without writing it.

        Raises:
            UserError: a mark is unknown, a block is not closed, or a result file is damaged.
        """
        before = self._path.read_text(encoding="utf-8")
        if before.count("<!-- ablate:") != len(_BLOCK.findall(before)):
            raise UserError(
                f"{self._path}: a block <!-- ablate: ... --> is not closed by <!-- /ablate -->"
            )
        return _BLOCK.sub(
            lambda match: f"{match[1]}{self._content(match['words'])}\n{match[4]}", before
        )

    def draw(self) -> list[Path]:
        """Draws the plots of the page for which there are results, and returns their files."""
        drawn = []
        for match in _BLOCK.finditer(self._path.read_text(encoding="utf-8")):
            kind, *files = match["words"].split()
            functions = {"curves": draw_curves, "differences": draw_differences}
            if kind not in functions:
                continue
            grid, found = self._read(files[0])
            if _drawn(kind, grid, found):
                path = self._plot(grid, kind)
                functions[kind](grid, found, path)
                drawn.append(path)
        return drawn

    def _content(self, words: str) -> str:
        kind, *files = words.split() or [""]
        if kind not in self._kinds or not files:
            raise UserError(
                f"{self._path}: <!-- ablate: {words} -->: not understood; write one of"
                f" {', '.join(self._kinds)} and the files from which it is made"
            )
        try:
            return self._kinds[kind](*files)
        except TypeError as error:
            raise UserError(
                f"{self._path}: <!-- ablate: {words} -->: {kind} needs other files ({error})"
            ) from error

    def _read(self, file: str) -> tuple[Grid, Results]:
        grid = read_grid(self._root / file)
        return grid, read_results(self._results, grid)

    def _plot(self, grid: Grid, kind: str) -> Path:
        return self._results / f"{grid.name}_{kind}.png"

    def _scores(self, file: str) -> str:
        grid, found = self._read(file)
        if not found:
            return _not_run(file)
        return f"{score_table(grid, found)}\n\n{provenance(grid, found)}"

    def _folds(self, file: str) -> str:
        grid, found = self._read(file)
        if not found:
            return _not_run(file)
        return "\n\n".join(
            (fold_table(grid, found), fold_class_table(grid, found), provenance(grid, found))
        )

    def _dataset(self, file: str, dataset: str) -> str:
        grid, found = self._read(file)
        return dataset_table(grid, found, dataset) if found else _not_run(file)

    def _classes(self, file: str) -> str:
        grid, found = self._read(file)
        return class_table(grid, found) if found else _not_run(file)

    def _curves(self, file: str) -> str:
        return self._picture(file, "curves", "mIoU over the steps, a panel for each variant")

    def _differences(self, file: str) -> str:
        return self._picture(
            file, "differences", "IoU of each class, less that of the model compared with"
        )

    def _picture(self, file: str, kind: str, words: str) -> str:
        grid, found = self._read(file)
        if not _drawn(kind, grid, found):
            return _not_run(file)
        return f"![{words}]({self._plot(grid, kind).resolve().relative_to(self._path.resolve().parent).as_posix()})"  # noqa: E501

    def _unseen(self, file: str, full: str) -> str:
        grid, found = self._read(file)
        if not found:
            return _not_run(file)
        trained, with_all = self._read(full)
        return f"{unseen_table(grid, found, with_all.get(trained.against))}\n\n{provenance(grid, found)}"  # noqa: E501

    def _published(self, file: str, key: str, grid_file: str) -> str:
        """Returns a table of published figures and, below, of our runs.

        Args:
            file: a YAML file of published figures.
            key: the key of the figures in it.
            grid_file: the grid of our runs; ``-``: none.
        """
        content = yaml.safe_load((self._root / file).read_text(encoding="utf-8"))[key]
        classes: list[str] = content["classes"]
        head = ["IoU", *(name.lower() for name in classes), "mean of all"]
        rows = [[name, *map(str, figures), ""] for name, figures in content["rows"].items()]
        if grid_file == "-":
            return table(head, rows)
        grid, found = self._read(grid_file)
        rows += [_own_row(grid, name, runs, classes) for name, runs in found.items()]
        origin = provenance(grid, found) if found else _not_run(grid_file)
        return f"{table(head, rows)}\n\n{origin}"


def _own_row(
    grid: Grid, name: str, runs: Mapping[int, Result], classes: Sequence[str]
) -> list[str]:
    """Returns the row of one of our variants: the IoU of some classes and the mIoU, over seeds."""
    figures: list[Any] = [class_iou(runs, wanted) for wanted in classes]
    cells = [shown(summarize(values)) for values in [*figures, mean_iou(runs)]]
    return [f"ClipMask, {grid.variants[name].title}", *cells]


def _drawn(kind: str, grid: Grid, found: Results) -> bool:
    """Returns whether there are enough results for a plot.

    Differences need the variant of comparison and at least one other.
    """
    return bool(found) and (kind != "differences" or (grid.against in found and len(found) > 1))


def _not_run(file: str) -> str:
    return f"*Not run yet: `python -m clipmask_tools.ablate run {file}` makes it.*"
