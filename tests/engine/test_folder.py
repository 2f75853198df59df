"""A folder belongs to one run at a time, and which checkpoint is its newest is found whatever was
damaged.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipmask.engine.folder import (
    LOCK,
    NEEDED,
    best_score,
    newest_checkpoint,
    refuse_earlier_run,
    run_folder,
    set_aside,
)
from clipmask.errors import UserError
from clipmask.weights.checkpoint import LAST, save_checkpoint


def _save(folder: Path, iteration: int, name: str = "", **kwargs: bool) -> Path:
    path = folder / (name or f"model_{iteration:07d}.pth")
    content = {
        "model": {"weight": torch.ones(2)},
        **dict.fromkeys(NEEDED, 0),
        "iteration": iteration,
    }
    save_checkpoint(path, content, **kwargs)
    return path


def _newest(folder: Path, **kwargs: bool) -> Path | None:
    found = newest_checkpoint(folder, **kwargs)
    return found.path if found else None


def test_the_pointer_decides(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    first = _save(tmp_path, 1)
    _save(tmp_path, 3, last=False)
    assert _newest(tmp_path) == first


@pytest.mark.parametrize(
    "pointer", [None, b"", b"\xff\xfe\xfa", b"../model_0000009.pth", b"model_0000009.pth"]
)
def test_without_a_usable_pointer_the_newest_is_found(
    tmp_path: Path, pointer: bytes | None, caplog
) -> None:
    folder = tmp_path / "run"
    _save(tmp_path, 9)
    _save(folder, 1)
    newest = _save(folder, 12)
    _save(folder, 5, "model_final.pth")  # of a run that was prolonged
    _save(folder, 99, "model_best.pth")
    (folder / LAST).unlink() if pointer is None else (folder / LAST).write_bytes(pointer)
    with caplog.at_level(logging.WARNING):
        assert _newest(folder) == newest
    assert LAST in caplog.text or "model_0000009.pth" in caplog.text
    assert str(newest) in caplog.text


@pytest.mark.parametrize("size", [0, 100, -20])
def test_damaged_files_are_passed_over(tmp_path: Path, size: int, caplog) -> None:
    good = _save(tmp_path, 1)
    for iteration in (3, 5):
        path = _save(tmp_path, iteration)
        path.write_bytes(path.read_bytes()[:size])
    with caplog.at_level(logging.WARNING):
        assert _newest(tmp_path) == good
    assert all(f"model_000000{iteration}.pth" in caplog.text for iteration in (1, 3, 5))
    good.write_bytes(b"")
    with pytest.raises(UserError, match=r"model_0000005.*model_0000003.*model_0000001"):
        newest_checkpoint(tmp_path)


def test_training_needs_more_than_weights(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model_0000003.pth", {"model": {"weight": torch.ones(2)}})
    assert _newest(tmp_path, training=False) == tmp_path / "model_0000003.pth"
    with pytest.raises(UserError, match=r"no optimizer.*MODEL\.WEIGHTS"):
        newest_checkpoint(tmp_path)


def test_only_checkpoints_keep_a_new_run_out(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("A: 1")
    (tmp_path / "notes.txt").write_text("of the user")
    refuse_earlier_run(tmp_path)
    assert set_aside(tmp_path, "A: 1") is None
    (tmp_path / "metrics.json").write_text("{}")
    refuse_earlier_run(tmp_path)
    aside = set_aside(tmp_path, "A: 1")
    assert aside is not None
    assert {path.name for path in aside.iterdir()} == {"config.yaml", "metrics.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", aside.name}
    _save(tmp_path, 1)
    with pytest.raises(UserError, match="--start-over"):
        refuse_earlier_run(tmp_path)


def test_a_config_of_the_user_is_kept(tmp_path: Path) -> None:
    assert set_aside(tmp_path, "A: 1") is None
    (tmp_path / "config.yaml").write_text("A: 1  # chosen by hand")
    aside = set_aside(tmp_path, "A: 1")
    assert aside is not None
    assert (aside / "config.yaml").read_text() == "A: 1  # chosen by hand"


HOLDER = "import sys, pathlib; from clipmask.engine.folder import run_folder\n" \
    "with run_folder(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"  # fmt: skip


def test_one_job_at_a_time(tmp_path: Path) -> None:
    """The second is told who the first is; one that was killed is in nobody's way."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with (
            pytest.raises(UserError, match=rf"in use: process {holder.pid} on \S+, begun"),
            run_folder(tmp_path),
        ):
            pass
        holder.kill()
    with run_folder(tmp_path):
        pass


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".model_final.pth.77.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "mine.tmp").write_bytes(b"of the user")
    with run_folder(tmp_path):
        assert [path.name for path in tmp_path.glob("*.tmp")] == ["mine.tmp"]


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="OUTPUT_DIR"), run_folder(tmp_path / "file" / "run"):
        pass


def test_a_folder_that_was_removed_is_made_and_locked_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with run_folder(folder) as own:
        assert own is not None
        assert not own.restore()
        shutil.rmtree(folder)
        assert own.restore()
        assert not own.restore()
        assert str(os.getpid()) in (folder / LOCK).read_text()


def test_the_best_model_says_how_good_it_is(tmp_path: Path, caplog) -> None:
    path = tmp_path / "model_best.pth"
    assert best_score(tmp_path, ["tiny_val"]) == -math.inf
    content = {
        "model": {"weight": torch.ones(2)},
        "score": 80.5,
        "config": "DATASETS: {TEST: [tiny_val]}",
    }
    save_checkpoint(path, content, last=False)
    assert best_score(tmp_path, ["tiny_val"]) == 80.5
    assert best_score(tmp_path, ["tiny_val", "another"]) == -math.inf
    assert not path.exists()
    assert torch.load(tmp_path / "model_best_tiny_val.pth")["score"] == 80.5
    save_checkpoint(path, {"model": {"weight": torch.ones(2)}}, last=False)
    assert best_score(tmp_path, ["tiny_val"], logged=70.0) == 70.0
    path.write_bytes(b"garbage")
    assert best_score(tmp_path, ["tiny_val"], logged=70.0) == -math.inf
    assert "damaged" in caplog.text
