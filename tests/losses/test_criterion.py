"""The criterion: zero at the truth, void and padding nowhere, splits change nothing, memory stays
small.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clipmask.config import get_cfg
from clipmask.errors import UserError
from clipmask.losses.criterion import Criterion
from clipmask.losses.mask_losses import BinaryCrossEntropy, Dice
from clipmask.losses.targets import LabelSpace, count_pairs


@pytest.fixture(params=[4, 2, 1], ids=lambda stride: f"stride{stride}")
def criterion(request: pytest.FixtureRequest) -> Criterion:
    return Criterion(
        255,
        class_weight=2.0,
        mask_losses=[BinaryCrossEntropy(5.0), Dice(5.0)],
        no_object_weight=0.1,
        loss_stride=request.param,
    )


def predictions(
    layers: int, batch: int, queries: int, classes: int, grid: tuple[int, int], dim: int = 8
) -> list[Tensor]:
    return [
        torch.randn(layers, batch, queries, classes + 1, requires_grad=True),
        torch.randn(layers, batch, queries, dim, requires_grad=True),
        torch.randn(batch, dim, *grid, requires_grad=True),
    ]


def test_keys_and_signs(criterion: Criterion) -> None:
    labels = [torch.randint(0, 3, (32, 32))]
    losses = criterion(*predictions(3, 1, 5, 3, (8, 8)), labels)
    assert set(losses) == {f"loss_{n}{s}" for n in ("cls", "bce", "dice") for s in ("", "_0", "_1")}
    assert all(value.ndim == 0 and value > 0 for value in losses.values())


def test_a_mask_loss_of_weight_zero_is_left_out() -> None:
    cfg = get_cfg()
    cfg.MODEL.CLIPMASK.DICE_WEIGHT = 0.0
    plain = Criterion.from_config(cfg, 255)
    losses = plain(*predictions(1, 1, 5, 3, (8, 8)), [torch.randint(0, 3, (32, 32))])
    assert set(losses) == {"loss_cls", "loss_bce"}


def test_without_any_mask_loss_there_is_no_criterion() -> None:
    cfg = get_cfg()
    cfg.MODEL.CLIPMASK.BCE_WEIGHT = cfg.MODEL.CLIPMASK.DICE_WEIGHT = 0.0
    with pytest.raises(UserError) as caught:
        Criterion.from_config(cfg, 255)
    assert caught.value.key == "MODEL.CLIPMASK.BCE_WEIGHT"


def test_a_new_mask_loss_is_one_class() -> None:
    class Focused(BinaryCrossEntropy):
        name = "focused"

    losses = [BinaryCrossEntropy(5.0), Focused(2.0)]
    criterion = Criterion(255, class_weight=2.0, mask_losses=losses, no_object_weight=0.1)
    values = criterion(*predictions(2, 1, 5, 3, (8, 8)), [torch.randint(0, 3, (32, 32))])
    assert {"loss_focused", "loss_focused_0"} <= set(values)
    torch.testing.assert_close(values["loss_focused"] / 2, values["loss_bce"] / 5)


def test_losses_vanish_at_the_truth(criterion: Criterion) -> None:
    label = torch.zeros(32, 32, dtype=torch.uint8)
    label[:, 16:] = 2
    pixels = torch.stack([label == k for k in range(3)]).float()[None, :, ::4, ::4] * 80 - 40
    logits = torch.full((1, 1, 4, 4), -30.0)
    embed = torch.zeros(1, 1, 4, 3)
    for query, kind in enumerate([2, 3, 0, 3]):
        logits[0, 0, query, kind] = 30
        if kind < 3:
            embed[0, 0, query, kind] = 1
    for name, value in criterion(logits, embed, pixels, [label]).items():
        # Enlarged, the edge between cells passes through 0: right, but not certain, in one pixel of
        # 16 at most.
        assert value < (1e-3 if criterion.loss_stride == 4 else 0.2), name


def test_fewer_queries_than_classes(criterion: Criterion) -> None:
    """Equal logits: each matched query costs log(K + 1), whatever the number of classes that found
    none.
    """
    label = torch.arange(8).repeat_interleave(4)[:, None].expand(32, 32)
    logits, embed, pixels = (
        torch.zeros(1, 1, 2, 9),
        torch.randn(1, 1, 2, 8),
        torch.randn(1, 8, 8, 8),
    )
    losses = criterion(logits, embed, pixels, [label])
    torch.testing.assert_close(losses["loss_cls"], 2 * torch.tensor(9.0).log())


def test_void_and_padding_count_nowhere(criterion: Criterion) -> None:
    label = torch.randint(0, 3, (24, 32))
    label[:8] = 255
    logits, embed, pixels = predictions(2, 1, 5, 3, (8, 8))
    expected = criterion(logits, embed, pixels, [label])
    spoiled = pixels.detach().clone()
    # The void rows; where masks are enlarged, half of the last one's cells belongs to the labelled
    # pixels beside them.
    spoiled[..., : 2 if criterion.loss_stride == 4 else 1, :] = 1e3
    spoiled[..., 6:, :] = -1e3  # rows of padding
    for name, value in criterion(logits, embed, spoiled, [label]).items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_a_batch_in_parts_gives_the_same_loss_and_gradient(criterion: Criterion) -> None:
    labels = [torch.randint(0, 4, (32, 32)) for _ in range(4)]
    labels[0][:] = 255
    parts = predictions(2, 4, 6, 4, (8, 8))
    whole = criterion(*parts, labels)
    sum(whole.values()).backward()  # type: ignore[union-attr]
    gradients = [part.grad.clone() for part in parts if part.grad is not None]
    for part in parts:
        part.grad = None
    normalizer = torch.stack([count_pairs(labels, [LabelSpace(4, 255)] * 4, 6), torch.tensor(4.0)])
    total = dict.fromkeys(whole, 0.0)
    for chunk in (slice(0, 1), slice(1, 4)):
        losses = criterion(
            parts[0][:, chunk], parts[1][:, chunk], parts[2][chunk], labels[chunk], normalizer
        )
        sum(losses.values()).backward()  # type: ignore[union-attr]
        total = {name: total[name] + value.item() for name, value in losses.items()}
    for name, value in whole.items():
        assert total[name] == pytest.approx(value.item(), rel=1e-5), name
    for part, expected in zip(parts, gradients, strict=True):
        torch.testing.assert_close(part.grad, expected, rtol=1e-4, atol=1e-7)


def test_a_batch_of_void_alone_trains_no_mask(criterion: Criterion) -> None:
    logits, embed, pixels = predictions(2, 1, 5, 3, (8, 8))
    losses = criterion(logits, embed, pixels, [torch.full((32, 32), 255)])
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert losses["loss_bce"] == 0
    assert embed.grad is None or (embed.grad == 0).all()
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest result, and of all results that a mask could
    be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if (
                isinstance(value, Tensor)
                and value.numel() == value.untyped_storage().nbytes() // value.element_size()
            ):
                self.largest = max(self.largest, value.numel())
        return result


def test_masks_are_compared_as_inference_reads_them() -> None:
    """At stride 1 the loss of a lone image is that of its enlarged logits with its own pixels."""
    label = torch.randint(0, 3, (20, 28))
    label[:3] = 255
    fine = Criterion(
        255,
        class_weight=0.0,
        mask_losses=[BinaryCrossEntropy(1.0)],
        no_object_weight=0.1,
        loss_stride=1,
    )
    logits, embed, pixels = (
        torch.zeros(1, 1, 3, 4),
        torch.eye(3)[None, None],
        torch.randn(1, 3, 8, 8),
    )
    value = fine(logits, embed, pixels, [label])["loss_bce"]
    # Three queries, three classes: of all pairings, the one that the matcher takes.
    masks = F.interpolate(pixels[..., :5, :7], size=(20, 28), mode="bilinear")[0]
    found = fine.matcher(logits, embed, pixels, fine.matching_targets([label], pixels, 3)).query[
        0, 0
    ]
    losses = [
        F.binary_cross_entropy_with_logits(masks[found[k]][3:], (label[3:] == k).float()).item()
        for k in range(3)
    ]
    assert value.item() == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize("layers", [2, 10])
def test_memory_does_not_grow_with_layers_times_masks(criterion: Criterion, layers: int) -> None:
    """No tensor reaches queries x full size, nor layers x queries x quarter size: only matched
    masks are kept.
    """
    queries, classes, height, width = 60, 3, 128, 128
    parts = predictions(layers, 1, queries, classes, (height // 4, width // 4))
    with LargestTensor() as mode:
        losses = criterion(*parts, [torch.randint(0, classes, (height, width))])
        sum(losses.values()).backward()  # type: ignore[union-attr]
    cells = height * width // 16
    one_layer_of_the_matching = queries * cells // 4
    matched_masks = layers * classes * cells * (4 // criterion.loss_stride) ** 2
    label_map = height * width
    assert mode.largest <= max(one_layer_of_the_matching, matched_masks, label_map)
    assert mode.largest < layers * queries * cells
