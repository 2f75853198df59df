"""Augmentation: picture and labels move together, labels stay labels, and limits hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clipmask.data.resizing import resize_shortest_edge
from clipmask.data.transforms import ScaledCrop, ShorterSide, TrainTransform
from clipmask.errors import UserError


def blocks(height: int, width: int, side: int, num_classes: int = 5) -> Tensor:
    """Labels in square blocks of random classes, the last of them void (255)."""
    grid = torch.randint(num_classes, (-(-height // side), -(-width // side)), dtype=torch.uint8)
    grid[0, 0] = 255
    return grid.repeat_interleave(side, 0).repeat_interleave(side, 1)[:height, :width]


def picture_of(labels: Tensor) -> Tensor:
    """A picture whose channels all tell the label."""
    return (labels.clamp(max=5) * 50)[None].expand(3, -1, -1).contiguous()


def inner(labels: Tensor) -> Tensor:
    """True where all neighbours within 2 pixels exist and have the same label: smoothing can't mix
    colours there.
    """
    padded = torch.nn.functional.pad(labels[None, None].float(), (2, 2, 2, 2), value=-1)
    high = torch.nn.functional.max_pool2d(padded, 5, 1)
    return (high == -torch.nn.functional.max_pool2d(-padded, 5, 1))[0, 0]


CROPS = [
    None,
    ScaledCrop("absolute", (64, 80)),
    ScaledCrop("absolute", (80, 40)),
    ScaledCrop("absolute_range", (20, 200)),
    ScaledCrop("relative", (0.5, 0.8)),
    ScaledCrop("relative_range", (0.3, 0.6), single_category_max_area=0.5),
]


@given(
    seed=st.integers(0, 2**32),
    height=st.integers(30, 150),
    width=st.integers(30, 150),
    low=st.floats(0.4, 1.0),
    stretch=st.floats(1.0, 3.0),
    crop=st.sampled_from(CROPS),
)
@settings(max_examples=80)
def test_picture_and_labels_stay_aligned(
    seed: int, height: int, width: int, low: float, stretch: float, crop: ScaledCrop | None
) -> None:
    torch.manual_seed(seed)
    transform = TrainTransform(
        scale_range=(low, low * stretch), crop=crop, flip="horizontal", color_aug=False
    )
    labels = blocks(height, width, 24)
    image, moved = transform(picture_of(labels), labels)
    assert image.dtype == moved.dtype == torch.uint8
    assert image.shape == (3, *moved.shape)
    assert set(moved.unique().tolist()) <= set(labels.unique().tolist())
    same = inner(moved)
    assert ((image[0].int() - picture_of(moved)[0].int()).abs() <= 1)[same].all()


def test_wide_labels_are_carried_exactly() -> None:
    labels = torch.arange(64 * 64).reshape(64, 64) + 2**30
    transform = TrainTransform(scale_range=(1, 1), crop=None, flip="none", color_aug=False)
    _, moved = transform(torch.zeros(3, 64, 64, dtype=torch.uint8), labels)
    assert moved.dtype == torch.int64
    assert (moved == labels).all()


def test_the_labels_are_not_shifted_by_half_a_pixel() -> None:
    labels = torch.zeros(40, 40, dtype=torch.uint8)
    labels[:, 20:] = 1
    for scale in (0.5, 0.25, 2.0):
        transform = TrainTransform(
            scale_range=(scale, scale), crop=None, flip="none", color_aug=False
        )
        _, moved = transform(picture_of(labels), labels)
        assert moved.float().mean() == 0.5
        assert (moved.flip(1) == 1 - moved).all()


def test_a_picture_is_never_smaller_than_an_absolute_crop() -> None:
    labels = blocks(40, 60, 8)
    for size in ((32, 150), (90, 10), (40, 60)):
        crop = ScaledCrop("absolute", size)
        transform = TrainTransform(scale_range=(0.1, 1), crop=crop, flip="none", color_aug=False)
        image, moved = transform(picture_of(labels), labels)
        assert image.shape == (3, *size)
        assert moved.shape == size


def test_crop_sizes_follow_their_kind() -> None:
    labels = blocks(100, 200, 10)
    for scale in (0.5, 1.0, 1.7):
        assert ScaledCrop("absolute", (30, 40)).draw(labels, scale)[1] == (30, 40)
        assert ScaledCrop("relative", (0.5, 0.25)).draw(labels, scale)[1] == (
            round(50 * scale),
            round(50 * scale),
        )
    sizes = [ScaledCrop("relative_range", (0.5, 0.25)).draw(labels, 1.0)[1] for _ in range(200)]
    heights, widths = zip(*sizes, strict=True)
    assert 50 <= min(heights) < 60 < 90 < max(heights) <= 100
    assert 50 <= min(widths) < 70 < 180 < max(widths) <= 200


@given(
    seed=st.integers(0, 2**32),
    scale=st.floats(0.3, 4.0),
    crop=st.sampled_from([c for c in CROPS if c]),
)
@settings(max_examples=100)
def test_windows_lie_inside_and_keep_the_scale(seed: int, scale: float, crop: ScaledCrop) -> None:
    torch.manual_seed(seed)
    labels = blocks(97, 131, 16)
    (top, left, height, width), size = crop.draw(labels, scale)
    assert 0 <= top <= top + height <= 97
    assert 0 <= left <= left + width <= 131
    for source, target in zip((height, width), size, strict=True):
        # both are rounded to whole pixels
        assert abs(source * scale - target) <= 0.5 + 0.5 * scale + 1e-6


def test_no_class_gets_more_than_its_share_where_that_is_possible() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(60, 60, dtype=torch.uint8)
    # one class above, four in stripes below
    labels[20:] = torch.arange(60, dtype=torch.uint8).remainder(4)
    shares = {limit: [] for limit in (1.0, 0.6)}
    for limit, seen in shares.items():
        crop = ScaledCrop("absolute", (20, 20), single_category_max_area=limit)
        for _ in range(200):
            (top, left, height, width), _ = crop.draw(labels, 1.0)
            window = labels[top : top + height, left : left + width]
            seen.append(window.flatten().long().bincount().max().item() / window.numel())
    assert max(shares[0.6]) <= 0.6
    assert max(shares[1.0]) > 0.9


def test_void_counts_in_no_share_and_a_window_without_labels_is_drawn_again() -> None:
    torch.manual_seed(0)
    labels = torch.full((40, 40), 255, dtype=torch.uint8)
    labels[20:, ::2], labels[20:, 1::2] = 0, 1
    crop = ScaledCrop("absolute", (10, 10), single_category_max_area=0.55)
    for _ in range(100):
        (top, left, height, width), _ = crop.draw(labels, 1.0)
        assert (labels[top : top + height, left : left + width] != 255).any()


def test_where_the_limit_cannot_hold_the_best_window_is_kept() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(8, 40, dtype=torch.uint8)
    labels[:, 39] = 1
    crop = ScaledCrop("absolute", (8, 39), single_category_max_area=0.5)
    assert [crop.draw(labels, 1.0)[0] for _ in range(20)].count((0, 1, 8, 39)) >= 19


def test_balanced_crops_show_each_class_of_a_picture_equally_often() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(60, 80, dtype=torch.uint8)
    labels[:, 70:] = 255
    labels[57:59, 3:5] = 7  # four pixels of 4800
    crop = ScaledCrop("absolute", (10, 12), class_balance=1.0, single_category_max_area=0.5)
    windows = [crop.draw(labels, 1.0)[0] for _ in range(400)]
    assert all(t >= 0 and left >= 0 and t + 10 <= 60 and left + 12 <= 80 for t, left, *_ in windows)
    cut = [labels[t : t + h, left : left + w] for t, left, h, w in windows]
    assert all((part != 255).any() for part in cut)
    share = sum(bool((part == 7).any()) for part in cut) / len(cut)
    assert 0.42 < share < 0.6  # half, and some of the windows around the other class


def test_a_picture_without_labels_has_no_class_to_be_put_around() -> None:
    labels = torch.full((20, 20), 255, dtype=torch.uint8)
    window, size = ScaledCrop("absolute", (8, 8), class_balance=1.0).draw(labels, 1.0)
    assert (window[2:], size) == ((8, 8), (8, 8))


def test_distortion_changes_colours_and_nothing_else() -> None:
    torch.manual_seed(0)
    labels = blocks(40, 40, 8)
    image = torch.randint(256, (3, 40, 40), dtype=torch.uint8)
    transform = TrainTransform(scale_range=(1, 1), crop=None, flip="none", color_aug=True)
    results = [transform(image, labels) for _ in range(20)]
    assert all((moved == labels).all() for _, moved in results)
    assert len({picture.numpy().tobytes() for picture, _ in results}) > 10


def test_the_order_of_bytes_changes_nothing_but_the_speed() -> None:
    """Files come as (H, W, 3); planes of their own would give the same sample."""
    labels = blocks(90, 120, 8)
    planes = torch.randint(256, (3, 90, 120), dtype=torch.uint8)
    view = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    transform = TrainTransform(
        scale_range=(0.5, 2),
        crop=ScaledCrop("absolute", (40, 50)),
        flip="horizontal",
        color_aug=True,
    )
    for seed in range(10):
        samples = []
        for image in (planes, view):
            torch.manual_seed(seed)
            samples.append(transform(image, labels))
            assert samples[-1][0].is_contiguous()
        assert all(torch.equal(one, other) for one, other in zip(*samples, strict=True))


@pytest.mark.parametrize("ignore_label", [255, 7, 0, -1, 400])
def test_the_largest_share_counts_labelled_pixels(ignore_label: int) -> None:
    narrow = 0 <= ignore_label <= 255
    crop = ScaledCrop("absolute", (1, 1), single_category_max_area=0.5, ignore_label=ignore_label)
    labels = torch.tensor([[1, 1, 2, ignore_label], [1, 3, ignore_label, ignore_label]])
    labels = labels.to(torch.uint8 if narrow else torch.int64)
    assert crop._largest_share(labels) == 3 / 5
    assert crop._largest_share(labels[:, 3:]) == 2.0  # nothing but void


def test_half_of_the_samples_are_flipped() -> None:
    torch.manual_seed(0)
    labels = torch.arange(20, dtype=torch.uint8).expand(20, -1).contiguous()
    transform = TrainTransform(scale_range=(1, 1), crop=None, flip="horizontal", color_aug=False)
    flipped = [bool(transform(picture_of(labels), labels)[1][0, 0] == 19) for _ in range(200)]
    assert 70 < sum(flipped) < 130


def test_the_scale_is_log_uniform() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(100, 100, dtype=torch.uint8)
    transform = TrainTransform(scale_range=(0.5, 2.0), crop=None, flip="none", color_aug=False)
    sides = [transform(picture_of(labels), labels)[1].shape[0] for _ in range(300)]
    assert 50 <= min(sides) < 60 < 180 < max(sides) <= 200
    assert 110 < sum(side > 100 for side in sides) < 190


@pytest.mark.parametrize(
    ("kind", "size", "limit", "key"),
    [
        ("random", (1, 1), 1.0, "INPUT.CROP.TYPE"),
        ("absolute", (0, 10), 1.0, "INPUT.CROP.SIZE"),
        ("absolute", (10.5, 10), 1.0, "INPUT.CROP.SIZE"),
        ("absolute", (10,), 1.0, "INPUT.CROP.SIZE"),
        ("relative", (0.5, 1.5), 1.0, "INPUT.CROP.SIZE"),
        ("relative_range", (0.0, 0.5), 1.0, "INPUT.CROP.SIZE"),
        ("relative", (0.5, 0.5), 0.0, "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA"),
        ("relative", (0.5, 0.5), 1.5, "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA"),
    ],
)
def test_senseless_crops_are_refused_by_key(
    kind: str, size: tuple[float, ...], limit: float, key: str
) -> None:
    with pytest.raises(UserError, match=key):
        ScaledCrop(kind, size, single_category_max_area=limit)


@pytest.mark.parametrize(
    ("scale_range", "flip", "key"),
    [
        ((2.0, 0.5), "none", "INPUT.SCALE_RANGE"),
        ((0.0, 1.0), "none", "INPUT.SCALE_RANGE"),
        ((1.0,), "none", "INPUT.SCALE_RANGE"),
        ((1.0, 1.0), "diagonal", "INPUT.RANDOM_FLIP"),
    ],
)
def test_senseless_augmentation_is_refused_by_key(
    scale_range: tuple[float, ...], flip: str, key: str
) -> None:
    with pytest.raises(UserError, match=key):
        TrainTransform(scale_range=scale_range, crop=None, flip=flip, color_aug=False)


@pytest.mark.parametrize(
    ("size", "min_size", "max_size", "expected"),
    [
        ((60, 80), 0, 1, (60, 80)),
        ((60, 80), 120, 1000, (120, 160)),
        ((80, 60), 30, 1000, (40, 30)),
        ((60, 80), 120, 100, (75, 100)),
        ((1, 999), 1, 100, (1, 100)),
    ],
)
def test_test_pictures_are_resized_by_their_shorter_side(
    size: tuple[int, int], min_size: int, max_size: int, expected: tuple[int, int]
) -> None:
    image = torch.zeros(3, *size, dtype=torch.uint8)
    assert resize_shortest_edge(image, min_size, max_size).shape == (3, *expected)


def test_a_vertical_flip_turns_half_of_all_samples_upside_down() -> None:
    transform = TrainTransform(scale_range=(1.0, 1.0), crop=None, flip="vertical", color_aug=False)
    labels = torch.arange(6, dtype=torch.uint8)[:, None].expand(6, 8).contiguous()
    results = [transform(picture_of(labels), labels) for _ in range(200)]
    turned = sum(torch.equal(moved, labels.flip(0)) for _, moved in results)
    assert 60 < turned < 140
    assert all(
        torch.equal(moved, labels) or torch.equal(moved, labels.flip(0)) for _, moved in results
    )
    assert all(torch.equal(image, picture_of(moved)) for image, moved in results)


def test_a_crop_of_an_absolute_range_has_any_size_between_and_fits_the_picture() -> None:
    crop = ScaledCrop("absolute_range", (10, 40))
    labels = torch.zeros(30, 60, dtype=torch.uint8)
    sizes = [crop.draw(labels, 1.0)[1] for _ in range(400)]
    assert {height for height, _ in sizes} == set(range(10, 31))
    assert {width for _, width in sizes} == set(range(10, 41))


@pytest.mark.parametrize("size", [(40, 10), (0, 10), (10.5, 20), (10,)])
def test_senseless_absolute_ranges_are_refused_by_key(size: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"INPUT\.CROP\.SIZE"):
        ScaledCrop("absolute_range", size)


@pytest.mark.parametrize(
    ("sizes", "sampling", "expected"),
    [
        ((20, 40), "choice", {20, 40}),
        ((20, 24), "range", set(range(20, 25))),
        ((0, 15), "choice", {30, 15}),
    ],
)
def test_the_shorter_side_is_drawn(
    sizes: tuple[int, ...], sampling: str, expected: set[int]
) -> None:
    transform = TrainTransform(
        scale_range=(9.0, 9.0),
        crop=None,
        flip="none",
        color_aug=False,
        shorter_side=ShorterSide(sizes, 1000, sampling),
    )
    labels = torch.zeros(30, 60, dtype=torch.uint8)
    shapes = {tuple(transform(picture_of(labels), labels)[1].shape) for _ in range(100)}
    assert shapes == {(side, 2 * side) for side in expected}


def test_the_longer_side_has_a_limit() -> None:
    side = ShorterSide((100,), 120, "choice")
    transform = TrainTransform(
        scale_range=(1.0, 1.0), crop=None, flip="none", color_aug=False, shorter_side=side
    )
    labels = torch.zeros(30, 60, dtype=torch.uint8)
    assert transform(picture_of(labels), labels)[1].shape == (60, 120)


@pytest.mark.parametrize(
    ("sizes", "max_size", "sampling", "key"),
    [
        ((), 10, "choice", "MIN_SIZE_TRAIN"),
        ((-1,), 10, "choice", "MIN_SIZE_TRAIN"),
        ((3,), 10, "range", "MIN_SIZE_TRAIN"),
        ((5, 3), 10, "range", "MIN_SIZE_TRAIN"),
        ((3, 5), 0, "range", "MAX_SIZE_TRAIN"),
        ((3, 5), 10, "any", "MIN_SIZE_TRAIN_SAMPLING"),
    ],
)
def test_senseless_sizes_are_refused_by_key(
    sizes: tuple[int, ...], max_size: int, sampling: str, key: str
) -> None:
    with pytest.raises(UserError, match=key):
        ShorterSide(sizes, max_size, sampling)
