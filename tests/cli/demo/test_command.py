"""The demo as users run it: what it writes, what it says, and how it ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.cli.demo.command import build_parser, main
from clipmask.cli.demo.model import load_predictor
from clipmask.d2 import DatasetCatalog
from clipmask.data import LabelFormat, read_image, read_labels
from clipmask.evaluation.scores import count_pixels, scores
from clipmask.inference.views import Views
from clipmask.visualizer import Drawing, palette
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.names import OWN_MODEL, shipped_model
from tests.checkpoints import COLORS, write_checkpoint, write_picture
from tests.conftest import NAMES, PATIENCE, ROOT
from tests.data.described import write_yaml
from tests.forked import run_forked


@pytest.fixture
def weights(tmp_path: Path, small_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> str:
    """A checkpoint; the test runs in its folder."""
    monkeypatch.chdir(tmp_path)
    return str(write_checkpoint(tmp_path / "model.pth", small_cfg))


def write_labelled(root: Path) -> Path:
    """Three pictures in two folders, with labels of three of the trained classes; returns their
    descriptor.
    """
    for number, place in enumerate(("a/0.png", "a/1.png", "b/0.png")):
        write_picture(root / "images" / place, number)
        labels = (
            np.random.default_rng(number)
            .integers(0, 3, (5, 7), dtype=np.uint8)
            .repeat(8, 0)
            .repeat(8, 1)
        )
        labels[:3] = 255
        (root / "labels" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(root / "labels" / place)
    classes = [("sky", [9, 8, 7]), ("road", [6, 5, 4]), ("car", [3, 2, 1])]
    content = {"images": "images", "labels": "labels", "splits": {"val": 1.0}}
    return write_yaml(
        root / "few.yaml",
        **content,
        classes=[{"name": name, "color": color} for name, color in classes],
    )


def _files(folder: str | Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("[!.]*") if path.is_file()
    )


def _error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()  # of commands before
    assert main(list(words)) == 2
    *before, err = capsys.readouterr().err.splitlines()
    # which model runs, and under which licences
    assert all(line.startswith("model: ") for line in before)
    assert err.startswith("error: ")
    return f"{err}\n"


def test_files_patterns_and_folders_together(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(
        ["a.png", "film/1.png", "film/2.jpg", "photos/x.png", "photos/in/x.png"]
    ):
        write_picture(Path(name), seed)
    words = ["--weights", weights, "--input", "a.png", "film/*", "photos", "--recursive"]
    assert main([*words, "--save", "overlay,labels,color", "--batch-size", "2"]) == 0
    stems = ["1", "2", "a", "in/x", "x"]
    expected = [f"{stem}_{kind}.png" for stem in stems for kind in ("color", "labels", "overlay")]
    assert _files("output/demo") == expected
    labels = read_labels("output/demo/in/x_labels.png", LabelFormat(len(NAMES)), (40, 56))
    assert labels.max() < len(NAMES)
    out = capsys.readouterr().out
    assert out.startswith("5 pictures -> output/demo (overlay, labels, color); most frequent: ")
    assert any(f"{name} " in out for name in NAMES)
    assert out.count("\n") == 1


def test_all_kinds_of_results(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(Path("a.png"))
    words = ["--weights", weights, "--input", "a.png"]
    assert main([*words, "--save", "overlay,labels,color,scores,json", "--device", "cpu"]) == 0
    assert _files("output/demo") == [
        "a_classes.json", "a_color.png", "a_labels.png", "a_overlay.png", "a_scores.npz",
    ]  # fmt: skip
    labels = read_labels("output/demo/a_labels.png", LabelFormat(len(NAMES)))
    told = json.loads(Path("output/demo/a_classes.json").read_text())
    assert told["source"] == "a.png"
    assert {item["id"]: item["pixels"] for item in told["classes"]} == dict(
        zip(*np.unique(labels, return_counts=True), strict=True)
    )
    with np.load("output/demo/a_scores.npz") as file:
        assert file["names"].tolist() == list(NAMES)
        assert (file["scores"].argmax(0) == labels).mean() > 0.95  # float16 makes ties
    assert main([*words, "--save", "json", "--output", "one/b.json"]) == 0
    assert main([*words, "--save", "scores", "--output", "one/b.npz"]) == 0
    assert _files("one") == ["b.json", "b.npz"]


def test_labels_in_server_ids(tmp_path: Path, small_cfg: CfgNode, weights: str) -> None:
    ids = [7, 23, 21, 26, 17]
    served = write_checkpoint(tmp_path / "served.pth", small_cfg, metadata={"server_ids": ids})
    write_picture(Path("a.png"))
    assert main(["--weights", str(served), "--input", "a.png", "--save", "labels,server_ids"]) == 0
    labels, written = (
        np.asarray(Image.open(f"output/demo/a_{kind}.png")) for kind in ("labels", "server_ids")
    )
    np.testing.assert_array_equal(np.array(ids)[labels], written)


def test_colors_of_classes(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(Path("a.png"))
    Path("mine.txt").write_text("1 2 3 road\nsky: [4, 5, 6]\nzebra: [9, 9, 9]\n")
    words = ["--weights", weights, "--input", "a.png", "--save", "labels,color"]
    for extra, first in [
        ([], palette(NAMES)),
        (["--colors", "mine.txt"], [[1, 2, 3], [4, 5, 6]]),
        (["--colors", "dataset"], COLORS),
    ]:
        assert main([*words, *extra]) == 0
        labels, color = (
            np.asarray(Image.open(f"output/demo/a_{kind}.png")) for kind in ("labels", "color")
        )
        for index, expected in enumerate(first):
            assert (color[labels == index] == expected).all()
    assert "zebra" in capsys.readouterr().err
    Path("others.txt").write_text("1 2 3 zebra\n")
    assert "has no colour for any of the classes" in _error(
        capsys, *words, "--colors", "others.txt"
    )


def test_without_a_model_it_runs_the_one_that_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_picture(Path("a.png"), height=96, width=128)
    assert (
        main(
            [
                "--input",
                "a.png",
                "--device",
                "cpu",
                "--vocabulary",
                "tree, road,sky",
                "--save",
                "json",
            ]
        )
        == 0
    )
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("model: ")]
    assert len(lines) == 1
    own = shipped_model(OWN_MODEL)
    assert f"models/{own.name}, the bundled model (11 classes: sky, building" in lines[0]
    assert json.loads(Path("output/demo/a_classes.json").read_text())["names"] == [
        "tree",
        "road",
        "sky",
    ]
    assert "trained on camvid_sem_seg_trainval (CC BY-NC 4.0)" in lines[0]
    assert "--weights '': names no file" in _error(capsys, "--input", "a.png", "--weights", "")


def test_a_config_s_own_model_is_named(
    weights: str, small_cfg: CfgNode, capsys: pytest.CaptureFixture[str]
) -> None:
    """The config of a training starts from one model and makes another: which one runs is told."""
    write_picture(Path("a.png"), height=64, width=64)
    small_cfg.MODEL.WEIGHTS = weights
    Path("own.yaml").write_text(small_cfg.dump())
    words = ["--input", "a.png", "--config-file", "own.yaml", "--device", "cpu"]
    assert main(words) == 0
    assert f"model: {weights}, MODEL.WEIGHTS of own.yaml" in capsys.readouterr().err
    assert main([*words, "--weights", weights]) == 0
    assert f"model: {weights} (5 classes: " in capsys.readouterr().err


def test_a_dataset_is_compared_with_its_labels(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another order of the trained classes needs no CLIP; what is told is what files and labels
    say.
    """
    path = write_labelled(Path("data"))
    assert (
        main(
            ["--weights", weights, "--dataset", str(path), "--save", "comparison,labels,json,color"]
        )
        == 0
    )
    told = capsys.readouterr().out
    files = _files("output/demo")
    assert len(files) == 4 * 3
    assert "a/0_comparison.png" in files
    assert main(["--weights", weights, "--dataset", str(path), "--output", "plain"]) == 0
    assert all(name.endswith("_comparison.png") for name in _files("plain"))
    confusion = np.zeros((3, 3), int)
    for stem in ("a/0", "a/1", "b/0"):
        labels = np.asarray(Image.open(f"output/demo/{stem}_labels.png"))
        truth = np.asarray(Image.open(f"data/labels/{stem}.png"))
        one = count_pixels(truth, labels, 3)
        confusion += one
        content = json.loads(Path(f"output/demo/{stem}_classes.json").read_text())
        assert content["names"] == ["sky", "road", "car"]
        assert content["mIoU"] == pytest.approx(scores(one).mean_iou, abs=1e-3)
        color = np.asarray(Image.open(f"output/demo/{stem}_color.png"))
        assert (color == np.array([[9, 8, 7], [6, 5, 4], [3, 2, 1]])[labels]).all(), (
            "the dataset's colours"
        )
    found = scores(confusion)
    assert (
        f"mIoU {found.mean_iou:.1f} over these pictures, {found.accuracy:.1f}% of their labelled"
        in told
    )
    assert "3 pictures -> output/demo (comparison, labels, json, color)" in told


