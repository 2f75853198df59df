"""Films keep rate, size and frame count, and are whole or not there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from clipmask.cli.demo.command import main
from clipmask.data import LabelFormat, read_labels
from clipmask.errors import UserError
from clipmask.film import video
from clipmask.film.video import Film, Video, Window, stop_on_interrupt
from clipmask.inference import Predictor
from tests.checkpoints import pixels, write_checkpoint
from tests.conftest import NAMES


@pytest.fixture
def cv2() -> Any:
    return pytest.importorskip("cv2", exc_type=ImportError)


@pytest.fixture
def weights(tmp_path: Path, small_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(write_checkpoint(tmp_path / "model.pth", small_cfg))


@pytest.fixture
def clip(cv2: Any, tmp_path: Path) -> Path:
    """Seven frames of 64x48 pixels at 12.5 a second."""
    return _write_clip(cv2, tmp_path / "clip.avi", (48, 64))


def _write_clip(cv2: Any, path: Path, size: tuple[int, int], frames: int = 7) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, size[::-1])
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG")
    for seed in range(frames):
        writer.write(pixels(*size, seed))
    writer.release()
    return path


def _measured(path: Path) -> tuple[int, tuple[int, int], float | None]:
    film = Video(path)
    count = sum(1 for _ in film)
    film.close()
    return count, film.size, film.rate


def test_a_film_goes_in_and_comes_out(
    weights: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--weights", weights, "--video-input", str(clip), "--batch-size", "3"]
    assert main([*words, "--save", "overlay,labels,color"]) == 0
    made = sorted(path.name for path in Path("output/demo").glob("clip*"))
    assert [Path(name).stem for name in made] == ["clip_color", "clip_labels", "clip_overlay"]
    for name in (made[0], made[2]):
        assert _measured(Path("output/demo") / name) == (7, (48, 64), 12.5)
    maps = sorted(Path("output/demo/clip_labels").iterdir())
    assert [path.name for path in maps] == [f"{index:06d}.png" for index in range(7)]
    assert read_labels(maps[0], LabelFormat(len(NAMES)), (48, 64)).max() < len(NAMES)
    assert capsys.readouterr().out.startswith("7 frames -> output/demo/clip_overlay")


def test_a_named_film(weights: str, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--weights", weights, "--video-input", str(clip), "--output"]
    assert main([*words, "made/out.avi"]) == 0
    assert [path.name for path in Path("made").iterdir()] == ["out.avi"]
    assert _measured(Path("made/out.avi")) == (7, (48, 64), 12.5)
    capsys.readouterr()
    for output, message in [
        (str(clip), "the input itself"),
        ("out.png", "out.png"),
        (f"{clip}/x", "not a folder"),
    ]:
        assert main([*words, output]) == 2
        assert message in capsys.readouterr().err
    assert main([*words, "out.avi", "--save", "overlay,color"]) == 2
    assert "name a folder" in capsys.readouterr().err


def test_colors_and_channels_survive(cv2: Any, tmp_path: Path) -> None:
    red = np.full((48, 64, 3), (220, 30, 40), np.uint8)
    film = Film(tmp_path / "red.avi", 10, (48, 64))
    film.write(red)
    film.close()
    (frame,) = Video(tmp_path / "red.avi")
    assert np.abs(frame.astype(int) - red).max() < 12


def test_odd_sizes_lose_nothing(cv2: Any, tmp_path: Path) -> None:
    film = Film(tmp_path / "odd", 25, (47, 65))
    film.write(pixels(47, 65))
    film.close()
    assert film.path.suffix in video.CODECS
    count, size, _ = _measured(film.path)
    assert (count, size) == (1, (48, 66))


def test_what_is_no_film(weights: str, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("noise.mp4").write_bytes(b"noise" * 1000)
    Path("cut.avi").write_bytes(clip.read_bytes()[:200])
    for name, message in [
        ("gone.mp4", "no such file"),
        ("noise.mp4", "no frame"),
        ("cut.avi", "no frame"),
    ]:
        assert main(["--weights", weights, "--video-input", name]) == 2
        assert f"{name}: {message}" in capsys.readouterr().err
    Path("films").mkdir()
    assert main(["--weights", weights, "--video-input", "films"]) == 2
    assert "films: is a folder; name one film in it" in capsys.readouterr().err
    assert not Path("output").exists()


def test_a_film_that_can_not_be_read_back_is_not_kept(
    cv2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = Film(tmp_path / "film.avi", 10, (48, 64))
    for seed in range(3):
        film.write(pixels(48, 64, seed))
    monkeypatch.setattr(film, "_readable", lambda path: 2)
    with pytest.raises(UserError, match="of 3 frames written 2"):
        film.close()
    assert list(tmp_path.iterdir()) == []


def test_codecs_are_tried_in_turn(
    cv2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that opens and writes nothing is passed over; if none is left, the error says what to
    do.
    """
    readable = Film._readable
    monkeypatch.setattr(
        Film, "_readable", lambda self, path: 0 if path.suffix == ".mp4" else readable(self, path)
    )
    film = Film(tmp_path / "film", 10, (48, 64))
    assert film.path == tmp_path / "film.avi"
    film.discard()
    with pytest.raises(UserError, match=r"64x48.*\.mp4.*--output"):
        Film(tmp_path / "film.mp4", 10, (48, 64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_film_plays(
    weights: str,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:

    stream = Predictor.stream

    def interrupted(self: Predictor, images: Any, **options: Any) -> Iterator[Any]:
        for index, result in enumerate(stream(self, images, **options)):
            if index == 2:
                os.kill(os.getpid(), number)
            yield result

    monkeypatch.setattr(Predictor, "stream", interrupted)
    assert main(["--weights", weights, "--video-input", str(clip), "--output", "out.avi"]) == 130
    assert _measured(Path("out.avi"))[0] == 3
    assert "interrupted" in capsys.readouterr().err
    assert sorted(path.name for path in Path().glob(".*")) == []


def test_a_second_interrupt_is_not_held_back() -> None:
    # shells start background jobs deaf to it
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), stop_on_interrupt() as stop:  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            assert stop()
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)


def test_frames_are_not_collected(weights: str, cv2: Any) -> None:
    """Of a long film no more than a batch is read ahead of what is written."""
    clip = _write_clip(cv2, Path("long.avi"), (48, 64), frames=30)
    film, read = Video(clip), 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal read
        for frame in film:
            read += 1
            yield frame

    predictor = Predictor.from_checkpoint(weights, batch_size=4)
    for done, _ in enumerate(predictor.stream(counted())):
        assert read <= done + 4
    assert read == 30


def test_no_camera_and_no_display(
    cv2: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--weights", "any.pth", "--webcam", "97"]) == 2
    assert "no camera 97" in capsys.readouterr().err
    if sys.platform.startswith("linux"):
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with pytest.raises(UserError, match="no display"):
            Window("test")


def test_the_webcam_is_shown_until_the_window_closes(
    weights: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, ...]] = []

    class Screen:
        def __init__(self, title: str) -> None:
            pass

        def show(self, image: np.ndarray) -> bool:
            shown.append(image.shape)
            return len(shown) < 3

        def close(self) -> None:
            shown.append(())

    monkeypatch.setattr("clipmask.cli.demo.film.Video", lambda camera: Video(clip))
    monkeypatch.setattr("clipmask.cli.demo.film.Window", Screen)
    assert main(["--weights", weights, "--webcam"]) == 0
    assert len(shown) == 4
    assert shown[-1] == ()


def test_opencv_that_can_not_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    for words in (["--video-input", __file__], ["--webcam"]):
        assert main(["--weights", "any.pth", *words]) == 2
        assert "pip install opencv-python" in capsys.readouterr().err


def test_what_is_no_film_is_sent_elsewhere(cv2: Any, tmp_path: Path) -> None:
    (tmp_path / "a.JPG").write_bytes(b"picture")
    for path, words in ((tmp_path, "folder"), (tmp_path / "a.JPG", "--input")):
        with pytest.raises(UserError, match=words):
            Video(path)
