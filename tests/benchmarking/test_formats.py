"""The table of formats: its arithmetic, its page, and a small run of the command."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest

from clipmask.inference import Predictor
from clipmask_tools import formats
from clipmask_tools.benchmarking.format_report import format_table, merged
from clipmask_tools.benchmarking.formats import EAGER, FORMATS, agreement, clock_for, frame_seconds
from tests.pages import ROOT


@pytest.fixture
def predictor(checkpoint: Path) -> Predictor:
    return Predictor.from_checkpoint(checkpoint)


def test_a_model_agrees_with_itself(predictor: Predictor) -> None:
    frames = [np.full((32, 48, 3), value, dtype=np.uint8) for value in (0, 200)]
    truths = [predictor(frame).labels.astype(np.int64) for frame in frames]
    found = agreement({EAGER: predictor, "again": predictor}, frames, truths)
    assert found["again"] == {"labels": 1.0, "difference": 0.0, "mean_iou": 100.0}


def test_disagreement_is_counted(predictor: Predictor) -> None:
    class Other:
        """Gives each pixel the next class."""

        def stream(self, frames: list[np.ndarray], scores: bool) -> list[Other.Result]:
            (result,) = predictor.stream(frames, scores=True)
            return [Other.Result(result.labels + 1, result.scores() + 0.25)]

        class Result:
            def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
                self.labels, self.scores = labels % len(predictor.names), lambda: scores

    frame = np.zeros((32, 48, 3), dtype=np.uint8)
    truth = predictor(frame).labels.astype(np.int64)
    found = agreement({EAGER: predictor, "other": Other()}, [frame], [truth])["other"]
    assert found["labels"] == 0
    assert found["mean_iou"] == 0
    assert found["difference"] == pytest.approx(0.25)


def test_predictors_take_turns_and_two_rounds_warm_up() -> None:
    calls: list[str] = []
    predictors = {name: lambda frame, name=name: calls.append(f"{name}{frame}") for name in "ab"}
    clock = itertools.count()
    times = frame_seconds(predictors, [1, 2, 3], 2, lambda: next(clock))
    assert calls == ["a1", "b1", "a2", "b2", "a3", "b3", "a1", "b1"]
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}


def test_several_threads_are_timed_by_the_wall() -> None:
    """Processor time adds up what all threads spend: no thread count could make it shorter."""
    assert clock_for(1) is time.process_time
    assert clock_for(2) is time.perf_counter


def test_runs_on_the_same_pictures_stand_in_one_table() -> None:
    row = {"labels": 1.0, "difference": 0.0, "mean_iou": 50.0, "any_size": True, "any_names": True}
    first = {
        "machine": {"device": "one", "threads": 1, "torch": "2"},
        "dataset": "streets",
        "pictures": 2,
        "rounds": 1,
        "formats": {EAGER: row, "ONNX": row},
        "times": [
            {"size": [2, 3], "seconds": {EAGER: [1.0] * 3}, "speed": {"ONNX": [2.0, 1.5, 2.5]}}
        ],
    }
    second = {
        **first,
        "formats": {EAGER: row, "OpenVINO": row},
        "times": [
            {"size": size, "seconds": {EAGER: [3.0] * 3}, "speed": {"OpenVINO": [0.5] * 3}}
            for size in ([2, 3], [4, 5])
        ],
    }
    found = merged(first, second)
    assert set(found["formats"]) == {EAGER, "ONNX", "OpenVINO"}
    assert [entry["size"] for entry in found["times"]] == [[2, 3], [4, 5]]
    lines = {line.split(" | ")[0]: line for line in format_table(found).splitlines()}
    assert "2.00 [1.50-2.50] |  |" in lines["| ONNX"]
    assert lines["| OpenVINO"].count("0.50 [0.50-0.50]") == 2
    assert "medians of processor time" in format_table(found)
    two = {**found, "machine": {**found["machine"], "threads": 2}}
    assert "medians of wall time" in format_table(two)
    assert merged({}, second) == second
    assert merged({**first, "pictures": 3}, second) == second


def test_the_page_shows_what_was_measured() -> None:
    found = json.loads((ROOT / "docs" / "performance" / "formats.json").read_text())
    assert set(found["formats"]) <= set(FORMATS)
    assert found["formats"][EAGER]["labels"] == 1
    table = format_table(found)
    assert (ROOT / "docs" / "performance" / "formats.md").read_text() == table
    assert table in (ROOT / "docs" / "performance.md").read_text()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--formats", "TensorRT"], "choose from"),
        (["--formats", "ONNX int8"], "8 bits need pictures"),
        (["--formats", EAGER, "--rounds", "0"], "at least 1"),
        (["--formats", EAGER, "--sizes", "9"], "height x width"),
        (["--formats", EAGER], "nowhere"),
    ],
)
def test_mistakes_are_told(
    argv: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert formats.main(["--dataset", "nowhere", *argv, "--output", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
