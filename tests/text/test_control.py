"""The controls of the experiment: what they keep of T and what they take away, and that names alone decide."""

from __future__ import annotations

import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask import build_model
from clipmask.errors import UserError
from clipmask.modeling.text_embedding import TextEmbedding
from clipmask.text.control import dealt_names, random_rows
from clipmask.text.sources import RandomSource
from tests.conftest import NAMES

DEVICE = torch.device("cpu")


def encoder(control: str, names: tuple[str, ...] = NAMES, draw: int = 0) -> TextEmbedding:
    return TextEmbedding(Crowded, names, control=control, draw=draw).eval()


class Crowded(RandomSource):
    """Vectors that lie about a common centre, as CLIP's do, at different distances."""

    def encode(self, names, aliases):  # type: ignore[no-untyped-def]
        rows = super().encode(names, aliases)
        lengths = torch.tensor([0.2 + 0.1 * len(name) for name in names])[:, None]
        return torch.nn.functional.normalize(lengths * rows + super().encode(["all"], {}), dim=1)

    def encode_texts(self, texts, aliases, device):  # type: ignore[no-untyped-def]
        return self.encode(texts, aliases)


def test_random_text_keeps_the_norms_and_nothing_else() -> None:
    plain, control = encoder(""), encoder("random")
    real, drawn = plain(), control()
    torch.testing.assert_close(drawn.norm(dim=1), real.norm(dim=1), rtol=1e-5, atol=1e-6)
    assert torch.equal(control.mean, plain.mean)
    cosines = torch.nn.functional.cosine_similarity(drawn, real)
    assert cosines.abs().max() < 0.2
    units = torch.nn.functional.normalize(drawn, dim=1)
    assert (units @ units.T).fill_diagonal_(0).abs().max() < 0.2


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_order_of_the_names_does_not_count(control: str) -> None:
    forwards, backwards = encoder(control)(), encoder(control, NAMES[::-1])()
    torch.testing.assert_close(forwards, backwards.flip(0))


def test_a_name_keeps_its_random_direction_in_every_vocabulary() -> None:
    text = encoder("random")
    trained = text().clone()
    text.set_vocabulary(["fence", *NAMES[::-1]])
    seen = text()
    torch.testing.assert_close(seen[1:].flip(0), trained)
    other = encoder("random", ("fence", "lake"))
    directions = [torch.nn.functional.normalize(rows, dim=0) for rows in (seen[0], other()[0])]
    torch.testing.assert_close(*directions)
    text.set_vocabulary(list(NAMES))
    torch.testing.assert_close(text(), trained)


def test_shuffled_text_is_the_same_vectors_under_other_names() -> None:
    real, dealt = encoder("")(), encoder("shuffled")()
    cells = torch.cdist(dealt, real) < 1e-5
    assert cells.sum(0).tolist() == cells.sum(1).tolist() == [1] * len(NAMES)
    assert not cells.diagonal().any()
    text = encoder("shuffled")
    text.set_vocabulary([*NAMES, "fence"])  # which was not there to be dealt out
    torch.testing.assert_close(text()[:-1], dealt)
    torch.testing.assert_close(text()[-1] + text.mean, Crowded().encode(["fence"], {})[0])


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_the_text_of_an_image_is_that_of_its_classes(control: str) -> None:
    text = encoder(control)
    rows = text()
    torch.testing.assert_close(text.encode_texts(["sky", "road"]), rows[[1, 0]])


def test_another_draw_is_another_random_text_of_the_same_norms() -> None:
    first, second = encoder("random", draw=1)(), encoder("random", draw=2)()
    torch.testing.assert_close(first.norm(dim=1), second.norm(dim=1))
    assert torch.nn.functional.cosine_similarity(first, second).abs().max() < 0.2
    assert torch.equal(encoder("random", draw=2)(), second)
    text = encoder("random", draw=2)
    rows = text()
    torch.testing.assert_close(text.encode_texts(["sky", "road"]), rows[[1, 0]])


def test_another_draw_deals_otherwise() -> None:
    names = [f"class {index}" for index in range(11)]
    dealt = [tuple(dealt_names(names, draw).items()) for draw in range(5)]
    assert len({frozenset(pairs) for pairs in dealt}) == 5
    assert all(name != other for pairs in dealt for name, other in pairs)
    a, b = (encoder("shuffled", tuple(names), draw)() for draw in (0, 1))
    assert not torch.allclose(a, b)
    torch.testing.assert_close(a.sum(0), b.sum(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", range(2, 12))
def test_none_keeps_its_own(count: int) -> None:
    names = [f"class {index}" for index in range(count)]
    dealt = dealt_names(names)
    assert sorted(dealt) == sorted(dealt.values()) == sorted(names)
    assert all(name != other for name, other in dealt.items())
    assert dealt_names(names[::-1]) == dealt


def test_these_are_the_numbers_of_every_machine() -> None:
    """A result file stands for them: another draw would be another experiment."""
    rows = random_rows(torch.eye(2, 4), ["road", "Sky "], torch.zeros(4))
    expected = torch.tensor([[-0.7863, -0.5140, -0.3429, -0.0025], [0.5998, 0.5494, -0.5626, -0.1479]])
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-4)
    assert dealt_names(["sky", "road", "tree"]) == {"sky": "road", "road": "tree", "tree": "sky"}


def test_one_class_can_not_be_shuffled() -> None:
    with pytest.raises(UserError, match="road is the only class"):
        encoder("shuffled", ("road",))


def test_it_is_a_key_of_the_config(small_cfg: CfgNode) -> None:
    def T(control: str) -> torch.Tensor:
        small_cfg.MODEL.CLIP.CONTROL = control
        return build_model(small_cfg, NAMES).eval().text()

    real, random, shuffled = T(""), T("random"), T("shuffled")
    assert not torch.allclose(real, random)
    torch.testing.assert_close(real.sum(0), shuffled.sum(0), rtol=0, atol=1e-5)
    assert not torch.allclose(real, shuffled)
    small_cfg.MODEL.CLIP.CONTROL_DRAW = 1
    assert not torch.allclose(random, T("random"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CONTROL": "noise"}, r"MODEL.CLIP.CONTROL 'noise': use nothing or random or shuffled"),
        ({"CONTROL": "random", "TOWER": "context", "EMBEDDINGS": ""}, "control of a fixed T"),
        ({"CONTROL": "random", "CONTROL_DRAW": -1}, "CONTROL_DRAW -1: a whole number from 0"),
        ({"CONTROL_DRAW": 1}, "CONTROL_DRAW 1: .*0 without a MODEL.CLIP.CONTROL"),
    ],
)
def test_wrong_settings(small_cfg: CfgNode, changes: dict[str, str | int], message: str) -> None:
    for key, value in changes.items():
        small_cfg.MODEL.CLIP[key] = value
    with pytest.raises(UserError, match=message):
        build_model(small_cfg, NAMES)
