"""The benchmark of data loading: it loads what it says, and its parts make up the whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from clipmask_tools.benchmarking import loading
from clipmask_tools.benchmarking.loading import Case, measure_loading, workers_for

TINY = (Case("a", (48, 64), (32, 40)), Case("b", (40, 40), (40, 24)))


def test_every_case_and_format_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    results = measure_loading(TINY, pictures=2, samples=3, rounds=1)
    assert capsys.readouterr() == ("", "")
    assert json.loads(json.dumps(results)) == results
    assert [(one["name"], one["format"]) for one in results] == [
        ("a", "png"),
        ("a", "jpg"),
        ("b", "png"),
        ("b", "jpg"),
    ]
    assert [(one["height"], one["width"]) for one in results[::2]] == [(48, 64), (40, 40)]
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    for one in results:
        assert set(one["train"]) == {"images_per_second", "decode", "labels", "augment"}
        assert set(one["test"]) == {"images_per_second", "decode", "augment"}
        assert one["file_kilobytes"] > 0
        for part in (one["train"], one["test"]):
            whole = 1000 / part["images_per_second"]
            parts = [value for name, value in part.items() if name != "images_per_second"]
            assert min(parts) >= 0
            assert sum(parts) == pytest.approx(whole) or (
                part["augment"] == 0 and sum(parts) > whole
            )


def test_samples_are_augmented_crops_of_the_drawn_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: dict[str, list[Any]] = {}

    def once(
        loads: Mapping[str, Callable[[int], Any]], samples: int, rounds: int
    ) -> dict[str, float]:
        loaded.update(
            {name: [load(position) for position in range(samples)] for name, load in loads.items()}
        )
        return dict.fromkeys(loads, 1.0)

    monkeypatch.setattr(loading, "_least_seconds", once)
    measure_loading(TINY[:1], ("png",), pictures=2, samples=4)
    train, test = loaded["train"], loaded["test"]
    assert {picture.shape for picture in loaded["decode"]} == {(48, 64, 3)}
    assert {one.shape for one in loaded["labels"]} == {(48, 64)}
    assert {tuple(sample["image"].shape) for sample in train} == {(3, 32, 40)}
    assert {tuple(sample["image"].shape) for sample in test} == {(3, 48, 64)}
    # two pictures, four draws of chance
    assert len({sample["image"].numpy().tobytes() for sample in train}) == 4
    assert len({sample["image"].numpy().tobytes() for sample in test}) == 2


def test_the_pictures_compress_as_photographs_do(tmp_path: Path) -> None:
    """A PNG of a drawing without noise would be decoded in no time."""
    for format, low, high in (("png", 6, 13), ("jpg", 0.5, 4)):
        record = loading._write(tmp_path, 0, *loading._enlarged_scene(0, (360, 480)), format)
        bits = 8 * (tmp_path / f"0.{format}").stat().st_size / (360 * 480)
        assert record["file_name"].endswith(format)
        assert low < bits < high


@pytest.mark.parametrize(("rate", "one", "expected"), [(20, 30.0, 1), (20, 10.0, 2), (21, 10.0, 3)])
def test_as_many_workers_as_the_model_needs(rate: float, one: float, expected: int) -> None:
    assert workers_for(rate, one) == expected
