"""No command writes over a file that ClipMask did not write, unless ``--force`` says so."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from clipmask.cli.data.command import main as data
from clipmask.cli.output import output_file
from clipmask.errors import UserError
from tests.curation.checking.made import make

COMMANDS = {
    "embed": (["--names", "road"], "mine.npz"),
    "pack": (["--weights", "model.pth"], "mine.safetensors"),
    "export": (["--weights", "model.pth"], "mine.onnx"),
    "data.command": (["init", "."], "mine.yaml"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("link", [False, True])
def test_a_file_of_the_users_stays(
    command: str,
    link: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is told at once, before any model or folder is read, none of which is there."""
    monkeypatch.chdir(tmp_path)
    words, name = COMMANDS[command]
    precious = Path("precious")
    precious.write_text("the user's")
    if link:
        Path(name).symlink_to(precious)
    else:
        precious.rename(name)
    main = importlib.import_module(f"clipmask.cli.{command}").main
    assert main([*words, "--output", name]) == 2
    told = capsys.readouterr().err
    assert name in told
    assert "--force" in told
    assert Path(name).read_text() == "the user's"


def test_force_and_files_beside(tmp_path: Path) -> None:
    xml, weights = tmp_path / "a.xml", tmp_path / "a.bin"
    assert output_file(str(xml), [".xml"], False, [".bin"]) == xml
    weights.touch()
    with pytest.raises(UserError, match=r"a\.bin"):
        output_file(str(xml), [".xml"], False, [".bin"])
    assert output_file(str(xml), [".xml"], True, [".bin"]) == xml


@pytest.mark.parametrize("command", ["check", "show"])
def test_reports_replace_reports_alone(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [command, str(make(tmp_path, "ids")), "--output", "out"]
    words += ["--workers", "0"] if command == "check" else []
    assert data(words) == 0
    assert data(words) == 0, "its own files are replaced"
    written = sorted(Path("out").rglob("*.png"))[0]
    written.write_text("the user's")
    os.utime(written, (1, 1))
    capsys.readouterr()
    assert data(words) == 2
    assert "ClipMask did not write it" in capsys.readouterr().err
    assert written.read_text() == "the user's"
    assert data([*words, "--force"]) == 0
    assert written.read_bytes()[1:4] == b"PNG"
