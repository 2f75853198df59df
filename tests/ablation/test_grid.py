"""Grid files: ours can be read, and a mistake in one is told with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.errors import UserError
from clipmask_tools.ablation.grid import read_grid
from tests.ablation.made import made_grid
from tests.conftest import ROOT

GRIDS = sorted((ROOT / "configs").rglob("grid.yaml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.parent.name)
def test_ours_can_be_read(path: Path) -> None:
    grid = read_grid(path)
    assert path.read_text().startswith(
        f"# python -m clipmask_tools.ablate run {path.relative_to(ROOT)}\n"
    )
    assert grid.name == path.parent.name
    assert next(iter(grid.variants)) == "_".join([grid.against, *grid.folds[:1]])


def test_every_ablation_is_in_the_grid() -> None:
    for folder in ("ablations", "open_vocabulary"):
        grid = read_grid(ROOT / "configs" / folder / "grid.yaml")
        used = {variant.config.resolve() for variant in grid.variants.values()}
        there = set(grid.path.resolve().parent.glob("*.yaml"))
        assert used == {path for path in there if path.stem not in ("base", "grid")}


def test_all_runs_of_a_seed_come_before_the_next_seed(tmp_path: Path) -> None:
    grid = made_grid(tmp_path)
    order = [(variant.name, seed) for variant, seed in grid.choose(None, None)]
    assert order == [("full", 0), ("less", 0), ("full", 1), ("less", 1)]
    assert [(variant.name, seed) for variant, seed in grid.choose(["less"], [7, 7])] == [
        ("less", 7)
    ]
    with pytest.raises(UserError, match=r"no run more; there are full, less"):
        grid.choose(["more"], None)
    with pytest.raises(UserError, match=r"--seeds \[-1\]: must be .*whole numbers"):
        grid.choose(None, [-1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "against: full",
            "against: fool",
            r"against is 'fool', which is not a run; .*full, less",
        ),
        ("seeds: [0, 1]", "seeds: 2", r"seeds is 2; it must be a list"),
        ("seeds: [0, 1]", "seeds: []", r"seeds \[\]: must be .*whole numbers"),
        (
            "seeds: [0, 1]",
            "seed: [0, 1]",
            r"the file has no key 'seed'; it takes against, folds,",
        ),
        ("seeds: [0, 1]", "", r"the file lacks seeds"),
        ("less: less of it", "none: nothing", r"run none: config: .*none.yaml: no such file"),
        ("less: less of it", "less: {titel: x}", r"run less has no key 'titel'"),
        (
            "less: less of it",
            "less: {title: x, also_test: val}",
            r"run less: also_test is 'val'; it must be a list",
        ),
        (
            "less: less of it",
            "less: {title: x, text: odd}",
            r"run less: text is 'odd'; it must be random or shuffled",
        ),
        ("less: less of it", "less: 3", r"run less is not a mapping"),
        ("runs:", "register: [data.py]\nruns:", r"register: .*data.py: no such file"),
        ("seeds: [0, 1]", "seeds: [0, 1", r"not plain YAML"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = made_grid(tmp_path).path
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        read_grid(path)
    assert str(path) in str(caught.value)


def test_a_missing_file() -> None:
    with pytest.raises(UserError, match=r"grid nowhere.yaml: can't be read \(No such file"):
        read_grid("nowhere.yaml")
