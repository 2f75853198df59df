"""A run leaves what its users expect."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from clipmask.config import load_cfg
from clipmask.engine import train as module
from clipmask.engine.state import TrainingState
from clipmask.engine.step import training_step
from clipmask.engine.train import train
from clipmask.errors import UserError
from clipmask.modeling import build_model
from clipmask.weights.checkpoint import load_checkpoint

from . import tiny
from .runs import TIMES, metrics

pytestmark = pytest.mark.usefixtures("tiny_root")


def test_the_output_folder_is_what_users_of_detectron2_expect(tmp_path: Path) -> None:
    results = train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 3))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    for name in (
        "config.yaml",
        "log.txt",
        "metrics.json",
        "last_checkpoint",
        "model_0000001.pth",
        "model_0000003.pth",
        "model_final.pth",
        "model_best.pth",
        "inference/tiny_val/sem_seg_predictions.json",
    ):
        assert name in files
    assert "model_0000005.pth" not in files  # the last is model_final
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert sum(name.startswith("events.out") for name in files) == 1
    assert {name.split("/")[1] for name in files if name.startswith("pictures/")} == {
        "0000002",
        "0000005",
    }
    assert 0 <= results["tiny_val"]["sem_seg"]["mIoU"] <= 100
    log = (tmp_path / "log.txt").read_text()
    for words in (
        "step 2/6",
        "mIoU",
        "IoU-" if "IoU-" in log else "IoU",
        "model_final.pth",
        "total time",
        "seed 7",
    ):
        assert words in log


def test_metrics_have_detectron2s_names(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 3))
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    losses = [line for line in lines if "total_loss" in line]
    scores = [line for line in lines if "sem_seg/mIoU" in line]
    assert [line["iteration"] for line in losses] == [1, 3, 5]
    assert [line["iteration"] for line in scores] == [2, 5]
    for line in losses:
        assert line.keys() >= {"lr", "loss_cls", "loss_bce", *TIMES}
        assert line["total_loss"] == pytest.approx(line["loss_cls"] + line["loss_bce"])
    assert losses[-1]["eta_seconds"] == 0
    assert {"sem_seg/IoU-car", "sem_seg/pACC"} <= scores[0].keys()


def test_training_learns(tmp_path: Path) -> None:
    results = train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 60, "SOLVER.BASE_LR", 0.03))
    assert results["tiny_val"]["sem_seg"]["mIoU"] > 60


def test_a_checkpoint_tells_all_about_its_run(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    checkpoint = load_checkpoint(tmp_path / "model_final.pth")
    assert checkpoint["iteration"] == 5
    assert checkpoint["class_names"] == list(tiny.CLASSES)
    assert checkpoint["metadata"]["ignore_label"] == tiny.IGNORE
    assert checkpoint["metadata"]["stuff_colors"][0] == [90, 140, 220]
    assert "torch" in checkpoint["versions"]
    assert checkpoint["config"] == (tmp_path / "config.yaml").read_text()
    best = load_checkpoint(tmp_path / "model_best.pth")
    assert best["score"] >= 0
    assert "optimizer" not in best


def test_evaluation_changes_no_training_step(tmp_path: Path) -> None:
    weights = []
    for name, period in (("often", 1), ("never", 0)):
        train(
            tiny.tiny_cfg(
                tmp_path / name, "MODEL.CLIPMASK.DROPOUT", 0.5, "TEST.EVAL_PERIOD", period
            )
        )
        weights.append(load_checkpoint(tmp_path / name / "model_final.pth")["model"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_start_from_weights_names_what_does_not_fit(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path / "first"))
    checkpoint = load_checkpoint(tmp_path / "first" / "model_final.pth")
    checkpoint["model"]["head.weight"] = torch.ones(2, 2)
    torch.save(checkpoint["model"], tmp_path / "other.pth")
    opts = ["MODEL.WEIGHTS", str(tmp_path / "other.pth"), "SOLVER.BASE_LR", 1e-30]
    train(tiny.tiny_cfg(tmp_path / "second", *opts))
    assert (
        "head: 1 of another shape, which is head.weight (2, 2) in the file"
        in (tmp_path / "second" / "log.txt").read_text()
    )
    loaded = load_checkpoint(tmp_path / "second" / "model_final.pth")["model"]
    assert torch.equal(loaded["query.weight"], checkpoint["model"]["query.weight"])


def test_averaged_weights_are_the_ones_that_count(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path, "SOLVER.EMA_DECAY", 0.9))
    final = load_checkpoint(tmp_path / "model_final.pth")
    best = load_checkpoint(tmp_path / "model_best.pth")
    assert not torch.equal(final["model"]["head.weight"], final["ema"]["trained"]["head.weight"])
    assert torch.equal(final["model"]["head.weight"], best["model"]["head.weight"])


def _poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Makes the loss of some steps (0-based) nan."""
    original = module.training_step

    def step(state, batch, solver):
        if state.iteration + 1 in steps:
            batch[0]["image"] = torch.full_like(batch[0]["image"], 255)
        return original(state, batch, solver)

    monkeypatch.setattr(module, "training_step", step)


