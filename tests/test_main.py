"""``clipmask`` with a verb does what the command of that name does."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import clipmask
from clipmask import program
from clipmask.__main__ import VERBS, main
from tests.cli.test_commands import SCRIPTS, start
from tests.test_d2 import fake


@pytest.fixture(autouse=True)
def _no_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_called", [])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_its_help_under_its_own_name(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"usage: clipmask {verb} " in capsys.readouterr().out


def test_every_old_name_has_a_verb() -> None:
    """And calls the same function."""
    targets = {verb.module for verb in VERBS.values()}
    for script, target in SCRIPTS.items():
        if script != "clipmask":
            assert target == f"{target.split(':')[0]}:main"
            assert target.split(":")[0] in targets, script


def test_eval_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    module = importlib.import_module(VERBS["eval"].module)
    monkeypatch.setattr(module, "main", lambda words: seen.append(words) or 0)
    assert main(["eval", "--config-file", "toy.yaml", "MODEL.WEIGHTS", "a.pth"]) == 0
    assert main(["train", "--config-file", "toy.yaml"]) == 0
    assert seen == [
        ["--eval-only", "--config-file", "toy.yaml", "MODEL.WEIGHTS", "a.pth"],
        ["--config-file", "toy.yaml"],
    ]


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clipmask {clipmask.__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", clipmask.__version__)
    try:
        installed = version("clipmask")
    except PackageNotFoundError:
        pytest.skip("clipmask is not installed here")
    assert installed == clipmask.__version__


def test_wrong_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err
    assert main(["xyz"]) == 2
    assert ", ".join(VERBS) in capsys.readouterr().err
    assert main([]) == 2
    assert "usage: clipmask" in capsys.readouterr().err
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {verb} " in told for verb in VERBS)


def test_a_broken_detectron2_leaves_env_and_help(tmp_path: Path) -> None:
    broken = fake(tmp_path, "raise ImportError('numpy.core.multiarray failed to import')")
    assert "can't be used" in start(["-m", "clipmask", "env"], broken).stdout
    assert start(["-m", "clipmask", "--version"], broken).returncode == 0
    result = start(["-m", "clipmask", "train", "--help"], broken)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert result.stderr.startswith("error: Detectron2 was found at")


def test_help_is_quick() -> None:
    """The verbs' modules are not imported for it: what they import takes seconds."""
    code = (
        "import sys; from clipmask.__main__ import main; main(['--help']); "
        "sys.exit(any(m.startswith('clipmask.cli') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
