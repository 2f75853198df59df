"""Evaluators side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing

from clipmask.d2 import DatasetCatalog, SemSegEvaluator
from clipmask.data import label_reader
from clipmask.data.guarded import read_by_format
from clipmask.evaluation import LabelMapEvaluator, ServerIdEvaluator
from clipmask.evaluation.together import Together, label_map
from tests.data.cityscapes_tree import draw_tree


class Fixed:
    """An evaluator with scores of its own, which remembers the labels it saw."""

    def __init__(self, result: dict[str, Any] | None) -> None:
        self.result = result
        self.seen: list[Any] = []

    def reset(self) -> None:
        self.seen = []

    def process(self, inputs: Any, outputs: Any) -> None:
        self.seen += [output["labels"] for output in outputs]

    def evaluate(self) -> dict[str, Any] | None:
        return self.result


def test_scores_stand_side_by_side_and_labels_are_shared() -> None:
    evaluators = [
        Fixed({"sem_seg": {"a": 1.0}}),
        Fixed({"sem_seg": {"b": 2.0}, "other": {"a": 3.0}}),
        Fixed(None),
    ]
    together = Together(evaluators)  # type: ignore[arg-type]
    together.process([{}], [{"sem_seg": torch.zeros(2, 1, 1)}])
    together.reset()
    output = {"sem_seg": torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])}
    together.process([{}], [output])
    assert together.evaluate() == {"sem_seg": {"a": 1.0, "b": 2.0}, "other": {"a": 3.0}}
    assert evaluators[0].seen[0].tolist() == [[1, 0]]
    assert evaluators[0].seen[0] is evaluators[2].seen[0]
    assert set(output) == {"sem_seg"}


def test_of_equal_scores_the_first_counts_as_in_semseg_evaluator() -> None:
    scores = torch.randint(0, 3, (7, 50, 60), generator=torch.Generator().manual_seed(0)).float()
    assert np.array_equal(label_map(scores), scores.argmax(dim=0).numpy())


@pytest.mark.parametrize(("classes", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.int64)])
def test_label_map_holds_every_class(classes: int, dtype: type) -> None:
    scores = torch.eye(classes)[:, None]  # pixel i is of class i
    labels = label_map(scores)
    assert labels.dtype == dtype
    assert labels.tolist() == [list(range(classes))]


def score_cityscapes(folder: Path, start: int = 0, step: int = 1) -> dict[str, Any]:
    """Scores random predictions of every ``step``-th sample from ``start`` by all evaluators, as a
    run does.
    """
    name = "cityscapes_sem_seg_val"
    with read_by_format():
        sem_seg = SemSegEvaluator(
            name, output_dir=str(folder), sem_seg_loading_fn=label_reader(name)
        )
    together = Together(
        [sem_seg, LabelMapEvaluator(name, folder), ServerIdEvaluator(name, folder / "server_ids")]
    )
    together.reset()
    scores = torch.rand(3, 19, 64, 128, generator=torch.Generator().manual_seed(0))
    for sample, output in list(zip(DatasetCatalog.get(name), scores, strict=True))[start::step]:
        together.process([sample], [{"sem_seg": output}])
    return together.evaluate()


def _one_of_two(rank: int, root: Path) -> None:
    """Scores every second sample in a process group and writes what it was told."""
    rendezvous = f"file://{root / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    (root / f"result{rank}.json").write_text(json.dumps(score_cityscapes(root / "out", rank, 2)))
    torch.distributed.destroy_process_group()


def test_two_processes_score_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMASK_DATASETS", str(tmp_path))
    draw_tree(tmp_path, ("val",), images=3)
    torch.multiprocessing.start_processes(_one_of_two, (tmp_path,), nprocs=2, start_method="fork")
    alone = score_cityscapes(tmp_path / "alone")
    together = json.loads((tmp_path / "result0.json").read_text())
    assert set(together) == set(alone)
    for task, scores in alone.items():
        assert together[task] == {
            key: pytest.approx(value, nan_ok=True) for key, value in scores.items()
        }
    assert json.loads((tmp_path / "result1.json").read_text()) == {}
    files = [
        sorted(path.name for path in (tmp_path / side / "server_ids").iterdir())
        for side in ("out", "alone")
    ]
    assert files[0] == files[1]
    matrices = [
        (tmp_path / side / "confusion_matrix.csv").read_bytes() for side in ("out", "alone")
    ]
    assert matrices[0] == matrices[1]
