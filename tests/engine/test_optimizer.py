"""Each trainable parameter is in one group, with the right rate and decay; the schedule has its
known values.
"""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from clipmask.config import get_cfg
from clipmask.engine.optimizer import (
    BACKBONE,
    CLIP_TYPES,
    TEXT_TOWER,
    build_optimizer,
    build_scheduler,
    clip_gradients,
    parameter_groups,
    restore_optimizer,
    schedule,
)
from clipmask.errors import UserError
from tests.contract import needs_detectron2

RATES = {BACKBONE: 0.1, TEXT_TOWER: 0.01}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), timm.layers.LayerNorm2d(4)
        )
        self.backbone_neck = nn.Linear(4, 4)  # a name that only starts like the backbone's
        self.text = nn.Module()
        self.text.learner = nn.Module()
        self.text.learner.context = nn.Parameter(torch.zeros(2, 3, 4))
        self.text.learner.tower = nn.Module()
        self.text.learner.tower.positional_embedding = nn.Parameter(torch.zeros(3, 4))
        self.text.learner.tower.transformer = nn.Linear(4, 4)
        self.query = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm((4, 4))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.tied = self.backbone_neck
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def test_every_trainable_parameter_is_in_exactly_one_group() -> None:
    model = Model()
    listed = [
        id(parameter)
        for group in parameter_groups(model, 1.0, RATES, 0.5)
        for parameter in group["params"]
    ]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(listed) == sorted(trainable)


def test_rates_and_decay_of_each_parameter() -> None:
    model = Model()
    groups = parameter_groups(model, 1.0, RATES, 0.5)
    found = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    expected = {
        "backbone.0.weight": (0.1, 0.5),
        "backbone.0.bias": (0.1, 0.0),
        "backbone.1.weight": (0.1, 0.0),
        "backbone.2.weight": (0.1, 0.0),
        "backbone_neck.weight": (1.0, 0.5),
        "backbone_neck.bias": (1.0, 0.0),
        "text.learner.context": (1.0, 0.0),
        "text.learner.tower.positional_embedding": (0.01, 0.0),
        "text.learner.tower.transformer.weight": (0.01, 0.5),
        "text.learner.tower.transformer.bias": (0.01, 0.0),
        "query.weight": (1.0, 0.0),
        "norm.weight": (1.0, 0.0),  # two-dimensional, and a norm all the same
        "scale": (1.0, 0.0),
    }
    assert {name: found[id(model.get_parameter(name))] for name in expected} == expected


def test_swin_tables_are_not_decayed() -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", features_only=True, pretrained=False)
    groups = parameter_groups(nn.ModuleDict({"backbone": swin}), 1.0, RATES, 0.5)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    tables = [p for name, p in swin.named_parameters() if name.endswith("bias_table")]
    assert tables
    assert not decayed & {id(p) for p in tables}


def test_the_config_gives_each_part_its_rate() -> None:
    cfg, model = get_cfg(), Model()
    cfg.SOLVER.BACKBONE_MULTIPLIER, cfg.SOLVER.TEXT_MULTIPLIER = 0.5, 0.25
    rates = {
        id(p): group["lr"] / cfg.SOLVER.BASE_LR
        for group in build_optimizer(cfg, model).param_groups
        for p in group["params"]
    }
    assert rates[id(model.backbone[0].weight)] == 0.5
    assert rates[id(model.text.learner.tower.transformer.weight)] == 0.25
    assert rates[id(model.text.learner.context)] == 1


def test_the_pyramid_over_a_transformer_learns_as_fast_as_the_rest() -> None:
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.body, model.backbone.pyramid = nn.Linear(2, 2), nn.Linear(2, 2)
    rates = {
        id(p): group["lr"]
        for group in build_optimizer(get_cfg(), model).param_groups
        for p in group["params"]
    }
    assert rates[id(model.backbone.body.weight)] == pytest.approx(0.1 * get_cfg().SOLVER.BASE_LR)
    assert rates[id(model.backbone.pyramid.weight)] == get_cfg().SOLVER.BASE_LR


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(UserError, match="trainable"):
        build_optimizer(get_cfg(), nn.Linear(2, 2).requires_grad_(False))


