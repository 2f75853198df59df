"""Names that differ by zeros in front of a number are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.curation.guessing.pairing import find_pairing
from clipmask.errors import UserError
from tests.curation.guessing.trees import grey, photo, save


@pytest.mark.parametrize("digits", [2, 4])
def test_numbers_with_zeros_in_front_are_told(tmp_path: Path, digits: int) -> None:
    """With two digits, 10.jpg and 10.png are a pair, but 7.jpg and 07.png are meant too."""
    for number in range(12):
        save(photo(number), tmp_path / f"images/{number}.jpg")
        save(grey(), tmp_path / f"labels/{number:0{digits}}.png")
    with pytest.raises(
        UserError, match=r"images/0\.jpg and labels/0+\.png differ by .*zeros.*rename"
    ):
        find_pairing(tmp_path)


def test_names_that_agree_are_a_pair_whatever_others_are_like(tmp_path: Path) -> None:
    for number in range(6):
        save(photo(number), tmp_path / f"images/{number:03}.jpg")
        save(grey(), tmp_path / f"labels/{number:03}.png")
    save(photo(9), tmp_path / "others/3.jpg")
    assert len(find_pairing(tmp_path).pairs) == 6
