"""What goes into a checkpoint comes back, and only a training checkpoint is continued."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipmask.d2 import MetadataCatalog
from clipmask.engine.state import TrainingState, gather, trained_weights
from clipmask.engine.step import training_step
from clipmask.errors import UserError
from clipmask.weights.checkpoint import canonical

from . import tiny

pytestmark = pytest.mark.usefixtures("tiny_root")


def _state(folder: Path, fabric, *opts: object, seed: int = 0) -> TrainingState:
    cfg = tiny.tiny_cfg(folder, *opts)
    torch.manual_seed(seed)
    state = TrainingState(cfg, tiny.TinySegmenter(cfg), fabric, seed=seed)
    state.module.train()
    return state


def _steps(state: TrainingState, count: int) -> None:
    for _ in range(count):
        training_step(state, tiny.make_batch(3, seed=state.iteration), state.cfg.SOLVER)
        state.iteration += 1


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_restored_state_takes_the_same_steps(tmp_path: Path, fabric, decay: float) -> None:
    opts = ["MODEL.CLIPMASK.DROPOUT", 0.3, "SOLVER.EMA_DECAY", decay]
    state, other = _state(tmp_path, fabric, *opts), _state(tmp_path, fabric, *opts, seed=5)
    _steps(state, 2)
    checkpoint = canonical(state.checkpoint())
    _steps(state, 2)
    other.model.load_state_dict(trained_weights(checkpoint))
    other.restore(checkpoint)
    assert other.iteration == 1
    _steps(other, 2)
    for first, second in (
        (state.model, other.model),
        (state.evaluated_model, other.evaluated_model),
    ):
        for name, value in first.state_dict().items():
            assert torch.equal(value, second.state_dict()[name]), name


def test_only_the_average_is_evaluated(tmp_path: Path, fabric) -> None:
    state = _state(tmp_path, fabric, "SOLVER.EMA_DECAY", 0.9)
    assert state.evaluated_model is state.model  # before the first step there is nothing to average
    _steps(state, 2)
    assert state.evaluated_model is not state.model
    assert torch.equal(state.checkpoint()["model"]["head.bias"], state.evaluated_model.head.bias)
    assert torch.equal(trained_weights(state.checkpoint())["head.bias"], state.model.head.bias)


def test_another_number_of_processes_draws_anew_and_says_so(tmp_path: Path, fabric, caplog) -> None:
    state = _state(tmp_path, fabric)
    _steps(state, 1)
    checkpoint = canonical(state.checkpoint())
    checkpoint["rng"] *= 2
    state.restore(checkpoint)
    assert "1 process(es) instead of 2" in caplog.text


@pytest.mark.parametrize("key", ["optimizer", "scheduler", "meter", "rng", "iteration"])
def test_a_checkpoint_without_the_state_of_training_is_refused(
    tmp_path: Path, fabric, key: str
) -> None:
    state = _state(tmp_path, fabric)
    _steps(state, 1)
    checkpoint = state.checkpoint()
    del checkpoint[key]
    with pytest.raises(UserError, match=key):
        state.restore(checkpoint)


def test_gather_on_one_process(fabric) -> None:
    assert gather(fabric, ["a"]) == [["a"]]


def test_the_servers_ids_go_into_a_checkpoint(tmp_path: Path, fabric) -> None:
    state = _state(tmp_path, fabric)
    assert "server_ids" not in state.weights()["metadata"]
    MetadataCatalog.get(state.cfg.DATASETS.TRAIN[0]).set(server_ids=[23, 7, 26])
    try:
        assert state.weights()["metadata"]["server_ids"] == [23, 7, 26]
    finally:
        del MetadataCatalog.get(state.cfg.DATASETS.TRAIN[0]).server_ids


def test_a_checkpoint_keeps_the_range_of_its_pictures(tmp_path: Path, fabric) -> None:
    state = _state(tmp_path, fabric)
    assert "image_range" not in state.weights()["metadata"]
    metadata = MetadataCatalog.get(state.cfg.DATASETS.TRAIN[0])
    metadata.set(image_range=(0, 4095))
    try:
        assert state.weights()["metadata"]["image_range"] == [0, 4095]
    finally:
        del metadata.image_range