def test_schedule_values() -> None:
    factor = schedule(max_iter=100, warmup_iters=10, warmup_factor=0.1, power=2.0)
    assert factor(0) == pytest.approx(0.1)
    assert factor(5) == pytest.approx(0.55 * 0.95**2)
    assert factor(10) == pytest.approx(0.9**2)
    assert factor(50) == pytest.approx(0.25)
    assert factor(100) == 0.0
    assert factor(101) == 0.0


def test_schedule_without_warmup() -> None:
    assert schedule(10, 0, 0.001, 0.9)(0) == 1.0


SCHEDULES = [
    [
        "SOLVER.LR_SCHEDULER_NAME",
        "WarmupMultiStepLR",
        "SOLVER.STEPS",
        (20, 40, 500),
        "SOLVER.GAMMA",
        0.5,
    ],
    ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 0.0001],
    ["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR", "SOLVER.NUM_DECAYS", 2],
]
WARMUPS = [
    ["SOLVER.WARMUP_ITERS", 0],
    ["SOLVER.WARMUP_ITERS", 10, "SOLVER.WARMUP_FACTOR", 0.1],
    ["SOLVER.WARMUP_ITERS", 10, "SOLVER.WARMUP_METHOD", "constant"],
    ["SOLVER.WARMUP_ITERS", 10, "SOLVER.RESCALE_INTERVAL", True],
]


def _rates(scheduler, optimizer, steps: int) -> list[float]:
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:  # Detectron2's of fixed gamma fails at its end
            scheduler.step()
    return rates


@needs_detectron2
@pytest.mark.contract
@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_detectron2s(name: list[object], warmup: list[object]) -> None:
    from detectron2.config import get_cfg as detectron2_cfg
    from detectron2.solver import build_lr_scheduler

    theirs, ours = detectron2_cfg(), get_cfg()
    parameter = nn.Parameter(torch.zeros(1))
    rates = []
    for cfg, build in ((theirs, build_lr_scheduler), (ours, build_scheduler)):
        cfg.merge_from_list(["SOLVER.MAX_ITER", 60, *name, *warmup])
        optimizer = torch.optim.SGD([parameter], lr=cfg.SOLVER.BASE_LR)
        rates.append(_rates(build(cfg, optimizer), optimizer, 60))
    assert rates[1] == pytest.approx(rates[0])


def _factors(*opts: object) -> list[float]:
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.MAX_ITER", 60, "SOLVER.BASE_LR", 1.0, *opts])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_scheduler(cfg, optimizer)
    rates = _rates(scheduler, optimizer, 60)
    scheduler.step()  # as after every step of a training, its last included
    return rates


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_last_to_the_end_and_never_rise_after_the_warmup(name: list[object]) -> None:
    factors = _factors(*name, *WARMUPS[1])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 1


def test_steps_multiply_by_gamma_after_a_warmup() -> None:
    factors = _factors(*SCHEDULES[0], *WARMUPS[1])
    assert factors[0] == pytest.approx(0.1)
    assert factors[5] == pytest.approx(0.55)
    assert factors[10:20] == [1.0] * 10
    assert factors[20:40] == [0.5] * 20
    assert factors[40:] == [0.25] * 20


def test_a_cosine_ends_at_its_end() -> None:
    factors = _factors(
        "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 0.2, *WARMUPS[0]
    )
    assert factors[0] == 1.0
    assert factors[30] == pytest.approx(0.6)
    assert factors == sorted(factors, reverse=True)


