"""A picture that is trained on and tested too is found, whatever its paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.data import overlap
from clipmask.data.overlap import refuse_shared, shared_pictures
from clipmask.errors import UserError


def _records(*paths: Path) -> list[dict[str, str]]:
    return [{"file_name": str(path)} for path in paths]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        path.touch()
    return paths


def test_a_link_to_a_trained_picture_is_found(pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(pictures[1])
    (tmp_path / "again").symlink_to(tmp_path)
    for path in (pictures[1], tmp_path / "link.png", tmp_path / "again" / "1.png"):
        with pytest.raises(UserError, match=r"'t_train'.*'t_val'.*1\.png") as error:
            refuse_shared(
                {"t_train": _records(*pictures[:2])}, {"t_val": _records(pictures[2], path)}
            )
        assert str(path) in str(error.value)


def test_splits_that_share_nothing_and_a_set_named_for_both_are_left_alone(
    pictures: list[Path], tmp_path: Path
) -> None:
    missing = tmp_path / "none.png"
    train = {"t_train": _records(*pictures[:2], missing)}
    refuse_shared(train, {"t_val": _records(*pictures[2:], missing)})
    refuse_shared(train, train)


def test_of_very_many_the_paths_are_compared(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "MOST_CHECKED", 3)
    names = [str(path) for path in pictures]
    assert shared_pictures(names[:3], names[2:]) == [(names[2], names[2])]
