"""The tiny dataset, and a Fabric without launching processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from clipmask.engine.train import train

from . import tiny
from .runs import DEMANDING


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


@pytest.fixture(scope="session")
def uninterrupted(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    torch.set_num_threads(1)  # as in every test; with another number sums are rounded otherwise
    train(tiny.tiny_cfg(folder, *DEMANDING))
    return folder
