"""Label maps to coverage: exact shares, void nowhere."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipmask.losses.targets import LabelSpace, class_index, count_pairs, in_slots, make_targets


def test_coverage_is_the_share_of_labelled_pixels() -> None:
    label = torch.tensor(
        [[0, 0, 1, 1], [0, 0, 1, 255], [2, 2, 255, 255], [2, 0, 255, 255]], dtype=torch.uint8
    )
    targets = make_targets([label], (2, 2), stride=2, num_classes=3, spaces=[LabelSpace(3, 255)])
    assert targets.coverage[0, :, 0, 0].tolist() == [1, 0, 0]
    assert targets.coverage[0, :, 0, 1].tolist() == [0, 1, 0]
    assert targets.coverage[0, :, 1, 0].tolist() == [0.25, 0, 0.75]
    assert targets.coverage[0, :, 1, 1].tolist() == [0, 0, 0]
    assert targets.weight[0].tolist() == [[1, 0.75], [1, 0]]
    assert targets.present[0].tolist() == [True, True, True]


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**31 - 1))
def test_no_labelled_pixel_is_lost_or_made(
    height: int, width: int, classes: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes + 2, (height, width), generator=generator)
    grid = (-(-height // 4), -(-width // 4))
    targets = make_targets(
        [label], grid, stride=4, num_classes=classes, spaces=[LabelSpace(classes, classes)]
    )
    pixels = (targets.coverage * targets.weight[:, None]).sum((2, 3))[0] * 16
    expected = torch.stack([(label == index).sum() for index in range(classes)]).float()
    torch.testing.assert_close(pixels, expected)
    assert targets.present[0].tolist() == (expected > 0).tolist()
    assert count_pairs([label], [LabelSpace(classes, classes)], 4).item() == min(
        4, (expected > 0).sum().item()
    )


def test_slots_keep_what_is_labelled() -> None:
    """Targets of an image's own classes are those of all classes without the absent ones."""
    labels = [
        torch.randint(0, 9, (16, 24)),
        torch.randint(2, 5, (16, 24)),
        torch.full((16, 24), 255),
    ]
    spaces = [LabelSpace(7, 255)] * 3
    whole = make_targets(labels, (4, 6), 4, 7, spaces)
    most = int(whole.present.sum(1).max())
    classes = torch.full((3, most), -1)
    for image, present in enumerate(whole.present):
        own = present.nonzero().flatten()
        classes[image, : len(own)] = own
    slots = make_targets(
        in_slots(labels, classes, 7, spaces), (4, 6), 4, most, [LabelSpace(most, most)] * 3
    )
    assert torch.equal(slots.weight, whole.weight)
    for image in range(3):
        own = classes[image][classes[image] >= 0]
        assert torch.equal(slots.coverage[image, : len(own)], whole.coverage[image, own])
        assert (slots.coverage[image, len(own) :] == 0).all()


def test_padding_is_void() -> None:
    label = torch.zeros(5, 3, dtype=torch.uint8)
    wide = make_targets([label], (4, 4), 4, 2, [LabelSpace(2, 255)])
    assert wide.weight.sum() * 16 == 15
    assert wide.present.tolist() == [[True, False]]


def test_ignore_label_may_be_any_id() -> None:
    label = torch.tensor([[0, 1], [11, 255]])
    assert class_index(label, LabelSpace(11, 11), 11).tolist() == [[0, 1], [11, 11]]
    assert class_index(label, LabelSpace(3, 0), 5).tolist() == [[5, 1], [5, 5]]


def test_images_of_one_batch_may_have_lists_and_void_of_their_own() -> None:
    """Each as if it stood alone: what is a class of one is void in another."""
    labels = [torch.randint(0, 12, (16, 24)) for _ in range(3)]
    spaces = [LabelSpace(11, 11), LabelSpace(3, 255), LabelSpace(7, 0)]
    together = make_targets(labels, (4, 6), 4, 11, spaces)
    for image, (label, space) in enumerate(zip(labels, spaces, strict=True)):
        alone = make_targets([label], (4, 6), 4, space.num_classes, [space])
        assert torch.equal(together.coverage[image, : space.num_classes], alone.coverage[0])
        assert torch.equal(together.weight[image], alone.weight[0])
        assert not together.present[image, space.num_classes :].any()
    counted = [
        count_pairs([label], [space], 20) for label, space in zip(labels, spaces, strict=True)
    ]
    assert count_pairs(labels, spaces, 20) == sum(counted) == together.present.sum()
