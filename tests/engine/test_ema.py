"""The average follows the formula, counters are copied, and it continues exactly."""

from __future__ import annotations

import torch

from clipmask.engine.ema import WeightAverage

from . import tiny


def _model(folder):
    torch.manual_seed(0)
    return tiny.TinySegmenter(tiny.tiny_cfg(folder, "MODEL.BACKBONE.NORM", "BN"))


@torch.no_grad()
def _change(model, seed: int) -> None:
    torch.manual_seed(seed)
    for value in [*model.parameters(), model.backbone[1].running_mean]:
        value.add_(torch.randn_like(value))
    model.backbone[1].num_batches_tracked += 1


def test_average_of_weights_and_statistics_copies_counters(tmp_path) -> None:
    model = _model(tmp_path)
    average = WeightAverage(model, 0.9)
    average.update(model)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    _change(model, 1)
    average.update(model)
    for name, value in average.model.state_dict().items():
        new = model.state_dict()[name]
        expected = 0.9 * first[name] + 0.1 * new if value.is_floating_point() else new
        torch.testing.assert_close(value, expected, msg=name)


def test_position_indices_survive_many_updates(tmp_path) -> None:
    model = _model(tmp_path)
    average = WeightAverage(model, 0.9)
    for _ in range(10):
        average.update(model)
    assert torch.equal(average.model.index, model.index)


def test_the_average_does_not_touch_the_model_and_needs_no_gradient(tmp_path) -> None:
    model = _model(tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average = WeightAverage(model, 0.5)
    average.update(model)
    average.update(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not average.model.training


def test_restored_average_continues_to_the_bit(tmp_path) -> None:
    model = _model(tmp_path)
    average = WeightAverage(model, 0.9)
    for seed in range(3):
        _change(model, seed)
        average.update(model)
    other = WeightAverage(model, 0.9)
    other.restore(average.model.state_dict(), average.updates)
    _change(model, 3)
    average.update(model)
    other.update(model)
    assert other.updates == average.updates == 4
    for name, value in average.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
