"""Logits of names to logits of classes: members add up, lists of different lengths meet, nothing
else changes.
"""

from __future__ import annotations

import torch

from clipmask.text.class_logits import class_columns, class_logits
from clipmask.vocabulary import Vocabulary

FINE = Vocabulary.from_names(["road", "car", "bus"])
COARSE = Vocabulary.from_metadata(
    {
        "stuff_classes": ["vehicles", "road", "alive"],
        "class_members": {"vehicles": ["car", "bus"], "alive": ["person", "animal"]},
    }
)


def test_plain_classes_are_left_as_they_are() -> None:
    logits = torch.randn(2, 3, 5, 4)
    assert class_columns(FINE) is None
    assert class_logits(logits, [None] * 3, [3] * 3) is logits


def test_probabilities_of_members_add_up() -> None:
    logits = torch.randn(2, 1, 5, 6)
    own = class_logits(logits, [class_columns(COARSE)], [3]).softmax(-1)
    names = logits.softmax(-1)
    expected = torch.stack(
        [
            names[..., 0] + names[..., 1],
            names[..., 2],
            names[..., 3] + names[..., 4],
            names[..., 5],
        ],
        dim=-1,
    )
    torch.testing.assert_close(own, expected)


def test_the_gradient_of_a_coarse_class_is_that_of_the_sum_over_its_members() -> None:
    logits = torch.randn(1, 1, 4, 6, dtype=torch.float64, requires_grad=True)
    coarse = class_logits(logits, [class_columns(COARSE)], [3]).log_softmax(-1)[..., 0].sum()
    (found,) = torch.autograd.grad(coarse, logits)
    fine = logits.softmax(-1)[..., :2].sum(-1).log().sum()
    (expected,) = torch.autograd.grad(fine, logits)
    torch.testing.assert_close(found, expected)


def test_images_with_lists_of_their_own() -> None:
    """Each is scored as if it stood alone; classes that it lacks have no probability and no
    gradient.
    """
    logits = torch.randn(2, 2, 5, 6, requires_grad=True)
    vocabularies = [Vocabulary.from_names(["road", "car", "bus", "sky", "tree"]), COARSE]
    together = class_logits(logits, [class_columns(each) for each in vocabularies], [5, 3])
    assert together.shape == (2, 2, 5, 6)
    probabilities = together.softmax(-1)
    assert (probabilities[:, 1, :, 3:5] == 0).all()
    alone = class_logits(logits[:, 1:], [class_columns(COARSE)], [3]).softmax(-1)
    torch.testing.assert_close(probabilities[:, 1, :, [0, 1, 2, 5]], alone[:, 0])
    together.log_softmax(-1)[:, 1, :, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 0] == 0).all()


def test_the_second_dataset_of_a_linear_classifier_has_columns_of_its_own() -> None:
    logits = torch.randn(1, 2, 3, 7)
    columns = [torch.arange(3).unsqueeze(1), torch.arange(3, 6).unsqueeze(1)]
    found = class_logits(logits, columns, [3, 3])
    assert torch.equal(found[:, 0], logits[:, 0][..., [0, 1, 2, 6]])
    assert torch.equal(found[:, 1], logits[:, 1][..., [3, 4, 5, 6]])
