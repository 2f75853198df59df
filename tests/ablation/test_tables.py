"""Tables: their numbers are those of the results."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from clipmask_tools.ablation.compare import Difference, Summary
from clipmask_tools.ablation.tables import (
    class_table,
    provenance,
    score_table,
    shown,
    shown_difference,
    table,
)
from tests.ablation.made import CLASSES, CONFUSION, made_grid, made_result


def cells(text: str, row: int) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[row + 2].strip("|").split("|")]


def test_scores_follow_from_the_confusion_matrix() -> None:
    result = made_result(scores={"made_val": {"classes": CLASSES, "confusion": CONFUSION}})
    iou = result.iou("made_val")
    assert [round(iou[name], 2) for name in CLASSES[:2]] == [60.0, 66.67]
    assert math.isnan(iou["car"])
    assert round(result.of("made_val").mean_iou, 2) == 63.33


def test_scores(tmp_path: Path) -> None:
    """IoU is right / (2 - right) with ``right`` of each class: 0.8 gives 66.67, 0.9 gives 81.82,
    0.5 gives 33.33.
    """
    grid = made_grid(tmp_path)
    text = made_result("less", 0, 0.5, flops=3_000_000_000)
    also = dataclasses.replace(
        text, scores={**text.scores, "told_val": made_result(right=0.8).scores["made_val"]}
    )
    results = {
        "full": {0: made_result(right=0.8), 1: made_result(seed=1, right=0.9)},
        "less": {0: also},
    }
    told = score_table(grid, results)
    assert cells(told, 0) == [
        "full model",
        "2",
        "74.24 ± 10.71",
        "",
        "46.75 ± 3.89",
        "",
        "2.95",
        "4.27",
        "0.50",
    ]
    assert cells(told, 1) == [
        "less of it",
        "1",
        "33.33",
        "-33.33",
        "27.50",
        "-16.50",
        "2.95",
        "3.00",
        "0.50",
    ]
    assert cells(told, 2) == ["– tested on `told_val`", "1", "66.67", "+0.00", "", "", "", "", ""]
    assert cells(class_table(grid, results), 0) == ["full model", "74.24", "74.24", "74.24"]


def test_boundaries_that_were_not_measured(tmp_path: Path) -> None:
    runs = {name: {0: made_result(name, boundary_iou={})} for name in ("full", "less")}
    assert cells(score_table(made_grid(tmp_path), runs), 1)[4:6] == ["–", "–"]


def test_a_dataset_of_other_classes_is_no_row(tmp_path: Path) -> None:
    more = {"classes": [*CLASSES, "tree"], "confusion": [[1] * 4] * 4}
    result = made_result(scores={**made_result().scores, "more_val": more})
    assert "more_val" not in score_table(made_grid(tmp_path), {"full": {0: result}})


def test_without_the_one_to_compare_with(tmp_path: Path) -> None:
    assert cells(score_table(made_grid(tmp_path), {"less": {0: made_result("less")}}), 0)[3] == "–"


def test_numbers_as_words() -> None:
    assert shown(Summary(1.234, math.nan, 1)) == "1.23"
    assert shown(Summary(math.nan, math.nan, 0)) == "–"
    assert shown_difference(Difference(-1, -2, -0.5, 5)) == "**-1.00 (-2.00 to -0.50)**"
    assert shown_difference(Difference(-1, -2, 0.5, 5)) == "-1.00 (-2.00 to +0.50)"
    assert table(["a|b"], [["c"]]) == "| a&#124;b |\n| --- |\n| c |"


def test_seeds_that_agree_make_no_interval() -> None:
    assert shown_difference(Difference(0, 0, 0, 2)) == "+0.00"


def test_time_is_the_fastest_seed_s(tmp_path: Path) -> None:
    runs = {0: made_result(), 1: made_result(seed=1, seconds_per_step=0.4)}
    assert cells(score_table(made_grid(tmp_path), {"full": runs}), 0)[-1] == "0.40"


def test_where_numbers_come_from(tmp_path: Path) -> None:
    gpu = {"device": "cuda", "name": "Chip", "count": 1}
    grid = made_grid(tmp_path)
    text = provenance(grid, {"full": {0: made_result(), 3: made_result(seed=3, hardware=gpu)}})
    for words in (
        "600 steps of 4 crops of 192 x 256",
        "`made_train`",
        "480x360, single scale",
        "seeds 0, 3",
        "1 core of Abacus, 1 Chip",
        "- not run: less of it",
    ):
        assert words in text
    every = {name: {0: made_result(name)} for name in ("full", "less")}
    assert "not run" not in provenance(grid, every)
    augmented = made_result(settings={**made_result().settings, "TEST.AUG.ENABLED": True})
    assert "480x360, with test-time augmentation" in provenance(grid, {"full": {0: augmented}})
