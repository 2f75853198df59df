"""The tiny dataset, and a Fabric without launching processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning_fabric import Fabric

from . import tiny


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    tiny.write_dataset(root)
    tiny.register(root)
    return root


@pytest.fixture
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric
