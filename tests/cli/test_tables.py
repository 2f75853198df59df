"""Columns of numbers end, columns of text begin, at the same place."""

from __future__ import annotations

from clipmask.cli.tables import format_table


def test_columns() -> None:
    text = format_table(
        ("class", "pixels %", "images"), [("road", 33.333, 12), ("zebra crossing", 0.5, 7)]
    )
    assert text.splitlines() == [
        "  class           pixels %  images",
        "  --------------  --------  ------",
        "  road               33.33      12",
        "  zebra crossing      0.50       7",
    ]


def test_what_is_left_out_is_told() -> None:
    assert format_table(("a",), [(number,) for number in range(5)], most=2).splitlines()[-2:] == [
        "  1",
        "  ... and 3 more",
    ]
    assert format_table(("a",), []).splitlines() == ["  a", "  -"]
