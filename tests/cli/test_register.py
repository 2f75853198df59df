"""Files of the user's are imported, and a fault in one is shown where it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clipmask import config, get_cfg, load_cfg
from clipmask.cli.register import register_file
from clipmask.config import dump_cfg, leaf_keys, stored_cfg
from clipmask.errors import UserError


def test_registered_files_are_imported_with_their_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 3\n")
    (tmp_path / "mine.py").write_text(
        "import os, neighbour_of_mine\nos.environ['MINE'] = str(neighbour_of_mine.VALUE)\n"
    )
    monkeypatch.setenv("MINE", "")
    register_file(tmp_path / "mine.py")
    assert os.environ["MINE"] == "3"


@pytest.fixture
def _no_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_extensions", [])


KEYS = """
from clipmask import add_clipmask_config
from fvcore.common.config import CfgNode

class Node(CfgNode):
    pass

def add_mine_config(cfg):
    cfg.MODEL.MINE = Node()
    cfg.MODEL.MINE.DEPTHS = [2, 2]
    cfg.MODEL.MINE.FREE = Node(new_allowed=True)
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.7
"""


@pytest.mark.usefixtures("_no_extensions")
def test_keys_of_a_registered_file_are_keys(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(KEYS)
    (tmp_path / "mine.yaml").write_text("MODEL: {MINE: {DEPTHS: [1]}}\n")
    before = leaf_keys(get_cfg())
    register_file(tmp_path / "mine.py")
    after = leaf_keys(get_cfg())
    assert {key: after[key] for key in before} == before, "what ClipMask has stays as it is"
    assert after.keys() - before.keys() == {"MODEL.MINE.DEPTHS", "MODEL.MINE.FREE"}
    cfg = load_cfg(
        tmp_path / "mine.yaml", ["MODEL.MINE.DEPTHS", "[3, 4]", "MODEL.MINE.FREE.a", "5"]
    )
    assert cfg.MODEL.MINE.DEPTHS == [3, 4]
    assert cfg.MODEL.MINE.FREE.a == 5
    assert "MINE" not in dump_cfg(get_cfg()), "at its default a key of others is not written down"
    again = stored_cfg(dump_cfg(cfg), "model.pth")
    assert leaf_keys(again) == leaf_keys(cfg)


@pytest.mark.usefixtures("_no_extensions")
def test_keys_that_can_not_be_added_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def add_mine_config(cfg):\n    cfg.MODEL.NOTHING.HERE = 1\n")
    with pytest.raises(UserError, match="add_mine_config"):
        register_file(tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1\n\nboom\n", "line 3: NameError"),
        ("def f():\n  1/0\nf()\n", "line 2: Zero"),
        ("x = (\n", "line 1: Syntax"),
    ],
)
def test_a_fault_in_a_registered_file_is_shown_where_it_is(
    tmp_path: Path, code: str, expected: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(code)
    with pytest.raises(UserError) as error:
        register_file(path)
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_a_registered_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.py", "data.txt"):
        (tmp_path / "data.txt").write_text("x")
        with pytest.raises(UserError, match=name):
            register_file(tmp_path / name)
