"""Tiny runs that are stopped, and what is compared of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from clipmask.engine import train as module
from clipmask.engine.train import train
from clipmask.errors import UserError
from clipmask.weights.checkpoint import canonical, load_checkpoint

from . import tiny

TIMES = {"time", "data_time", "img/s", "eta_seconds"}
DEMANDING = [  # everything that a resumed run could get wrong
    *("SOLVER.EMA_DECAY", 0.5, "MODEL.CLIPMASK.DROPOUT", 0.3, "MODEL.BACKBONE.NORM", "BN"),
    *("SOLVER.MAX_IMS_PER_DEVICE", 3, "SOLVER.CLIP_GRADIENTS.ENABLED", True, "TEST.EVAL_PERIOD", 2),
    *("SOLVER.LOG_PERIOD", 3),
]


def metrics(folder: Path) -> list[dict]:
    """The lines of metrics.json without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Lets ``steps`` steps happen, and then no more."""
    original, left = module.training_step, [steps]

    def step(*args: object):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(*args)

    monkeypatch.setattr(module, "training_step", step)


def train_stopped_and_resumed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int, *opts: object
) -> None:
    """Trains for some steps, is interrupted, and resumes to the end."""
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            train(tiny.tiny_cfg(folder, *opts))
    assert f"interrupted after step {steps} of" in (folder / "log.txt").read_text()
    torch.rand(13)  # whatever the process draws between must not matter
    train(tiny.tiny_cfg(folder, *opts), resume=True)


def without_config(path: Path) -> bytes:
    """The checkpoint's bytes, were OUTPUT_DIR, which its config names, always the same."""
    content = {**load_checkpoint(path), "config": ""}
    file = io.BytesIO()
    torch.save(canonical(content), file)
    return file.getvalue()


def files(folder: Path) -> dict[str, bytes]:
    """What a run has made, without its log, which every run continues."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in found.items() if name not in ("log.txt", ".lock")
    }


def unreadable(*args: object, **kwargs: object) -> None:
    """Stands in for what reads a file."""
    raise UserError("a bad file")
