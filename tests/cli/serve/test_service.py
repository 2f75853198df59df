"""The service has limits, changes names for each visitor, and shows what they write without
believing it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipmask import Predictor, UserError
from clipmask.cli.serve.command import main
from clipmask.cli.serve.service import MAX_NAMES, Limits, Service, legend
from clipmask.errors import MissingText
from clipmask.weights.names import OWN_MODEL
from tests.checkpoints import pixels, write_picture
from tests.conftest import NAMES


@pytest.fixture
def service(checkpoint: Path) -> Service:
    return Service(
        Predictor.from_checkpoint(checkpoint, "cpu"), Limits(megabytes=1, megapixels=0.1, frames=3)
    )


def test_names_are_each_visitor_s_own(service: Service, tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "a.png")
    assert service.segment(picture, service.names).names == NAMES
    assert service.segment(picture, " tree,road , ").names == ("tree", "road")
    assert service.segment(picture, "").names == NAMES
    with pytest.raises(UserError, match=f"at most {MAX_NAMES}"):
        service.segment(picture, ",".join(f"name {place}" for place in range(MAX_NAMES + 1)))
    with pytest.raises(UserError):
        service.segment(picture, "road, road")
    assert service.segment(picture, "").names == NAMES, "after a mistake too"


def test_unknown_names_are_named(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where CLIP can't be loaded, the message says which names need it and which do not."""
    asked = []

    def check(vocabulary: Any) -> None:
        if vocabulary.names != NAMES:
            asked.append(vocabulary)
            raise MissingText("no network")

    picture = write_picture(tmp_path / "a.png")
    predictor = service._predictor
    monkeypatch.setattr(predictor.model, "check_vocabulary", check)
    predictor.cfg.MODEL.CLIP.EMBEDDINGS = ""
    for _ in range(2):
        with pytest.raises(UserError, match=rf"^zebra: .*{NAMES[0]}") as told:
            service.segment(picture, f"{NAMES[0]}, zebra")
    assert not isinstance(told.value, MissingText)
    assert len(asked) == 1, "the failure is remembered"
    with pytest.raises(UserError, match="^giraffe, zebra: "):
        service.segment_several([picture], "giraffe, zebra", lambda *_: None)
    assert service.segment(picture, "").names == NAMES


def test_a_name_is_no_file(service: Service, tmp_path: Path) -> None:
    """A list of names on the server's disk is not a visitor's to read."""
    (tmp_path / "names.txt").write_text("road\nsky\n")
    result = service.segment(write_picture(tmp_path / "a.png"), str(tmp_path / "names.txt"))
    assert result.names == (str(tmp_path / "names.txt"),)


def test_limits_and_broken_files(service: Service, tmp_path: Path) -> None:
    Image.new("L", (400, 300)).save(tmp_path / "wide.png")
    with pytest.raises(UserError, match=r"400x300 are 0\.1 megapixels; at most 0\.1"):
        service.segment(tmp_path / "wide.png", "")
    (tmp_path / "noise.png").write_bytes(b"noise" * 100)
    with pytest.raises(UserError, match=r"noise\.png: "):
        service.segment(tmp_path / "noise.png", "")
    (tmp_path / "heavy.png").write_bytes(bytes(2_000_000))
    with pytest.raises(UserError, match=r"heavy\.png: has 2\.0 MB; at most 1"):
        service.segment(tmp_path / "heavy.png", "")


def test_errors_name_an_upload_as_its_visitor_does(service: Service, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    Image.fromarray(pixels(48, 64)).save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cut\.png") as told:
        service.segment(cut, "")
    results, (left_out,) = service.segment_several([whole, cut], "", lambda *_: None)
    assert len(results) == 1
    assert "cut.png" in left_out
    for text in (str(told.value), left_out):
        assert str(tmp_path) not in text


def test_a_film_is_cut_at_its_limit(service: Service, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    film = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for shade in range(5):
        film.write(np.full((48, 64, 3), 40 * shade, np.uint8))
    film.release()
    seen: list[tuple[int, int]] = []
    said = service.segment_film(
        tmp_path / "a.avi", "", tmp_path / "b.avi", lambda *at: seen.append(at)
    )
    assert (said, seen) == ("3 frames; the first 3 of 5", [(1, 3), (2, 3), (3, 3)])
    assert (tmp_path / "b.avi").is_file()
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 100)
    with pytest.raises(UserError, match="no frame can be read"):
        service.segment_film(tmp_path / "noise.mp4", "", tmp_path / "c.avi", print)


def test_the_legend_has_what_is_seen(service: Service, tmp_path: Path) -> None:
    result = service.segment(write_picture(tmp_path / "a.png"), "<b>sky</b>")
    assert "&lt;b&gt;sky" in legend(result)
    assert "<td>0</td>" in legend(result), "the id in the label map"
    assert "100.0 %" in legend(result)
    assert "<b>" not in legend(result)


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", OWN_MODEL[:-1]]) == 2
    told = capsys.readouterr().err
    assert f"did you mean {OWN_MODEL}" in told or "pip install 'clipmask[web]'" in told
    assert main(["--max-frames", "0"]) == 2
    assert "--max-frames" in capsys.readouterr().err
