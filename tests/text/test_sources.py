"""Sources of T: rows found by name, synonyms averaged, CLIP's tower alone, its cache, clear
errors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from clipmask.errors import UserError
from clipmask.text.sources import ClipSource, FileSource, RandomSource, text_source
from tests.terms import terms, texts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.npz"
    rows = np.eye(4, 6, dtype=np.float32)
    np.savez(
        path,
        names=np.array(["Road", "sky", "traffic sign", "automobile"]),
        embeddings=rows,
        note=np.array("x"),
    )
    return path


def test_rows_are_found_by_name_in_any_case_and_order(file: Path) -> None:
    rows = FileSource(file).encode(terms(["SKY", "road"]))
    assert rows.argmax(1).tolist() == [1, 0]


def test_aliases_and_synonyms(file: Path) -> None:
    rows = FileSource(file).encode(
        terms(["sign", "car;automobile", "road;sky"], {"sign": ["sign symbol", "traffic sign"]})
    )
    assert rows[:2].argmax(1).tolist() == [2, 3]
    torch.testing.assert_close(rows[2, :2], torch.full((2,), 0.5**0.5))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_a_missing_name_is_named(file: Path) -> None:
    with pytest.raises(UserError, match=r"no row for 'fence', 'pole'.*it holds Road, sky"):
        FileSource(file).encode(terms(["road", "fence", "pole"]))


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        FileSource(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(UserError, match="not an .npz"):
        FileSource(tmp_path / "text.npz")
    np.savez(tmp_path / "short.npz", names=np.array(["a"]), embeddings=np.ones((2, 3)))
    with pytest.raises(UserError, match="must be"):
        FileSource(tmp_path / "short.npz")
    np.savez(
        tmp_path / "object.npz", names=np.array(["a"], dtype=object), embeddings=np.ones((1, 3))
    )
    with pytest.raises(UserError, match="not an .npz"):
        FileSource(tmp_path / "object.npz")


def test_random_vectors_belong_to_names() -> None:
    first = RandomSource().encode(terms(["road", "Sky"]))
    second = RandomSource().encode(terms(["sky", "tree", "road"]))
    torch.testing.assert_close(first, second[[2, 0]])
    torch.testing.assert_close(first.norm(dim=1), torch.ones(2))
    assert (second @ second.T).fill_diagonal_(0).abs().max() < 0.3


def test_clip_embeds_names_with_prompts(tiny_clip: Path) -> None:
    source = ClipSource("tiny-clip", str(tiny_clip), ["a {}", "the {}"])
    assert source.width == 24
    rows = source.encode(terms(["road", "car;automobile"]))
    model, tokenizer = (
        open_clip.create_model("tiny-clip", str(tiny_clip)).eval(),
        open_clip.get_tokenizer("tiny-clip"),
    )
    with torch.no_grad():
        parts = torch.nn.functional.normalize(
            model.encode_text(tokenizer(["a road", "the road"])), dim=1
        )
    torch.testing.assert_close(
        rows[0], torch.nn.functional.normalize(parts.mean(0), dim=0), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


def test_the_cache_saves_the_tower(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["road", "sky"]
    first = ClipSource("tiny-clip", str(tiny_clip), ["{}"]).encode(terms(names))
    loads: list[int] = []
    monkeypatch.setattr("clipmask.text.sources.load_tower", lambda *args: loads.append(1))
    again = ClipSource("tiny-clip", str(tiny_clip), ["{}"])
    assert torch.equal(again.encode(terms(names)), first)
    assert not loads
    with pytest.raises(AttributeError):  # other names, other prompts: not from the cache
        again.encode(terms(["sky", "road"]))
    with pytest.raises(AttributeError):
        ClipSource("tiny-clip", str(tiny_clip), ["a {}"]).encode(terms(names))
    assert len(loads) == 2


def test_a_class_may_have_prompts_of_its_own(tiny_clip: Path) -> None:
    def rows(own: dict[str, list[str]], prompts: list[str]) -> torch.Tensor:
        return ClipSource("tiny-clip", str(tiny_clip), prompts).encode(
            terms(["car;tram", "sky"], prompts=own)
        )

    plain, street = rows({}, ["a {}"]), rows({}, ["the {} here", "one {}"])
    own = rows({"car;tram": ["the {} here", "one {}"], "other": ["x"]}, ["a {}"])
    torch.testing.assert_close(own, torch.stack([street[0], plain[1]]))
    # the cache tells them apart
    assert torch.equal(rows({"car;tram": ["the {} here", "one {}"]}, ["a {}"]), own)
    assert torch.equal(rows({}, ["a {}"]), plain)
    whole = rows({"sky": ["clouds above"]}, ["a {}"])[1]
    torch.testing.assert_close(
        whole, ClipSource("tiny-clip", str(tiny_clip), ["{}"]).encode(terms(["clouds above"]))[0]
    )


def test_texts_are_taken_as_they_are_written(tiny_clip: Path) -> None:
    source, device = ClipSource("tiny-clip", str(tiny_clip), ["a {}"]), torch.device("cpu")
    text = "two cars; a wet road"
    model, tokenizer = (
        open_clip.create_model("tiny-clip", str(tiny_clip)).eval(),
        open_clip.get_tokenizer("tiny-clip"),
    )
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.encode_text(tokenizer([text])), dim=1)
    rows = source.encode_texts(texts("road", text, "word " * 500), device)
    torch.testing.assert_close(rows[1:2], expected, rtol=1e-4, atol=1e-5)
    # cut at 77 tokens
    torch.testing.assert_close(rows[2:], source.encode_texts(texts("word " * 90), device))
    assert torch.equal(rows[1:2], source.encode_texts(texts(text), device))
    assert source.tower(device) is source.tower(device)
    assert not any(parameter.requires_grad for parameter in source.tower(device).parameters())


def test_texts_in_files_and_without_knowledge(file: Path) -> None:
    device = torch.device("cpu")
    rows = FileSource(file).encode_texts(
        [*texts("SKY"), *texts("lorry", aliases=["automobile"])], device
    )
    assert rows.argmax(1).tolist() == [1, 3]
    with pytest.raises(UserError, match=r"no row for 'a street', 'rain'"):
        FileSource(file).encode_texts(texts("a street", "rain", "sky"), device)
    rows = RandomSource().encode_texts(texts("car;bus", "Car", "a car"), device)
    torch.testing.assert_close(rows[1], RandomSource().encode(terms(["car"]))[0])
    assert (rows @ rows.T).fill_diagonal_(0).abs().max() < 0.3


def test_a_row_of_synonyms_is_found_by_its_own_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", names=np.array(["car;bus", "car"]), embeddings=np.eye(2))
    assert FileSource(tmp_path / "text.npz").encode(terms(["Car;bus", "car", "car;tram"])).argmax(
        1
    ).tolist() == [
        0,
        1,
        1,
    ]


def test_a_damaged_cache_is_written_again(tiny_clip: Path, tmp_path: Path) -> None:
    source = ClipSource("tiny-clip", str(tiny_clip), ["{}"])
    first = source.encode(terms(["road"]))
    (cached,) = (tmp_path / "cache" / "text").iterdir()
    cached.write_bytes(b"PK half a file")
    assert torch.equal(source.encode(terms(["road"])), first)
    assert FileSource(cached).names == ["road"]


def test_clip_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="near: .*ViT-B-16"):
        ClipSource("ViT-B16", "openai", ["single"])
    with pytest.raises(UserError, match=r"its tags: .*openai"):
        ClipSource("ViT-B-16", "closedai", ["single"])
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"EMBEDDINGS to an .npz.*random"):
        ClipSource("ViT-B-16", str(tmp_path / "bad.pt"), ["single"]).encode(terms(["road"]))


def test_choice_by_config(file: Path) -> None:
    assert isinstance(text_source("ViT-B-16", "openai", "random", ["single"]), RandomSource)
    assert isinstance(text_source("ViT-B-16", "openai", str(file), ["single"]), FileSource)
    assert isinstance(text_source("ViT-B-16", "openai", "", ["single"]), ClipSource)


def test_real_embeddings(test_data: Path) -> None:
    from clipmask.d2 import MetadataCatalog

    camvid = MetadataCatalog.get("camvid_sem_seg_train")
    for name in ("camvid11_clip_vitb16.npz", "cityscapes19_clip_vitb16.npz"):
        rows = FileSource(test_data / "clip_text" / name).encode(
            terms(camvid.stuff_classes, camvid.class_aliases)
        )
        assert rows.shape == (11, 512)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(11), rtol=1e-4, atol=1e-4)


def test_a_name_without_a_word_is_refused() -> None:
    with pytest.raises(UserError, match=r"class name ' ; ' holds no word"):
        RandomSource().encode(terms(["road", " ; "]))


def test_texts_are_looked_up_whole(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        names=np.array(["wet snow", "a road; at night"]),
        embeddings=np.eye(2, dtype="f4"),
    )
    source = FileSource(tmp_path / "a.npz")
    found = source.encode_texts(texts("a road; at night"), torch.device("cpu"))
    assert torch.equal(found, torch.eye(2)[1:])
    with pytest.raises(UserError, match="no row for 'a road at noon; wet snow'"):
        source.encode_texts(texts("a road at noon; wet snow"), torch.device("cpu"))
