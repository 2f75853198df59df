"""Result files: gathered from what a run leaves, read back as they were, and never mixed where
budgets differ.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipmask import load_cfg
from clipmask.errors import UserError
from clipmask.weights.checkpoint import save_checkpoint
from clipmask_tools.ablation import results as module
from clipmask_tools.ablation.cost import Cost
from clipmask_tools.ablation.results import (
    collect,
    read_result,
    read_results,
    stored_settings,
    write_result,
)
from tests.ablation.made import CLASSES, CONFUSION, made_grid, made_result, write_results
from tests.conftest import ROOT


def test_there_and_back(tmp_path: Path) -> None:
    result = made_result()
    write_result(tmp_path / "new" / "a.json", result)
    assert read_result(tmp_path / "new" / "a.json") == result
    assert len((tmp_path / "new" / "a.json").read_text()) < 2000


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"run": "full"')
    with pytest.raises(UserError, match=r"a.json: .*[Dd]elete the file"):
        read_result(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"run": "full"}')
    with pytest.raises(UserError, match=r"a.json: .*seed"):
        read_result(tmp_path / "a.json")


def finished(folder: Path) -> None:
    """What a run of 40 steps leaves."""
    lines = [
        {"iteration": 19, "time": 0.5, "total_loss": 3.0},
        {"iteration": 19, "sem_seg/mIoU": 20.0},
        {"iteration": 39, "time": 0.7, "total_loss": 2.0},
        {
            "iteration": 39,
            "sem_seg/mIoU": 63.33333,
            "sem_seg/mBIoU": 40.5,
            "sem_seg/BIoU-road": 40.50001,
            "sem_seg/BIoU-car": float("nan"),
        },
    ]
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("toy_street_sem_seg_val", "more_val"):
        (folder / "inference" / name).mkdir(parents=True)
        rows = "".join(
            f"{name},{','.join(map(str, row))}\n"
            for name, row in zip(CLASSES, CONFUSION, strict=True)
        )
        (folder / "inference" / name / "confusion_matrix.csv").write_text(
            f"x,{','.join(CLASSES)}\n{rows}"
        )
    weights = {"model": {"a": module.np.zeros(1)}}
    save_checkpoint(folder / "model_final.pth", {**_tensors(weights), "versions": {"torch": "2.4"}})


def _tensors(weights: dict) -> dict:
    import torch

    return {"model": {name: torch.as_tensor(value) for name, value in weights["model"].items()}}


def test_a_run_is_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_cost", lambda cfg: Cost(10, 9, 8, (6, 7)))
    finished(tmp_path)
    grid = made_grid(tmp_path / "grid", "full: {title: full model, also_test: [more_val]}")
    cfg = load_cfg(
        ROOT / "configs" / "toy.yaml", ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    )
    result = collect(tmp_path, cfg, grid.variants["full"], 5)
    assert (result.run, result.seed, result.iterations, result.images_per_step) == (
        "full",
        5,
        40,
        4,
    )
    assert (result.seconds_per_step, result.training_seconds) == (0.6, 24)
    assert (result.parameters, result.trainable, result.flops, result.size) == (10, 9, 8, [6, 7])
    assert result.curve == [[20, 20.0], [40, 63.333]]
    assert (result.boundary_iou, result.mean_boundary_iou) == ({"road": 40.5}, 40.5)
    assert result.scores["more_val"] == {"classes": CLASSES, "confusion": CONFUSION}
    assert result.dataset == "toy_street_sem_seg_val"
    assert result.hardware["device"] == "cpu"
    write_result(tmp_path / "a.json", result)
    assert read_result(tmp_path / "a.json") == result
    assert str(tmp_path) not in (tmp_path / "a.json").read_text()


def test_steps_made_twice_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_cost", lambda cfg: Cost(10, 9, 8, (6, 7)))
    finished(tmp_path)
    stopped = [
        {"iteration": 19, "time": 9.0},
        {"iteration": 19, "sem_seg/mIoU": 1.0},
        {"iteration": 39, "time": 9.0},
    ]
    metrics = tmp_path / "metrics.json"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in stopped) + metrics.read_text())
    cfg = load_cfg(
        ROOT / "configs" / "toy.yaml", ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    )
    grid = made_grid(tmp_path / "grid", "full: {title: full model, also_test: [more_val]}")
    result = collect(tmp_path, cfg, grid.variants["full"], 5)
    assert (result.iterations, result.seconds_per_step, result.training_seconds) == (40, 0.6, 24)
    assert result.curve == [[20, 20.0], [40, 63.333]]


def test_an_unfinished_run_is_told(tmp_path: Path) -> None:
    grid = made_grid(tmp_path / "grid")
    cfg = load_cfg(ROOT / "configs" / "toy.yaml")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text('{"iteration": 1')
    with pytest.raises(UserError, match=r"metrics.json: a line is not JSON"):
        collect(tmp_path / "broken", cfg, grid.variants["full"], 0)
    with pytest.raises(UserError, match=r"metrics.json: No such file.*is not finished"):
        collect(tmp_path, cfg, grid.variants["full"], 0)


def test_results_of_a_grid(tmp_path: Path) -> None:
    grid = made_grid(tmp_path / "grid")
    every = [made_result(name, seed) for name in ("less", "full") for seed in (1, 0)]
    assert read_results(tmp_path, grid) == {}
    write_results(tmp_path, grid, *every)
    write_results(tmp_path, grid, made_result("forgotten"))
    found = read_results(tmp_path, grid)
    assert [(name, list(runs)) for name, runs in found.items()] == [
        ("full", [0, 1]),
        ("less", [0, 1]),
    ]


def test_a_renamed_file_is_refused(tmp_path: Path) -> None:
    grid = made_grid(tmp_path / "grid")
    write_results(tmp_path, grid, made_result())
    (tmp_path / "grid" / "full_seed0.json").rename(tmp_path / "grid" / "less_seed0.json")
    with pytest.raises(UserError, match=r"less_seed0.json: .*full, seed 0"):
        read_results(tmp_path, grid)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TEST.AUG.ENABLED": True}, r"TEST.AUG.ENABLED default, True"),
        ({"SOLVER.MAX_ITER": 700}, r"SOLVER.MAX_ITER 600, 700"),
        ({"MODEL.BACKBONE.WEIGHTS": "other.pth"}, r"MODEL.BACKBONE.WEIGHTS default, other.pth"),
    ],
)
def test_rows_of_a_table_share_a_budget(tmp_path: Path, changes: dict, message: str) -> None:
    grid, other = made_grid(tmp_path / "grid"), made_result("less")
    write_results(
        tmp_path, grid, made_result(), made_result("less", settings={**other.settings, **changes})
    )
    with pytest.raises(
        UserError, match=rf"full \(seed 0\) and less \(seed 0\) can't be in one table.*{message}"
    ):
        read_results(tmp_path, grid)


def test_seeds_of_a_run_share_its_settings(tmp_path: Path) -> None:
    grid = made_grid(tmp_path / "grid")
    own = made_result("less").settings
    less = [
        made_result("less", seed, settings={**own, "MODEL.CLIPMASK.FUSION": f})
        for seed, f in enumerate("ab")
    ]
    write_results(tmp_path, grid, made_result(), *less)
    with pytest.raises(
        UserError, match=r"less \(seed 0\) and less \(seed 1\).*MODEL.CLIPMASK.FUSION a, b"
    ):
        read_results(tmp_path, grid)


def test_a_control_has_a_text_of_its_own_for_each_seed(tmp_path: Path) -> None:
    grid = made_grid(
        tmp_path / "grid",
        "full: full model\n  less: {title: random, config: full.yaml, text: random}",
    )
    own = made_result().settings
    drawn = [
        made_result(
            "less", seed, settings={**own, "MODEL.CLIP.EMBEDDINGS": f"random_text.npz ({seed})"}
        )
        for seed in (0, 1)
    ]
    write_results(tmp_path, grid, made_result(), *drawn)
    assert list(read_results(tmp_path, grid)["less"]) == [0, 1]


def test_settings_of_an_unfinished_run(tmp_path: Path) -> None:
    assert stored_settings(tmp_path) is None
    cfg = load_cfg(ROOT / "configs" / "toy.yaml")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert stored_settings(tmp_path) == module.settings(cfg)
