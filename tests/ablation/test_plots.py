"""Plots: files that follow from the results alone."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from clipmask_tools.ablation.plots import draw_curves, draw_differences
from tests.ablation.made import made_grid, made_result

RESULTS = {
    name: {seed: made_result(name, seed, right + 0.01 * seed) for seed in range(3)}
    for name, right in (("full", 0.8), ("less", 0.5))
}


def test_the_same_results_make_the_same_bytes(tmp_path: Path) -> None:
    grid = made_grid(tmp_path)
    for draw in (draw_curves, draw_differences):
        first, second, other = (tmp_path / f"{draw.__name__}{index}.png" for index in range(3))
        draw(grid, RESULTS, first)
        draw(grid, RESULTS, second)
        less = {**RESULTS, "less": {0: made_result("less", 0, 0.6, curve=[[600, 10.0]])}}
        draw(grid, less, other)
        assert first.read_bytes() == second.read_bytes() != other.read_bytes()
        width, height = Image.open(first).size
        assert 200 < width < 2000
        assert 100 < height < 2000


def test_curves_without_the_one_to_compare_with(tmp_path: Path) -> None:
    draw_curves(made_grid(tmp_path), {"less": RESULTS["less"]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()
