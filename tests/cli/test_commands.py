"""However a command is started, a Detectron2 that can't be used ends it in one line, and so does a
wrong variable.
"""

from __future__ import annotations

import configparser
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT
from tests.forked import run_forked
from tests.test_d2 import fake

_setup = configparser.ConfigParser()
_setup.read(ROOT / "setup.cfg")
SCRIPTS = dict(
    line.split(" = ")
    for line in _setup["options.entry_points"]["console_scripts"].split("\n")
    if line
)
# But for those that tell about a Detectron2 that can't be used.
COMMANDS = {
    name: target.split(":")
    for name, target in SCRIPTS.items()
    if name not in ("clipmask", "clipmask-env")
}
# As a module, as a file of the checkout, and as the wrapper that pip writes for a console script
# does it.
STARTS = [
    *(["-m", module] for module, _ in COMMANDS.values()),
    ["train_net.py"],
    ["demo/demo.py"],
    ["-c", "import sys; from clipmask.cli.embed import main; sys.exit(main())"],
]


def start(words: list[str], *places: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Starts Python in the checkout, with ``places`` before everything else that can be
    imported.
    """
    environment = {
        key: value for key, value in os.environ.items() if key not in ("CLIPMASK_D2", "LOCAL_RANK")
    }
    paths = os.pathsep.join(
        [*map(str, places), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    environment |= {"PYTHONPATH": paths, **variables}
    return run_forked(["python", *words], ROOT, environment, PATIENCE)


@pytest.mark.parametrize("words", STARTS, ids=" ".join)
def test_a_broken_detectron2_is_one_line(words: list[str], tmp_path: Path) -> None:
    broken = fake(tmp_path, "raise ImportError('numpy.core.multiarray failed to import')")
    result = start([*words, "--help"], broken)
    assert result.returncode == 2, result.stdout
    assert result.stderr.startswith("error: Detectron2 was found at")
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_a_wrong_variable_is_one_line() -> None:
    result = start(["-m", "clipmask.cli.embed", "--help"], CLIPMASK_D2="nonsense")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith("error: CLIPMASK_D2=nonsense is neither")


@pytest.mark.parametrize("script", sorted(SCRIPTS.keys() - {"clipmask"}))
def test_scripts_show_their_help(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, name = SCRIPTS[script].split(":")
    function = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        function()
    assert ended.value.code == 0
    assert f"usage: {script}" in capsys.readouterr().out
