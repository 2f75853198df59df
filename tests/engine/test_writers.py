"""metrics.json reads as one run."""

from __future__ import annotations

import json
import math
from pathlib import Path

from clipmask.engine.writers import MetricsFile, RunWriters


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_values_that_json_can_not_hold_become_null(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.json", lambda record: True)
    file.write(3, {"a": math.nan, "b": math.inf, "c": 1.5})
    file.close()
    assert _lines(tmp_path / "metrics.json") == [{"iteration": 3, "a": None, "b": None, "c": 1.5}]


def test_later_and_broken_lines_of_an_earlier_part_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 1, "time": 1}\n{"iteration": 2, "sem_seg/mIoU": 30.0}\n{"iteration": 3}\n{"iterat')
    writers = RunWriters(tmp_path, start=3, total=9)
    writers.scalars(3, {"time": 2.0})
    writers.close()
    assert [line["iteration"] for line in _lines(path)] == [1, 2, 3]
    assert _lines(path)[-1] == {"iteration": 3, "time": 2.0}


def test_the_best_score_is_that_of_the_part_that_is_continued(tmp_path: Path) -> None:
    lines = [{"iteration": index, "sem_seg/mIoU": score} for index, score in enumerate([30.0, None, 20.0, 90.0])]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    writers = RunWriters(tmp_path, start=3, total=9)
    assert writers.best("sem_seg/mIoU") == 30.0
    assert writers.best("other") == -math.inf
    writers.close()


def test_the_last_evaluation_of_a_finished_run_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 8, "time": 1}\n{"iteration": 8, "sem_seg/mIoU": 1}\n')
    before = path.read_text()
    writers = RunWriters(tmp_path, start=9, total=9)
    assert path.read_text() == before, "a run that fails at its start takes nothing from an earlier one"
    writers.scalars(8, {"sem_seg/mIoU": 2})
    writers.close()
    assert _lines(path) == [{"iteration": 8, "time": 1}, {"iteration": 8, "sem_seg/mIoU": 2}]


def test_the_progress_line_shows_the_losses_of_the_last_layer(tmp_path: Path, caplog) -> None:
    writers = RunWriters(tmp_path, start=0, total=40)
    values = {"lr": 1e-4, "total_loss": 3.0, "loss_cls": 1.0, "loss_cls_0": 2.0, "img/s": 8.0, "eta_seconds": 61.4}
    with caplog.at_level("INFO", "clipmask"):
        writers.progress(19, values)
        writers.progress(29, {key: values[key] for key in ("lr", "img/s", "eta_seconds")})  # every step was skipped
    writers.close()
    first, second = caplog.messages
    assert first == "step 20/40  loss 3.000  lr 1.00e-04  img/s 8.0  eta 0:01:01  (loss_cls 1)"
    assert second == "step 30/40  lr 1.00e-04  img/s 8.0  eta 0:01:01"
