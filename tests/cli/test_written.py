"""A command replaces results of ClipMask's own, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipmask.cli.written import LIST, OwnResults
from clipmask.errors import UserError


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result in a folder of results."""
    place = tmp_path / "out" / "a" / "0_labels.png"
    place.parent.mkdir(parents=True)
    with OwnResults(tmp_path / "out", force=False) as own:
        own.refuse_others([place])
        place.write_text("a result")
        own.add(place)
    return place


def _allowed(folder: Path | None, *places: Path, force: bool = False) -> bool:
    try:
        OwnResults(folder, force).refuse_others(places)
    except UserError:
        return False
    return True


def test_own_results_may_be_replaced_and_others_not(result: Path, tmp_path: Path) -> None:
    other = tmp_path / "out" / "truth.png"
    other.touch()
    assert _allowed(tmp_path / "out", result, tmp_path / "out" / "new.png")
    assert not _allowed(tmp_path / "out", result, other)
    assert _allowed(tmp_path / "out", other, force=True)
    assert not _allowed(None, other)
    with pytest.raises(UserError, match=r"truth\.png: is there already.*--force"):
        OwnResults(None, force=False).refuse_others([other])
    assert _allowed(None, tmp_path / "new.png")


def test_a_result_that_was_changed_since_is_the_users(result: Path, tmp_path: Path) -> None:
    result.write_text("corrected by hand")
    assert not _allowed(tmp_path / "out", result)


def test_a_link_is_not_written_through(result: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious.png"
    os.replace(result, target)
    result.symlink_to(target)
    assert not _allowed(tmp_path / "out", result)
    target.unlink()
    assert not _allowed(tmp_path / "out", result)


def test_a_damaged_list_allows_nothing(result: Path, tmp_path: Path) -> None:
    for content in ("[1]", "{", "\x00"):
        (tmp_path / "out" / LIST).write_text(content)
        assert not _allowed(tmp_path / "out", result)
