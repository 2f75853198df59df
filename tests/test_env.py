"""The report for a bug report comes out of every machine, a broken one too, and tells nobody's
secrets.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from clipmask import env
from clipmask.data.datasets import FOLDERS
from tests.conftest import PATIENCE, ROOT
from tests.contract import needs_detectron2
from tests.forked import run_forked
from tests.test_d2 import fake

BROKEN = "raise ImportError('numpy.core.multiarray failed to import')"


def told(*places: Path, anew: bool = False, **variables: str) -> str:
    """What the command prints, with ``places`` before everything else that can be imported.

    Args:
        anew: in a new interpreter, for what a library reads when it is imported.
    """
    paths = [*map(str, places), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {key: value for key, value in os.environ.items() if key != "CLIPMASK_D2"}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), **variables}
    command = [sys.executable, "-m", "clipmask.env"]
    if anew:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
    else:
        result = run_forked(command, ROOT, environment, PATIENCE)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout


def lines(report: str) -> dict[str, str]:
    """The report's values by name."""
    return {
        line.split("  ")[0]: line.split("  ", 1)[1].strip()
        for line in report.splitlines()
        if "  " in line
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for a report made in this process."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLIPMASK_CACHE", "CLIPMASK_DATASETS", "DETECTRON2_DATASETS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_what_is_in_use() -> None:
    report = told(CLIPMASK_D2="builtin")
    values = lines(report)
    assert values["Detectron2's names"] == "from clipmask.builtin"
    assert values["CLIPMASK_D2"] == "builtin"
    assert "failed" not in values
    assert len(report.splitlines()) < 70
    columns = {
        len(line) - len(re.split(r" {2,}", line, maxsplit=1)[1])
        for line in report.splitlines()
        if "  " in line
    }
    assert len(columns) == 1, "the values stand below each other"


@needs_detectron2
def test_a_detectron2_in_use_is_described() -> None:
    values = lines(told())
    assert re.match(r"from .*detectron2, \d", values["Detectron2's names"])
    assert "compiled" in values["detectron2._C"]


def test_a_broken_detectron2_is_reported(tmp_path: Path) -> None:
    """Where it lies and why it can't be imported, without the user's name; the rest is told all the
    same.
    """
    values = lines(told(fake(tmp_path, BROKEN), HOME=str(tmp_path)))
    assert values["can't be used"].startswith(
        "Detectron2 was found at ~/detectron2/__init__.py but can't be imported"
    )
    assert "multiarray" in values["can't be used"]
    assert values["CLIPMASK_D2"] == "not set"
    assert values["text embeddings"] == "~/.cache/clipmask/text (missing)"
    assert {"torch", "cpu", *FOLDERS} <= values.keys()
    assert "failed" not in values


def test_a_wrong_variable_is_reported() -> None:
    values = lines(told(CLIPMASK_D2="nonsense"))
    assert values["CLIPMASK_D2"] == "nonsense"
    assert values["can't be used"].startswith("CLIPMASK_D2=nonsense is neither")


@pytest.mark.parametrize("kind", ["ImportError", "OSError"])
def test_a_torch_that_does_not_load_is_reported(kind: str, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        f"raise {kind}('libtorch.so:\\n cannot open shared object file')"
    )
    values = lines(told(tmp_path, anew=True, CLIPMASK_D2="builtin"))
    assert values["can't be used"] == f"{kind}: libtorch.so: cannot open shared object file"
    assert values["failed"] == values["can't be used"]
    assert (
        "(missing)" in values["open_clip's own files"] or "entr" in values["open_clip's own files"]
    )


def test_every_dependency_is_listed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = [line.split(">=") for line in setup["options"]["install_requires"].split("\n") if line]
    assert {name: least.split(",")[0] for name, least in needed} == env.REQUIRED


def test_versions_that_are_missing_or_too_old_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    have = {"torch": "2.10.0a0+git1", "timm": "1.0.8", "numpy": "2", "detectron2": "0.6"}

    def version(package: str) -> str:
        if package not in have:
            raise importlib.metadata.PackageNotFoundError(package)
        return have[package]

    monkeypatch.setattr(env, "version", version)
    values = lines(env.report())
    assert (values["torch"], values["numpy"], values["detectron2"]) == ("2.10.0a0+git1", "2", "0.6")
    assert values["timm"] == "1.0.8 (at least 1.0.9 is needed)"
    assert values["scipy"] == "not installed (at least 1.10 is needed)"
    assert "cityscapesscripts" not in values


def test_a_driver_that_fails_is_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of what torch warns of, of each GPU that can't be asked, and of NVIDIA's own program."""

    def unusable() -> bool:
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old\n(found 11040).",
            stacklevel=1,
        )
        return False

    def fails(index: int) -> None:
        raise RuntimeError("CUDA unknown error\n  - is it plugged in?")

    smi = tmp_path / "nvidia-smi"
    smi.write_text('#!/bin/sh\necho "couldn\'t communicate with the driver"; exit 9\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(torch.cuda, "is_available", unusable)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fails)
    values = lines(env.report())
    assert values["cuda"].endswith(
        "CUDA initialization: The NVIDIA driver on your system is too old (found 11040)."
    )
    assert values["failed"] == "RuntimeError: CUDA unknown error - is it plugged in?"
    assert values["NVIDIA's driver"] == "nvidia-smi fails: couldn't communicate with the driver"
    assert "cpu" in values


def test_roots(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root, folder in (
        ("a", "camvid"),
        ("b", "camvid"),
        ("b", "toy_street"),
        ("b", "cityscapes/leftImg8bit"),
    ):
        (home / root / folder).mkdir(parents=True)
    (home / "b" / "camvid" / "train.txt").touch()
    monkeypatch.chdir(home)
    monkeypatch.setenv("CLIPMASK_DATASETS", "~/a")
    values = lines(env.report())
    assert (values["DETECTRON2_DATASETS"], values["./datasets"]) == (
        "not set",
        "~/datasets (missing)",
    )
    assert values["camvid"] == "~/a/camvid, without train.txt"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(home / "b"))
    values = lines(env.report())
    assert (values["CLIPMASK_DATASETS"], values["DETECTRON2_DATASETS"]) == ("~/a", "~/b")
    assert values["camvid"] == "~/b/camvid", "the loaders take the first that is whole"
    assert values["cityscapes"] == "~/b/cityscapes"
    assert values["toy_street"] == "~/b/toy_street, without VERSION"
    assert values["camvid720"] == "not found"


def test_every_dataset_of_ours_has_its_folder() -> None:
    """And each of these folders is on the page about datasets."""
    page = (ROOT / "datasets" / "README.md").read_text()
    assert [folder for folder in FOLDERS if f"{folder.split('/')[-1]}/" not in page] == []
    for path in (ROOT / "clipmask" / "data" / "datasets").glob("*.py"):
        text = path.read_text()
        if re.search(r"^def register\(\)", text, re.MULTILINE):
            assert any(folder in text for folder in FOLDERS), f"the folder of {path.stem}"


def test_caches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links are not followed: a hub's cache has a second name for each of its files."""
    monkeypatch.setenv("CLIPMASK_CACHE", str(home / "cache"))
    text, other = home / "cache" / "text", home / ".cache" / "clip"
    for folder in (text / "deep", other):
        folder.mkdir(parents=True)
    (text / "deep" / "a.npz").write_bytes(bytes(3 << 20))
    (text / "again.npz").symlink_to(text / "deep" / "a.npz")
    (text / "around").symlink_to(text)
    (other / "ViT.pt").write_bytes(bytes(1 << 19))
    values = lines(env.report())
    assert values["text embeddings"] == "~/cache/text (3 entries, 3.0 MiB)"
    assert values["open_clip's own files"] == "~/.cache/clip (1 entry, 0.5 MiB)"


def test_the_hub_is_where_its_library_says(tmp_path: Path) -> None:
    """It reads several variables, and only when it is imported."""
    hub = tmp_path / "elsewhere"
    (hub / "models--timm--resnet").mkdir(parents=True)
    assert (
        "/elsewhere (1 entry, 0.0 MiB)"
        in lines(told(anew=True, HF_HUB_CACHE=str(hub)))["hub (timm, open_clip)"]
    )
    values = lines(
        told(
            anew=True,
            HF_HUB_CACHE="",
            HUGGINGFACE_HUB_CACHE="",
            HF_HOME=str(tmp_path),
            TORCH_HOME=str(tmp_path),
        )
    )
    assert values["torch hub"].endswith(f"{tmp_path.name}/hub (missing)")


def test_secrets_and_names_stay_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "CLIPMASK_PASSWORD", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("CLIPMASK_CACHE", f"{home}/cache")
    monkeypatch.setenv("DETECTRON2_DATASETS", f"{home}-of-another")
    report = env.report()
    assert "hidden" not in report
    values = lines(report)
    assert values["CLIPMASK_PASSWORD"] == "is set, but nothing reads it"
    assert values["CLIPMASK_CACHE"] == "~/cache"
    assert values["DETECTRON2_DATASETS"] == f"{home}-of-another (missing)", (
        "only looks as if it were below the home"
    )
    assert f"{home}/" not in report


def test_own_variables_are_those_that_are_read() -> None:
    sources = [*(ROOT / "clipmask").rglob("*.py"), *(ROOT / "tests").rglob("conftest.py")]
    read = {
        name
        for path in sources
        for name in re.findall(r'"(CLIPMASK_[A-Z0-9_]+)"', path.read_text())
    }
    assert read == set(env.OWN_VARIABLES)


def test_paths_that_a_terminal_can_not_show() -> None:
    assert (
        "~"
        not in lines(told(anew=True, CLIPMASK_CACHE="/caché/\udcff", PYTHONIOENCODING="ascii"))[
            "text embeddings"
        ]
    )
