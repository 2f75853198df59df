"""Each image's own text: encoded once, centred, padded, left out in training, and read from dataset
dicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from clipmask.errors import UserError
from clipmask.modeling.text_embedding import TextEmbedding
from clipmask.text.image_text import ImageText, padded_rows
from clipmask.text.sources import RandomSource
from clipmask.vocabulary import Term
from tests.terms import terms


class Counting(RandomSource):
    """Notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        self.asked += [text.text for text in texts]
        return super().encode_texts(texts, device)


@pytest.fixture
def source() -> Counting:
    return Counting()


@pytest.fixture
def encoder(source: Counting) -> TextEmbedding:
    return TextEmbedding(lambda: source, terms(["road", "sky"])).eval()


BATCH: list[dict[str, Any]] = [
    {"text": ["a road", "rain", "a road"]},
    {"text": "rain"},
    {},
    {"text": ["", "  "]},
]


def test_rows_are_padded_and_masked(encoder: TextEmbedding) -> None:
    T = encoder()
    rows, valid = ImageText(0.5).eval()(BATCH, [T] * 4, encoder.encode_texts)
    assert rows.shape == (4, 3, 512)
    assert valid is not None
    assert valid.tolist() == [
        [True] * 3,
        [True, False, False],
        [True, True, False],
        [True, True, False],
    ]
    rain = RandomSource().encode(terms(["rain"]))[0] - encoder.mean
    torch.testing.assert_close(rows[0, 1], rain)
    torch.testing.assert_close(rows[1, 0], rain)
    for image in (2, 3):  # without text: the vocabulary's rows
        torch.testing.assert_close(rows[image, :2], T)


def test_without_padding_there_is_no_mask_and_without_text_there_is_t(
    encoder: TextEmbedding,
) -> None:
    T, module = encoder(), ImageText(0.0)
    rows, valid = module([{"text": ["a", "b"]}, {}], [T] * 2, encoder.encode_texts)
    assert rows.shape == (2, 2, 512)
    assert valid is None
    rows, valid = module([{}, {"text": None}, {"text": ""}], [T] * 3, encoder.encode_texts)
    assert rows is T
    assert valid is None


def test_each_string_is_encoded_once(encoder: TextEmbedding, source: Counting) -> None:
    module, T = ImageText(0.0), encoder()
    for _ in range(3):
        module(BATCH, [T] * 4, encoder.encode_texts)
    module([{"text": ["rain", "snow"]}], [T], encoder.encode_texts)
    assert source.asked == ["a road", "rain", "snow"]


def test_a_share_is_left_out_in_training_alone(encoder: TextEmbedding) -> None:
    module, T, batch = ImageText(0.3), encoder(), [{"text": "rain"}] * 2000
    _, valid = module(batch, [T] * 2000, encoder.encode_texts)
    assert valid is not None
    left_out = valid.all(1).float().mean()  # the vocabulary has two rows, the text one
    assert left_out == pytest.approx(0.3, abs=0.05)
    torch.manual_seed(3)
    first = module(batch, [T] * 2000, encoder.encode_texts)[1]
    torch.manual_seed(3)
    second = module(batch, [T] * 2000, encoder.encode_texts)[1]
    assert torch.equal(first, second)
    state = torch.get_rng_state()
    assert module.eval()(batch, [T] * 2000, encoder.encode_texts)[0].shape == (2000, 1, 512)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("text", [3, b"rain", ["rain", 1], ("rain",), {"rain": 1}])
def test_what_is_no_text_is_named_with_its_file(encoder: TextEmbedding, text: object) -> None:
    with pytest.raises(
        UserError, match=r"image a/b\.png: its 'text' is .*a string or a list of strings"
    ):
        ImageText(0.0)([{"file_name": "a/b.png", "text": text}], [encoder()], encoder.encode_texts)


def test_rows_of_lists_of_different_lengths_are_padded_behind() -> None:
    first, second = torch.randn(3, 8), torch.randn(5, 8)
    rows, valid = padded_rows([first, second, first])
    assert valid is not None
    assert valid.sum(1).tolist() == [3, 5, 3]
    assert torch.equal(rows[0, :3], first)
    assert torch.equal(rows[1], second)
    assert (rows[~valid] == 0).all()
