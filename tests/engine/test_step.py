"""A step is the same however it is split, and a step that fails leaves no trace."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipmask.engine.state import TrainingState
from clipmask.engine.step import micro_batches, on_device, training_step
from clipmask.errors import UserError

from . import tiny


def _state(folder, fabric, *opts: object) -> TrainingState:
    cfg = tiny.tiny_cfg(folder, *opts)
    torch.manual_seed(0)
    state = TrainingState(cfg, tiny.TinySegmenter(cfg), fabric, seed=0)
    state.module.train()
    return state


def _weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.model.state_dict().items()}


@given(count=st.integers(1, 40), limit=st.integers(0, 12))
def test_micro_batches_are_few_even_and_complete(count: int, limit: int) -> None:
    parts = micro_batches(list(range(count)), limit)
    assert [item for part in parts for item in part] == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == (math.ceil(count / limit) if limit else 1)


def test_a_normalisation_of_one_value_is_told(tmp_path, fabric) -> None:
    state = _state(tmp_path, fabric, "MODEL.BACKBONE.NORM", "BN")
    with pytest.raises(UserError, match=r"FrozenBN.*IMS_PER_BATCH.*CROP") as caught:
        training_step(state, tiny.make_batch(1, size=(1, 1)), state.cfg.SOLVER)
    assert caught.value.key == "INPUT.CROP.SIZE"


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_accumulation_is_the_whole_batch(tmp_path, fabric, limit: int) -> None:
    """Although the images have unequal numbers of classes."""
    whole = _state(tmp_path, fabric)
    parts = _state(tmp_path, fabric, "SOLVER.MAX_IMS_PER_DEVICE", limit)
    for seed in range(3):
        batch = tiny.make_batch(5, seed)
        first = training_step(whole, batch, whole.cfg.SOLVER)
        second = training_step(parts, batch, parts.cfg.SOLVER)
        for name, value in first.losses.items():
            torch.testing.assert_close(value, second.losses[name])
    for name, value in _weights(whole).items():
        torch.testing.assert_close(value, _weights(parts)[name], rtol=1e-4, atol=1e-5)


def test_steps_lower_the_loss(tmp_path, fabric) -> None:
    state = _state(tmp_path, fabric, "SOLVER.MAX_ITER", 40)
    batch = tiny.make_batch(4)
    totals = [
        sum(training_step(state, batch, state.cfg.SOLVER).losses.values()).item() for _ in range(30)
    ]
    assert totals[-1] < 0.9 * totals[0]


def test_clipping_bounds_the_norm_of_all_gradients_together(tmp_path, fabric) -> None:
    clip = ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.01]
    state, free = _state(tmp_path, fabric, *clip), _state(tmp_path, fabric)
    norms = []
    for one in (state, free):
        training_step(one, tiny.make_batch(4), one.cfg.SOLVER)
        norms.append(torch.stack([p.grad.norm() for p in one.model.parameters()]).norm().item())
    assert norms[0] == pytest.approx(0.01, rel=1e-3)
    assert norms[1] > 0.02


@pytest.mark.parametrize("kind", ["value", "norm"])
def test_gradients_are_clipped_one_by_one(tmp_path, fabric, kind: str) -> None:
    clip = [*("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.01)]
    state = _state(tmp_path, fabric, *clip, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind)
    training_step(state, tiny.make_batch(4), state.cfg.SOLVER)
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    sizes = [
        grad.abs().max().item() if kind == "value" else grad.norm().item() for grad in gradients
    ]
    assert max(sizes) == pytest.approx(0.01, rel=1e-3)
    assert sum(size == pytest.approx(0.01, rel=1e-3) for size in sizes) > 1, "each by itself"


@pytest.mark.parametrize("limit", [0, 1])
def test_a_failed_step_changes_nothing_but_the_schedule(tmp_path, fabric, limit: int) -> None:
    opts = [
        "MODEL.BACKBONE.NORM",
        "BN",
        "SOLVER.EMA_DECAY",
        0.5,
        "SOLVER.MAX_IMS_PER_DEVICE",
        limit,
    ]
    state = _state(tmp_path, fabric, *opts)
    good, bad = tiny.make_batch(3), tiny.make_batch(3)
    bad[1]["image"] = torch.full_like(bad[1]["image"], 255)
    training_step(state, good, state.cfg.SOLVER)
    before, average = (
        _weights(state),
        {k: v.clone() for k, v in state.evaluated_model.state_dict().items()},
    )
    result = training_step(state, bad, state.cfg.SOLVER)
    assert result.failed
    assert not result.applied
    assert all(torch.equal(value, before[name]) for name, value in _weights(state).items())
    assert all(
        torch.equal(value, average[name])
        for name, value in state.evaluated_model.state_dict().items()
    )
    assert state.scheduler.last_epoch == 2
    assert training_step(state, good, state.cfg.SOLVER).applied


def test_one_wait_for_the_device_a_step(tmp_path, fabric, monkeypatch) -> None:
    """Reading a value on the host makes it wait for the device: the check for finite numbers is the
    only such place.
    """
    state = _state(tmp_path, fabric)
    monkeypatch.setattr(state.model, "count_targets", lambda part: torch.tensor([9.0, 4.0]))
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *a, _o=original, _n=name: reads.append(_n) or _o(self, *a),
        )
    training_step(state, tiny.make_batch(4), state.cfg.SOLVER)
    assert reads.count("tolist") == 1


def test_a_batch_is_moved_once(tmp_path, fabric, monkeypatch) -> None:
    """What the targets are counted in is what the model sees."""
    state = _state(tmp_path, fabric, "SOLVER.MAX_IMS_PER_DEVICE", 2)
    counted: list[dict] = []
    count = state.model.count_targets
    monkeypatch.setattr(
        state.model, "count_targets", lambda part: counted.extend(part) or count(part)
    )
    seen: list[dict] = []
    state.model.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    batch = tiny.make_batch(4)
    training_step(state, batch, state.cfg.SOLVER)
    assert [id(sample) for sample in seen] == [id(sample) for sample in counted]
    assert [sample["file_name"] for sample in seen] == [sample["file_name"] for sample in batch]


def test_samples_move_with_all_that_is_no_tensor() -> None:
    batch = tiny.make_batch(2)
    moved = on_device(batch, torch.device("meta"))
    assert {sample[key].device.type for sample in moved for key in ("image", "sem_seg")} == {"meta"}
    assert {sample[key].device.type for sample in batch for key in ("image", "sem_seg")} == {"cpu"}
    assert [sample["file_name"] for sample in moved] == ["image0.png", "image1.png"]


def test_mixed_precision_trains(tmp_path) -> None:
    from clipmask.engine.launch import launch

    cfg = tiny.tiny_cfg(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.MAX_IMS_PER_DEVICE", 2)
    state = _state(
        tmp_path, launch(cfg), "SOLVER.AMP.ENABLED", True, "SOLVER.MAX_IMS_PER_DEVICE", 2
    )
    exact = _state(tmp_path, launch(tiny.tiny_cfg(tmp_path)))
    batch = tiny.make_batch(4)
    mixed_loss = training_step(state, batch, cfg.SOLVER).losses["loss_bce"]
    exact_loss = training_step(exact, batch, cfg.SOLVER).losses["loss_bce"]
    assert mixed_loss.dtype == torch.float32
    torch.testing.assert_close(mixed_loss, exact_loss, rtol=0.05, atol=0.05)
