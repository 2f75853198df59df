"""The open-vocabulary table, against numbers counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask_tools.ablation.unseen import chance, taken_for, unseen_table
from tests.ablation.made import made_grid, made_result

ALL = {"classes": ["road", "sky", "fence"], "confusion": [[5, 0, 0], [0, 3, 0], [1, 0, 1]]}


def result(run: str, seed: int, wrong: int) -> object:
    """Knows road and sky; of the fence's two pixels ``wrong`` are taken for road."""
    told = {**ALL, "confusion": [[5, 0, 0], [0, 3, 0], [wrong, 0, 2 - wrong]]}
    seen = {"classes": ["road", "sky"], "confusion": [[5, 0], [0, 3]]}
    return made_result(run, seed, scores={"seen_val": seen, "all_val": told})


def test_chance() -> None:
    """The fence has p = 2 / 10 and q = 1 / 3: p q / (p + q - p q) = 1 / 7."""
    both = chance(result("full", 0, 1), "all_val", "fence")  # type: ignore[arg-type]
    assert both == pytest.approx((100 / 7, 20))


def test_table(tmp_path: Path) -> None:
    grid = made_grid(tmp_path)
    results = {"full": {0: result("full", 0, 0)}, "less": {0: result("less", 0, 2)}}
    full = {0: made_result(scores={"all_val": ALL})}
    lines = unseen_table(grid, results, full).splitlines()  # type: ignore[arg-type]
    assert lines[2] == "| fence (unseen) | 100.00 | 0.00 | -100.00 | 14.3 / 20.0 | 50.00 |"
    # Seen, for less: road 5 / (5 + 7 - 5) = 71.43 %, sky 100 %; trained with all: road 5 / 6, sky
    # 100 %.
    assert lines[3] == "| mean of the seen | 100.00 | 85.71 | -14.29 |  | 91.67 |"
    assert lines[-1] == "| fence | fence 100 % | road 100 % |"


def test_taken_for() -> None:
    runs = {seed: result("full", seed, wrong) for seed, wrong in ((0, 2), (1, 1))}
    assert taken_for(runs, "all_val", "fence") == [("road", 75.0), ("fence", 25.0), ("sky", 0.0)]  # type: ignore[arg-type]
