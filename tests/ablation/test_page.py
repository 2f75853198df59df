"""docs/results.md is what the committed result files say; a block says what it needs, or what is
wrong with it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipmask.errors import UserError
from clipmask_tools.ablation.page import Page
from tests.ablation.made import made_grid, made_result, write_results
from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "results.md"


def test_the_page_is_what_the_result_files_say() -> None:
    text = Page(RESULTS, ROOT, ROOT / "docs" / "results").text()
    assert text == RESULTS.read_text(encoding="utf-8"), "run python -m clipmask_tools.ablate page"
    kinds = set(re.findall("<!-- ablate: (\\w+)", text))
    drawn = {"curves", "differences"}
    assert kinds == {"scores", "classes", "dataset", "folds", "unseen", "published", *drawn}


def test_no_result_file_tells_of_a_machine() -> None:
    for path in (ROOT / "docs" / "results").rglob("*.json"):
        text = path.read_text()
        assert len(text) < 20_000
        assert not re.search(r'"[^" ]*(/|\\\\)[^" ]*\.\w+[ "]', text), path


def page(folder: Path, *words: str) -> Page:
    blocks = "".join(
        f"<!-- ablate: {word} -->\nold\n<!-- /ablate -->\nkept {word}\n" for word in words
    )
    (folder / "page.md").write_text(f"before\n{blocks}")
    return Page(folder / "page.md", folder, folder / "results")


ALL = ("scores", "classes", "curves", "differences")


def test_blocks_are_filled_and_the_rest_is_left(tmp_path: Path) -> None:
    grid = made_grid(tmp_path / "grid")
    own = page(
        tmp_path,
        *(f"{kind} grid/grid.yaml" for kind in ALL),
        "unseen grid/grid.yaml grid/grid.yaml",
    )
    empty = own.text()
    assert (
        empty.count("*Not run yet: `python -m clipmask_tools.ablate run grid/grid.yaml` makes it.*")
        == 5
    )
    assert own.draw() == []
    write_results(tmp_path / "results", grid, made_result(), made_result("less", right=0.5))
    told = own.text()
    assert "| less of it | 1 | 33.33 | -33.33 |" in told
    assert "](results/grid_curves.png)" in told
    assert "](results/grid_differences.png)" in told
    assert told.startswith("before\n<!-- ablate: scores grid/grid.yaml -->\n|")
    assert told.count("\nkept ") == 5
    assert "old" not in told
    assert [path.name for path in own.draw()] == ["grid_curves.png", "grid_differences.png"]
    (tmp_path / "page.md").write_text(told)
    assert own.text() == told


def test_differences_need_a_pair(tmp_path: Path) -> None:
    grid = made_grid(tmp_path / "grid")
    write_results(tmp_path / "results", grid, made_result())
    own = page(tmp_path, "differences grid/grid.yaml")
    assert "Not run yet" in own.text()
    assert own.draw() == []


def test_published_figures_stand_above_ours(tmp_path: Path) -> None:
    grid = made_grid(tmp_path / "grid")
    (tmp_path / "published.yaml").write_text(
        "made: {classes: [sky, road], rows: {Net: [91.0, 25.6]}}\n"
    )
    own = page(
        tmp_path, "published published.yaml made grid/grid.yaml", "published published.yaml made -"
    )
    assert own.text().count("| Net | 91.0 | 25.6 |  |") == 2
    assert own.text().count("Not run yet") == 1
    write_results(tmp_path / "results", grid, made_result())
    assert "| ClipMask, full model | 66.67 | 66.67 | 66.67 |" in own.text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "figures grid/grid.yaml",
            r"ablate: figures grid/grid.yaml -->: not understood; .*one of scores",
        ),
        ("scores", r"ablate: scores -->: not understood"),
        ("scores a.yaml b.yaml", r"scores .*other files"),
        ("scores none.yaml", r"none.yaml: can't be read"),
    ],
)
def test_a_mark_that_is_wrong(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        page(tmp_path, words).text()


def test_results_elsewhere_are_no_matter_of_the_page(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--results .*there is clipmask_tools.ablate table"):
        Page(tmp_path / "docs" / "page.md", tmp_path, tmp_path / "output")


def test_an_open_block(tmp_path: Path) -> None:
    own = page(tmp_path)
    (tmp_path / "page.md").write_text("<!-- ablate: scores grid.yaml -->\ntext\n")
    with pytest.raises(UserError, match="is not closed"):
        own.text()
