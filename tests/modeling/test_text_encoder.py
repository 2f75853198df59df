"""T in the model: computed once, on first use, and never when it came with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from clipmask.errors import UserError
from clipmask.modeling.text_encoder import TextEncoder


class Source:
    """Counts how often it is asked."""

    width = 6

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Tensor:
        self.calls += 1
        return torch.nn.functional.normalize(torch.tensor([[len(n), 1.0, 2, 3, 4, ord(n[0])] for n in names]), dim=1)


def test_computed_once_on_first_use() -> None:
    source = Source()
    text = TextEncoder(lambda: source, ["road", "sky"])
    assert source.calls == 0
    first = text()
    assert torch.equal(text(), first)
    assert source.calls == 1
    torch.testing.assert_close(first.sum(0), torch.zeros(6), atol=1e-6, rtol=0)


def test_never_computed_when_it_came_with_the_weights() -> None:
    trained = TextEncoder(Source, ["road", "sky"])
    trained.prepare()
    source = Source()
    loaded = TextEncoder(lambda: source, ["road", "sky"])
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded(), trained())
    assert source.calls == 0


def test_another_vocabulary_keeps_the_centre() -> None:
    text = TextEncoder(Source, ["road", "sky"])
    centre = text().mean(0) + text.mean
    text.set_vocabulary(["zebra", "road", "tree"])
    assert text().shape == (3, 6)
    assert text.names == ("zebra", "road", "tree")
    torch.testing.assert_close(text.mean, centre)


def test_a_single_class_is_not_its_own_centre() -> None:
    assert TextEncoder(Source, ["road"])().abs().sum() > 0


def test_a_source_stays_closed_while_it_is_not_needed() -> None:
    def missing() -> Source:
        raise UserError("no CLIP here")

    trained = TextEncoder(Source, ["road", "sky"])
    trained.prepare()
    text = TextEncoder(missing, ["road", "sky"], width=6)
    text.load_state_dict(trained.state_dict())
    assert torch.equal(text(), trained())
    with pytest.raises(UserError, match="no CLIP here"):
        text.set_vocabulary(["tree"])
    with pytest.raises(UserError, match="no CLIP here"):
        TextEncoder(missing, ["road"])


def test_embeddings_of_another_width() -> None:
    with pytest.raises(UserError, match="have width 6, the model was trained with 4"):
        TextEncoder(Source, ["road", "sky"], width=4).prepare()


def test_weights_of_another_vocabulary_do_not_fit() -> None:
    trained = TextEncoder(Source, ["road", "sky", "tree"])
    with pytest.raises(RuntimeError, match="size mismatch"):
        TextEncoder(Source, ["road", "sky"]).load_state_dict(trained.state_dict())
