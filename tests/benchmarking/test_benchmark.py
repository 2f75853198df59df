"""The benchmark: its arithmetic, and one tiny run of every section that needs no peer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from clipmask_tools import benchmark
from tests.pages import ROOT

pytestmark = pytest.mark.slow


def test_networks_take_turns() -> None:
    from clipmask_tools.benchmarking.measure import paired, ratios

    calls: list[str] = []
    times = paired({name: lambda name=name: calls.append(name) for name in "ab"}, 2, "")
    assert calls == list("ababab")  # one round to warm up, two that count
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}
    assert ratios({"a": [1.0, 3.0, 2.0], "b": [2.0, 3.0, 8.0]}, "a")["b"] == (0.5, 0.25, 1.0)


def test_growth_is_told_by_its_steepest_step() -> None:
    from clipmask_tools.benchmarking.growth import steepest

    assert math.isclose(steepest([1, 2, 4], [10, 20, 40]), 1)
    assert math.isclose(steepest([1, 2, 4], [10, 12, 48]), 2)
    assert math.isclose(steepest([1, 10], [7, 7]), 0.1)


def test_what_is_measured_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "--networks",
        "ClipMask",
        "--sections",
        "peers,parts",
        "--sizes",
        "64x96:3",
        "--rounds",
        "1",
    ]
    assert benchmark.main([*argv, "--threads", "1", "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "benchmark.json").read_text())
    for entry in found["peers"]:
        own = entry["networks"]["ClipMask"]
        assert own["flops"] > 1e9
        assert own["memory"]["peak"] > own["memory"]["built"] > 0
    parts = found["parts"]["train"]["seconds"]
    assert min(value[0] for value in parts.values()) > 0
    assert {"backbone", "pixel decoder", "mask decoder", "matching and losses", "optimiser"} < set(
        parts
    )
    page = (tmp_path / "benchmark.md").read_text()
    assert "**ClipMask**" in page
    assert page in capsys.readouterr().out
    assert (tmp_path / "peers.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--networks", "UNet"], "choose from ClipMask, "),
        (["--sizes", "512"], "write HEIGHTxWIDTH:CLASSES"),
        (["--sections", "speed"], "choose from peers"),
        (["--rounds", "0"], "at least 1"),
    ],
)
def test_mistakes_are_told(
    argv: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main([*argv, "--output", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err


def test_the_page_shows_what_was_measured() -> None:
    from clipmask_tools.benchmarking.report import tables

    folder = ROOT / "docs" / "performance"
    found = json.loads((folder / "benchmark.json").read_text())
    assert set(found) == {"machine", "peers", "parts", "text", "large", "growth", "loading"}
    assert (folder / "benchmark.md").read_text() == tables(found)


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_headlines_are_those_of_the_run(page: str) -> None:
    found = json.loads((ROOT / "docs" / "performance" / "benchmark.json").read_text())
    text = (ROOT / page).read_text()
    for what, mode, size in (
        ("a training step, 360x480, batch 2", "train", [360, 480]),
        ("a prediction, 512x1024", "infer", [512, 1024]),
    ):
        (entry,) = (
            entry for entry in found["peers"] if entry["mode"] == mode and entry["size"] == size
        )
        others = [
            entry["networks"][name] for name in ("MaskFormer", "Mask2Former", "DeepLabV3+", "FPN")
        ]
        times = " | ".join(f"{other['ratio'][0]:.2f}" for other in others)
        memory = " | ".join(f"{other['memory_ratio']:.2f}" for other in others)
        assert f"| time of {what} | {times} |\n| memory of it | {memory} |" in text
