"""Learned context and learned tower: gradients reach them and nothing else; the formulas; new
names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from clipmask.errors import UserError
from clipmask.text.clip_encoder import load_tower
from clipmask.text.learned import LearnedContext, LearnedTower
from clipmask.text.sources import ClipSource
from tests.terms import terms, texts

CPU = torch.device("cpu")
NAMES = ["road", "car;automobile", "sky"]


@pytest.fixture
def open_source(tiny_clip: Path) -> Callable[[], ClipSource]:
    return functools.cache(lambda: ClipSource("tiny-clip", str(tiny_clip), ["a {}"]))


@pytest.mark.parametrize("per_class", [False, True])
def test_context_learns_and_the_tower_does_not(
    open_source: Callable[[], ClipSource], per_class: bool
) -> None:
    learner = LearnedContext(open_source, 4, 32, terms(NAMES) if per_class else None)
    T = learner.encode(terms(NAMES))
    torch.testing.assert_close(T.norm(dim=1), torch.ones(3))
    (T * torch.randn(3, 24)).sum().backward()
    assert [name for name, _ in learner.named_parameters()] == ["context"]
    assert learner.context.grad is not None
    assert (learner.context.grad.flatten(0, -2) != 0).any(-1).all()  # each of the vectors
    tower = open_source().tower(CPU)
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in tower.parameters()
    )


def test_context_stands_before_each_synonym(open_source: Callable[[], ClipSource]) -> None:
    learner, tower = LearnedContext(open_source, 4, 32, terms(NAMES)), open_source().tower(CPU)
    with torch.no_grad():
        T = learner.encode(terms(NAMES))
        parts = tower(tower.tokenize(["car", "automobile"], room=4), learner.context[1])
    torch.testing.assert_close(T[1], F.normalize(F.normalize(parts, dim=-1).mean(0), dim=-1))


def test_shared_context_takes_new_names_and_that_of_a_class_does_not(
    open_source: Callable[[], ClipSource],
) -> None:
    shared, own = (
        LearnedContext(open_source, 4, 32),
        LearnedContext(open_source, 4, 32, terms(NAMES)),
    )
    with torch.no_grad():
        torch.testing.assert_close(
            shared.encode(terms(["tree", "road"]))[1], shared.encode(terms(NAMES))[0]
        )
    with pytest.raises(UserError, match=r"CONTEXT_PER_CLASS.*road, car;automobile, sky"):
        own.encode(terms(["sky", "road", "tree"]))


def test_clip_is_loaded_when_it_is_needed_and_texts_have_no_context(
    open_source: Callable[[], ClipSource], tiny_clip: Path
) -> None:
    learner = LearnedContext(open_source, 4, 32)
    rows = learner.encode_texts(texts("road"), CPU)
    plain = ClipSource("tiny-clip", str(tiny_clip), ["{}"])
    torch.testing.assert_close(rows, plain.encode_texts(texts("road"), CPU))


def test_the_whole_tower_learns(tiny_clip: Path) -> None:
    learner = LearnedTower(load_tower("tiny-clip", str(tiny_clip)), ["a {}", "the {}"])
    T = learner.encode(terms(NAMES))
    expected = ClipSource("tiny-clip", str(tiny_clip), ["a {}", "the {}"]).encode(terms(NAMES))
    torch.testing.assert_close(T, expected, rtol=1e-4, atol=1e-5)
    (T * torch.randn(3, 24)).sum().backward()
    assert [
        name for name, p in learner.named_parameters() if p.grad is None or not (p.grad != 0).any()
    ] == []
    learner.zero_grad()
    learner.encode_texts(texts("a wet road"), CPU).sum().backward()
    assert all(parameter.grad is not None for parameter in learner.parameters())
