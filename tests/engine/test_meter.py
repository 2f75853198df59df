"""Means over what was added, and the same after a checkpoint."""

from __future__ import annotations

import pytest
import torch

from clipmask.engine.meter import Meter
from clipmask.weights.checkpoint import canonical


def _losses(a: float, b: float) -> dict[str, torch.Tensor]:
    return {"loss_a": torch.tensor(a), "loss_b": torch.tensor(b)}


def test_means_and_their_sum(fabric) -> None:
    meter = Meter()
    meter.add(_losses(1.0, 4.0), applied=True)
    meter.add(_losses(3.0, 8.0), applied=True)
    values = meter.read(fabric)
    assert (values["loss_a"], values["loss_b"], values["total_loss"]) == (2.0, 6.0, 8.0)
    assert values["time"] >= 0
    assert "skipped_steps" not in values
    meter.add(_losses(5.0, 5.0), applied=True)
    assert meter.read(fabric)["loss_a"] == 5.0


def test_skipped_steps_do_not_spoil_the_means(fabric) -> None:
    meter = Meter()
    meter.add(_losses(float("nan"), 1.0), applied=False)
    assert meter.read(fabric).keys() == {"time", "data_time", "skipped_steps"}
    meter.add(_losses(2.0, 1.0), applied=True)
    meter.add(_losses(float("inf"), 1.0), applied=False)
    values = meter.read(fabric)
    assert (values["loss_a"], values["skipped_steps"]) == (2.0, 1)


def test_it_continues_from_a_checkpoint(fabric) -> None:
    meter, resumed = Meter(), Meter()
    meter.add(_losses(1.0, 4.0), applied=True)
    resumed.load_state_dict(canonical(meter.state_dict()), torch.device("cpu"))
    for one in (meter, resumed):
        one.add(_losses(4.0, 4.0), applied=True)
    first, second = meter.read(fabric), resumed.read(fabric)
    assert first["total_loss"] == second["total_loss"] == pytest.approx(6.5)


def test_waiting_for_data_is_timed(fabric) -> None:
    import time

    def slow():
        for index in range(2):
            time.sleep(0.02)
            yield index

    meter = Meter()
    for _ in meter.timed(slow()):
        meter.add(_losses(1.0, 1.0), applied=True)
    values = meter.read(fabric)
    assert values["data_time"] >= 0.02
    assert values["time"] >= values["data_time"]
