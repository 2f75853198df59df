"""The command's mistakes are one line, and what disagrees with its model is not kept."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from clipmask.cli import export
from clipmask.cli.export import build_parser, main
from clipmask.inference.runtimes import Runtime
from tests.checkpoints import write_checkpoint
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "a.pth"], "ends in .onnx"),
        (["--output", "a.onnx", "--format", "torch"], "ends in .pt2"),
        (["--output", "a.onnx", "--size", "480"], "height x width"),
        (["--output", "a.onnx"], "INPUT.MIN_SIZE_TEST"),
        (["--output", "a.onnx", "--weights", "no.pth"], "no.pth: no such file"),
        (["--output", "a.onnx", "--size", "32x32", "--verify", "no.png"], "no.png"),
        (
            ["--output", "a.pt2", "--format", "torch", "--size", "32x32", "--half"],
            "--half",
        ),
        (["--output", "a.onnx", "--half", "--int8", "."], "exclude each other"),
        (["--output", "a.pt2", "--format", "torch", "--int8", "."], "--format onnx"),
        (["--output", "a.onnx", "--size", "32x32", "--int8", "no"], "--int8 no: no such file"),
        (["--output", "a.onnx", "--split", "val"], "--split"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    small_cfg: CfgNode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "model.pth", small_cfg)
    assert main(["--weights", "model.pth", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not list(tmp_path.glob("a.*"))


def test_a_network_that_disagrees_is_not_kept(
    tmp_path: Path,
    small_cfg: CfgNode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "model.pth", small_cfg)
    monkeypatch.setattr(export, "make_program", lambda *arguments: None)
    monkeypatch.setitem(
        export.WRITERS,
        "onnx",
        lambda program, path, description, half: path.write_text(description),
    )
    answer = np.full((1, 40, 56), 200, np.uint8)
    monkeypatch.setattr(
        export, "open_network", lambda path: Runtime(lambda image, text: answer, None)
    )
    assert main(["--weights", "model.pth", "--output", "a.onnx", "--size", "40x56"]) == 2
    assert "disagrees" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["model.pth"]


def test_the_page_tells_of_every_option() -> None:
    page = (ROOT / "docs" / "export.md").read_text()
    options = {
        word
        for action in build_parser()._actions
        for word in action.option_strings
        if word.startswith("--")
    }
    # --input is the demo's, not the export's; --help and --opts are those of every command.
    assert set(re.findall(r"--[a-z][a-z0-9-]*", page)) - {"--input"} == options - {
        "--help",
        "--opts",
    }
