"""The wheel is the product: it holds every module, the configs and the models, and works from any
folder.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import clipmask
from tests.checkpoints import pixels
from tests.conftest import PATIENCE, ROOT
from tests.forked import run_forked

pytestmark = pytest.mark.slow
SOURCES = (
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "train_net.py",
)
FOLDERS = ("clipmask", "configs", "models", "demo", "clipmask_tools")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a distribution is built from: building leaves files beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def build(folder: Path, kind: str, target: Path) -> Path:
    """Builds ``wheel`` or ``sdist`` without the network, and without a word of deprecation."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "deprecat" not in (result.stdout + result.stderr).lower()
    return target / result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, as pip unpacks it."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def files(folder: Path, *patterns: str) -> set[str]:
    found = {
        path
        for pattern in patterns
        for path in folder.rglob(pattern)
        if "__pycache__" not in path.parts
    }
    return {path.relative_to(folder).as_posix() for path in found}


def test_every_file_is_in_it(site: Path) -> None:
    for folder, patterns in {
        "clipmask": ("*.py", "py.typed"),
        "configs": ("*.yaml", "*.py"),
    }.items():
        place = site / folder if folder == "clipmask" else site / "clipmask" / folder
        assert files(ROOT / folder, *patterns) <= files(place, *patterns)
    for path in (ROOT / "models").iterdir():
        assert (site / "clipmask" / "models" / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {
        "clipmask"
    }


def test_its_metadata_is_complete(site: Path) -> None:
    [info] = site.glob("*.dist-info")
    told = email.message_from_string((info / "METADATA").read_text())
    assert told["Version"] == clipmask.__version__
    assert "Apache-2.0" in (told["License"] or told["License-Expression"])
    assert told["Description-Content-Type"] == "text/markdown"
    assert told["Keywords"]
    classifiers = told.get_all("Classifier") or []
    assert any(line.startswith("Intended Audience") for line in classifiers)
    assert files(info, "LICENSE", "README.md"), (
        "the code's licence and the model's card, which names the model's"
    )


def test_the_sdist_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    path = build(checkout, "sdist", tmp_path)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build(tmp_path / path.name.removesuffix(".tar.gz"), "wheel", tmp_path)
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def run(site: Path, folder: Path, *words: str) -> str:
    """Runs Python with the wheel alone, from a folder that has nothing to do with the checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "CLIPMASK_D2": "builtin",
        "OMP_NUM_THREADS": "2",
    }
    result = run_forked(["python", *words], folder, environment, PATIENCE)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_it_finds_its_model_from_any_folder(site: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels(48, 64)).save(tmp_path / "a.png")
    told = run(
        site, tmp_path, "-m", "clipmask", "predict", "--input", "a.png", "--output", "out.png"
    )
    assert str(site / "clipmask" / "models") in told
    assert (tmp_path / "out.png").is_file()


def test_it_finds_its_configs_from_any_folder(site: Path, tmp_path: Path) -> None:
    code = (
        "from clipmask import load_cfg;"
        " print(load_cfg('camvid/clipmask_r50.yaml').MODEL.BACKBONE.TIMM_NAME)"
    )
    assert run(site, tmp_path, "-c", code).endswith("resnet50\n")
    told = run(site, tmp_path, "-m", "clipmask", "env")
    assert str(site / "clipmask") in told
