"""The evaluation loop and the table."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clipmask.evaluation.evaluate import evaluate, per_class_table


class Recorder:
    """An evaluator that remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, Any]] = []

    def reset(self) -> None:
        self.seen = []

    def process(self, inputs: Any, outputs: Any) -> None:
        assert torch.is_inference_mode_enabled()
        self.seen += zip(inputs, outputs, strict=True)

    def evaluate(self) -> dict[str, Any]:
        return {"sem_seg": {"count": len(self.seen)}}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.frozen = nn.BatchNorm2d(1).eval()

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert not self.training
        return [{"sem_seg": sample["id"]} for sample in inputs]


@pytest.mark.parametrize("training", [True, False])
def test_every_sample_once_and_modes_restored(training: bool) -> None:
    model, recorder = Model(), Recorder()
    model.train(training)
    model.frozen.eval()
    loader = [[{"id": 0}, {"id": 1}], [{"id": 2}]]
    assert evaluate(model, loader, recorder, progress=False) == {"sem_seg": {"count": 3}}  # type: ignore[arg-type]
    assert [output["sem_seg"] for _, output in recorder.seen] == [0, 1, 2]
    assert (model.training, model.norm.training, model.frozen.training) == (
        training,
        training,
        False,
    )


def test_modes_are_restored_after_an_error() -> None:
    class Broken(Model):
        def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
            raise OSError("disk")

    model = Broken().train()
    with pytest.raises(OSError, match="disk"):
        evaluate(model, [[{"id": 0}]], Recorder(), progress=False)  # type: ignore[arg-type]
    assert model.training


def test_table() -> None:
    scores = {"mIoU": 50.0, "fwIoU": 60.0, "IoU-road": 75.123, "IoU-道路": float("nan")}
    scores |= {"mACC": 55.5, "pACC": 77.0, "ACC-road": 80.0, "ACC-道路": float("nan")}
    lines = per_class_table({"sem_seg": scores}).splitlines()
    assert lines[0].split() == ["class", "IoU", "ACC"]
    assert lines[2].split() == ["road", "75.12", "80.00"]
    assert lines[3].split() == ["道路", "-", "-"]
    assert lines[-1] == "mIoU 50.00   fwIoU 60.00   mACC 55.50   pACC 77.00"


def test_table_with_boundaries() -> None:
    scores = {
        "mIoU": 50.0,
        "fwIoU": 60.0,
        "IoU-a": 75.123,
        "IoU-b": float("nan"),
        "mACC": 55.5,
        "pACC": 77.0,
    }
    scores |= {
        "ACC-a": 80.0,
        "ACC-b": float("nan"),
        "mBIoU": 40.0,
        "BIoU-a": 41.5,
        "BIoU-b": float("nan"),
    }
    lines = per_class_table({"sem_seg": scores, "cityscapes": {"IoU-a": 1.0}}).splitlines()
    assert lines[0].split() == ["class", "IoU", "ACC", "BIoU"]
    assert lines[2].split() == ["a", "75.12", "80.00", "41.50"]
    assert lines[3].split() == ["b", "-", "-", "-"]
    assert lines[-1] == "mIoU 50.00   fwIoU 60.00   mACC 55.50   pACC 77.00   mBIoU 40.00"
    assert len(set(map(len, lines[:-1]))) == 1


@pytest.mark.parametrize(
    ("rank", "progress", "drawn"), [(0, True, True), (0, False, False), (1, True, False)]
)
def test_only_the_main_process_draws_a_bar(
    rank: int,
    progress: bool,
    drawn: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
    evaluate(Model(), [[{"id": 0}]], Recorder(), progress=progress)  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("evaluating" in captured.err) == drawn
    assert ("images/s" in captured.err) == drawn


def test_an_evaluator_without_a_result_gives_none() -> None:
    class Silent(Recorder):
        def evaluate(self) -> Any:
            return None

    assert evaluate(Model(), [[{"id": 0}]], Silent(), progress=False) == {}  # type: ignore[arg-type]


def test_table_leaves_out_what_other_evaluators_add() -> None:
    scores = {
        "mIoU": 1.0,
        "fwIoU": 2.0,
        "IoU-a": 3.0,
        "BoundaryIoU-a": 4.0,
        "min(IoU, B-Iou)-a": 5.0,
    }
    table = per_class_table({"sem_seg": {**scores, "mACC": 6.0, "pACC": 7.0, "ACC-a": 8.0}})
    assert [line.split() for line in table.splitlines()[2:-2]] == [["a", "3.00", "8.00"]]
