"""A folder without pictures is told by what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.curation.guessing.other_files import other_files
from clipmask.curation.guessing.pairing import find_pairing
from clipmask.errors import UserError


def test_volumes_are_named_with_the_way_out(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"case{number}.nii.gz").touch()
    (tmp_path / "dataset.json").touch()
    with pytest.raises(UserError, match=r"there are 3 \.nii\.gz, 1 \.json; volumes .*slices"):
        find_pairing(tmp_path)


def test_other_kinds_are_counted(tmp_path: Path) -> None:
    assert "no files" in other_files(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.TXT").touch()
    (tmp_path / "README").touch()
    told = other_files(tmp_path)
    assert "1 .txt" in told
    assert "1 others" in told
    assert "slices" not in told
