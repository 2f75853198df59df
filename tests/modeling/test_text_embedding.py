"""T in the model: computed once, on first use, never when it came with the weights; with them,
where it is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from clipmask.errors import UserError
from clipmask.modeling.text_embedding import TextEmbedding
from clipmask.text.sources import RandomSource
from clipmask.vocabulary import Term, Vocabulary
from tests.terms import terms


class Source:
    """Counts how often it is asked."""

    width = 6

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, names: Sequence[Term]) -> Tensor:
        self.calls += 1
        rows = [[len(name.text), 1.0, 2, 3, 4, ord(name.text[0])] for name in names]
        return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


def test_computed_once_on_first_use() -> None:
    source = Source()
    text = TextEmbedding(lambda: source, terms(["road", "sky"]))
    assert source.calls == 0
    first = text()
    assert torch.equal(text(), first)
    assert source.calls == 1
    torch.testing.assert_close(first.sum(0), torch.zeros(6), atol=1e-6, rtol=0)


def test_never_computed_when_it_came_with_the_weights() -> None:
    trained = TextEmbedding(Source, terms(["road", "sky"]))
    trained.prepare()
    source = Source()
    loaded = TextEmbedding(lambda: source, terms(["road", "sky"]))
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded(), trained())
    assert source.calls == 0


def rows_of(text: TextEmbedding, *names: str, embeddings: str = "") -> Tensor:
    return text.select(text(), Vocabulary.from_names(names, embeddings))


def test_another_vocabulary_keeps_the_centre() -> None:
    text = TextEmbedding(Source, terms(["road", "sky"]))
    text()
    centre = text.mean.clone()
    rows = rows_of(text, "zebra", "road", "tree")
    assert torch.equal(text.mean, centre)
    torch.testing.assert_close(rows, Source().encode(terms(["zebra", "road", "tree"])) - centre)


def test_names_of_the_training_need_no_source() -> None:
    source = Source()
    text = TextEmbedding(lambda: source, terms(["road", "sky", "tree"]))
    T = text()
    assert torch.equal(rows_of(text, "tree", "road"), T[[2, 0]])
    assert text.select(T, Vocabulary.from_names(["road", "sky", "tree"])) is T
    assert source.calls == 1


def test_other_names_are_encoded_once() -> None:
    source = Source()
    text = TextEmbedding(lambda: source, terms(["road", "sky"]))
    first = rows_of(text, "zebra", "road")
    assert torch.equal(rows_of(text, "zebra", "road"), first)
    assert source.calls == 2


def test_changed_prompts_are_reason_to_encode_a_trained_name() -> None:
    source = Source()
    text = TextEmbedding(lambda: source, terms(["road", "sky"]))
    T = text()
    metadata = {"stuff_classes": ["road", "sky"], "class_prompts": {"road": ["a wet {}"]}}
    text.select(T, Vocabulary.from_metadata(metadata))
    assert source.calls == 2


def test_a_vocabulary_with_a_source_of_its_own() -> None:
    text = TextEmbedding(RandomSource, terms(["road", "sky"]))
    T = text()
    given = text.select(T, Vocabulary.from_names(["road", "tree"], "random"))
    torch.testing.assert_close(given + text.mean, RandomSource().encode(terms(["road", "tree"])))


def test_a_single_class_is_not_its_own_centre() -> None:
    assert TextEmbedding(Source, terms(["road"]))().abs().sum() > 0


def test_a_source_stays_closed_while_it_is_not_needed() -> None:
    def missing() -> Source:
        raise UserError("no CLIP here")

    trained = TextEmbedding(Source, terms(["road", "sky"]))
    trained.prepare()
    text = TextEmbedding(missing, terms(["road", "sky"]), width=6)
    text.load_state_dict(trained.state_dict())
    assert torch.equal(text(), trained())
    with pytest.raises(UserError, match="no CLIP here"):
        rows_of(text, "tree")
    with pytest.raises(UserError, match="no CLIP here"):
        TextEmbedding(missing, terms(["road"]))


def test_embeddings_of_another_width() -> None:
    with pytest.raises(UserError, match="have width 6, the model was trained with 4"):
        TextEmbedding(Source, terms(["road", "sky"]), width=4).prepare()


@pytest.mark.parametrize("others", [["cat", "dog"], ["cat", "dog", "cow"]])
def test_weights_of_other_names_leave_the_text_to_the_model(
    others: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Also where they are as many, and the loader knows of tensors alone, as Detectron2's does."""
    trained = TextEmbedding(RandomSource, terms(others))
    trained.prepare()
    text = TextEmbedding(RandomSource, terms(["road", "sky"]))
    expected = TextEmbedding(RandomSource, terms(["road", "sky"]))()
    text.load_state_dict(trained.state_dict())
    assert "other class names than road, sky" in caplog.text
    assert torch.equal(text(), expected)


