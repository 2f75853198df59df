"""Files of the user's are imported, and a fault in one is shown where it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clipmask.cli.register import register_file
from clipmask.errors import UserError


def test_registered_files_are_imported_with_their_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 3\n")
    (tmp_path / "mine.py").write_text(
        "import os, neighbour_of_mine\nos.environ['MINE'] = str(neighbour_of_mine.VALUE)\n"
    )
    monkeypatch.setenv("MINE", "")
    register_file(tmp_path / "mine.py")
    assert os.environ["MINE"] == "3"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1\n\nboom\n", "line 3: NameError"),
        ("def f():\n  1/0\nf()\n", "line 2: Zero"),
        ("x = (\n", "line 1: Syntax"),
    ],
)
def test_a_fault_in_a_registered_file_is_shown_where_it_is(tmp_path: Path, code: str, expected: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(code)
    with pytest.raises(UserError) as error:
        register_file(path)
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_a_registered_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.py", "data.txt"):
        (tmp_path / "data.txt").write_text("x")
        with pytest.raises(UserError, match=name):
            register_file(tmp_path / name)