def test_a_constant_warmup_of_the_polynomial_schedule() -> None:
    factors = _factors(
        "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR", "SOLVER.POLY_LR_POWER", 0.0, *WARMUPS[2]
    )
    assert factors[:10] == [pytest.approx(0.001)] * 10
    assert factors[10:] == [1.0] * 50


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOLVER.LR_SCHEDULER_NAME", "Poly"),
        ("SOLVER.WARMUP_METHOD", "quadratic"),
        ("SOLVER.STEPS", (40, 20)),
        ("SOLVER.STEPS", (0,)),
        ("SOLVER.NUM_DECAYS", 0),
        ("SOLVER.BASE_LR_END", 2.0),
        ("SOLVER.OPTIMIZER", "ADAGRAD"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "model"),
    ],
)
def test_senseless_values_are_refused_by_key(key: str, value: object) -> None:
    names = {
        "SOLVER.NUM_DECAYS": "WarmupStepWithFixedGammaLR",
        "SOLVER.BASE_LR_END": "WarmupCosineLR",
    }
    cfg = get_cfg()
    cfg.merge_from_list(
        ["SOLVER.LR_SCHEDULER_NAME", names.get(key, "WarmupMultiStepLR"), key, value]
    )
    with pytest.raises(UserError, match=key):
        build_scheduler(cfg, build_optimizer(cfg, nn.Linear(2, 2)))


def test_sgd_has_momentum_and_the_same_groups() -> None:
    cfg, model = get_cfg(), Model()
    adamw = build_optimizer(cfg, model)
    cfg.SOLVER.OPTIMIZER, cfg.SOLVER.MOMENTUM, cfg.SOLVER.NESTEROV = "SGD", 0.8, True
    sgd = build_optimizer(cfg, model)
    assert isinstance(adamw, torch.optim.AdamW)
    assert isinstance(sgd, torch.optim.SGD)
    assert [len(group["params"]) for group in sgd.param_groups] == [
        len(g["params"]) for g in adamw.param_groups
    ]
    assert {(group["momentum"], group["nesterov"]) for group in sgd.param_groups} == {(0.8, True)}


@pytest.mark.parametrize("kind", CLIP_TYPES)
def test_gradients_are_clipped_as_the_type_says(kind: str) -> None:
    clip = get_cfg().SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE = True, kind, 1.0
    first, second, without = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    first.grad, second.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.5])
    clip_gradients([first, second, without], clip)
    whole = (25.25**0.5) if kind == "full_model" else 1.0
    expected = {
        "value": ([1.0, 1.0], [0.0, 0.5]),
        "norm": ([0.6, 0.8], [0.0, 0.5]),
        "full_model": ([3 / whole, 4 / whole], [0.0, 0.5 / whole]),
    }
    for parameter, values in zip((first, second), expected[kind], strict=True):
        torch.testing.assert_close(parameter.grad, torch.tensor(values), rtol=1e-4, atol=1e-5)


def _trained(cfg, steps: int):
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_scheduler(cfg, optimizer)
    for _ in range(steps):
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()
    return model, optimizer, scheduler


def test_restored_optimizer_goes_on_with_the_same_rates() -> None:
    cfg = get_cfg()
    _, optimizer, scheduler = _trained(cfg, 5)
    _, fresh, fresh_scheduler = _trained(cfg, 0)
    restore_optimizer(fresh, fresh_scheduler, optimizer.state_dict(), scheduler.state_dict())
    assert [group["lr"] for group in fresh.param_groups] == [
        group["lr"] for group in optimizer.param_groups
    ]
    fresh_scheduler.step()
    scheduler.step()
    assert fresh_scheduler.get_last_lr() == scheduler.get_last_lr()


def test_a_resumed_run_takes_the_rate_of_its_config() -> None:
    cfg, lower = get_cfg(), get_cfg()
    lower.SOLVER.BASE_LR = cfg.SOLVER.BASE_LR / 2
    _, optimizer, scheduler = _trained(cfg, 5)
    _, fresh, fresh_scheduler = _trained(lower, 0)
    restore_optimizer(fresh, fresh_scheduler, optimizer.state_dict(), scheduler.state_dict())
    assert fresh.param_groups[0]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"] / 2)


def test_another_models_optimizer_is_an_error() -> None:
    cfg = get_cfg()
    _, optimizer, scheduler = _trained(cfg, 1)
    other = build_optimizer(cfg, nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    with pytest.raises(UserError, match="does not fit this model"):
        restore_optimizer(
            other, build_scheduler(cfg, other), optimizer.state_dict(), scheduler.state_dict()
        )