def test_older_weights_that_do_not_name_their_classes_are_taken() -> None:
    trained = TextEmbedding(RandomSource, terms(["road", "sky"]))
    trained.prepare()
    state = trained.state_dict()
    del state["vocabulary"]

    def missing() -> RandomSource:
        raise AssertionError("T came with the weights")

    text = TextEmbedding(missing, terms(["road", "sky"]), width=RandomSource.width)
    text.load_state_dict(state)
    assert torch.equal(text(), trained())


class Learner(nn.Module):
    """Rows that follow from one weight; counts how often it is asked."""

    changes_texts = True

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.calls = nn.Parameter(torch.tensor(1.0)), 0

    def encode(self, names: Sequence[Term]) -> Tensor:
        self.calls += 1
        rows = torch.tensor([[len(name.text), ord(name.text[0]), 1.0, 2, 3, 4] for name in names])
        return torch.nn.functional.normalize(
            rows * torch.stack([self.scale, *torch.ones(5)]), dim=1
        )

    def encode_texts(self, texts: Sequence[Term], device: torch.device) -> Tensor:
        return self.encode(texts)


def learned(width: int | None = None) -> tuple[TextEmbedding, Learner]:
    learner = Learner()
    return TextEmbedding(Source, terms(["road", "sky"]), width=width, learner=learner), learner


def test_a_learned_t_has_gradients_in_training_and_is_kept_in_evaluation() -> None:
    text, learner = learned()
    T = text.train()()
    torch.testing.assert_close(T.sum(0), torch.zeros(6), atol=1e-6, rtol=0)
    T[0, 0].backward()
    assert learner.scale.grad is not None
    text()
    assert learner.calls == 2
    text.eval()
    with torch.inference_mode():
        first = text()
    assert torch.equal(text(), first)
    assert not text().requires_grad
    assert learner.calls == 3
    torch.testing.assert_close(first, T.detach())


def test_a_step_and_loading_make_a_learned_t_anew() -> None:
    text, learner = learned()
    before = text.eval()()
    text.train()()
    with torch.no_grad():
        learner.scale += 3  # a training step
    after = text.eval()()
    assert not torch.allclose(after, before)
    other, _ = learned()
    other.prepare()
    text.load_state_dict(other.state_dict())
    torch.testing.assert_close(text(), before)


def test_weights_hold_the_t_that_belongs_to_them() -> None:
    text, learner = learned()
    text.prepare()
    text.train()()
    with torch.no_grad():
        learner.scale += 3
    saved = text.state_dict()
    loaded, fresh = learned(width=6)
    loaded.load_state_dict(saved)
    assert torch.equal(loaded.eval()(), text.eval()())
    assert fresh.calls == 0
    torch.testing.assert_close(saved["embedding"], learner.encode(terms(["road", "sky"])).detach())


def test_weights_without_the_learners_own_are_no_reason_to_believe_their_t() -> None:
    frozen = TextEmbedding(Source, terms(["road", "sky"]))
    frozen.prepare()
    text, learner = learned()
    text.load_state_dict(frozen.state_dict(), strict=False)
    torch.testing.assert_close(
        text.eval()() + text.mean, learner.encode(terms(["road", "sky"])).detach()
    )


def test_a_model_that_was_never_asked_saves_without_asking() -> None:
    text, learner = learned(width=6)
    text.state_dict()
    assert learner.calls == 0


def test_another_vocabulary_of_a_learned_text() -> None:
    text, learner = learned()
    text.eval()()
    torch.testing.assert_close(
        rows_of(text, "zebra", "road") + text.mean,
        learner.encode(terms(["zebra", "road"])).detach(),
    )
    with pytest.raises(UserError, match="learned its own text embeddings"):
        rows_of(text, "zebra", embeddings="random")


def test_texts_follow_a_learned_tower() -> None:
    text, learner = learned()
    text.train()()
    assert text.encode_texts(["rain"]).requires_grad
    text.eval()()
    row = text.encode_texts(["rain"])
    calls = learner.calls
    assert torch.equal(text.encode_texts(["rain"]), row)
    assert learner.calls == calls
    text.train()()
    with torch.no_grad():
        learner.scale += 3
    text.eval()()
    assert not torch.allclose(text.encode_texts(["rain"]), row)


def test_weights_saved_before_T_was_asked_for_are_no_T() -> None:
    early, late = (TextEmbedding(RandomSource, terms(("road", "sky"))) for _ in range(2))
    late.load_state_dict(early.state_dict())
    assert late().abs().sum() > 0


def test_terms_may_be_texts() -> None:
    text = TextEmbedding(RandomSource, ["road", "car;auto"])
    assert text.terms == tuple(terms(["road", "car;auto"]))
