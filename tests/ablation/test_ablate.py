"""The command: from a grid to tables with the real training, and one clear line for each
mistake.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask_tools import ablate
from tests.ablation.made import CLASSES, made_grid, made_result, write_pictures, write_results
from tests.conftest import ROOT
from tests.pages import run

pytestmark = pytest.mark.slow

DATA = """
from pathlib import Path
from clipmask.d2 import DatasetCatalog, MetadataCatalog

def load(split):
    labels = sorted((Path(__file__).parent / split).glob("*_labels.png"))
    return [{"file_name": str(f).replace("_labels", ""), "sem_seg_file_name": str(f)} for f in labels]

for split, classes in (("train", CLASSES), ("val", CLASSES), ("more", [*CLASSES, "tree"])):
    folder = "val" if split == "more" else split
    DatasetCatalog.register(f"pictures_{split}", lambda folder=folder: load(folder))
    MetadataCatalog.get(f"pictures_{split}").set(stuff_classes=classes, ignore_label=255)
"""  # noqa: E501
CONFIG = f"""
_BASE_: {ROOT}/configs/toy.yaml
MODEL: {{CLIPMASK: {{HIDDEN_DIM: 16, NUM_HEADS: 2, FFN_DIM: 32, NUM_QUERIES: 8, DEC_LAYERS: 1}}, DEVICE: cpu}}
DATASETS: {{TRAIN: "('pictures_train',)", TEST: "('pictures_val',)"}}
INPUT: {{MIN_SIZE_TEST: 0, CROP: {{SIZE: [32, 32]}}}}
SOLVER: {{MAX_ITER: 4, IMS_PER_BATCH: 2, WARMUP_ITERS: 1, CHECKPOINT_PERIOD: 2}}
TEST: {{EVAL_PERIOD: 2, NUM_PICTURES: 0}}
DATALOADER: {{NUM_WORKERS: 0}}
"""  # noqa: E501


def test_from_a_grid_to_a_result(tmp_path: Path) -> None:
    """One run of the real training, tested on a dataset with one class more besides."""
    grid = made_grid(tmp_path / "grid", "full: {title: full model, also_test: [pictures_more]}")
    grid.path.write_text(f"{grid.path.read_text()}register: [data.py]\n")
    (tmp_path / "grid" / "data.py").write_text(DATA.replace("CLASSES", repr(CLASSES)))
    (tmp_path / "grid" / "full.yaml").write_text(CONFIG)
    write_pictures(tmp_path / "grid")
    folders = ["--output", str(tmp_path / "output"), "--results", str(tmp_path / "results")]
    command = [
        "python",
        "-m",
        "clipmask_tools.ablate",
        "run",
        str(grid.path),
        *folders,
        "--seeds",
        "3",
    ]
    assert "full seed 3: mIoU" in run(command, tmp_path)
    text = (tmp_path / "results" / "grid" / "full_seed3.json").read_text()
    assert '"pictures_more": {"classes": ["road", "sky", "car", "tree"]' in text
    assert str(tmp_path) not in text


def test_a_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = made_grid(tmp_path / "grid")
    write_results(tmp_path, grid, made_result(), made_result("less", right=0.5))
    assert ablate.main(["table", str(grid.path), "--results", str(tmp_path)]) == 0
    assert "| less of it | 1 | 33.33 | -33.33 |" in capsys.readouterr().out


def test_the_page_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = made_grid(tmp_path / "grid")
    write_results(tmp_path, grid, made_result())
    (tmp_path / "page.md").write_text("<!-- ablate: scores grid/grid.yaml -->\n<!-- /ablate -->\n")
    monkeypatch.setattr(ablate, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(ablate, "ROOT", tmp_path)
    words = ["page", "--results", str(tmp_path)]
    assert ablate.main([*words, "--check"]) == 1
    assert "run python -m clipmask_tools.ablate page" in capsys.readouterr().err
    assert ablate.main(words) == 0
    assert "| full model | 1 |" in (tmp_path / "page.md").read_text()
    assert ablate.main([*words, "--check"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere.yaml"], "error: grid nowhere.yaml: can't be read"),
        (["table", "GRID"], "no results yet"),
        (["run", "GRID", "--runs", "full,more"], "no run more; there are full, less"),
        (["run", "GRID", "--seeds", "-1"], "whole numbers"),
        (["run", "GRID", "SOLVER.MAX_ITER"], "has no value"),
        (["run", "GRID"], "DATASETS.TEST is empty"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    grid = made_grid(tmp_path / "grid")
    given = [str(grid.path) if word == "GRID" else word for word in words]
    assert ablate.main([*given, "--results", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "run: name a grid"),
        (["table", "a.yaml", "A", "1"], "table: takes no A 1"),
        (["paint"], "invalid choice"),
        (
            ["run", "a.yaml", "--seeds", "one"],
            "such as 0,1,2",
        ),
    ],
)
def test_wrong_words(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    with pytest.raises(SystemExit):
        ablate.main(words)
    assert message in capsys.readouterr().err


def test_help_shows_examples() -> None:
    told = ablate.build_parser().format_help()
    assert " run configs/ablations/grid.yaml" in told
    assert "--jobs" in told
