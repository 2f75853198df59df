"""Configs are found by name from any folder; a file of one's own comes first, and a wrong name is
one clear error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from clipmask import UserError, load_cfg, shipped
from clipmask.cli.register import register_file
from clipmask.shipped import config_file, find_config, shipped_configs, shipped_folder
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["toy.yaml", "configs/toy.yaml", "camvid/clipmask_r50.yaml"])
def test_a_config_by_name_is_the_one_in_configs(name: str) -> None:
    assert load_cfg(name) == load_cfg(ROOT / "configs" / name.removeprefix("configs/"))


def test_a_file_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text("SEED: 7\n")
    assert load_cfg("toy.yaml").SEED == 7
    assert config_file(tmp_path / "toy.yaml") == tmp_path / "toy.yaml"


def test_a_base_by_name(tmp_path: Path) -> None:
    """Beside the file first, as ever; the base's own base is found too."""
    own = tmp_path / "own.yaml"
    own.write_text("_BASE_: camvid/clipmask_r50.yaml\nSEED: 5\n")
    expected = load_cfg(ROOT / "configs" / "camvid" / "clipmask_r50.yaml", ["SEED", "5"])
    assert load_cfg(own) == load_cfg("own.yaml") == expected
    (tmp_path / "camvid").mkdir()
    (tmp_path / "camvid" / "clipmask_r50.yaml").write_text("SOLVER: {MAX_ITER: 3}\n")
    assert load_cfg(own).SOLVER.MAX_ITER == 3


def test_bases_keep_the_types_of_their_values(tmp_path: Path) -> None:
    """Though the text is written anew for a config with a base."""
    base, leaf = tmp_path / "a.yaml", tmp_path / "b.yaml"
    base.write_text(
        "SOLVER: {BASE_LR: 1.0e-05, WARMUP_FACTOR: 0.001}\nDATASETS:\n  TRAIN: ('a', 'b')\n"
    )
    leaf.write_text("_BASE_: [a.yaml]\nINPUT: {CROP: {SIZE: [1, 2]}}\nMODEL: {WEIGHTS: 'on'}\n")
    cfg = load_cfg(leaf)
    assert (cfg.SOLVER.BASE_LR, cfg.DATASETS.TRAIN, cfg.MODEL.WEIGHTS) == (1e-5, ("a", "b"), "on")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("toys.yaml", "did you mean toy.yaml"),
        ("camvid/clipmask_r5.yaml", "camvid/clipmask_r50.yaml"),
        ("xyz", "the configs are"),
        ("/nowhere/at/all", "toy.yaml"),
        ("../setup.cfg", "toy.yaml"),
    ],
)
def test_a_wrong_name(name: str, hint: str) -> None:
    assert find_config(name) is None
    with pytest.raises(UserError, match="no such file") as told:
        load_cfg(name)
    assert name in str(told.value)
    assert hint in str(told.value)


def test_a_missing_base_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("_BASE_: gone.yaml\n")
    with pytest.raises(UserError, match=r"gone\.yaml: no such file \(asked for by own\.yaml\)"):
        load_cfg("own.yaml")


def test_a_registering_file_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        find_config("drives/camvid_drives.py") == ROOT / "configs" / "drives" / "camvid_drives.py"
    )
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "package")
    (tmp_path / "configs" / "drives").mkdir(parents=True)
    (tmp_path / "configs" / "drives" / "shipped_test.py").write_text("VALUE = 3\n")
    register_file("drives/shipped_test.py")
    assert sys.modules["clipmask_registered_shipped_test"].VALUE == 3
    with pytest.raises(UserError, match="no such file"):
        register_file("drives/none.py")


def test_an_installed_package_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a wheel leaves it: what stands beside the package is another's."""
    (tmp_path / "site" / "clipmask" / "configs").mkdir(parents=True)
    (tmp_path / "site" / "configs").mkdir()
    own = tmp_path / "site" / "clipmask" / "configs" / "mine.yaml"
    own.write_text(yaml.safe_dump({"SEED": 3}))
    (tmp_path / "site" / "configs" / "other.yaml").touch()
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "site" / "clipmask")
    assert shipped_configs() == ["mine.yaml"]
    assert load_cfg("mine.yaml").SEED == 3
    assert shipped_folder("models") == tmp_path / "site" / "models"
