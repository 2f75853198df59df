"""The catalogs' contract: what a module that registers a dataset may rely on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.contract import both

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    return f"contract_{next(_numbers)}"


@both
def test_register_and_get(d2: Any, name: str) -> None:
    calls: list[int] = []
    d2.DatasetCatalog.register(name, lambda: [{"file_name": str(calls.append(1))}])
    assert not calls, "nothing may be read at registration"
    assert d2.DatasetCatalog.get(name) == [{"file_name": "None"}]
    assert name in d2.DatasetCatalog
    assert name in d2.DatasetCatalog.list()
    d2.DatasetCatalog.pop(name)
    assert name not in d2.DatasetCatalog.list()


@both
def test_a_name_is_registered_once(d2: Any, name: str) -> None:
    d2.DatasetCatalog.register(name, list)
    with pytest.raises(AssertionError):
        d2.DatasetCatalog.register(name, list)
    d2.DatasetCatalog.remove(name)
    d2.DatasetCatalog.register(name, list)
    with pytest.raises(AssertionError):
        d2.DatasetCatalog.register(f"{name}_list", [])


@both
def test_an_unknown_name_lists_the_known(d2: Any, name: str) -> None:
    d2.DatasetCatalog.register(name, list)
    with pytest.raises(KeyError, match=name):
        d2.DatasetCatalog.get("no such dataset")


@both
def test_metadata_are_written_once(d2: Any, name: str) -> None:
    metadata = d2.MetadataCatalog.get(name).set(stuff_classes=["a", "b"], ignore_label=255)
    assert metadata is d2.MetadataCatalog.get(name)
    assert metadata.name == name
    assert metadata.stuff_classes == ["a", "b"]
    metadata.stuff_classes = ["a", "b"]
    with pytest.raises(AssertionError):
        metadata.stuff_classes = ["a"]
    with pytest.raises(AssertionError):
        metadata.set(ignore_label=0)
    assert metadata.get("colors") is None
    assert metadata.get("colors", 3) == 3
    assert metadata.as_dict() == {"name": name, "stuff_classes": ["a", "b"], "ignore_label": 255}
    with pytest.raises(AttributeError, match="colors"):
        metadata.colors  # noqa: B018
    assert name in d2.MetadataCatalog.list()
    d2.MetadataCatalog.remove(name)
    assert name not in d2.MetadataCatalog.list()


@both
def test_metadata_need_a_name(d2: Any) -> None:
    with pytest.raises(AssertionError):
        d2.MetadataCatalog.get("")


@both
def test_former_names_of_metadata_still_work(d2: Any, name: str) -> None:
    metadata = d2.MetadataCatalog.get(name)
    metadata.stuff_class_names = ["a"]
    assert metadata.stuff_classes == metadata.stuff_class_names == ["a"]
    assert "stuff_class_names" not in metadata.as_dict()


@both
def test_the_catalogs_are_mappings(d2: Any, name: str) -> None:
    """What code of Detectron2's users does with them beside ``register`` and ``get``."""
    d2.DatasetCatalog.register(name, lambda: [{}])
    d2.MetadataCatalog.get(name).thing = 1
    assert name in d2.MetadataCatalog
    assert d2.DatasetCatalog[name]() == [{}]
    assert d2.DatasetCatalog.list()[-1] == name
    d2.DatasetCatalog.pop(name)
    d2.MetadataCatalog.pop(name)
    assert name not in d2.DatasetCatalog
    assert not hasattr(d2.MetadataCatalog.get(name), "thing")
    with pytest.raises(KeyError):
        d2.DatasetCatalog.pop(name)
    assert d2.DatasetCatalog.pop(name, None) is None


@both
def test_registering_returns_nothing_and_calls_each_time(d2: Any, name: str) -> None:
    made = []
    d2.DatasetCatalog.register(name, lambda: made.append(1) or [{"number": len(made)}])
    assert [d2.DatasetCatalog.get(name)[0]["number"] for _ in range(2)] == [1, 2]
