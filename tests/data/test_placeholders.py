"""Names without meaning are told from names."""

from __future__ import annotations

from clipmask.data.placeholders import placeholders


def test_placeholders_are_found_and_names_are_not() -> None:
    empty = [
        "class_0",
        "Class 12",
        "label-3",
        "7",
        "object",
        "unnamed",
        "id4",
        "class_1;class_2",
        "#5",
        "N/A",
    ]
    names = [
        "classroom",
        "class A vehicle",
        "road",
        "3D printer",
        "car;7",
        "label tape",
        "zone 3",
        "objects on a desk",
    ]
    assert placeholders([*names, *empty]) == empty
