"""Measures the time of each part of ClipMask, and the time that text and pairwise fusion add."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from clipmask import ClipMask
from clipmask.modeling.class_maps import label_map
from clipmask_tools.benchmarking.measure import BATCH, Setting, Spread, paired, ratios, spread
from clipmask_tools.benchmarking.networks import Network, clipmask, make_pictures

# The same network without the paper's additions: no text in the features, one fusion of all scales.
WITHOUT = ("MODEL.CLIPMASK.INJECTION", "none", "MODEL.CLIPMASK.FUSION", "joint")


class _Clock:
    """Adds up the seconds of each part."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Adds the time of a ``with`` block to a part."""
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def training_parts(setting: Setting, rounds: int) -> dict[str, Spread]:
    """Measures the seconds of each part of a training step, forward and backward pass together.

    The computation graph is cut between the parts and the gradients are passed on explicitly, so
    that each part has its own backward pass.
    """
    network = clipmask(setting.num_classes)
    return _rounds(network, setting, rounds, _train_once, "train")


def inference_parts(setting: Setting, rounds: int) -> dict[str, Spread]:
    """Measures the seconds of each part of a prediction."""
    network = clipmask(setting.num_classes)
    return _rounds(network, setting, rounds, _predict_once, "infer")


def added_by_text(setting: Setting, rounds: int) -> dict[str, object]:
    """Compares the time of a prediction with and without text injection and pairwise fusion.

    Returns:
        ``seconds`` of both networks, and ``ratio``, the time with them divided by the time without,
        round by round.
    """
    networks = {
        "with": clipmask(setting.num_classes),
        "without": clipmask(setting.num_classes, WITHOUT),
    }
    calls = {name: setting.call(network, "infer") for name, network in networks.items()}
    times = paired(calls, rounds, "text and fusion")
    seconds = {name: spread(values) for name, values in times.items()}
    return {"seconds": seconds, "ratio": ratios(times, "with")["without"]}


def _rounds(
    network: Network,
    setting: Setting,
    rounds: int,
    once: Callable[[Network, object, _Clock], None],
    mode: str,
) -> dict[str, Spread]:
    setting.call(network, mode)()  # the first run is slower; it also makes the optimiser
    device = torch.device(setting.device)
    pictures = make_pictures(BATCH[mode], setting.size, setting.num_classes, device)
    inputs = network.inputs(pictures)
    is_16_bit = setting.autocast is not None
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        clock = _Clock(setting.device)
        with torch.autocast(setting.device, dtype=setting.autocast, enabled=is_16_bit):
            once(network, inputs, clock)
        for part, seconds in clock.seconds.items():
            found.setdefault(part, []).append(seconds)
    return {part: spread(seconds) for part, seconds in found.items()}


def _leaf(value: Tensor) -> Tensor:
    """Returns the tensor cut from its computation graph, ready to collect a gradient of its own."""
    return value.detach().requires_grad_()


def _train_once(network: Network, batch: object, clock: _Clock) -> None:
    model = network.model
    assert isinstance(model, ClipMask)
    assert isinstance(batch, list)
    model.train()
    with clock.of("backbone"):
        images, sizes = model._preprocess(batch)
        features = model.backbone(images)
    cut_features = {name: _leaf(value) for name, value in features.items()}
    with clock.of("pixel decoder"):
        T = model.text()
        decoded = model.pixel_decoder(dict(cut_features), T, sizes)
    cut_scales = tuple(_leaf(scale) for scale in decoded.scales)
    cut_decoded = decoded._replace(scales=cut_scales, pixels=_leaf(decoded.pixels))
    with clock.of("mask decoder"):
        outputs = model.mask_decoder(cut_decoded, T)
    logits = _leaf(outputs.pred_logits)
    embed = _leaf(outputs.mask_embed)
    pixels = _leaf(cut_decoded.pixels)
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
        results = [*decoded.scales, decoded.pixels]
        gradients = [_grad(leaf) for leaf in (*cut_scales, cut_decoded.pixels)]
        torch.autograd.backward(results, gradients, retain_graph=False)
    with clock.of("backbone"):
        gradients = [_grad(cut_features[name]) for name in features]
        torch.autograd.backward(list(features.values()), gradients)
    with clock.of("optimiser"):
        network.optimize()


def _grad(leaf: Tensor) -> Tensor:
    """Returns the gradient of a tensor; zeros where it has none."""
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
