"""Settings: what a result follows from, and nothing that tells where it was made."""

from __future__ import annotations

import json
from pathlib import Path

from clipmask import load_cfg
from clipmask_tools.ablation.settings import differences, settings
from tests.conftest import ROOT

CONFIG = ROOT / "configs" / "ablations" / "no_text.yaml"


def test_files_go_by_name_and_content(tmp_path: Path) -> None:
    file = tmp_path / "secret" / "backbone.pth"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    own = settings(
        load_cfg(
            CONFIG, ["MODEL.BACKBONE.WEIGHTS", str(file), "OUTPUT_DIR", str(tmp_path), "SEED", "3"]
        )
    )
    assert own["MODEL.BACKBONE.WEIGHTS"] == "backbone.pth (sha256 9a129038d9a0)"
    assert own["MODEL.CLIPMASK.INJECTION"] == "none"
    assert str(tmp_path) not in json.dumps(own)
    assert "SEED" not in own
    assert json.loads(json.dumps(own)) == own


def test_what_changes_no_result_does_not_count() -> None:
    here = settings(
        load_cfg(
            CONFIG, ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0", "SOLVER.LOG_PERIOD", "1"]
        )
    )
    assert here == settings(load_cfg(CONFIG))


def test_differences() -> None:
    first, second = settings(load_cfg(CONFIG)), settings(load_cfg(CONFIG, ["SOLVER.MAX_ITER", "7"]))
    assert (
        differences(first, second)
        == differences(first, second, budget=True)
        == ["SOLVER.MAX_ITER 600, 7"]
    )
    full = settings(load_cfg(CONFIG.with_name("full.yaml")))
    assert len(differences(first, full)) == 3
    assert differences(first, full, budget=True) == []
    assert "MODEL.CLIPMASK.CLASSIFIER linear, default" in differences(first, full)
