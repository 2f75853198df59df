"""The confusion matrix as CSV and as a picture."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.evaluation.confusion import draw_confusion, write_confusion
from tests.conftest import ROOT


def test_table(tmp_path: Path) -> None:
    write_confusion(np.array([[2**40, 0], [3, 4]]), ["a, b", "道路"], tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["truth \\ prediction", "a, b", "道路"],
        ["a, b", str(2**40), "0"],
        ["道路", "3", "4"],
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 2, 20, 60])
def test_picture_of_any_size(count: int, tmp_path: Path) -> None:
    """Names that could be formulas, or that the font does not know, are no trouble; nor is a matrix
    of zeros.
    """
    names = ["$x^$", "道路", "car;automobile", *(f"class {i}" for i in range(count))][:count]
    sizes, deep = [], []
    for confusion in (np.eye(count, dtype=int), np.zeros((count, count), dtype=int)):
        draw_confusion(confusion, names, tmp_path / "c.png")
        with Image.open(tmp_path / "c.png") as picture:
            assert picture.format == "PNG"
            sizes.append(picture.size)
            pixels = np.asarray(picture.convert("RGB"))
        deep.append((pixels == [8, 48, 107]).all(axis=-1).sum())  # the colour of 100 %
    assert deep[0] - deep[1] > count * 15**2
    assert sizes[0] == sizes[1]
    assert max(sizes[0]) < 2000


def test_rows_are_shares_of_the_truth(tmp_path: Path) -> None:
    """Neither the number of pixels nor a class without any changes what the others' rows look
    like.
    """
    pictures = []
    for factors in ([1, 1, 1], [1, 1000, 7]):
        draw_confusion(
            np.array([[9, 1, 0], [5, 5, 0], [0, 2, 8]]) * np.array(factors)[:, None],
            "abc",
            tmp_path / "p",
        )
        pictures.append((tmp_path / "p").read_bytes())
    assert pictures[0] == pictures[1]
    draw_confusion(np.array([[9, 1, 0], [5, 5, 0], [0, 0, 0]]), "abc", tmp_path / "p")
    assert (tmp_path / "p").read_bytes() != pictures[0]


def test_pyplot_stays_out(tmp_path: Path) -> None:
    """A program that shows figures keeps its backend, and nothing is loaded before there is
    something to draw.
    """
    code = (
        "import sys, numpy, pathlib; from clipmask.evaluation.confusion import draw_confusion;"
        "before = 'matplotlib' in sys.modules;"
        f"draw_confusion(numpy.eye(2), ['a', 'b'], pathlib.Path({str(tmp_path / 'p')!r}));"
        "print(before, 'matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == ["False", "False"]
