"""Each key says what it takes, defaults obey, and what is out of range is named before anything
begins.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from clipmask.config import get_cfg, leaf_keys, load_cfg, own_cfg
from clipmask.errors import UserError
from clipmask.ranges import RANGES, Each, Number, OneOf, Rule, SomeOf, check_ranges
from tests.conftest import ROOT


def _numbers(value: object) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, int | float) and not isinstance(item, bool) for item in items)


def test_every_number_has_a_range_and_every_range_a_key() -> None:
    values = leaf_keys(own_cfg())
    elsewhere = {"VERSION"}  # which a config file is refused by before its other keys are looked at
    assert {key for key, value in values.items() if _numbers(value)} - RANGES.keys() == elsewhere
    assert RANGES.keys() - values.keys() == set()


def test_the_defaults_and_all_configs_obey() -> None:
    check_ranges(leaf_keys(get_cfg()))
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        if "grid" not in path.name:
            load_cfg(path)


@pytest.mark.parametrize("key", sorted(RANGES))
def test_no_key_takes_what_is_no_number(key: str) -> None:
    value = leaf_keys(get_cfg())[key]
    for wrong in (math.nan, -math.inf, "?"):
        with pytest.raises(UserError) as caught:
            check_ranges(
                {key: [wrong] * max(1, len(value)) if isinstance(value, list | tuple) else wrong}
            )
        assert caught.value.key == key


@pytest.mark.parametrize(
    ("rule", "good", "bad", "text"),
    [
        (Number(0, above=True, below=True), [1e-9, 5], [0, -1, math.inf, True], "above 0"),
        (Number(0, 1, below=True), [0, 0.999], [1, -0.1], "at least 0 and below 1"),
        (Number(0, above=True), [2, math.inf], [0], "above 0"),
        (Number(1, below=True, whole=True), [1, 7], [1.5, 0], "a whole number, at least 1"),
        (
            SomeOf(("a", "b", "c")),
            [["a"], ("a", "c")],
            [[], ["c", "a"], ["a", "a"], ["d"]],
            "some of a, b, c",
        ),
        (Number(), [-1e9, 0], [math.nan], "any number"),
        (OneOf(("", "a")), ["", "a"], ["b", 1], "'' or a"),
        (
            Each(Number(0, 1), 2, rising=True),
            [[0, 1], (0.5, 0.5)],
            [[1, 0], [0], [0, 2], []],
            "2 values, each at least 0",
        ),
        (
            Each(Number(0, 1)),
            [[0], [1, 0]],
            [[], [2]],
            "one or more values, each at least 0 and at most 1",
        ),
    ],
)
def test_rules(rule: Rule, good: list[object], bad: list[object], text: str) -> None:
    assert all(rule.allows(value) for value in good)
    assert not any(rule.allows(value) for value in bad)
    assert str(rule).startswith(text)


@pytest.mark.parametrize(
    "pair", [("SOLVER.BASE_LR", "-1"), ("SOLVER.EMA_DECAY", "1"), ("SEED", "1" * 30)]
)
def test_a_command_line_is_checked_as_it_is_read(pair: tuple[str, str]) -> None:
    with pytest.raises(UserError) as caught:
        load_cfg(ROOT / "configs" / "toy.yaml", pair)
    assert caught.value.key == pair[0]


def test_a_file_is_checked_as_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("SOLVER: {BASE_LR: .nan}")
    with pytest.raises(UserError) as caught:
        load_cfg(tmp_path / "wrong.yaml")
    assert caught.value.key == "SOLVER.BASE_LR"
