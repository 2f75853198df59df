"""Imports run one way, and importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "clipmask"
# A module may import from its own layer's folder and from the layers before it.
LAYERS = [
    {"errors", "program", "recent", "signals"},
    {"escaping", "paths", "plain_yaml"},
    {"builtin", "ranges", "shipped"},
    {"d2", "merging"},
    {"config", "device", "fonts", "losses", "vocabulary"},
    {"data", "validate", "weights"},
    {"backbones", "evaluation", "text", "visualizer"},
    {"modeling"},
    {"inference"},
    {"engine", "export", "film"},
    {"curation"},
    {"cli", "env"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_direction(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported(path):
        if name.split(".")[0] == "detectron2":
            assert own == "d2", "only clipmask/d2.py may import Detectron2"
        if not name.startswith("clipmask.") or own == "__init__":
            continue
        other = name.split(".")[1]
        if other in RANK and other != own:
            assert RANK[other] < RANK[own], f"{own} imports {other}"
    if own in ("modeling",) and path.name != "clipmask.py":
        assert not any(name.startswith("clipmask.losses") for name in imported(path))


def test_every_module_has_a_layer() -> None:
    found = {
        path.name.removesuffix(".py")
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or path.is_dir()
    }
    assert found - {"__init__", "__pycache__", "py.typed"} == set(RANK)


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, clipmask.inference, clipmask.cli.demo.command; print([m for m in ('timm',"
        " 'torchvision', 'open_clip', 'lightning_fabric', 'lightning', 'cv2', 'matplotlib',"
        " 'tensorboard', 'detectron2') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=_builtin_environment(),
    )
    assert result.stdout.strip() == "[]"


def _builtin_environment() -> dict[str, str]:
    import os

    return {**os.environ, "CLIPMASK_D2": "builtin"}
