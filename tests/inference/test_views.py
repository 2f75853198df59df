"""Views and windows: they cover the image once in sum, change nothing where they must not, and stay
small.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clipmask import ClipMask, build_model
from clipmask.errors import UserError
from clipmask.inference import blending
from clipmask.inference.blending import augmented_labels, augmented_scores
from clipmask.inference.views import (
    ClipMaskWithViews,
    Crop,
    Views,
    with_views,
)
from clipmask.inference.windows import spans, windows
from clipmask.modeling import class_maps
from clipmask.modeling.mask_decoder import DecoderOutput
from tests.closeness import assert_best, assert_same
from tests.conftest import NAMES

Inputs = list[dict[str, Any]]
ALL = Views(scales=(0.75, 1.0, 1.5), flip=True, window=(32, 48), overlap=0.3)


class Local:
    """A model whose masks at a cell depend on that cell alone: what it says of a pixel, it says in
    every window.

    Args:
        gain: of the logits of each (query, colour).
    """

    def __init__(self, gain: Tensor, num_classes: int = 3) -> None:
        self.gain, self.logits = gain, torch.randn(len(gain), num_classes + 1)
        self.seen: list[Inputs] = []

    def __call__(self, inputs: Inputs) -> DecoderOutput:
        self.seen.append(inputs)
        images = torch.stack([one["image"].float() for one in inputs])
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        many = len(inputs)
        return DecoderOutput(
            self.logits.expand(1, many, -1, -1),
            self.gain.expand(1, many, -1, -1),
            F.avg_pool2d(images, 4, ceil_mode=True),
            sizes,
        )


@settings(max_examples=200)
@given(
    st.integers(1, 400),
    st.integers(1, 120),
    st.integers(0, 970).map(lambda thousandths: thousandths / 1000),
)
def test_windows_cover_all_with_as_few_as_the_overlap_allows(
    length: int, size: int, overlap: float
) -> None:
    found = windows(length, size, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(stop - start == min(size, length) for start, stop in found)
    steps = [after - before for (before, _), (after, _) in itertools.pairwise(found)]
    assert max(steps, default=0) - min(steps, default=0) <= 1
    widest = max(
        [step for step in range(1, size + 1) if size - step >= (overlap - 1e-6) * size], default=1
    )
    assert all(1 <= step <= widest for step in steps)
    assert len(found) == 1 or size + (len(found) - 2) * widest < length  # one fewer would not reach


@settings(max_examples=200)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.floats(0, 0.9))
def test_weights_sum_to_one_at_every_output_pixel(
    length: int, output: int, size: int, overlap: float
) -> None:
    total = torch.zeros(output)
    for span in spans(length, output, size, overlap):
        assert len(span.weight) == span.last - span.first > 0
        assert (span.weight > 0).all()
        centres = (torch.arange(span.first, span.last, dtype=torch.float64) + 0.5) * length / output
        assert span.start - 1e-6 <= centres[0]
        assert centres[-1] <= span.stop + 1e-6
        pixel = length / output
        assert span.start + span.offset == pytest.approx(span.first * pixel)
        assert span.covered == pytest.approx((span.last - span.first) * pixel)
        total[span.first : span.last] += span.weight
    torch.testing.assert_close(total, torch.ones(output), rtol=0, atol=1e-6)


def test_one_window_fades_into_the_next() -> None:
    first, second = spans(7, 7, 5, 0.5)
    assert (first.start, first.stop, second.start, second.stop) == (0, 5, 2, 7)
    torch.testing.assert_close(first.weight, torch.tensor([1, 1, 5 / 6, 1 / 2, 1 / 6]))
    torch.testing.assert_close(second.weight, first.weight.flip(0))


@pytest.mark.parametrize(
    "views", [Views(window=(64, 96)), Views(window=(500, 500)), Views(scales=(1.0,))]
)
@torch.no_grad()
def test_one_window_over_everything_is_the_plain_result(
    small_model: ClipMask, make_inputs: Callable[..., Inputs], views: Views
) -> None:
    inputs = make_inputs((64, 96), (61, 47))
    inputs[1] |= {"height": 90, "width": 100}
    plain = [small_model([one])[0]["sem_seg"] for one in inputs]
    for expected, got in zip(plain, ClipMaskWithViews(small_model, views)(inputs), strict=True):
        assert_same(got["sem_seg"], expected)


@pytest.mark.parametrize(
    "views", [ALL, Views(flip=True), Views(flip=True, window=(32, 40)), Views((0.7, 1.3), True)]
)
@pytest.mark.parametrize("size", [(64, 96), (61, 103)])
@torch.no_grad()
def test_a_mirrored_picture_has_mirrored_scores(
    small_model: ClipMask, make_inputs: Callable[..., Inputs], views: Views, size: tuple[int, int]
) -> None:
    model = ClipMaskWithViews(small_model, views)
    (inputs,) = make_inputs(size)
    inputs |= {"height": 70, "width": 81}
    scores, mirrored = (
        model([{**inputs, "image": image}])[0]["sem_seg"]
        for image in (inputs["image"], inputs["image"].flip(-1))
    )
    assert_same(mirrored, scores.flip(-1))


@pytest.mark.parametrize("views", [ALL, Views(flip=True), Views((0.7, 1.3), True)])
def test_a_mirrored_picture_is_shown_as_the_same_pixels(
    make_inputs: Callable[..., Inputs], views: Views
) -> None:
    """To the bit: nothing was computed from them yet but their sizes."""
    (inputs,) = make_inputs((61, 103))
    mirror = {**inputs, "image": inputs["image"].flip(-1)}
    plain, mirrored = ([*views.crops(picture)] for picture in (inputs, mirror))
    pairs = [*zip(of(plain, False), of(mirrored, True), strict=True)]
    pairs += zip(of(plain, True), of(mirrored, False), strict=True)
    assert len(pairs) == len(plain) >= views.count
    assert all(torch.equal(one.inputs["image"], other.inputs["image"]) for one, other in pairs)


def of(crops: list[Crop], mirrored: bool) -> list[Crop]:
    return [crop for crop in crops if crop.mirrored is mirrored]


@pytest.mark.parametrize("views", [ALL, Views(window=(32, 32)), Views((1.5,))])
@torch.no_grad()
def test_batch_equals_single_and_labels_are_the_best(
    small_model: ClipMask, make_inputs: Callable[..., Inputs], views: Views
) -> None:
    model = ClipMaskWithViews(small_model, views)
    inputs = make_inputs((64, 96), (33, 70), (20, 20))
    inputs[1] |= {"height": 50, "width": 40}
    together = [output["sem_seg"] for output in model(inputs)]
    assert [tuple(scores.shape) for scores in together] == [(5, 64, 96), (5, 50, 40), (5, 20, 20)]
    for one, scores, labels in zip(inputs, together, model.predict_labels(inputs), strict=True):
        assert_same(model([one])[0]["sem_seg"], scores)
        assert labels.dtype == torch.uint8
        assert_best(labels, scores)


def test_views_are_for_evaluation_alone(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    model = ClipMaskWithViews(small_model, ALL)
    with pytest.raises(AssertionError):
        model.train()(make_inputs((64, 64)))
    assert model.eval()(make_inputs((64, 64)))[0]["sem_seg"].shape == (5, 64, 64)


@pytest.mark.parametrize(
    "views", [ALL, Views((0.5, 1.25)), Views(window=(36, 50)), Views((1.1,), True, (40, 40), 0.6)]
)
@pytest.mark.parametrize("target", [(96, 120), (60, 77), (200, 150)])
def test_every_view_reads_the_same_place(views: Views, target: tuple[int, int]) -> None:
    """On a slope, whatever is read half a pixel off is off in value: resizing, pooling and reading
    keep straight lines.

    Only at the borders of the picture and of the windows the outermost cell's value stands for less
    than half a cell.
    """
    rows, columns = (torch.arange(96) + 0.5) / 96, (torch.arange(120) + 0.5) / 120
    image = torch.stack(
        [rows[:, None].expand(96, 120), columns.expand(96, 120), torch.ones(96, 120)]
    )
    model = Local(torch.randn(6, 3))
    scores = augmented_scores(
        model, {"image": image, "height": target[0], "width": target[1]}, views
    )
    y, x = ((torch.arange(count) + 0.5) / count for count in target)
    place = torch.stack([y[:, None].expand(target), x.expand(target), torch.ones(target)])
    masks = torch.einsum("qc,chw->qhw", model.gain, place).sigmoid()
    expected = torch.einsum("qk,qhw->khw", model.logits.softmax(-1)[:, :-1], masks)
    torch.testing.assert_close(scores, expected, rtol=0, atol=2e-2)
    if views.window is None:
        inner = (
            slice(None),
            slice(target[0] // 8, -target[0] // 8),
            slice(target[1] // 8, -target[1] // 8),
        )
        torch.testing.assert_close(scores[inner], expected[inner], rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", [1, 2])
def test_windows_of_a_local_model_agree_with_the_whole_inside(factor: int) -> None:
    model, image = (
        Local(torch.randn(5, 3) / 40),
        torch.randint(0, 256, (3, 96, 160), dtype=torch.uint8),
    )
    inputs = {"image": image, "height": 96 * factor, "width": 160 * factor}
    whole = augmented_scores(model, inputs, Views())
    parts = augmented_scores(model, inputs, Views(window=(48, 64), overlap=0.5))
    assert len(model.seen) == 2
    # two pixels on both sides of a window's inner border
    border = torch.zeros(96, 160, dtype=torch.bool)
    for length, size, line in ((96, 48, border), (160, 64, border.T)):
        for edge in {edge for span in windows(length, size, 0.5) for edge in span} - {0, length}:
            line[edge - 2 : edge + 2] = True
    inside = ~border.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    torch.testing.assert_close(parts[:, inside], whole[:, inside], rtol=1e-5, atol=1e-5)
    assert not torch.equal(parts, whole)


def test_few_windows_at_a_time_and_all_keys_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = (
        Local(torch.randn(5, 3) / 40),
        torch.randint(0, 256, (3, 100, 130), dtype=torch.uint8),
    )
    inputs = {"image": image, "text": ["a street"], "image_id": 7}
    together = augmented_scores(model, inputs, ALL)
    first, model.seen = model.seen, []
    assert max(len(batch) for batch in first) > 4
    monkeypatch.setattr(blending, "BATCH_PIXELS", 4 * 32 * 48 + 1)
    torch.testing.assert_close(augmented_scores(model, inputs, ALL), together, rtol=0, atol=1e-6)
    assert sum(map(len, model.seen)) == sum(map(len, first))
    assert max(map(len, model.seen)) == 4
    for batch in model.seen:
        assert len({one["image"].shape for one in batch}) == 1
        assert all({**one, "image": image} == inputs for one in batch)
    monkeypatch.setattr(blending, "BATCH_PIXELS", 1)
    model.seen = []
    augmented_scores(model, inputs, Views(flip=True))
    assert [len(batch) for batch in model.seen] == [1, 1]
    assert "height" not in inputs


@torch.no_grad()
def test_one_buffer_and_no_full_size_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_maps, "STRIP_ELEMENTS", 2**14)
    monkeypatch.setattr(blending, "BATCH_PIXELS", 64 * 64)
    full, largest = set[int](), 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.untyped_storage().nbytes() // result.element_size())
                if result.numel() >= 11 * 128 * 128:
                    full.add(result.untyped_storage().data_ptr())
            return result

    image = torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8)
    with Watch():
        augmented_scores(
            Local(torch.randn(50, 3), num_classes=11),
            {"image": image},
            Views((0.5, 1.0), True, (64, 64)),
        )
    assert len(full) == 1
    assert largest == 11 * 128 * 128


@pytest.mark.parametrize("scale", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("target", [(290, 90), (411, 70), (100, 60)])
@torch.no_grad()
def test_labels_of_a_tall_picture_need_the_scores_of_a_window_s_rows(
    scale: float, target: tuple[int, int]
) -> None:
    views = Views((scale,), window=(32, 48), overlap=0.3)
    model = Local(torch.randn(6, 3) / 40, num_classes=7)
    image = torch.randint(0, 256, (3, 290, 90), dtype=torch.uint8)
    inputs = {"image": image, "height": target[0], "width": target[1]}
    scores = augmented_scores(model, inputs, views)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            shape = tuple(result.shape) if isinstance(result, Tensor) else ()
            if len(shape) == 3 and (shape[0], shape[2]) == (7, target[1]):  # scores
                largest = max(largest, shape[1])
            return result

    with Watch():
        labels = augmented_labels(model, inputs, views, 7)
    assert_best(labels, scores)
    assert largest == views.most_rows(inputs) < target[0]
    assert augmented_labels(model, inputs, Views((scale, 1.0), window=(32, 48)), 7).shape == target


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("AUG", "SCALES", [], "one or more values"),
        ("AUG", "SCALES", [1.0, 0.0], r"TEST\.AUG\.SCALES \[1\.0, 0\.0\]"),
        ("AUG", "SCALES", ["big"], "each above 0"),
        ("AUG", "SCALES", [float("inf")], "each above 0"),
        ("SLIDING_WINDOW", "SIZE", [512], "2 values"),
        ("SLIDING_WINDOW", "SIZE", [31, 512], r"SLIDING_WINDOW\.SIZE \[31, 512\].*at least 32"),
        ("SLIDING_WINDOW", "SIZE", [512.0, 512.0], "whole number"),
        ("SLIDING_WINDOW", "OVERLAP", 1.0, "below 1"),
        ("SLIDING_WINDOW", "OVERLAP", -0.1, r"TEST\.SLIDING_WINDOW\.OVERLAP -0\.1"),
    ],
)
def test_values_that_make_no_sense(
    small_cfg: CfgNode, section: str, key: str, value: Any, message: str
) -> None:
    small_cfg.TEST[section][key] = value
    with pytest.raises(UserError, match=message):
        build_model(small_cfg, NAMES)


def test_the_config_decides(small_cfg: CfgNode, small_model: ClipMask) -> None:
    def views() -> Views:
        model = with_views(small_cfg, small_model)
        assert isinstance(model, ClipMaskWithViews)
        assert model.model is small_model
        return model.views

    assert with_views(small_cfg, small_model) is small_model
    small_cfg.TEST.AUG.ENABLED = True
    assert views() == Views((0.75, 1.0, 1.25, 1.5), flip=True)
    small_cfg.TEST.SLIDING_WINDOW.ENABLED = True
    small_cfg.TEST.AUG.FLIP = False
    assert views() == Views((0.75, 1.0, 1.25, 1.5), window=(512, 1024))
    small_cfg.TEST.AUG.ENABLED = False
    assert views() == Views(window=(512, 1024))
    with pytest.raises(UserError, match=r"TEST\.SLIDING_WINDOW"):
        with_views(small_cfg, torch.nn.Identity())  # type: ignore[arg-type]
