"""The demo with pictures that are read window by window: names, bars, and how it ends."""

from __future__ import annotations

import gc
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.cli.demo.command import main
from tests.checkpoints import write_checkpoint, write_picture

pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("pyvips")
LARGE = ["--sliding-window", "64x96", "--opts", "INPUT.MIN_SIZE_TEST", "0"]
LARGE += ["TEST.SLIDING_WINDOW.FROM_FILE_ABOVE", "10000"]


@pytest.fixture
def command(tmp_path: Path, small_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The begin of a command; the test runs in a folder with a large and a small picture."""
    monkeypatch.chdir(tmp_path)
    write_picture(Path("in/large.png"), 0, 150, 220)
    write_picture(Path("in/small.png"), 1, 40, 56)
    return ["--weights", str(write_checkpoint(tmp_path / "model.pth", small_cfg)), "--input"]


def _names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if Path(folder).exists() else []


def test_large_and_small_pictures_together(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ["--save", "overlay,labels,json"]
    assert main([*command, "in", "--output", "out", *kinds, *LARGE]) == 0
    expected = {"large_overlay.tif", "large_labels.tif", "large_classes.json"}
    expected |= {"small_overlay.png", "small_labels.png", "small_classes.json"}
    assert {*_names("out")} - {".clipmask_results.json"} == expected
    assert main([*command, "in", "--output", "whole", *kinds, "--sliding-window", "64x96"]) == 0
    labels = [
        np.asarray(Image.open(f"{f}/large_labels.{e}"))
        for f, e in (("out", "tif"), ("whole", "png"))
    ]
    assert labels[0].shape == labels[1].shape == (150, 220)
    assert json.loads(Path("out/large_classes.json").read_text())["width"] == 220
    # its own results are replaced, those of others are not
    assert main([*command, "in", "--output", "out", *kinds, *LARGE]) == 0
    Path("out/large_labels.tif").write_bytes(b"mine")
    capsys.readouterr()
    assert main([*command, "in", "--output", "out", *kinds, *LARGE]) == 2
    assert "large_labels.tif" in capsys.readouterr().err
    assert Path("out/large_labels.tif").read_bytes() == b"mine"


def test_a_named_file_is_checked_before_the_work(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*command, "in/large.png", "--output", "a.jpg", *LARGE]) == 0
    with Image.open("a.jpg") as image:
        assert image.width >= 220
    monkeypatch.setattr("clipmask.inference.segmenter.segment_file", lambda *_: 1 / 0)
    assert main([*command, "in/large.png", "--output", "a.webp", *LARGE]) == 2
    assert ".tif, .png or .jpg" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_an_interrupted_picture_leaves_nothing(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
    name: str,
) -> None:
    from clipmask.inference import large

    colorize = large.colorize
    # shells start background jobs deaf to it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(*args: Any) -> Any:
        os.kill(os.getpid(), getattr(signal, name))
        return colorize(*args)

    monkeypatch.setattr(large, "colorize", interrupted)
    try:
        words = ["in/large.png", "--output", "out", "--save", "color"]
        assert main([*command, *words, *LARGE]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "interrupted" in capsys.readouterr().err
    assert _names("out") == []
    gc.collect()
    assert not [one for one in recwarn.list if "rb+" in str(one.message)]  # no label map is open


def test_windows_and_rows_are_counted(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output", "a.tif", "--save", "labels"]
    assert main([*command, "in/large.png", *words, *LARGE]) == 0
    told = capsys.readouterr().err
    assert "/9 [" in told  # windows of 64x96 in 150x220
    assert "saving it" in told
    assert "/150 [" in told
