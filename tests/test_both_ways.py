"""An installed Detectron2 changes no number, no default and no dataset of a config that works
without it.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.contract import needs_detectron2
from tests.pages import checkout, run

pytestmark = [needs_detectron2, pytest.mark.contract, pytest.mark.slow]

SIDES = ("builtin", "detectron2")
TIMES = ("time", "data_time", "img/s", "eta_seconds", "max_mem")
RUN = (
    "python train_net.py --config-file configs/toy.yaml SOLVER.MAX_ITER 20 SOLVER.LOG_PERIOD 1"
    " TEST.NUM_PICTURES 0"
)
DATASETS = """
import json, clipmask
from clipmask.d2 import DatasetCatalog, MetadataCatalog
names = [name for name in DatasetCatalog.list() if name.split("_")[0] in ("camvid", "camvid720", "cityscapes", "toy")]
ours = [name for name in names if getattr(DatasetCatalog[name], "func", list).__module__.startswith("clipmask")]
keys = ("stuff_classes", "stuff_colors", "ignore_label", "label_mapping", "server_ids", "class_aliases")
told = {name: [str(MetadataCatalog.get(name).get(key, None)) for key in keys] for name in ours}
print("told", json.dumps([told, DatasetCatalog.get("toy_street_sem_seg_val")]))
"""  # noqa: E501


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> dict[str, Path]:
    """One for each implementation, in which the toy config was trained for 20 steps."""
    folders = {side: checkout(tmp_path_factory.mktemp(side), scenes) for side in SIDES}
    for side, folder in folders.items():
        run(shlex.split(RUN), folder, side)
    return folders


def told(code: str, folder: Path, side: str) -> str:
    """Returns the line that begins with "told": libraries may print others."""
    return next(
        line
        for line in run(["python", "-c", code], folder, side).splitlines()
        if line.startswith("told")
    )


def test_losses_and_scores_are_equal(checkouts: dict[str, Path]) -> None:
    written = []
    for folder in checkouts.values():
        lines = (folder / "output" / "toy" / "metrics.json").read_text().splitlines()
        written.append(
            [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
        )
    ours, theirs = written
    assert len(ours) == 21, "20 steps and the evaluation"
    assert "total_loss" in ours[0]
    assert "sem_seg/mIoU" in ours[-1]
    assert ours == theirs


def test_files_are_equal(checkouts: dict[str, Path]) -> None:
    """Weights to the byte, and predictions; so a checkpoint of one is the other's."""
    for name in (
        "config.yaml",
        "model_final.pth",
        "inference/toy_street_sem_seg_val/sem_seg_predictions.json",
    ):
        ours, theirs = (
            (folder / "output" / "toy" / name).read_bytes() for folder in checkouts.values()
        )
        assert ours == theirs, name


def test_a_checkpoint_predicts_alike_on_the_other_side(checkouts: dict[str, Path]) -> None:
    written = []
    for side, other in zip(SIDES, reversed(SIDES), strict=True):
        folder = checkouts[other]
        demo = (
            f"python demo/demo.py --weights {checkouts[side]}/output/toy/model_final.pth --save"
            " labels"
        )
        run(
            [*shlex.split(demo), "--input", "datasets/toy_street/val", "--output", "crossed"],
            folder,
            other,
        )
        files = sorted((folder / "crossed").glob("*.png"))
        assert len(files) == 60
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]


def test_datasets_are_equal(checkouts: dict[str, Path]) -> None:
    folder = checkouts[SIDES[0]]  # paths are equal then
    ours, theirs = (told(DATASETS, folder, side) for side in SIDES)
    assert ours.count("_sem_seg_") >= 6
    assert ours == theirs


def test_defaults_are_equal(checkouts: dict[str, Path]) -> None:
    """An installed Detectron2 adds its own keys, and changes none; what is written of a config is
    the same text.
    """
    code = (
        "from clipmask import get_cfg, load_cfg\nfrom clipmask.config import dump_cfg, leaf_keys,"
        " own_cfg\ncfg = leaf_keys(get_cfg())\nprint('told', {key: cfg[key] for key in"
        " leaf_keys(own_cfg())}, repr(dump_cfg(load_cfg('configs/toy.yaml'))))\n"
    )
    ours, theirs = (told(code, folder, side) for side, folder in checkouts.items())
    assert ours == theirs


def test_keys_of_detectron2_count_where_it_is_installed(checkouts: dict[str, Path]) -> None:
    code = (
        "from clipmask import UserError, load_cfg\ntry: print('told', load_cfg('configs/toy.yaml',"
        " ['MODEL.RESNETS.DEPTH', '101']).MODEL.RESNETS.DEPTH)\nexcept UserError as error:"
        " print('told', error)\n"
    )
    ours, theirs = (told(code, folder, side) for side, folder in checkouts.items())
    assert "MODEL.RESNETS.DEPTH is a key of Detectron2 that ClipMask does not read" in ours
    assert theirs == "told 101"
