"""Signals, full disks, removed folders and broken pictures cost no step that was made."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from clipmask.engine import train as module
from clipmask.engine.evaluation import evaluate_checkpoint
from clipmask.engine.train import train
from clipmask.errors import RunStopped, UserError
from clipmask.weights.checkpoint import load_checkpoint

from . import tiny
from .runs import DEMANDING, metrics, unreadable, without_config

pytestmark = pytest.mark.usefixtures("tiny_root")


def _signal_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Sends this process a signal in the middle of a step, 1-based."""
    original = module.training_step

    def signalled(state, batch, solver):
        if state.iteration + 2 == step:
            os.kill(os.getpid(), number)
        return original(state, batch, solver)

    monkeypatch.setattr(module, "training_step", signalled)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("step", [3, 4])  # 4: a checkpoint and an evaluation are due
def test_a_signal_saves_and_the_resumed_run_ends_in_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, uninterrupted: Path, number: signal.Signals, step: int
) -> None:
    folder = uninterrupted.with_name(f"{number.name}{step}") / "run"
    # a shell's background jobs ignore the first, nohup the second
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with monkeypatch.context() as patch:
            _signal_at(patch, step, number)
            with pytest.raises(RunStopped) as stopped:
                train(tiny.tiny_cfg(folder, *DEMANDING))
    finally:
        signal.signal(signal.SIGINT, inherited)
        signal.signal(signal.SIGHUP, ignored)
    assert stopped.value.signal == number.name
    saved = f"model_{step - 1:07d}.pth"
    assert (folder / "last_checkpoint").read_text() == saved
    last = (folder / "log.txt").read_text().splitlines()[-1]
    assert f"after step {step} of 6; --resume continues from {folder / saved}" in last
    train(tiny.tiny_cfg(folder, *DEMANDING), resume=True)
    for name in ("model_final.pth", "model_best.pth"):
        assert without_config(folder / name) == without_config(uninterrupted / name)
    assert metrics(folder) == metrics(uninterrupted)
    kept = {path.name for path in folder.glob("model_0*.pth")}
    assert kept == {path.name for path in uninterrupted.glob("model_0*.pth")}, (
        "what a signal saved goes when it is old"
    )


def test_a_signal_ends_an_evaluation_at_once(
    monkeypatch: pytest.MonkeyPatch, uninterrupted: Path
) -> None:
    """Its step is saved before, and the evaluation is made up for."""
    folder = uninterrupted.with_name("evaluation") / "run"

    def signalled(*args: object, **kwargs: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal comes first")

    with monkeypatch.context() as patch:
        patch.setattr(module, "evaluate_datasets", signalled)
        with pytest.raises(RunStopped):
            train(tiny.tiny_cfg(folder, *DEMANDING, "SOLVER.CHECKPOINT_PERIOD", 100))
    assert (folder / "last_checkpoint").read_text() == "model_0000001.pth"
    train(tiny.tiny_cfg(folder, *DEMANDING), resume=True)
    assert without_config(folder / "model_best.pth") == without_config(
        uninterrupted / "model_best.pth"
    )
    assert metrics(folder) == metrics(uninterrupted)


def test_a_broken_test_image_costs_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "evaluate_datasets", unreadable)
    with pytest.raises(UserError, match="a bad file"):
        train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 3, "SOLVER.CHECKPOINT_PERIOD", 100))
    assert load_checkpoint(tmp_path / "model_0000002.pth")["iteration"] == 2
    assert "ERROR: a bad file" in (tmp_path / "log.txt").read_text()


def test_a_picture_that_can_not_be_drawn_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "draw_pictures", unreadable)
    train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 3))
    assert (tmp_path / "log.txt").read_text().count("no pictures after step") == 2
    assert len([line for line in metrics(tmp_path) if "sem_seg/mIoU" in line]) == 2


def test_a_checkpoint_that_can_not_be_written_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one may; the last one must."""
    original = module.save_checkpoint

    def full(path: Path, *args: object, **kwargs: object) -> None:
        if "0000001" in path.name or "best" in path.name or (full.final and "final" in path.name):  # type: ignore[attr-defined]
            raise UserError("disk full")
        original(path, *args, **kwargs)

    full.final = False  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "save_checkpoint", full)
    train(tiny.tiny_cfg(tmp_path))
    assert {path.name for path in tmp_path.glob("*.pth")} == {
        "model_0000003.pth",
        "model_final.pth",
    }
    assert (tmp_path / "log.txt").read_text().count("WARNING: disk full; training goes on") == 2
    full.final = True  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="disk full"):
        train(tiny.tiny_cfg(tmp_path), start_over=True)


def test_a_removed_folder_is_made_again_with_all_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.training_step
    folder = tmp_path / "run"

    def removing(state, batch, solver):
        if state.iteration == 2:
            shutil.rmtree(folder)
        return original(state, batch, solver)

    monkeypatch.setattr(module, "training_step", removing)
    train(tiny.tiny_cfg(folder, "SOLVER.LOG_PERIOD", 1, "SOLVER.CHECKPOINT_PERIOD", 100))
    names = (
        "config.yaml",
        "log.txt",
        "model_final.pth",
        "model_best.pth",
        "last_checkpoint",
        ".lock",
    )
    assert [name for name in names if not (folder / name).is_file()] == []
    assert [line["iteration"] for line in metrics(folder)] == [0, 1, 2, 3, 4, 5, 5]
    assert "was removed" in (folder / "log.txt").read_text()


def test_a_lost_list_of_scores_costs_no_best_model(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 2))
    best = load_checkpoint(tmp_path / "model_best.pth")
    best["score"] = 99.0
    torch.save(best, tmp_path / "model_best.pth")
    before = (tmp_path / "model_best.pth").read_bytes()
    (tmp_path / "metrics.json").unlink()
    train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 8), resume=True)
    assert (tmp_path / "model_best.pth").read_bytes() == before


def test_scores_are_left_for_programs(tmp_path: Path) -> None:
    results = train(tiny.tiny_cfg(tmp_path))
    path = tmp_path / "inference" / "tiny_val" / "scores.json"
    trained = json.loads(path.read_text())
    assert trained["sem_seg"]["mIoU"] == results["tiny_val"]["sem_seg"]["mIoU"]
    assert (trained["dataset"], trained["iteration"]) == ("tiny_val", 5)
    path.unlink()
    evaluate_checkpoint(tiny.tiny_cfg(tmp_path), resume=True)
    assert json.loads(path.read_text()) == trained


def test_what_ended_a_run_stands_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fault(*args: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(module, "training_step", fault)
    with pytest.raises(ZeroDivisionError):
        train(tiny.tiny_cfg(tmp_path))
    log = (tmp_path / "log.txt").read_text()
    assert "ended by ZeroDivisionError" in log
    assert "a fault of ours" in log.splitlines()[-1]
    assert "a fault of ours" not in capsys.readouterr().out, "Python prints it"
