"""The command writes a file that the predictor takes, and its mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from clipmask.cli.pack import main
from clipmask.inference import Predictor
from tests.checkpoints import pixels, write_checkpoint
from tests.closeness import assert_same
from tests.conftest import NAMES


def test_a_packed_model_predicts_as_its_checkpoint(
    tmp_path: Path, small_cfg: CfgNode, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_checkpoint(tmp_path / "model.pth", small_cfg)
    target = tmp_path / "new" / "model.safetensors"
    assert main(["--weights", str(source), "--output", str(target)]) == 0
    told = capsys.readouterr().out
    assert str(target) in told
    assert f"{len(NAMES)} classes" in told
    first, second = (Predictor.from_checkpoint(path)(pixels()) for path in (source, target))
    assert (second.names, second.colors) == (tuple(NAMES), first.colors)
    assert_same(first.scores(), second.scores())


def test_half_changes_scores_by_rounding_alone(tmp_path: Path, small_cfg: CfgNode) -> None:
    source, target = (
        write_checkpoint(tmp_path / "model.pth", small_cfg),
        tmp_path / "half.safetensors",
    )
    assert main(["--weights", str(source), "--output", str(target), "--half"]) == 0
    first, second = (
        Predictor.from_checkpoint(path)(pixels()).scores() for path in (source, target)
    )
    assert 0 < np.abs(first - second).max() < 0.05 * np.abs(first).max()


@pytest.mark.parametrize(
    ("weights", "output", "message"),
    [
        ("missing.pth", "a.safetensors", "missing.pth: no such file"),
        ("model.pth", "a.pth", "name a file that ends in .safetensors"),
        ("model.pth", "", "--push-to-hub"),
        ("model.pth", "model.pth/a.safetensors", "its folder can't be"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    small_cfg: CfgNode,
    capsys: pytest.CaptureFixture[str],
    weights: str,
    output: str,
    message: str,
) -> None:
    write_checkpoint(tmp_path / "model.pth", small_cfg)
    place = ["--output", str(tmp_path / output)] if output else []
    assert main(["--weights", str(tmp_path / weights), *place]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert len(told.splitlines()) == 1
