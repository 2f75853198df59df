"""The text tower equals open_clip's own encoding in every layout, and takes learned vectors before
a text.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F

from clipmask.errors import UserError
from clipmask.text.clip_encoder import ClipTextEncoder, load_tower, token_width, uses_quick_gelu
from tests.conftest import PATIENCE, ROOT, write_clip
from tests.forked import run_forked

# As SigLIP's: every token sees every other, the last place is read, and no token stands before the
# text.
BOTH_WAYS = {"context_length": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "clip": {},
    "quick-clip": {"quick_gelu": True},
    "custom-text-clip": {"custom_text": True},
    "both-ways": {"custom_text": True, "text_cfg": BOTH_WAYS, "init_logit_bias": -10},
    "coca": {
        "custom_text": True,
        "text_cfg": {"context_length": 76, "embed_cls": True, "output_tokens": True},
        "vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "multimodal_cfg": {
            "context_length": 76,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    },
}


@pytest.fixture(params=LAYOUTS)
def layout(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """The name and the weights of a small model in one of open_clip's layouts."""
    name = f"tiny-{request.param}"
    changes = {
        key: dict(value) if isinstance(value, dict) else value
        for key, value in LAYOUTS[request.param].items()
    }
    if request.param == "both-ways":
        plain = open_clip.SimpleTokenizer(context_length=65)

        def without_start(texts: list[str], context_length: int = 64) -> torch.Tensor:
            return plain(texts, context_length + 1)[:, 1:]

        monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: without_start)
    return name, str(write_clip(name, tmp_path, monkeypatch, **changes))


@torch.no_grad()
def test_the_tower_is_open_clips(layout: tuple[str, str]) -> None:
    name, weights = layout
    tower, texts = load_tower(name, weights), ["a road", "a very long zebra crossing " * 30, ""]
    model = open_clip.create_model(name, weights).eval()
    ids = open_clip.get_tokenizer(name)(texts)
    assert torch.equal(tower.tokenize(texts), ids)
    # as CoCa's are
    own, expected = (F.normalize(rows, dim=-1) for rows in (tower(ids), model.encode_text(ids)))
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)
    names = [key for key, _ in tower.named_parameters()]
    assert not [key for key in names if "visual" in key or "logit" in key or "decoder" in key]


@torch.no_grad()
def test_vectors_of_words_are_as_good_as_the_words(layout: tuple[str, str]) -> None:
    tower = load_tower(*layout)
    words, names = "a photo of a", ["road", "zebra crossing"]
    start = 0 if tower.tokenize(["road", "sky"])[:, 0].unique().numel() > 1 else 1
    context = tower.encoder.token_embedding(tower.tokenize([words])[0, start : start + 4])  # (4, W)
    said = tower(tower.tokenize([f"{words} {name}" for name in names]))
    put_in = tower(tower.tokenize(names, room=4), context)
    torch.testing.assert_close(put_in, said)
    each = tower(tower.tokenize(names, room=4), torch.stack([context, torch.zeros_like(context)]))
    torch.testing.assert_close(each[0], said[0])
    assert not torch.allclose(each[1], said[1], atol=1e-3)
    # nothing is left
    torch.testing.assert_close(tower(tower.tokenize(names)), tower(tower.tokenize(names, room=0)))


def test_gradients_reach_vectors_through_a_frozen_tower(layout: tuple[str, str]) -> None:
    tower = load_tower(*layout).requires_grad_(False)
    context = torch.randn(3, 32, requires_grad=True)
    ids, direction = tower.tokenize(["road"], room=3), torch.randn(24)

    def along(vectors: torch.Tensor) -> torch.Tensor:
        return (tower(ids, vectors) * direction).sum()

    (gradient,) = torch.autograd.grad(along(context), context)
    step = 1e-2 * torch.randn(3, 32)
    with torch.no_grad():
        difference = (along(context + step) - along(context - step)) / 2
    torch.testing.assert_close((gradient * step).sum(), difference, rtol=2e-2, atol=1e-4)


def test_long_names_keep_their_end_and_leave_room(tiny_clip: Path) -> None:
    tower = load_tower("tiny-clip", str(tiny_clip))
    ids = tower.tokenize(["word " * 100, "road"], room=16)
    assert ids.shape == (2, 77)
    assert ids[0, -1] == ids.max()  # the end of the text, where CLIP reads its features


def test_many_texts_go_in_parts(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = load_tower("tiny-clip", str(tiny_clip))
    ids, context = tower.tokenize(["road", "sky", "tree"], room=2), torch.randn(3, 2, 32)
    whole = tower(ids, context)
    monkeypatch.setattr("clipmask.text.clip_encoder.CHUNK", 2)
    torch.testing.assert_close(tower(ids, context), whole)


def test_loading_draws_nothing_and_training_mode_is_refused(tiny_clip: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with torch.inference_mode():
        tower = load_tower("tiny-clip", str(tiny_clip))
        ids = tower.tokenize(["road"])
    assert torch.equal(torch.rand(3), expected)
    assert not tower.train().training
    tower(ids).sum().backward()  # what was made in inference mode can be trained with
    assert next(tower.parameters()).grad is not None


def test_loading_sets_up_no_log(tiny_clip: Path) -> None:
    """In a process of its own: pytest has handlers at the root already."""
    config = dict(open_clip.factory._MODEL_CONFIGS["tiny-clip"])
    code = (
        f"import logging, open_clip; open_clip.factory._MODEL_CONFIGS['tiny-clip'] = {config!r}\n"
        "from clipmask.text.clip_encoder import load_tower\n"
        f"load_tower('tiny-clip', {str(tiny_clip)!r})\nassert not logging.getLogger().handlers"
    )
    result = run_forked(["python", "-c", code], ROOT, os.environ, PATIENCE)
    assert result.returncode == 0, result.stderr


def test_an_average_of_weights_spoils_no_mask(tiny_clip: Path) -> None:
    mask = load_tower("tiny-clip", str(tiny_clip)).encoder.attn_mask
    assert torch.equal(torch.lerp(mask, mask, 0.1), mask)


def test_the_structure_alone_needs_no_weights(tiny_clip: Path) -> None:
    tower, empty = (
        load_tower("tiny-clip", str(tiny_clip)),
        ClipTextEncoder("tiny-clip", quick_gelu=False),
    )
    tiny_clip.unlink()
    empty.load_state_dict(tower.state_dict())
    torch.testing.assert_close(empty(empty.tokenize(["road"])), tower(tower.tokenize(["road"])))


def test_the_tag_knows_its_activation() -> None:
    assert uses_quick_gelu("ViT-B-16", "openai")
    assert uses_quick_gelu("ViT-B-16-quickgelu", "a/file.pt")
    assert not uses_quick_gelu("ViT-B-16", "laion2b_s34b_b88k")


def test_towers_that_take_no_context() -> None:
    assert token_width("ViT-B-16", 16) == 512
    with pytest.raises(
        UserError, match=r"roberta-ViT-B-32 comes from Hugging Face.*frozen or full"
    ):
        token_width("roberta-ViT-B-32", 16)
    with pytest.raises(UserError, match="CONTEXT_LENGTH 70: must be 1 to 38"):
        token_width("ViT-B-16", 70)
