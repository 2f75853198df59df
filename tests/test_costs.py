"""What a fixed small model costs, counted and never timed: a change that makes it dearer has to
change a number here.

Each bound is what was counted when it was written; what comes below it by more than a tenth is to
be written down too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from clipmask import build_model
from clipmask.config import load_cfg
from clipmask.modeling import ClipMask
from tests.kept import saved_bytes
from tests.pages import ROOT

Inputs = list[dict[str, Any]]
NAMES = [f"class {k}" for k in range(9)]

PARAMETERS = 617_000  # without the backbone
FLOPS = 2.45e9  # of one picture of 256x192
KEPT = 72.1e6  # bytes for the backward pass, two pictures of 256x192


@pytest.fixture
def toy() -> ClipMask:
    """The model of the quick start."""
    return build_model(load_cfg(ROOT / "configs" / "toy.yaml"), NAMES)


def within(count: float, bound: float) -> bool:
    """Not above the bound, nor so far below that the bound has gone stale."""
    return 0.9 * bound <= count <= bound


def test_parameters(toy: ClipMask) -> None:
    own = sum(p.numel() for name, p in toy.named_parameters() if not name.startswith("backbone."))
    assert within(own, PARAMETERS)


def test_flops_of_a_prediction(toy: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((192, 256), classes=len(NAMES))
    toy.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        toy.predict_labels(inputs)
    assert within(counter.get_total_flops(), FLOPS)


def test_activations_kept_in_training(toy: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((192, 256), (192, 256), classes=len(NAMES))
    with saved_bytes() as total:
        torch.stack(list(toy.train()(inputs).values())).sum()
    assert within(total[0], KEPT)


class Reads(TorchDispatchMode):
    """Collects the operations that wait for the device to hand over values."""

    waiting = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "item")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in self.waiting:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_one_read_from_the_device_in_training_and_none_in_prediction(
    toy: ClipMask, make_inputs: Callable[..., Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs((96, 128), (96, 128), classes=len(NAMES))
    toy.prepare()
    reads: list[str] = []
    for name in ("cpu", "tolist", "item"):
        original = getattr(Tensor, name)

        def counted(
            self: Tensor, *args: Any, original: Any = original, name: str = name, **kwargs: Any
        ) -> Any:
            reads.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, counted)
    with Reads() as hidden:
        torch.stack(list(toy.train()(inputs).values())).sum().backward()
        assert reads == ["cpu"]  # the matching costs
        toy.eval()
        with torch.inference_mode():
            toy.predict_labels(inputs)
    assert reads == ["cpu"]
    assert hidden.names == []


def test_every_map_stays_channels_last(toy: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    """A map in another layout is copied by every convolution that takes it, forward and
    backward.
    """
    # padded: some rows and columns are cut off again
    inputs = make_inputs((200, 264), (200, 264), classes=len(NAMES))
    strays: list[str] = []

    def check(name: str, value: Any) -> None:
        if (
            isinstance(value, Tensor)
            and value.ndim == 4
            and value.shape[1] > 1
            and value.stride(1) != 1
        ):
            strays.append(f"{name} {tuple(value.shape)} {value.stride()}")

    def watch(name: str, output: Any) -> None:
        check(f"{name} forward", output)
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: check(f"{name} backward", gradient))

    for name, module in toy.pixel_decoder.named_modules():
        module.register_forward_hook(lambda _, inputs, output, name=name: watch(name, output))
    torch.stack(list(toy.train()(inputs).values())).sum().backward()
    # What torch's matrix product and its resizing give back is channels-first whatever went in.
    known = ("embed backward", "inject.fused backward")
    assert not [stray for stray in strays if not stray.startswith(known)]
