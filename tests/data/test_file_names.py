"""Results are called as their pictures, and no two alike."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from clipmask.data.file_names import result_names


def test_folders_are_kept_and_names_never_meet() -> None:
    def names(*pictures: tuple[str, str]) -> list[str]:
        return [
            str(name)
            for name in result_names([(Path(path), Path(folder)) for path, folder in pictures])
        ]

    assert names(("a/deep/y.JPG", "deep"), ("a/x.png", "")) == ["deep/y", "x"]
    assert names(("a/x.png", ""), ("b/x.jpg", "")) == ["a_x", "b_x"]
    assert names(("a/deep/y.JPG", "deep"), ("a/x.png", ""), ("b/x.jpg", "")) == [
        "deep/y",
        "a_x",
        "b_x",
    ]
    assert names(("b/x.jpg", ""), ("b/x.png", "")) == ["b_x_jpg", "b_x_png"]


@given(
    st.lists(
        st.from_regex(r"[aA_]{1,2}/[aA_]{1,3}\.(a|A|_)", fullmatch=True), unique=True, max_size=12
    )
)
def test_no_two_names_are_equal_whatever_the_case(paths: list[str]) -> None:
    names = result_names([(Path(path), Path()) for path in paths])
    assert len({str(name).casefold() for name in names}) == len(paths)
