"""Inference: strips equal the whole formula, label maps equal the arg-max, any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clipmask.modeling import class_maps
from clipmask.modeling.class_maps import (
    best_labels,
    class_scores,
    label_map,
    plain_scores,
    score_strips,
)
from tests.closeness import assert_best


def reference(logits: Tensor, masks: Tensor, height: int, width: int) -> Tensor:
    """The formula with full-size masks, for images that are a multiple of the stride."""
    full = F.interpolate(masks[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    return torch.einsum("qk,qhw->khw", logits.softmax(-1)[:, :-1], full.sigmoid())


@pytest.mark.parametrize("strip", [1, 3000, 10**9])
def test_strips_are_exact(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_maps, "STRIP_ELEMENTS", strip)
    monkeypatch.setattr(class_maps, "WHOLE_ELEMENTS", strip)
    logits, masks = torch.randn(7, 5), torch.randn(7, 12, 16) * 4
    scores = class_scores(logits, masks, (48, 64), (48, 64))
    torch.testing.assert_close(scores, reference(logits, masks, 48, 64), rtol=1e-5, atol=1e-5)


def test_other_output_size_reads_the_same_masks() -> None:
    logits, masks = torch.randn(7, 5), torch.randn(7, 12, 16)
    for height, width in ((96, 128), (31, 50), (12, 16)):
        torch.testing.assert_close(
            class_scores(logits, masks, (48, 64), (height, width)),
            reference(logits, masks, height, width),
            rtol=1e-4,
            atol=1e-4,
        )


@settings(max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(1, 90))
def test_any_size(height: int, width: int, out_height: int, out_width: int) -> None:
    logits, masks = torch.randn(3, 4), torch.randn(3, -(-height // 4), -(-width // 4))
    scores = class_scores(logits, masks, (height, width), (out_height, out_width))
    labels = label_map(logits, masks, (height, width), (out_height, out_width))
    assert scores.shape == (3, out_height, out_width)
    assert labels.dtype == torch.uint8
    assert_best(labels, scores)


@settings(max_examples=30)
@given(st.floats(0.3, 9), st.floats(0.3, 9), st.integers(0, 30), st.integers(0, 30))
def test_a_part_reads_what_the_whole_reads(
    scale_y: float, scale_x: float, top: int, left: int
) -> None:
    """Output pixels ``top`` and ``left`` on, from the masks without two cells at each side: equal
    inside.
    """
    logits, masks = torch.randn(3, 4), torch.randn(3, 24, 30)
    # scale: output pixels per cell, nearly
    height, width = round(96 * scale_y / 4), round(120 * scale_x / 4)
    step = (96 / height, 120 / width)
    whole = class_scores(logits, masks, (96, 120), (height, width))
    size = (max(1, height - 2 * top), max(1, width - 2 * left))
    strips = score_strips(
        logits,
        masks[:, 2:-2, 2:-2],
        (size[0] * step[0], size[1] * step[1]),
        size,
        offset=(top * step[0] - 8, left * step[1] - 8),
    )
    part = torch.cat([strip for _, strip in strips], 1)
    assert part.shape[1:] == size
    y, x = (
        ((torch.arange(n) + first + 0.5) * s)
        for n, first, s in zip(size, (top, left), step, strict=True)
    )
    inside = ((y > 10) & (y < 86))[:, None] & (x > 10) & (x < 110)
    expected = F.pad(whole, (0, 60, 0, 60))[:, top : top + size[0], left : left + size[1]]
    torch.testing.assert_close(part[:, inside], expected[:, inside], rtol=1e-4, atol=1e-4)


def test_the_largest_of_many_classes() -> None:
    scores = torch.rand(300, 9, 11)
    assert torch.equal(best_labels(scores), scores.argmax(0))
    logits, masks = torch.randn(7, 301), torch.randn(7, 3, 3)
    arguments = (logits, masks, (12, 12), (12, 12))
    assert_best(label_map(*arguments), class_scores(*arguments))


def test_a_batch_of_scores_is_each_images() -> None:
    logits, masks = torch.randn(2, 7, 5), torch.randn(2, 7, 6, 8)
    together = plain_scores(logits, masks, (23, 30))
    assert together.shape == (2, 4, 23, 30)
    for index in range(2):
        torch.testing.assert_close(
            together[index], class_scores(logits[index], masks[index], (23, 30), (23, 30))
        )


def test_many_classes_need_wider_labels() -> None:
    assert label_map(torch.randn(2, 256), torch.randn(2, 2, 2), (8, 8), (8, 8)).dtype == torch.uint8
    assert label_map(torch.randn(2, 257), torch.randn(2, 2, 2), (8, 8), (8, 8)).dtype == torch.int64
    assert best_labels(torch.rand(255, 2, 2)).dtype == torch.uint8
    assert best_labels(torch.rand(256, 2, 2)).dtype == torch.int64


def test_full_size_masks_of_large_pictures_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_maps, "WHOLE_ELEMENTS", 2**20)
    monkeypatch.setattr(class_maps, "STRIP_ELEMENTS", 2**16)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        label_map(torch.randn(50, 12), torch.randn(50, 64, 64), (256, 256), (256, 256))
    assert largest <= 50 * 66 * 66  # the masks at stride 4 with a border, or a strip


@pytest.mark.parametrize("size", [(256, 256), (300, 200)])
@pytest.mark.parametrize("batch", [(), (1,), (2,)])
def test_masks_are_enlarged_channels_last(size: tuple[int, int], batch: tuple[int, ...]) -> None:
    """torch enlarges many queries of a place at once if they lie side by side, in a quarter of the
    time. For a batch of one it must see that from the strides.
    """
    layouts = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if "upsample" in str(func):
                layouts.append(torch._prims_common.suggest_memory_format(args[0]))
            return func(*args, **(kwargs or {}))

    masks = torch.randn(*batch, 64, 64, 50).movedim(-1, -3)
    with Watch():
        if batch:
            plain_scores(torch.randn(*batch, 50, 12), masks, (256, 256))
        else:
            label_map(torch.randn(50, 12), masks, (256, 256), size)
    assert layouts
    assert set(layouts) == {torch.channels_last}


@pytest.mark.parametrize("size", [(48, 64), (47, 61), (45, 64)])
def test_the_inputs_own_size_reads_what_other_sizes_read(size: tuple[int, int]) -> None:
    """Two ways to enlarge: by torch's own kernel, and at any scale in strips."""
    logits, masks = torch.randn(7, 5), torch.randn(7, 12, 16) * 4
    own = class_scores(logits, masks, size, size)
    strips = torch.cat([strip for _, strip in score_strips(logits, masks, size, size)], 1)
    torch.testing.assert_close(own, strips, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strip", [3000, 10**9])
@pytest.mark.parametrize("wanted", ["both", "logits", "masks"])
def test_scores_have_gradients(wanted: str, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_maps, "STRIP_ELEMENTS", strip)
    monkeypatch.setattr(class_maps, "WHOLE_ELEMENTS", strip)
    logits = torch.randn(7, 5, requires_grad=wanted != "masks")
    masks = torch.randn(7, 12, 16, requires_grad=wanted != "logits")
    asked = [value for value in (logits, masks) if value.requires_grad]
    grids = []
    for scores in (
        class_scores(logits, masks, (48, 64), (48, 64)),
        reference(logits, masks, 48, 64),
    ):
        grids.append(torch.autograd.grad(scores.square().sum(), asked))
    for ours, plain in zip(*grids, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
