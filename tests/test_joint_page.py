"""docs/joint.md runs as it stands, on two drawn sets whose class lists differ."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.cli.train import main
from tests.conftest import ROOT
from tests.pages import blocks, commands

PAGE = ROOT / "docs" / "joint.md"
TOWN = "images: town/images\nlabels: town/labels\nclasses: [road, sky, car, pedestrian]\n"
SHORT = [
    *(
        "MODEL.BACKBONE.WEIGHTS",
        "random",
        "MODEL.CLIP.EMBEDDINGS",
        "random",
        "MODEL.WEIGHTS",
        "",
        "MODEL.DEVICE",
        "cpu",
    ),
    *(
        "SOLVER.MAX_ITER",
        "2",
        "SOLVER.IMS_PER_BATCH",
        "3",
        "INPUT.CROP.SIZE",
        "[64, 64]",
        "TEST.EVAL_PERIOD",
        "0",
    ),
    *(
        "DATALOADER.NUM_WORKERS",
        "0",
        "TEST.NUM_PICTURES",
        "0",
        "SOLVER.WARMUP_ITERS",
        "1",
        "INPUT.MIN_SIZE_TEST",
        "64",
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures of a town in four classes, ten of roads in three; the descriptor of the second
    is the page's.
    """
    generator = np.random.default_rng(0)
    for name, classes in (("town", 4), ("roads", 3)):
        for kind in ("images", "labels"):
            (tmp_path / name / kind).mkdir(parents=True)
        for index in range(10):
            labels = np.sort(generator.integers(0, classes, (64, 80)), axis=0).astype(np.uint8)
            pixels = np.stack([60 * labels, 250 - 50 * labels, 0 * labels + 99], axis=2).astype(
                np.uint8
            )
            Image.fromarray(pixels).save(tmp_path / name / "images" / f"{index}.png")
            Image.fromarray(labels).save(tmp_path / name / "labels" / f"{index}.png")
    (tmp_path / "town.yaml").write_text(TOWN)
    (tmp_path / "roads.yaml").write_text(blocks(PAGE, "yaml")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs(folder: Path) -> None:
    plain, weighted = (shlex.split(command) for command in commands(PAGE))
    assert weighted[: len(plain)] == plain
    assert main([*weighted[2:], *SHORT, "OUTPUT_DIR", "output/custom"]) == 0
    log = (folder / "output" / "custom" / "log.txt").read_text()
    assert "mean of 2 datasets: mIoU" in log
    assert "vehicles" in log
    assert "mean/sem_seg/mIoU" in (folder / "output" / "custom" / "metrics.json").read_text()
    (code,) = blocks(PAGE, "python")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["predictor"].names == ("ground", "sky", "car", "bus")  # type: ignore[attr-defined]
