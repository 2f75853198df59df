"""Where ClipMask's own time goes, part by part, and what text and pairwise fusion add to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from clipmask import ClipMask
from clipmask.modeling.class_maps import label_map
from clipmask_tools.benchmarking.measure import Setting, Spread, paired, ratios, spread
from clipmask_tools.benchmarking.networks import Network, clipmask, make_pictures

# The same network without what the paper adds: no text in the features, one fusion of all scales.
WITHOUT = ("MODEL.CLIPMASK.INJECTION", "none", "MODEL.CLIPMASK.FUSION", "joint")


class _Clock:
    """Adds up what parts take."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def training_parts(setting: Setting, rounds: int) -> dict[str, Spread]:
    """Returns seconds of each part of a training step, forward and backward together.

    Gradients are stopped between the parts and handed over by hand, so that each has its own
    backward pass.
    """
    network = clipmask(setting.num_classes)
    return _rounds(network, setting, rounds, _train_once, "train")


def inference_parts(setting: Setting, rounds: int) -> dict[str, Spread]:
    """Returns seconds of each part of a prediction."""
    network = clipmask(setting.num_classes)
    return _rounds(network, setting, rounds, _predict_once, "infer")


def added_by_text(setting: Setting, rounds: int) -> dict[str, object]:
    """Compares predictions with those of the same network without text injection and pairwise
    fusion.

    Returns:
        ``seconds`` of both, and ``ratio``, round by round.
    """
    networks = {
        "with": clipmask(setting.num_classes),
        "without": clipmask(setting.num_classes, WITHOUT),
    }
    calls = {name: setting.call(network, "infer") for name, network in networks.items()}
    times = paired(calls, rounds, "text and fusion")
    return {"seconds": {name: spread(values) for name, values in times.items()}, **_ratio(times)}


def _ratio(times: Mapping[str, Sequence[float]]) -> dict[str, Spread]:
    return {"ratio": ratios(times, "with")["without"]}


def _rounds(
    network: Network,
    setting: Setting,
    rounds: int,
    once: Callable[[Network, object, _Clock], None],
    mode: str,
) -> dict[str, Spread]:
    setting.call(network, mode)()  # the first run is slower; it also makes the optimiser
    device = torch.device(setting.device)
    inputs = network.inputs(
        make_pictures(2 if mode == "train" else 1, setting.size, setting.num_classes, device)
    )
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        clock = _Clock(setting.device)
        with torch.autocast(
            setting.device, dtype=setting.autocast, enabled=setting.autocast is not None
        ):
            once(network, inputs, clock)
        for part, seconds in clock.seconds.items():
            found.setdefault(part, []).append(seconds)
    return {part: spread(seconds) for part, seconds in found.items()}


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def _train_once(network: Network, batch: object, clock: _Clock) -> None:
    model = network.model
    assert isinstance(model, ClipMask)
    assert isinstance(batch, list)
    model.train()
    with clock.of("backbone"):
        images, sizes = model._preprocess(batch)
        features = model.backbone(images)
    own = {name: _leaf(value) for name, value in features.items()}
    with clock.of("pixel decoder"):
        T = model.text()
        decoded = model.pixel_decoder(dict(own), T, sizes)
    ours = decoded._replace(
        scales=tuple(_leaf(scale) for scale in decoded.scales), pixels=_leaf(decoded.pixels)
    )
    with clock.of("mask decoder"):
        outputs = model.mask_decoder(ours, T)
    logits, embed, pixels = (
        _leaf(value) for value in (outputs.pred_logits, outputs.mask_embed, ours.pixels)
    )
    criterion, labels = model.criterion, [inputs["sem_seg"] for inputs in batch]
    with clock.of("matching and losses"):
        losses = criterion(logits, embed, pixels, labels)
        torch.stack(list(losses.values())).sum().backward()
    with torch.no_grad(), clock.of("(of which matching)"):
        targets = criterion.matching_targets(labels, pixels, logits.shape[-1] - 1)
        criterion.matcher(logits, embed, pixels, targets)
    with clock.of("mask decoder"):
        torch.autograd.backward(
            [outputs.pred_logits, outputs.mask_embed], [_grad(logits), _grad(embed)]
        )
    with clock.of("pixel decoder"):
        made = [*decoded.scales, decoded.pixels]
        torch.autograd.backward(
            made, [_grad(leaf) for leaf in (*ours.scales, ours.pixels)], retain_graph=False
        )
    with clock.of("backbone"):
        torch.autograd.backward(list(features.values()), [_grad(own[name]) for name in features])
    with clock.of("optimiser"):
        network.optimize()


def _grad(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


@torch.inference_mode()
def _predict_once(network: Network, batch: object, clock: _Clock) -> None:
    model = network.model
    assert isinstance(model, ClipMask)
    assert isinstance(batch, list)
    with clock.of("backbone"):
        images, sizes = model._preprocess(batch)
        features = dict(model.backbone(images))
    with clock.of("pixel decoder"):
        T = model.text()
        decoded = model.pixel_decoder(features, T, sizes)
    with clock.of("mask decoder"):
        outputs = model.mask_decoder(decoded, T)
    with clock.of("label map"):
        for arguments in model._images(outputs, batch):
            label_map(*arguments)
