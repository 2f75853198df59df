"""tools/measure_smoothing.py measures what it says, on a film of a few frames."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.predictor import Predictor
from tests.checkpoints import pixels, write_checkpoint
from tests.conftest import ROOT

pytest.importorskip("cv2", exc_type=ImportError)


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
    tool = runpy.run_path(str(ROOT / "tools" / "measure_smoothing.py"))
    words = ["--weights", str(weights), "--frames", str(tmp_path / "frames"), "--labels", str(tmp_path / "labels")]
    assert tool["main"]([*words, "--strengths", "0.5", "0.9"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    values = [row[-4:-1] for row in rows if row[0] in ("no", "strength")]
    assert values == [["100.00", "0.00", "0.00"]] * 3
