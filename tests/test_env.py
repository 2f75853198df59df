"""The report for a bug report comes out of every machine, a broken one too."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clipmask import env
from tests.conftest import ROOT
from tests.contract import INSTALLED
from tests.test_d2 import fake


def told(*places: Path, **variables: str) -> str:
    """What the command prints, with ``places`` before everything else that can be imported."""
    paths = [*map(str, places), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {key: value for key, value in os.environ.items() if key != "CLIPMASK_D2"}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), **variables}
    result = subprocess.run(
        [sys.executable, "-m", "clipmask.env"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout


def lines(report: str) -> dict[str, str]:
    """The report's values by name."""
    return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in report.splitlines() if "  " in line}


def test_what_is_in_use() -> None:
    values = lines(told(CLIPMASK_D2="builtin"))
    assert values["Detectron2's names"] == "from clipmask.builtin"
    assert values["CLIPMASK_D2"] == "builtin"
    if INSTALLED:
        assert "detectron2" in lines(told())["Detectron2's names"]


def test_a_broken_detectron2_is_reported(tmp_path: Path) -> None:
    values = lines(told(fake(tmp_path, "raise ImportError('numpy.core.multiarray failed to import')")))
    assert "can't be imported (ImportError: numpy.core.multiarray failed" in values["Detectron2's names"]
    assert values["not known"].startswith("without Detectron2's names")
    assert values["torch"], "the rest is there"


def test_a_wrong_variable_is_reported() -> None:
    assert "CLIPMASK_D2=nonsense is neither" in lines(told(CLIPMASK_D2="nonsense"))["Detectron2's names"]


def test_a_library_that_does_not_load_is_reported(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so: cannot open shared object file')")
    assert "failed" in told(tmp_path)
    assert "libtorch.so" in told(tmp_path)


def test_every_dependency_is_listed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = [re.split(r"[>=<;\[ ]", line)[0] for line in setup["options"]["install_requires"].split("\n") if line]
    assert {*needed, "clipmask"} == set(env.PACKAGES)


def test_roots_and_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "camvid").mkdir()
    cache = tmp_path / "cache" / "text"
    cache.mkdir(parents=True)
    (cache / "a.npz").write_bytes(bytes(3 << 20))
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "none"))
    monkeypatch.setenv("CLIPMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    report = env.report()
    values = lines(report)
    assert values["camvid"] == "~/camvid"
    assert values["camvid720"] == "not found"
    assert re.search(r"^root +~/none \(missing\)$", report, re.MULTILINE)
    assert values["text embeddings"] == "~/cache/text (1 file, 3.0 MiB)"
    assert str(tmp_path) not in report.replace(str(ROOT), "")


def test_nobodys_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "hf_secret" not in env.report()
