"""Packed records are the records."""

from __future__ import annotations

import gc

import pytest

from clipmask.data.records import PackedRecords, without_collection

RECORDS = [{"file_name": f"{n}.png", "height": n, "text": ["a", "b"]} for n in range(7)]


def test_packed_records_are_the_records() -> None:
    packed = PackedRecords(RECORDS)
    assert list(packed) == RECORDS
    assert len(packed) == 7
    assert packed[-1] == RECORDS[-1]
    assert packed[1:6:2] == RECORDS[1:6:2]
    for place in (7, -8):
        with pytest.raises(IndexError):
            packed[place]
    assert len(PackedRecords([])) == 0


def test_what_is_read_can_be_changed_and_the_packed_record_stays() -> None:
    packed = PackedRecords(RECORDS)
    packed[2]["file_name"] = "other"
    packed[2]["text"].append("c")
    assert packed[2] == RECORDS[2]


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_is_as_before_afterwards(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with without_collection():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
