"""metrics.json reads as one run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from clipmask.engine import writers
from clipmask.engine.writers import MetricsFile, RunWriters
from clipmask.errors import UserError


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_values_that_json_can_not_hold_become_null(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.json", lambda record: True)
    file.write(3, {"a": math.nan, "b": math.inf, "c": 1.5})
    file.close()
    assert _lines(tmp_path / "metrics.json") == [{"iteration": 3, "a": None, "b": None, "c": 1.5}]


def test_later_and_broken_lines_of_an_earlier_part_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(
        '{"iteration": 1, "time": 1}\n{"iteration": 2, "sem_seg/mIoU": 30.0}\n{"iteration":'
        ' 3}\n{"iterat'
    )
    run = RunWriters(tmp_path, start=3, total=9)
    run.scalars(3, {"time": 2.0})
    run.close()
    assert [line["iteration"] for line in _lines(path)] == [1, 2, 3]
    assert _lines(path)[-1] == {"iteration": 3, "time": 2.0}


def test_the_best_score_is_that_of_the_part_that_is_continued(tmp_path: Path) -> None:
    lines = [
        {"iteration": index, "sem_seg/mIoU": score}
        for index, score in enumerate([30.0, None, 20.0, 90.0])
    ]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = RunWriters(tmp_path, start=3, total=9)
    assert run.best("sem_seg/mIoU") == 30.0
    assert run.best("other") == -math.inf
    run.close()


def test_the_last_evaluation_of_a_finished_run_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 8, "time": 1}\n{"iteration": 8, "sem_seg/mIoU": 1}\n')
    before = path.read_text()
    run = RunWriters(tmp_path, start=9, total=9)
    assert path.read_text() == before, (
        "a run that fails at its start takes nothing from an earlier one"
    )
    run.scalars(8, {"sem_seg/mIoU": 2})
    run.close()
    assert _lines(path) == [{"iteration": 8, "time": 1}, {"iteration": 8, "sem_seg/mIoU": 2}]


def test_the_progress_line_shows_the_losses_of_the_last_layer(tmp_path: Path, caplog) -> None:
    run = RunWriters(tmp_path, start=0, total=40)
    values = {
        "lr": 1e-4,
        "total_loss": 3.0,
        "loss_cls": 1.0,
        "loss_cls_0": 2.0,
        "img/s": 8.0,
        "eta_seconds": 61.4,
    }
    with caplog.at_level("INFO", "clipmask"):
        run.progress(19, values)
        # every step was skipped
        run.progress(29, {key: values[key] for key in ("lr", "img/s", "eta_seconds")})
    run.close()
    first, second = caplog.messages
    assert first == "step 20/40  loss 3.000  lr 1.00e-04  img/s 8.0  eta 0:01:01  (loss_cls 1)"
    assert second == "step 30/40  lr 1.00e-04  img/s 8.0  eta 0:01:01"


def test_lines_that_a_full_disk_refuses_are_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    path = tmp_path / "metrics.json"
    file = MetricsFile(path, lambda record: True)
    file.write(1, {"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr(writers, "write_atomically", _full)
        os.unlink(path)  # so that all lines are to be written anew
        file.write(2, {"a": 2})
        file.write(3, {"a": 3})
    assert not path.exists()
    assert [
        record.getMessage() for record in caplog.records if "disk full" in record.getMessage()
    ] != []
    assert caplog.text.count("disk full") == 1
    file.write(4, {"a": 4})
    file.close()
    assert [line["iteration"] for line in _lines(path)] == [1, 2, 3, 4]


def _full(*args: object) -> None:
    raise UserError("disk full")


def test_a_file_that_can_not_take_a_line_is_written_anew(tmp_path: Path, caplog) -> None:
    """The device is always full; the rename puts a file in its place."""
    path = tmp_path / "metrics.json"
    file = MetricsFile(path, lambda record: True)
    file.write(1, {"a": 1})
    file._file = open("/dev/full", "a")  # noqa: SIM115
    file.write(2, {"a": 2})
    assert "disk full" in caplog.text
    file.write(3, {"a": 3})
    file.close()
    assert [line["iteration"] for line in _lines(path)] == [1, 2, 3]


def test_tensorboard_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    run = RunWriters(tmp_path, start=0, total=9)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run._board, "add_scalar", fail)
    run.scalars(0, {"a": 1.0, "b": 2.0})
    run.scalars(1, {"a": 1.0})
    run.close()
    assert caplog.text.count("disk full") == 1
    assert len(_lines(tmp_path / "metrics.json")) == 2
