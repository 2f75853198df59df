"""A name that is taken stays what it was, and importing clipmask twice is no fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data import register_builtin_datasets
from clipmask.data.datasets.registering import register

NAME = "registered_before"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def test_a_new_name() -> None:
    register(NAME, lambda: [{"file_name": "a.png"}], stuff_classes=["a"], ignore_label=255)
    assert DatasetCatalog.get(NAME) == [{"file_name": "a.png"}]
    assert MetadataCatalog.get(NAME).stuff_classes == ["a"]


def test_what_was_there_first_stays(caplog: pytest.LogCaptureFixture) -> None:
    DatasetCatalog.register(NAME, lambda: [{"file_name": "theirs.png"}])
    MetadataCatalog.get(NAME).set(stuff_classes=["theirs"])
    register(NAME, lambda: [{"file_name": "ours.png"}], stuff_classes=["ours"])
    assert DatasetCatalog.get(NAME) == [{"file_name": "theirs.png"}]
    assert MetadataCatalog.get(NAME).stuff_classes == ["theirs"]
    assert f"dataset {NAME}" in caplog.text
    assert "tests.data.datasets.test_registering" in caplog.text


def test_our_own_again_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    register_builtin_datasets()
    assert not caplog.records
