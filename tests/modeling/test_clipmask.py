"""The whole model: interface, gradients, sizes, padding, vocabularies, config errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask import ClipMask, build_model
from clipmask.errors import UserError
from tests.conftest import NAMES

Inputs = list[dict[str, Any]]


def test_every_trainable_weight_gets_a_gradient(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    losses = small_model.train()(make_inputs((64, 96), (64, 96)))
    assert isinstance(losses, dict)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert [name for name, p in small_model.named_parameters() if p.grad is None] == []
    # timm starts each residual branch at zero, which holds back the gradient inside it for one step.
    ours = [(name, p.grad) for name, p in small_model.named_parameters() if not name.startswith("backbone.")]
    assert [name for name, gradient in ours if not (gradient != 0).any()] == []  # type: ignore[union-attr]


def test_scores_and_labels_at_the_asked_size(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((61, 47), (64, 96))
    inputs[1] |= {"height": 120, "width": 33}
    with torch.no_grad():
        scores = [output["sem_seg"] for output in small_model(inputs)]  # type: ignore[index]
    labels = small_model.predict_labels(inputs)
    assert [tuple(score.shape) for score in scores] == [(5, 61, 47), (5, 120, 33)]
    for score, label in zip(scores, labels, strict=True):
        assert torch.equal(score.argmax(0), label.long())


@torch.no_grad()
def test_batch_equals_single(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((64, 96), (64, 96), (64, 96))
    together = small_model(inputs)
    for index, image in enumerate(inputs):
        torch.testing.assert_close(together[index]["sem_seg"], small_model([image])[0]["sem_seg"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_float_and_uint8_images_are_one(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((64, 64))
    as_float = [{**inputs[0], "image": inputs[0]["image"].float()}]
    assert torch.equal(small_model(inputs)[0]["sem_seg"], small_model(as_float)[0]["sem_seg"])


def test_normalizer_scales_the_losses(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((64, 64), (64, 64))
    small_model.train()
    small_model.backbone.eval()
    own = small_model(inputs)
    counts = small_model.count_targets(inputs)
    twice = small_model(inputs, counts * 2)
    assert counts[1] == 2
    for name, value in own.items():  # type: ignore[union-attr]
        torch.testing.assert_close(twice[name] * 2, value)  # type: ignore[call-overload]


@torch.no_grad()
def test_another_vocabulary(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((64, 64))
    before = small_model(inputs)[0]["sem_seg"]
    small_model.set_vocabulary(["zebra crossing", "road", "car;automobile"])
    assert small_model(inputs)[0]["sem_seg"].shape == (3, 64, 64)
    assert small_model.class_names == ("zebra crossing", "road", "car;automobile")
    small_model.set_vocabulary(NAMES)
    torch.testing.assert_close(small_model(inputs)[0]["sem_seg"], before)


@torch.no_grad()
def test_permuting_class_names_permutes_scores(small_cfg: CfgNode, make_inputs: Callable[..., Inputs]) -> None:
    small_cfg.MODEL.CLIPMASK.TEXT_QUERIES = False  # queries that start from text are tied to an order
    model, inputs = build_model(small_cfg, NAMES).eval(), make_inputs((64, 64))
    before = model(inputs)[0]["sem_seg"]
    order = [3, 1, 0, 4, 2]
    model.set_vocabulary([NAMES[index] for index in order])
    torch.testing.assert_close(model(inputs)[0]["sem_seg"], before[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", [[], ["road", "road"], ["road", " "]])
def test_vocabularies_that_are_none(small_model: ClipMask, names: list[str]) -> None:
    with pytest.raises(UserError, match="different, non-empty names"):
        small_model.set_vocabulary(names)


def test_a_linear_classifier_keeps_its_classes(small_cfg: CfgNode) -> None:
    small_cfg.MODEL.CLIPMASK.CLASSIFIER = "linear"
    with pytest.raises(UserError, match="classes are fixed"):
        build_model(small_cfg, NAMES).set_vocabulary(["zebra"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("INJECTION", "channel", "tokens or none"),
        ("FUSION", "all", "both or joint or pairwise"),
        ("CLASSIFIER", "dot", "cosine or linear"),
        ("SCALES", ["res5", "res4"], "in this order"),
        ("SCALES", [], "in this order"),
        ("HIDDEN_DIM", 30, "divisible"),
        ("NUM_QUERIES", 0, "at least 1"),
        ("NUM_HEADS", 0, "at least 1"),
        ("MAX_IMAGE_KEYS", -5, "0 or more"),
        ("DROPOUT", 1.5, "below 1"),
    ],
)
def test_values_out_of_range(small_cfg: CfgNode, key: str, value: Any, message: str) -> None:
    small_cfg.MODEL.CLIPMASK[key] = value
    with pytest.raises(UserError, match=message):
        build_model(small_cfg, NAMES)


@pytest.mark.parametrize(
    "changes",
    [
        {"INJECTION": "none", "CLASSIFIER": "linear", "TEXT_QUERIES": False},
        {"SCALES": ["res4"]},
        {"SCALES": ["res3", "res5"]},
        {"FUSION": "joint"},
        {"FUSION": "pairwise"},
        {"MAX_IMAGE_KEYS": 0, "DICE_WEIGHT": 0.0},
    ],
)
def test_ablations_train_every_weight(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs], changes: dict[str, Any]
) -> None:
    for key, value in changes.items():
        small_cfg.MODEL.CLIPMASK[key] = value
    model = build_model(small_cfg, NAMES).train()
    losses = model(make_inputs((64, 64), (64, 64)))
    sum(losses.values()).backward()  # type: ignore[union-attr, arg-type]
    # Data-parallel training waits for every gradient: none may be missing, the backbone's included.
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_unknown_architecture(small_cfg: CfgNode) -> None:
    small_cfg.MODEL.META_ARCHITECTURE = "MaskClip"
    with pytest.raises(UserError, match="MaskClip"):
        build_model(small_cfg, NAMES)


def test_no_class_names(small_cfg: CfgNode) -> None:
    small_cfg.DATASETS.TRAIN, small_cfg.DATASETS.TEST = (), ()
    with pytest.raises(UserError, match="stuff_classes"):
        build_model(small_cfg)
