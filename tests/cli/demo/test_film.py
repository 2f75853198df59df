"""What the demo writes of a film beside its overlay: fewer frames, label maps, lines of JSON,
smoothed classes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.cli.demo.command import main
from clipmask.errors import UserError
from clipmask.film.results import Lines
from clipmask.film.video import Video
from tests.checkpoints import pixels, write_checkpoint

RATE, FRAMES = 10.0, 7


@pytest.fixture
def cv2() -> Any:
    return pytest.importorskip("cv2", exc_type=ImportError)


@pytest.fixture
def words(
    cv2: Any, tmp_path: Path, small_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The demo's arguments for a film of seven frames of 64x48 pixels."""
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), RATE, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG")
    for seed in range(FRAMES):
        writer.write(pixels(48, 64, seed))
    writer.release()
    return [
        "--weights",
        str(write_checkpoint(tmp_path / "model.pth", small_cfg)),
        "--video-input",
        "clip.avi",
    ]


def frames_of(path: str) -> tuple[int, float | None]:
    film = Video(Path(path))
    count = sum(1 for _ in film)
    film.close()
    return count, film.rate


@pytest.mark.parametrize(("every", "count"), [(1, 7), (2, 4), (3, 3), (20, 1)])
def test_every_nth_frame_and_the_same_duration(
    every: int, count: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--output", "out.avi", "--every", str(every)]) == 0
    written, rate = frames_of("out.avi")
    assert written == count
    assert rate == pytest.approx(RATE / every, rel=0.01)
    told = capsys.readouterr().out
    assert f"{count} frame" in told
    assert ("one of" in told) == (every > 1)


def test_labels_and_lines_are_those_of_the_frames_in_the_film(words: list[str]) -> None:
    assert main([*words, "--output", "out", "--every", "3", "--save", "labels,json"]) == 0
    lines = [json.loads(line) for line in Path("out/clip.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 3, 6]
    assert [line["time"] for line in lines] == pytest.approx([0, 0.3, 0.6], abs=0.05)
    files = sorted(Path("out/clip_labels").iterdir())
    assert [file.stem for file in files] == ["000000", "000003", "000006"]
    for line, file in zip(lines, files, strict=True):
        labels = np.asarray(Image.open(file))
        assert sum(line["shares"].values()) == pytest.approx(100, abs=0.1)
        first = next(iter(line["shares"].values()))
        assert first == pytest.approx(100 * (labels == 0).mean(), abs=0.01)


def test_smoothing_through_the_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Strength 0 is no smoothing; the usual one writes as many frames and says so."""
    for output, smooth in (("plain", []), ("zero", ["--smooth", "0"]), ("usual", ["--smooth"])):
        assert main([*words, "--output", output, "--save", "labels,overlay", *smooth]) == 0
    assert "smoothed by 0.6" in capsys.readouterr().out
    plain, zero = (
        np.stack(
            [np.asarray(Image.open(file)) for file in sorted(Path(f"{name}/clip_labels").iterdir())]
        )
        for name in ("plain", "zero")
    )
    assert (plain == zero).mean() > 0.999
    assert frames_of(str(next(Path("usual").glob("clip_overlay.*"))))[0] == FRAMES


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--every", "0"], "--every 0"),
        (["--smooth", "1.5"], "1.5"),
        (["--save", "scores"], "overlay, labels, color, json"),
        (["--save", "json", "--output", "out.mp4"], "name a folder"),
    ],
)
def test_options_that_make_no_sense(
    more: list[str], told: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert not list(Path().glob("**/.*"))


def test_every_and_smooth_are_for_films(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(pixels(48, 64, 0)).save("a.png")
    assert main([*words[:2], "--input", "a.png", "--smooth"]) == 2
    assert "--smooth" in capsys.readouterr().err


def test_lines_are_there_only_when_whole(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "new" / "a.jsonl")
    lines.write({"frame": 0})
    assert not lines.path.exists()
    lines.close()
    lines.discard()
    assert json.loads(lines.path.read_text()) == {"frame": 0}
    other = Lines(tmp_path / "b.jsonl")
    other.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        Lines(tmp_path / "file" / "a.jsonl")
