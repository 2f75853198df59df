"""Every model on a GPU that is not there: devices and types are checked, nothing is computed.

Under ``FakeTensorMode`` a tensor is its shape, type and device, and whatever brings the host's and
the device's tensors together fails as it would on a GPU; so does whatever asks for a value, for
which a GPU would have to be waited for. The matcher's transfer, the step's only one, is stood in
for. Autocast is entered by hand: ``torch.autocast`` turns itself off where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from clipmask import ClipMask, build_model, load_cfg
from clipmask.inference.views import ClipMaskWithViews, Views
from clipmask.losses import matcher
from clipmask.losses.strays import StrayIds
from tests.conftest import NAMES, ROOT
from tests.test_configs import OFFLINE, RUNNABLE
from tests.unfilled import Unfilled

Inputs = list[dict[str, Any]]
TOY = ROOT / "configs" / "toy.yaml"
# a draw is a value that the host reads
ANNOTATION = ["MODEL.CLIP.TEXT", "annotation", "MODEL.CLIP.TEXT_DROP", "0.0"]


class Copies(TorchDispatchMode):
    """Counts copies from the device to the host, for each of which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.count += args[0].device.type == "cuda" and result.device.type == "cpu"
        return result


@pytest.fixture(autouse=True)
def _unread_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label maps are read on the host, before the model sees them; fake ones hold no values."""
    monkeypatch.setattr(StrayIds, "check", lambda *args: None)


@contextmanager
def pretended(model: ClipMask) -> Iterator[ClipMask]:
    """Enters the mode and moves the model; fails if something in the block copied to the host."""
    model.prepare()
    # What the host makes, such as tensors of NumPy's arrays, becomes a fake tensor of the host.
    with FakeTensorMode(allow_non_fake_inputs=True), Copies() as copies:
        for module in model.modules():
            for kept in (module._parameters, module._buffers):
                for name, value in kept.items():
                    if value is not None:
                        kept[name] = moved(value)
        yield model
    assert copies.count == 0


def moved(value: Tensor) -> Tensor:
    there = torch.empty(value.shape, dtype=value.dtype, device="cuda")
    return nn.Parameter(there, value.requires_grad) if isinstance(value, nn.Parameter) else there


@contextmanager
def autocast(dtype: torch.dtype) -> Iterator[None]:
    torch.set_autocast_dtype("cuda", dtype)
    torch.set_autocast_enabled("cuda", True)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


@pytest.fixture(autouse=True)
def transfer(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Stands in for the matcher's transfer; the types of the costs that it was asked to copy."""
    asked: list[torch.dtype] = []

    def to_host(cost: Tensor, present: Tensor) -> tuple[np.ndarray, np.ndarray]:
        assert (cost.device.type, present.device.type) == ("cuda", "cuda")
        asked.append(cost.dtype)
        chance = np.random.default_rng(0)
        return chance.random(cost.shape, np.float32), chance.random(present.shape) > 0.5

    monkeypatch.setattr(matcher, "to_host", to_host)
    return asked


def pictures(*sizes: tuple[int, int], **others: Any) -> Inputs:
    """Inputs as the mapper makes them, on the host."""
    return [
        {
            "image": torch.zeros(3, *size, dtype=torch.uint8),
            "sem_seg": torch.zeros(size, dtype=torch.uint8),
            **others,
        }
        for size in sizes
    ]


def check_training(model: ClipMask, inputs: Inputs) -> None:
    """Losses are float32 and on the device."""
    losses = model.train()(inputs, model.count_targets(inputs))
    assert "loss_cls" in losses
    assert {(loss.device.type, loss.dtype) for loss in losses.values()} == {("cuda", torch.float32)}


@torch.no_grad()
def check_prediction(model: Any, inputs: Inputs) -> None:
    """Scores are float32, labels bytes, both on the device and of the asked size."""
    model.eval()
    inputs[0] |= {"height": 80, "width": 50}
    outputs, labels = model(inputs), model.predict_labels(inputs)
    for output, label, image in zip(outputs, labels, inputs, strict=True):
        scores = output["sem_seg"]
        assert (scores.device.type, scores.dtype) == ("cuda", torch.float32)
        assert (label.device.type, label.dtype) == ("cuda", torch.uint8)
        size = (
            image.get("height", image["image"].shape[1]),
            image.get("width", image["image"].shape[2]),
        )
        assert (*scores.shape[1:],) == (*label.shape,) == size


