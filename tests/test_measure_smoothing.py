"""The tool that measures smoothing: its figures are those of the films that it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.inference import Predictor
from clipmask_tools import measure_smoothing
from tests.checkpoints import pixels, write_checkpoint

pytest.importorskip("cv2", exc_type=ImportError)


def picture(shift: int) -> np.ndarray:
    """A textured picture that moves to the left by ``shift`` pixels."""
    coarse = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    return np.ascontiguousarray(
        (255 * wide[0].permute(1, 2, 0)).byte().numpy()[:80, shift : shift + 112]
    )


def test_labels_that_move_with_the_picture_do_not_flicker() -> None:
    tracks = measure_smoothing.Tracks(picture(0), picture(4))
    wide = (np.arange(160) // 20 % 2).astype(np.uint8)[None].repeat(80, 0)
    before, moved = wide[:, :112].copy(), wide[:, 4:116].copy()
    assert tracks.known.mean() > 0.7
    assert (tracks.changed(before, moved) & tracks.known).mean() < 0.02
    assert (tracks.changed(before, before) & tracks.known).mean() > 0.1


def test_a_measure_is_counted_by_hand() -> None:
    """One point in ten changes, in the half where the truth is steady; half of class 0 is taken for
    class 1.
    """
    still, measure = measure_smoothing.Tracks(picture(0), picture(0)), measure_smoothing.Measure(2)
    assert still.known.all()
    first = np.zeros((80, 112), np.uint8)
    second = first.copy()
    second[:8] = 1
    steady = np.zeros(first.shape, bool)
    steady[:40] = True
    truth = np.full(first.shape, 255)
    measure.add(first, truth, None, None)
    truth[:16] = 0
    measure.add(second, truth, still, steady)
    assert measure.row("name", 1).split() == ["name", "50.00", "10.00", "20.00", "0"]


def test_a_still_film_with_its_own_labels_as_truth(
    tmp_path: Path, small_cfg: CfgNode, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing moves and all is right: no flicker, mIoU 100, in every row."""
    weights = write_checkpoint(tmp_path / "model.pth", small_cfg)
    frame = pixels(48, 64, 0)
    labels = Predictor.from_checkpoint(weights)(frame).labels
    for index in range(3):
        for folder, content in (("frames", frame), ("labels", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.asarray(content)).save(tmp_path / folder / f"{index}.png")
    words = [
        "--weights",
        str(weights),
        "--frames",
        str(tmp_path / "frames"),
        "--labels",
        str(tmp_path / "labels"),
    ]
    assert measure_smoothing.main([*words, "--strengths", "0.5", "0.9"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    values = [row[-4:-1] for row in rows if row[0] in ("no", "strength")]
    assert values == [["100.00", "0.00", "0.00"]] * 3
    assert measure_smoothing.main([*words[:-2], "--strengths", "0.5"]) == 0
    # no truth, no mIoU
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[-2:]] == ["-", "-"]