def test_a_failed_step_is_skipped_and_its_files_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, {2})
    train(tiny.tiny_cfg(tmp_path))
    log = (tmp_path / "log.txt").read_text()
    assert "step 3 skipped" in log
    assert ".png" in log
    line = next(line for line in metrics(tmp_path) if line["iteration"] == 3)
    assert line["skipped_steps"] == 1
    assert line["total_loss"] > 0


def test_five_failed_steps_in_a_row_stop_the_run_and_leave_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, {1, 3, 4, 5, 6, 7})  # 1 does not count: step 2 went well
    with pytest.raises(UserError, match="5 steps in a row") as error:
        train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 12))
    assert "stopped_0000007.pth" in str(error.value)
    names = ("stopped_0000007.pth", "model_0000003.pth")
    stopped, good = (load_checkpoint(tmp_path / name)["model"] for name in names)
    assert all(torch.equal(value, good[name]) for name, value in stopped.items())
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000005.pth"


def test_absent_cuda_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, "clipmask"):
        train(tiny.tiny_cfg(tmp_path, "MODEL.DEVICE", "cuda", "TEST.EVAL_PERIOD", 2))
    assert [record.getMessage() for record in caplog.records if "CUDA" in record.getMessage()] != []
    assert caplog.text.count("running on the CPU") == 1


def test_the_output_folder_may_lie_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    cfg = tiny.tiny_cfg(tmp_path)
    cfg.defrost()
    cfg.OUTPUT_DIR = "~/run"
    train(cfg)
    assert (tmp_path / "home/run/model_final.pth").is_file()
    assert list((tmp_path / "work").iterdir()) == []


def test_the_text_is_asked_for_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: tiny.TinySegmenter) -> None:
        raise UserError("the hub can't be reached")

    monkeypatch.setattr(tiny.TinySegmenter, "prepare", unreachable)
    with pytest.raises(UserError, match="the hub can't be reached"):
        train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 1))
    left = {path.name for path in tmp_path.rglob("*")}
    assert left.isdisjoint({"metrics.json", "inference", "pictures", "config.yaml"})


def test_without_test_datasets(tmp_path: Path) -> None:
    assert train(tiny.tiny_cfg(tmp_path, "DATASETS.TEST", ())) == {}
    assert not (tmp_path / "model_best.pth").exists()
    assert (tmp_path / "model_final.pth").exists()


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["MODEL.CLIPMASK.INJECTION", "none"],
        ["MODEL.CLIPMASK.FUSION", "joint"],
        ["MODEL.CLIPMASK.FUSION", "pairwise"],
        ["MODEL.CLIPMASK.CLASSIFIER", "linear"],
        ["MODEL.CLIPMASK.TEXT_QUERIES", "False"],
        ["MODEL.CLIPMASK.SCALES", "['res5']"],
        [
            "MODEL.BACKBONE.TIMM_NAME",
            "swin_tiny_patch4_window7_224",
            "MODEL.BACKBONE.FREEZE_AT",
            "2",
        ],
        ["MODEL.BACKBONE.TIMM_NAME", "mobilenetv2_100"],
    ],
    ids=lambda opts: opts[-1] if opts else "default",
)
def test_every_trainable_parameter_of_the_real_model_gets_a_gradient(
    fabric, opts: list[str]
) -> None:
    """Else several processes, which wait for all gradients, would not train."""
    cfg = load_cfg(Path(__file__).resolve().parents[2] / "configs" / "toy.yaml", opts)
    state = TrainingState(cfg, build_model(cfg, tiny.CLASSES), fabric, seed=0)
    state.module.train()
    training_step(state, tiny.make_batch(2, size=(64, 64)), cfg.SOLVER)
    assert [
        name for name, p in state.model.named_parameters() if p.requires_grad and p.grad is None
    ] == []


def test_a_training_that_was_mostly_skipped_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, {1, 2, 4, 5})
    with pytest.raises(UserError, match="4 of 6 steps were skipped"):
        train(tiny.tiny_cfg(tmp_path))
    assert (tmp_path / "model_final.pth").is_file()


def test_labels_that_are_all_void_are_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.training_step

    def void(state, batch, solver):
        if state.iteration >= 1:
            for sample in batch:
                sample["sem_seg"].fill_(tiny.IGNORE)
        return original(state, batch, solver)

    monkeypatch.setattr(module, "training_step", void)
    train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 4))
    assert (tmp_path / "log.txt").read_text().count("label maps are all void") == 1


def test_fewer_queries_than_classes_are_mentioned(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path, "MODEL.CLIPMASK.NUM_QUERIES", 2, "SOLVER.MAX_ITER", 1))
    assert "NUM_QUERIES 2: a picture can't show more classes" in (tmp_path / "log.txt").read_text()
