"""Matching: permutation, batch = single, absent classes, hard cases, and one transfer a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clipmask.losses.mask_losses import BinaryCrossEntropy, Dice
from clipmask.losses.matcher import Matcher, assign
from clipmask.losses.targets import LabelSpace, Targets, make_targets


@pytest.fixture
def matcher() -> Matcher:
    return Matcher(2.0, [BinaryCrossEntropy(5.0), Dice(5.0)])


def problem(
    layers: int = 3, batch: int = 2, queries: int = 6, classes: int = 4
) -> tuple[Tensor, Tensor, Tensor, Targets]:
    labels = [torch.randint(0, classes + 1, (24, 32)) for _ in range(batch)]
    targets = make_targets(labels, (3, 4), 8, classes, [LabelSpace(classes, classes)] * batch)
    return (
        torch.randn(layers, batch, queries, classes + 1),
        torch.randn(layers, batch, queries, 5),
        torch.randn(batch, 5, 6, 8),
        targets,
    )


def test_permuting_queries_permutes_matches(matcher: Matcher) -> None:
    logits, embed, pixels, targets = problem()
    order = torch.randperm(6)
    plain = matcher(logits, embed, pixels, targets)
    permuted = matcher(logits[:, :, order], embed[:, :, order], pixels, targets)
    assert torch.equal(order[permuted.query], plain.query)


def test_batch_equals_single(matcher: Matcher) -> None:
    logits, embed, pixels, targets = problem()
    together = matcher(logits, embed, pixels, targets)
    for image in range(2):
        part = slice(image, image + 1)
        alone = matcher(
            logits[:, part],
            embed[:, part],
            pixels[part],
            Targets(*(value[part] for value in targets)),
        )
        count = int((alone.label >= 0).sum())
        assert torch.equal(together.query[:, image, :count], alone.query[:, 0, :count])


def test_each_present_class_gets_one_query_of_its_own(matcher: Matcher) -> None:
    logits, embed, pixels, targets = problem()
    matches = matcher(logits, embed, pixels, targets)
    for image in range(2):
        present = targets.present[image].nonzero().flatten()
        assert matches.label[image, : len(present)].tolist() == present.tolist()
        for layer in range(3):
            queries = matches.query[layer, image, : len(present)].tolist()
            assert len(set(queries)) == len(present)
            assert min(queries) >= 0


def test_the_obvious_pairing_is_found(matcher: Matcher) -> None:
    label = torch.zeros(16, 16, dtype=torch.long)
    label[:, 8:] = 1
    targets = make_targets([label], (2, 2), 8, 2, [LabelSpace(2, 255)])
    pixels = (
        make_targets([label], (4, 4), 4, 2, [LabelSpace(2, 255)]).coverage * 20 - 10
    )  # channel k is high where class k is
    embed = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]).view(1, 1, 3, 2)
    matches = matcher(torch.zeros(1, 1, 3, 3), embed, pixels, targets)
    assert matches.query.tolist() == [[[2, 1]]]


def test_more_classes_than_queries_and_no_class_at_all() -> None:
    present = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    query, label = assign(np.random.default_rng(0).random((1, 2, 2, 4)), present)
    assert sorted(query[0, 0].tolist()).count(-1) == 1
    assert query[0, 1].tolist() == [-1, -1, -1]
    assert label.tolist() == [[0, 1, 2], [-1, -1, -1]]
    query, label = assign(
        np.random.default_rng(0).random((2, 1, 3, 4)), np.zeros((1, 4), dtype=bool)
    )
    assert query.tolist() == [[[-1]], [[-1]]]
    assert label.tolist() == [[-1]]


def test_diverged_predictions_still_match(matcher: Matcher) -> None:
    logits, embed, pixels, targets = problem()
    matches = matcher(torch.full_like(logits, float("nan")), embed * float("inf"), pixels, targets)
    assert (matches.query >= 0).any()


class CountTransfers(TorchDispatchMode):
    """Records every operation; ``.item()``, ``bool(tensor)``, ``nonzero`` and the like would make
    the host wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_one_transfer_a_step(matcher: Matcher, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, embed, pixels, targets = problem(layers=5, batch=3)
    transfers: list[tuple[int, ...]] = []
    original = Tensor.cpu

    def counted(self: Tensor) -> Tensor:
        transfers.append(tuple(self.shape))
        return original(self)

    monkeypatch.setattr(Tensor, "cpu", counted)
    with CountTransfers() as mode:
        matcher(logits, embed, pixels, targets)
    assert transfers == [(5 * 3 * 6 * 4 + 3 * 4,)]
    hidden = {"aten::_local_scalar_dense", "aten::nonzero", "aten::item", "aten::masked_select"}
    assert not hidden & set(mode.names), (
        "something in the matching reads from the device besides the one transfer"
    )