def different_models() -> dict[str, CfgNode]:
    """One config of each architecture and loss in ``configs/``, by its file's name."""
    found: dict[str, tuple[str, CfgNode]] = {}
    for path in RUNNABLE:
        cfg = load_cfg(path, [*OFFLINE, "MODEL.WEIGHTS", "", "MODEL.CLIP.TEXT_DROP", "0.0"])
        found.setdefault(cfg.MODEL.dump(), (str(path.relative_to(ROOT)), cfg))
    return dict(found.values())


MODELS = different_models()


@pytest.mark.parametrize("name", MODELS)
def test_configs_train_and_predict(name: str, transfer: list[torch.dtype]) -> None:
    with Unfilled():
        built = build_model(MODELS[name], NAMES)
    assert built.class_names == NAMES
    with pretended(built) as model, autocast(torch.bfloat16):
        inputs = pictures((64, 96), text=["road", "a wet sky"])
        check_training(model, inputs)
        with torch.no_grad():
            (labels,) = model.eval().predict_labels(inputs)
        assert (labels.device.type, labels.dtype, *labels.shape) == ("cuda", torch.uint8, 64, 96)
    assert transfer == [torch.float32]


@pytest.mark.parametrize(
    ("opts", "dtype"),
    [
        ([], None),
        ([], torch.float16),
        (ANNOTATION, None),
        ([*ANNOTATION, "MODEL.CLIPMASK.INJECTION", "channels"], torch.float16),
        (["MODEL.CLIPMASK.CLASSIFIER", "linear"], None),
    ],
    ids=["vocabulary", "vocabulary-16", "tokens", "channels-16", "linear"],
)
def test_modes_with_padding_and_other_precisions(
    opts: list[str], dtype: torch.dtype | None
) -> None:
    with pretended(build_model(load_cfg(TOY, [*OFFLINE, *opts]), NAMES)) as model:
        inputs = pictures((64, 96), (61, 47))
        inputs[1]["text"] = ["rain", "a road", "two cars"]
        with autocast(dtype) if dtype else nullcontext():
            assert model.decode(inputs).pixels.dtype == (dtype or torch.float32)
            check_training(model, inputs)
            check_prediction(model, inputs)


@pytest.mark.parametrize("tower", ["context", "full"])
def test_text_that_is_learned(small_cfg: CfgNode, tiny_clip: Path, tower: str) -> None:
    clip = small_cfg.MODEL.CLIP
    clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS = (
        "tiny-clip",
        str(tiny_clip),
        "",
        ["single"],
    )
    clip.TOWER, clip.TEXT, clip.TEXT_DROP, clip.CONTEXT_LENGTH = tower, "annotation", 0.0, 4
    with pretended(build_model(small_cfg, NAMES)) as model:
        inputs = pictures((64, 64), (64, 64), text=["rain", "a road"])
        with autocast(torch.bfloat16):
            check_training(model, inputs)
        check_prediction(model, inputs)


@pytest.mark.parametrize(
    "views",
    [
        Views((0.75, 1.0), flip=True),
        Views(window=(48, 64), overlap=0.3),
    ],
    ids=["views", "windows"],
)
def test_views_and_windows(small_cfg: CfgNode, views: Views) -> None:
    with pretended(build_model(small_cfg, NAMES).eval()) as model:
        check_prediction(ClipMaskWithViews(model, views), pictures((61, 103)))


def test_what_belongs_to_the_host_is_found(
    small_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken on purpose: a tensor left behind, a value that is asked for, and a second copy."""
    inputs = pictures((64, 64))
    with pretended(build_model(small_cfg, NAMES).train()) as model:
        model.pixel_std = torch.ones(3, 1, 1)
        with pytest.raises(RuntimeError, match=r"cuda.*cpu|cpu.*cuda"):
            model(inputs)
    with pretended(build_model(small_cfg, NAMES).train()) as model:
        total = sum(model(inputs).values())
        with pytest.raises(Exception, match="local_scalar_dense"):
            total.item()
    with pytest.raises(AssertionError), pretended(build_model(small_cfg, NAMES).train()) as model:
        model.count_targets(inputs).cpu()
