"""What a value in a label file stands for: every listed one is found, every other one is void or an
error.
"""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipmask.builtin.catalog import Metadata
from clipmask.data.label_format import LabelFormat, packed, unpacked
from clipmask.errors import UserError

CHANNEL = st.integers(0, 255)
IDS = st.dictionaries(st.integers(-5, 70000), st.integers(0, 300), min_size=1, max_size=20)
COLORS = st.dictionaries(
    st.tuples(CHANNEL, CHANNEL, CHANNEL), st.integers(0, 300), min_size=1, max_size=20
)


@settings(max_examples=40, deadline=None)
@given(table=IDS | COLORS, ignore=st.sampled_from([-1, 301, 65535]), others_are_void=st.booleans())
def test_every_value_is_found_and_no_other(
    table: dict[Any, int], ignore: int, others_are_void: bool
) -> None:
    form = LabelFormat(301, ignore, table, others_are_void)
    raw = np.array(list(form.known))
    labels, wrong = form.decode(raw.astype(np.uint32) if form.colored else raw)
    assert labels.tolist() == list(table.values()) == [form.place(value) for value in raw.tolist()]
    assert wrong is None
    others = np.array(
        sorted({0, 1, 255, 65535} - set(form.known)), np.uint32 if form.colored else np.int64
    )
    labels, wrong = form.decode(others)
    if others_are_void:
        assert wrong is None
        assert (labels == ignore).all()
    else:
        assert len(others) == 0 or (wrong is not None and wrong.all())
        assert all(form.place(value) is None for value in others.tolist())


@settings(deadline=None)
@given(
    classes=st.integers(1, 300),
    ignore=st.sampled_from([-1, 254, 255, 300, 65535]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.int32]),
    listed=st.booleans(),
)
def test_ids_of_all_types_read_alike(
    classes: int, ignore: int, dtype: type[np.generic], listed: bool
) -> None:
    if ignore < classes and ignore >= 0:
        ignore = 65535
    form = LabelFormat(
        classes, ignore, {value: value for value in (*range(classes), ignore)} if listed else None
    )
    info = np.iinfo(dtype)
    raw = np.array(
        [
            value
            for value in (*range(0, 400, 7), -2, -1, 254, 255, 65535)
            if info.min <= value <= info.max
        ]
    )
    labels, wrong = form.decode(raw.astype(dtype))
    right = ((raw >= 0) & (raw < classes)) | (raw == ignore)
    assert (labels[right] == raw[right]).all()
    assert ((np.zeros(len(raw), bool) if wrong is None else wrong) == ~right).all()
    assert (
        labels.dtype
        == form.dtype
        == (np.uint8 if classes <= 256 and 0 <= ignore <= 255 else np.int64)
    )


def test_several_values_may_be_one_class_or_void() -> None:
    form = LabelFormat(2, 255, {0: 255, 254: 255, 7: 0, 8: 0, 9: 1})
    assert form.decode(np.array([0, 254, 7, 8, 9], np.uint8))[0].tolist() == [255, 255, 0, 0, 1]


@settings(max_examples=25, deadline=None)
@given(table=COLORS, tolerance=st.integers(1, 120), others_are_void=st.booleans(), data=st.data())
def test_near_colours_count_as_the_nearest(
    table: dict[Any, int], tolerance: int, others_are_void: bool, data: st.DataObject
) -> None:
    form = LabelFormat(301, 301, table, others_are_void, tolerance)
    color = data.draw(st.tuples(CHANNEL, CHANNEL, CHANNEL))
    distances = [np.linalg.norm(np.subtract(color, other)) for other in table]
    near = int(np.argmin(distances))
    expected = (
        list(table.values())[near]
        if distances[near] <= tolerance
        else 301
        if others_are_void
        else None
    )
    assert form.place(packed(color)) == form.place(packed(color)) == expected


def test_formats_are_values() -> None:
    table = {(1, 2, 3): 0, (0, 0, 0): 255}
    form = LabelFormat(1, 255, table)
    form.decode(np.zeros((1, 1), np.uint32))
    content = pickle.dumps(form)
    assert len(content) < 1000  # not the table of 16 million
    assert pickle.loads(content) == form == LabelFormat(1, 255, dict(reversed(table.items())))
    assert hash(pickle.loads(content)) == hash(form)
    assert form != LabelFormat(1, 255, table, others_are_void=True)
    table[9, 9, 9] = 0
    assert form.place(packed((9, 9, 9))) is None
    with pytest.raises(TypeError):
        form.table[9, 9, 9] = 0  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        form.ignore_label = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2), "ignore_label is 2"),
        ((3, 255, {}), "must be a dict"),
        ((3, 255, {(0, 0, 0): 0}, False, -1), "tolerance is -1"),
        ((3, 255, {(0, 0, 0): 0}, False, 0, 7), "transparent is 7"),
        ((3, 255, {0: 3}), "0 to 3"),
        ((3, 255, {"0": 3}), "has the key '0'"),
        ((3, 255, {(0, 0, 0): 0, 1: 1}), "has the key 1; "),
    ],
)
def test_contradictions_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LabelFormat(*arguments)


def test_metadata_of_every_kind_give_a_format() -> None:
    def read(**metadata: Any) -> LabelFormat:
        made = Metadata(name="mine")
        made.set(stuff_classes=["a", "b"], **metadata)
        return LabelFormat.from_metadata(made)

    assert read() == LabelFormat(2)
    assert read(ignore_label=np.int64(9)) == LabelFormat(2, 9)
    assert read(label_values={5: 0, 6: 1}) == LabelFormat(2, 255, {5: 0, 6: 1})
    assert read(label_mapping={np.uint8(5): 0}) == LabelFormat(2, 255, {5: 0}, others_are_void=True)
    assert read(label_format=LabelFormat(2, 255, {5: 0})) == LabelFormat(2, 255, {5: 0})


@pytest.mark.parametrize("color", [(0, 0, 0), (1, 2, 3), (255, 254, 253)])
def test_a_colour_is_one_number_and_back(color: tuple[int, int, int]) -> None:
    assert tuple(unpacked(packed(color))) == color
