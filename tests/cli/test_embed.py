"""The command writes what training and demo read, and each mistake is one paragraph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipmask.cli.embed import main
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.text.sources import ClipSource, FileSource
from tests.terms import terms


@pytest.fixture
def tiny(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that choose the small CLIP; the test runs in its folder."""
    monkeypatch.chdir(tiny_clip.parent)
    return ["--model", "tiny-clip", "--pretrained", str(tiny_clip)]


def test_names_from_the_command_line(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--names",
        "road, sky;heavens,zebra crossing,road",
        "--prompts",
        "a {}",
        "the {}",
        "--output",
        "a/b.npz",
    ]
    assert main([*tiny, *words]) == 0
    captured = capsys.readouterr()
    told = (
        f"3 names (road, sky;heavens, zebra crossing), 24 numbers each, from tiny-clip ({tiny[-1]})"
        " in 2 prompt(s)"
    )
    assert captured.out == f"a/b.npz: {told}\n"
    names = ["road", "sky;heavens", "zebra crossing"]
    expected = ClipSource("tiny-clip", tiny[-1], ["a {}", "the {}"]).encode(terms(names))
    rows = FileSource("a/b.npz").encode(terms(["Zebra crossing", "sky;heavens", "road"]))
    torch.testing.assert_close(rows, expected[[2, 1, 0]])
    with np.load("a/b.npz", allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == names
        assert arrays["prompts"].tolist() == ["a {}", "the {}"]
        assert (str(arrays["model"]), str(arrays["pretrained"])) == ("tiny-clip", tiny[-1])
    assert sorted(path.name for path in Path("a").iterdir()) == ["b.npz"]


def test_names_of_a_dataset_and_of_a_file(tiny: list[str], tmp_path: Path) -> None:
    """Of a dataset the names alone: its files need not be there."""
    assert (
        main(
            [*tiny, "--dataset", "camvid_sem_seg_train", "--prompts", "single", "--output", "c.npz"]
        )
        == 0
    )
    assert FileSource("c.npz").names == MetadataCatalog.get("camvid_sem_seg_train").stuff_classes
    Path("mine.py").write_text(
        "from clipmask.d2 import DatasetCatalog, MetadataCatalog\n"
        "DatasetCatalog.register('embed_mine', list)\n"
        "MetadataCatalog.get('embed_mine').set(stuff_classes=['wheat', 'path'])\n"
    )
    words = [
        "--register",
        "mine.py",
        "--dataset",
        "embed_mine",
        "--prompts",
        "single",
        "--output",
        "m.npz",
    ]
    assert main([*tiny, *words]) == 0
    assert FileSource("m.npz").names == ["wheat", "path"]
    Path("names.txt").write_text("snow\nrain, heavy\n")
    assert main([*tiny, "--names", "names.txt", "--prompts", "single", "--output", "n.npz"]) == 0
    assert FileSource("n.npz").names == ["snow", "rain, heavy"]


def test_classes_of_a_descriptor_in_their_own_prompts(tiny: list[str], tmp_path: Path) -> None:
    for folder in ("i", "l"):
        (tmp_path / folder).mkdir()
    classes = "[{name: car, synonyms: [tram], prompts: ['the {} here']}, sky]"
    Path("embed_d.yaml").write_text(f"images: i\nlabels: l\nclasses: {classes}\n")
    assert main([*tiny, "--dataset", "embed_d.yaml", "--prompts", "a {}", "--output", "d.npz"]) == 0
    source = FileSource("d.npz")
    assert source.names == ["car;tram", "sky"]
    expected = [ClipSource("tiny-clip", tiny[-1], [prompt]) for prompt in ("the {} here", "a {}")]
    torch.testing.assert_close(
        source.encode(terms(source.names)),
        torch.stack(
            [expected[0].encode(terms(["car;tram"]))[0], expected[1].encode(terms(["sky"]))[0]]
        ),
    )


def test_mistakes_are_one_paragraph(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    for words, message in [
        ([*tiny, "--names", "road", "--output", "x.npy"], "ends in .npz"),
        ([*tiny, "--names", " , ", "--output", "x.npz"], "--names  , : holds no class name"),
        ([*tiny, "--dataset", "nowhere", "--output", "x.npz"], "'nowhere' is not registered"),
        (
            [*tiny, "--names", "road", "--prompts", "a photo", "--output", "x.npz"],
            "MODEL.CLIP.PROMPTS ['a photo']",
        ),
        ([*tiny, "--names", "road", "--output", "file/x.npz"], "its folder can't be"),
        (["--names", "road", "--model", "ViT-B16", "--output", "x.npz"], "near: "),
        (
            ["--names", "road", "--pretrained", "mine.pt", "--output", "x.npz"],
            "neither a file nor a tag of ViT-B-16",
        ),
        (
            [*tiny, "--dataset", "d", "--register", "gone.py", "--output", "x.npz"],
            "gone.py: no such file",
        ),
    ]:
        assert main(words) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert not Path("x.npz").exists()


@pytest.mark.parametrize("words", [[], ["--names", "road", "--dataset", "d"]])
def test_names_or_a_dataset(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--output", "x.npz"])
    assert "--names" in capsys.readouterr().err


def test_help_has_examples_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "examples:",
        "(default: ViT-B-16)",
        "(default: openai)",
        "(default: ['imagenet'])",
    ):
        assert words in text
    assert "None" not in text


def test_rows_of_files_in_place_of_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Of the first file that has a name, under an alias if need be; a name that none has is
    told.
    """
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", names=np.array(["road", "vegetation"]), embeddings=np.eye(3)[:2])
    np.savez("b.npz", names=np.array(["road", "sky"]), embeddings=np.eye(3)[[2, 1]])
    np.savez("wide.npz", names=np.array(["sky"]), embeddings=np.eye(4)[:1])
    MetadataCatalog.get("embed_first").set(
        stuff_classes=["road", "tree"], class_aliases={"tree": ["vegetation"]}
    )
    MetadataCatalog.get("embed_second").set(stuff_classes=["sky", "road"])
    for name in ("embed_first", "embed_second"):
        DatasetCatalog.register(name, list)
    words = ["--dataset", "embed_first", "embed_second", "--output", "c.npz", "--from"]
    try:
        assert main([*words, "a.npz", "b.npz"]) == 0
        with np.load("c.npz", allow_pickle=False) as arrays:
            assert arrays["names"].tolist() == ["road", "tree", "sky"]
            assert arrays["embeddings"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
            assert arrays["origins"].tolist() == ["a.npz", "a.npz", "b.npz"]
        words.insert(0, "--force")
        assert main([*words, "a.npz"]) == 2
        assert "'sky'" in capsys.readouterr().err
        assert main([*words, "a.npz", "wide.npz"]) == 2
        assert "[3, 4]" in capsys.readouterr().err
    finally:
        for name in ("embed_first", "embed_second"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