def test_a_dataset_with_faults(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labelled(Path("data"))
    Path("data/labels/a/1.png").write_text("no picture")
    words = ["--weights", weights, "--dataset", str(path)]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("2 pictures -> ")
    assert captured.err.splitlines()[-1] == "1 of 3 could not be read: data/images/a/1.png"
    assert "has the splits val" in _error(capsys, *words, "--split", "test")
    assert "--split needs a descriptor" in _error(
        capsys, *words[:3], "toy_street_sem_seg_val", "--split", "val"
    )


def test_a_registered_dataset_without_labels_is_only_segmented(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(Path("shots/a.png"))
    Path("mine.py").write_text(
        "from clipmask.d2 import DatasetCatalog, MetadataCatalog\nDatasetCatalog.register('bare',"
        " lambda: [{'file_name':"
        f" 'shots/a.png'}}])\nMetadataCatalog.get('bare').set(stuff_classes={list(NAMES)},"
        " server_ids=[7, 23, 21, 26, 17])\n"
    )
    words = ["--weights", weights, "--register", "mine.py", "--dataset", "bare"]
    assert main([*words, "--save", "server_ids"]) == 0
    assert set(np.unique(np.asarray(Image.open("output/demo/a_server_ids.png")))) <= {
        7,
        23,
        21,
        26,
        17,
    }
    assert "mIoU" not in capsys.readouterr().out
    DatasetCatalog.remove("bare")
    assert "has no labels to compare with" in _error(capsys, *words)
    DatasetCatalog.remove("bare")


def test_equal_names_do_not_overwrite_each_other(weights: str) -> None:
    write_picture(Path("a/x.png"))
    write_picture(Path("b/x.jpg"), 1)
    assert main(["--weights", weights, "--input", "a", "b/x.jpg", "--output", "new/results"]) == 0
    assert _files("new/results") == ["a_x_overlay.png", "b_x_overlay.png"]


def test_a_single_picture_into_a_named_file(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(Path("a.png"))
    write_picture(Path("b.png"))
    words = ["--weights", weights, "--input", "a.png", "--output"]
    assert main([*words, "made/now.jpg", "--opacity", "0.9"]) == 0
    assert _files("made") == ["now.jpg"]
    assert "a.png: is the input itself" in _error(capsys, *words, "a.png")
    assert "overlay and color to write" in _error(
        capsys, *words, "c.png", "--save", "overlay,color"
    )
    assert "2 pictures" in _error(capsys, *words, "c.png", "--input", "a.png", "b.png")
    assert "film.mp4" in _error(capsys, *words, "film.mp4")
    assert main([*words, "c.jpg", "--save", "labels"]) == 2
    assert ".jpg" in capsys.readouterr().err
    assert "is a file, not a folder" in _error(capsys, *words, f"{weights}/results")


def test_opacity_is_of_the_colors(weights: str) -> None:
    write_picture(Path("a.png"))
    assert (
        main(["--weights", weights, "--input", "a.png", "--output", "b.png", "--opacity", "0"]) == 0
    )
    np.testing.assert_array_equal(read_image("b.png")[:40, :56], read_image("a.png"))


def test_broken_pictures_are_named_and_the_rest_goes_on(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.png", "3.png"):
        write_picture(Path("in") / name)
    Path("in/2.png").write_bytes(Path("in/1.png").read_bytes()[:90])
    Path("in/4.png").write_text("no picture")
    assert main(["--weights", weights, "--input", "in"]) == 1
    assert _files("output/demo") == ["1_overlay.png", "3_overlay.png"]
    captured = capsys.readouterr()
    skipped = [line for line in captured.err.splitlines() if "skipped: " in line]
    assert len(skipped) == 2
    assert "in/2.png" in skipped[0]
    assert "in/4.png" in skipped[1]
    assert captured.err.splitlines()[-1] == "2 of 4 could not be read: in/2.png, in/4.png"
    assert captured.out.startswith("2 pictures -> ")


def test_another_vocabulary(
    weights: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_picture(Path("a.png"))
    words = ["--weights", weights, "--input", "a.png", "--save", "labels"]
    assert main([*words, "--vocabulary", "zebra crossing, snow"]) == 0
    assert "random" in caplog.text
    assert read_labels("output/demo/a_labels.png", LabelFormat(2)).max() <= 1
    out = capfd.readouterr().out
    assert "zebra crossing " in out or "snow " in out
    rows = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    np.savez("mine.npz", names=np.array(["snow", "zebra crossing"]), embeddings=rows)
    assert main([*words, "--vocabulary", "zebra crossing,snow", "--embeddings", "mine.npz"]) == 0
    assert "no row for 'fog'" in _error(
        capfd, *words, "--vocabulary", "fog", "--embeddings", "mine.npz"
    )
    assert "--vocabulary" in _error(capfd, *words, "--embeddings", "mine.npz")


def test_views_are_the_configs_keys_by_another_name(
    weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.yaml").write_text(str(load_checkpoint(weights)["config"]))
    everything = Views((0.75, 1.0, 1.25, 1.5), flip=True, window=(48, 64))
    keys = [
        "--opts",
        "TEST.AUG.SCALES",
        "[1.0]",
        "TEST.AUG.FLIP",
        "False",
        "TEST.SLIDING_WINDOW.SIZE",
        "(40,50)",
    ]
    for model in (["--weights", weights], ["--weights", weights, "--config-file", "config.yaml"]):
        for words, views in [
            ([], None),
            (["--tta"], Views(everything.scales, flip=True)),
            (["--sliding-window"], Views(window=(512, 1024))),
            (["--sliding-window", "48x64"], Views(window=(48, 64))),
            (["--tta", "--sliding-window", "48x64"], everything),
            (["--tta", "--sliding-window", *keys], Views(window=(40, 50))),
        ]:
            args = build_parser().parse_args([*model, *words])
            assert Views.from_config(load_predictor(args, Drawing()).cfg) == views
    words = [
        "--weights",
        weights,
        "--input",
        str(write_picture(Path("a.png"))),
        "--output",
        "seen.png",
    ]
    assert "512: give height x width" in _error(capsys, *words, "--sliding-window", "512")
    assert "TEST.SLIDING_WINDOW.SIZE [8, 64]" in _error(capsys, *words, "--sliding-window", "8x64")
    assert not Path("seen.png").exists()
    assert main([*words, "--tta", "--sliding-window", "32x32"]) == 0
    assert Path("seen.png").is_file()


def test_weights_with_a_config(
    weights: str, small_cfg: CfgNode, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(Path("a.png"))
    small_cfg.MODEL.DEVICE = "cpu"
    Path("config.yaml").write_text(small_cfg.dump())
    words = ["--config-file", "config.yaml", "--input", "a.png"]
    assert main([*words, "--output", "by_opts.png", "--opts", "MODEL.WEIGHTS", weights]) == 0
    assert main([*words, "--output", "by_option.png", "--weights", weights]) == 0
    assert main(["--weights", weights, "--input", "a.png", "--output", "alone.png"]) == 0
    assert (
        Path("by_opts.png").read_bytes()
        == Path("by_option.png").read_bytes()
        == Path("alone.png").read_bytes()
    )
    assert "MODEL.WEIGHTS" in _error(capsys, *words)
    assert "SOLVER.MAX_ITER" in _error(capsys, *words, "--opts", "SOLVER.MAX_ITERS", "1")


def test_mistakes_are_one_paragraph(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(Path("a.png"))
    Path("noise.pth").write_bytes(b"noise")
    torch.save({"model": load_checkpoint(weights)["model"]}, "plain.pth")
    picture = ["--input", "a.png"]
    for words, message in [
        (["--weights", weights], "nothing to segment"),
        (["--weights", weights, *picture, "--webcam"], "exclude each other"),
        (
            ["--weights", weights, *picture, "--vocabulary", "a", "--dataset", "b.yaml"],
            "exclude each other",
        ),
        (["--weights", weights, *picture, "--split", "val"], "--split needs --dataset"),
        (["--weights", weights, *picture, "--save", "comparison"], "--save comparison: "),
        (["--weights", weights, *picture, "--save", "server_ids"], "no server ids"),
        (["--weights", weights, *picture, "--save", "json", "--output", "a.png"], "--output a.png"),
        (["--weights", weights, *picture, "--colors", "gone.txt"], "--colors gone.txt"),
        (["--weights", weights, *picture, "--device", "tpu"], "tpu"),
        (["--weights", weights, *picture, "--register", "gone.py"], "--register"),
        (["--weights", weights, "--dataset", "gone.yaml"], "gone.yaml"),
        (["--weights", weights, "--dataset", "gone"], "'gone' is not registered"),
        (["--weights", weights, "--input", "none/*.png"], "none/*.png"),
        (["--weights", weights, "--input", "none"], "none: no such file"),
        (["--weights", weights, *picture, "--opacity", "2"], "opacity 2"),
        (["--weights", weights, *picture, "--save", "labels,masks"], "labels,masks"),
        (["--weights", weights, *picture, "--batch-size", "0"], "batch size 0"),
        (["--weights", weights, "--webcam", "--output", "x"], "--output"),
        (["--weights", "gone.pth", *picture], "gone.pth"),
        (["--weights", "noise.pth", *picture], "noise.pth"),
        (["--weights", "plain.pth", *picture], "--config-file"),
        (["--config-file", "gone.yaml", *picture], "gone.yaml"),
    ]:
        assert message in _error(capsys, *words)
    assert not Path("output").exists()


def test_help_has_examples_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "examples, ",
        "(default: output/demo)",
        "(default: 0.5)",
        "(default: overlay; ",
        "(default: 1)",
    ):
        assert words in text
    assert "None" not in text


def test_pictures_need_no_opencv(weights: str, tmp_path: Path) -> None:
    """In a process without cv2 the script segments pictures; a film is one error that says so."""
    write_picture(Path("a.png"))
    code = (
        "import sys, runpy; sys.modules['cv2'] = None; sys.argv = ['demo.py', *sys.argv[1:]]; "
        f"runpy.run_path({str(ROOT / 'demo' / 'demo.py')!r}, run_name='__main__')"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["python", "-c", code, "--weights", weights, *words]
        environment = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "CLIPMASK_D2": "builtin",
            "PATH": "",
        }
        return run_forked(command, Path.cwd(), environment, PATIENCE)

    result = run("--input", "a.png")
    assert (result.returncode, _files("output/demo")) == (0, ["a_overlay.png"]), result.stderr
    assert Image.open("output/demo/a_overlay.png").width >= 56
    result = run("--video-input", "a.png")
    assert result.returncode == 2
    assert result.stderr.startswith("error: films and the webcam need OpenCV")
    assert "opencv-python" in result.stderr
