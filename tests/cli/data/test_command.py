"""The three commands from their command lines: what they print, write and return."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.cli.data.command import build_parser, main
from clipmask.data.descriptor import read_descriptor
from tests.curation.checking.made import COLORS, TRAIN, VAL, label_ids, make, save
from tests.curation.converting.exports import roboflow
from tests.curation.guessing.trees import TREES


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_check_of_a_sound_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(make(tmp_path)), "--workers", "0"]) == 0
    told = capsys.readouterr().out
    assert "STOPS" not in told
    assert "note" not in told
    for name in COLORS:
        assert name in told
    assert told.splitlines()[-1].startswith(
        "no problems found; report.json, classes.png, 6 labelled pictures in samples/"
    )
    report = json.loads(Path("made_check/report.json").read_text())
    assert (report["stops_training"], report["findings"]) == (False, [])
    shares = [item["share"] for item in report["splits"]["train"]["classes"]]
    assert sum(shares) == pytest.approx(100)
    assert report["splits"]["train"]["sizes"] == {"32x24": TRAIN}
    for path in (Path("made_check/classes.png"), *Path("made_check/samples").iterdir()):
        with Image.open(path) as image:
            assert image.width > 32


def test_check_says_what_is_wrong_with_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path, "ids")
    wrong = save(np.full((24, 32), 9, np.uint8), tmp_path / "labels/train/03.png")
    (tmp_path / "labels/train/04.png").unlink()
    assert main(["check", str(path), "--output", "report", "--workers", "1"]) == 1
    told = capsys.readouterr().out
    assert told.index("STOPS TRAINING: ids in label maps") < told.index(
        "note: images without a label map (1)"
    )
    assert str(wrong) in told
    assert "2 kinds of findings, 1 of them stops training" in told
    kinds = [
        finding["kind"]
        for finding in json.loads(Path("report/report.json").read_text())["findings"]
    ]
    assert kinds == ["unknown_value", "image_without_label"]


def test_notes_alone_are_no_failure(tmp_path: Path) -> None:
    path = make(tmp_path, "ids")
    (tmp_path / "labels/train/04.png").unlink()
    assert main(["check", str(path), "--workers", "0"]) == 0


def test_check_and_show_take_registered_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, "ids")
    module = tmp_path / "my_data.py"
    module.write_text(
        "from pathlib import Path\nfrom clipmask.d2 import DatasetCatalog, MetadataCatalog\ndef"
        " pairs(split):\n    images = sorted((Path(__file__).parent / 'images' /"
        " split).iterdir())\n    return [{'file_name': str(path), 'sem_seg_file_name':"
        " str(path).replace('images', 'labels')} for path in images]\nfor split in ('train',"
        " 'val'):\n    DatasetCatalog.register(f'test_cli_data_{split}', lambda split=split:"
        " pairs(split))\n   "
        " MetadataCatalog.get(f'test_cli_data_{split}').set(stuff_classes=['road', 'sky',"
        " 'tree'])\n"
    )
    names = ["test_cli_data_train", "test_cli_data_val"]
    assert main(["check", *names, "--register", str(module), "--workers", "0"]) == 0
    assert "train pixels %" in capsys.readouterr().out
    assert Path("test_cli_data_check/report.json").is_file()
    assert main(["show", *names, "--split", "val", "--number", "1"]) == 0
    assert len(list(Path("test_cli_data_shown").glob("*.png"))) == 2


def test_show_writes_pairs_and_sheets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(make(tmp_path))
    assert main(["show", path, "--number", "3", "--seed", "1", "--output", "a"]) == 0
    names = sorted(item.name for item in Path("a").glob("*.png"))
    assert len(names) == 8
    assert {"train_sheet.png", "val_sheet.png"} <= set(names)
    assert "6 labelled pictures and 2 contact sheets" in capsys.readouterr().out
    with Image.open("a/" + next(name for name in names if name.startswith("train_01_"))) as image:
        pixels = np.asarray(image).astype(int)
    number = next(name for name in names if name.startswith("train_01_")).removesuffix(".png")[-2:]
    with Image.open(tmp_path / f"images/train/{number}.png") as image:
        assert np.array_equal(pixels[:24, :32], np.asarray(image)), (
            "the picture itself is at the left"
        )
    assert main(["show", path, "--number", "3", "--seed", "1", "--output", "b"]) == 0
    assert sorted(item.name for item in Path("b").glob("*.png")) == names, (
        "equal seeds, equal pictures"
    )
    assert main(["show", path, "--number", "3", "--seed", "2", "--output", "c"]) == 0
    assert sorted(item.name for item in Path("c").glob("*.png")) != names


def test_show_goes_on_after_a_broken_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path, "ids")
    save(label_ids((24, 30)), tmp_path / "labels/val/13.png")
    assert main(["show", str(path), "--split", "val", "--number", "12"]) == 1
    assert "13.png" in capsys.readouterr().err
    assert len(list(Path("made_shown").glob("*.png"))) == VAL


def test_init_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TREES["images_and_labels"](tmp_path / "my photos")
    assert main(["init", str(tmp_path / "my photos")]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "  clipmask-data check my_photos.yaml"
    assert "PLACEHOLDER" not in Path("my_photos.yaml").read_text()
    assert read_descriptor("my_photos.yaml").class_names == ("road", "sky", "vegetation", "person")
    assert main(["check", "my_photos.yaml", "--workers", "0"]) == 0
    assert not list(Path.cwd().glob(".*")), "no draft stays"


def test_init_never_overwrites_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TREES["splits_inside"](tmp_path / "data")
    Path("mine.yaml").write_text("precious")
    assert main(["init", str(tmp_path / "data"), "--output", "mine.yaml"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "precious"
    names = ["init", str(tmp_path / "data"), "--output", "mine.yaml", "--force", "--names"]
    assert main([*names, "a,b"]) == 2
    assert Path("mine.yaml").read_text() == "precious"
    assert main([*names, "a,b,c,d,e"]) == 0
    assert read_descriptor("mine.yaml").class_names == ("a", "b", "c", "d", "e")


def test_init_takes_shares_where_lists_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TREES["images_and_labels"](tmp_path / "data")
    (tmp_path / "data/train.txt").write_text("0.jpg\nlost.jpg\n")
    (tmp_path / "data/val.txt").write_text("1.jpg\n")
    assert main(["init", str(tmp_path / "data")]) == 0
    assert "train.txt, val.txt don't fit the pictures" in " ".join(capsys.readouterr().out.split())
    assert read_descriptor("data.yaml").splits == {"train": 0.8, "val": 0.2}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "none.yaml"], "no such file"),
        (["check", "nowhere_train"], "not registered"),
        (["check", "{yaml}", "--workers", "-1"], "--workers -1"),
        (["check", "{yaml}", "--output", "{root}/images/new"], "lies among"),
        (["show", "{yaml}", "--split", "tset"], "train, val"),
        (["show", "{yaml}", "--number", "0"], "--number 0"),
        (["init", "{root}/none"], "no such folder"),
        (["init", "{root}", "--output", "a.txt"], ".yaml"),
        (["init", "{root}", "--sample", "0"], "--sample 0"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    path = make(tmp_path)
    assert main([word.format(yaml=path, root=tmp_path) for word in words]) == 2
    told = capsys.readouterr().err.strip()
    assert message in told
    assert told.startswith("error: ")
    assert "\n" not in told


def test_every_default_is_stated() -> None:
    actions = build_parser()._actions
    (commands,) = (action for action in actions if isinstance(action, argparse._SubParsersAction))
    for parser in commands.choices.values():
        text = " ".join(parser.format_help().split())
        options = [
            item
            for item in parser._actions
            if item.option_strings and item.dest != "help" and not item.required
        ]
        assert text.count("(default: ") == sum(action.dest != "register" for action in options), (
            parser.prog
        )


def test_convert_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = roboflow(tmp_path / "export")
    assert main(["convert", str(source), "--output", "mine"]) == 0
    told = capsys.readouterr().out
    assert "coco: 2 pictures, 3 classes: background, crop, weed" in told
    assert "train 1, val 1" in told
    assert told.splitlines()[-1] == "  clipmask-data check mine/mine.yaml"
    assert main(["check", "mine/mine.yaml", "--workers", "0"]) == 0
    assert main(["convert", str(source), "--output", "mine"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (
        main(["convert", str(source), "--output", "mine", "--background", "void", "--force"]) == 0
    )
    assert read_descriptor("mine/mine.yaml").class_names == ("crop", "weed")


def test_init_points_to_convert_where_there_are_annotations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roboflow(tmp_path / "data")
    assert main(["init", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert "clipmask-data convert" in error
    assert "coco" in error


def test_init_points_to_masks_of_one_class_where_names_do_not_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        save(np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8),
             tmp_path / f"data/photos/{number}.jpg")  # fmt: skip
        save((label_ids() == 1).astype(np.uint8), tmp_path / f"data/anno/{number:05}_hair.png")
    assert main(["init", str(tmp_path / "data")]) == 2
    assert "--format masks" in capsys.readouterr().err
