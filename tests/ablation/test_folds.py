"""Folds: a run each, datasets by the fold's name, means over the seeds that have every fold."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask_tools.ablation.folds import dataset_table, fold_class_table, fold_means, fold_table
from clipmask_tools.ablation.grid import Grid
from clipmask_tools.ablation.jobs import make_jobs
from clipmask_tools.ablation.results import read_results
from tests.ablation.made import made_grid, made_result, write_results


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return made_grid(tmp_path / "grid", "full: full model\n  less: less of it\nfolds: [dusk, day]")


def test_every_run_once_for_each_fold(grid: Grid, tmp_path: Path) -> None:
    assert list(grid.variants) == ["full_dusk", "full_day", "less_dusk", "less_day"]
    opts = ["DATASETS.TRAIN", "('without_{fold}', 'all')", "DATASETS.TEST", "('only_{fold}',)"]
    jobs = make_jobs(
        grid, grid.choose(["full_day"], [0]), opts, tmp_path / "output", tmp_path / "results"
    )
    assert tuple(jobs[0].cfg.DATASETS.TRAIN) == ("without_day", "all")
    assert tuple(jobs[0].cfg.DATASETS.TEST) == ("only_day",)
    words = jobs[0].stages[0]
    last = len(words) - 1 - words[::-1].index("DATASETS.TEST")
    assert words[last + 1] == "('only_day',)"


def test_a_run_of_a_fold_starts_from_weights_of_the_fold(grid: Grid, tmp_path: Path) -> None:
    opts = ["MODEL.WEIGHTS", "output/full_{fold}/model_final.pth", "DATASETS.TEST", "('all',)"]
    jobs = make_jobs(grid, grid.choose(["less_day"], [0]), opts, tmp_path / "o", tmp_path / "r")
    assert jobs[0].cfg.MODEL.WEIGHTS == "output/full_day/model_final.pth"


def test_means_are_of_seeds_that_have_every_fold(grid: Grid, tmp_path: Path) -> None:
    runs = [
        made_result("full_dusk", 0, right=0.6),
        made_result("full_day", 0, right=0.8),
        made_result("full_dusk", 1, right=0.6),
        made_result("less_dusk", 0, right=0.5),
        made_result("less_day", 0, right=0.5),
    ]
    write_results(tmp_path, grid, *runs)
    found = read_results(tmp_path, grid)
    # IoU of a class is right / (2 - right): 42.86 of 0.6, 66.67 of 0.8, 33.33 of 0.5.
    assert fold_means(grid, found, "full") == {0: pytest.approx((42.857 + 66.667) / 2, abs=0.01)}
    text = fold_table(grid, found)
    assert "| full model | 2 | 42.86 ± 0.00 | 66.67 | 54.76 |  |" in text
    assert "| less of it | 1 | 33.33 | 33.33 | 33.33 | -21.43 |" in text
    assert "| less of it | 33.33 | 33.33 | 33.33 |" in fold_class_table(grid, found)


def test_a_further_dataset_has_a_table_of_its_own(grid: Grid, tmp_path: Path) -> None:
    more = {share: made_result(right=share).scores["made_val"] for share in (0.6, 0.8, 0.5)}
    runs = [
        made_result("full_dusk", 0, scores={**made_result().scores, "more": more[0.6]}),
        made_result("full_day", 0, scores={**made_result().scores, "more": more[0.8]}),
        made_result("less_dusk", 0, scores={**made_result().scores, "more": more[0.5]}),
        made_result("less_day", 0),
    ]
    write_results(tmp_path, grid, *runs)
    found = read_results(tmp_path, grid)
    text = dataset_table(grid, found, "more")
    # The mean over the folds of 42.86 and 66.67; a fold without the dataset does not count.
    assert "| full model | 1 | 54.76 |  | 54.76 | 54.76 | 54.76 |" in text
    assert "| less of it | 1 | 33.33 | -21.43 | 33.33 | 33.33 | 33.33 |" in text
    assert dataset_table(grid, found, "none") == "*No run was tested on `none` yet.*"
