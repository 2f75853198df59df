"""Every text is read, or refused by one kind of error, in no time and little memory."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clipmask.plain_yaml import flat, load_yaml

MANY = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[" * 5000 + "]" * 5000, "deeply"),
        ("a: 2001-99-99", "can't be read"),
        ("a: " + "9" * 5000, "can't be read"),
        ("a: &a [1, *a]", "itself"),
        ("a: &a {b: *a}", "itself"),
        (MANY, "aliases"),
        ("a: [", "expected"),
        ("? {}", "unhashable"),
        ("a: !!python/object:os.system x", "constructor"),
    ],
)
def test_what_is_refused(text: str, word: str) -> None:
    with pytest.raises(yaml.YAMLError, match=word):
        load_yaml(text)


def test_aliases_that_are_few_are_values() -> None:
    assert load_yaml("a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@given(st.text("ab01-:.,[]{}&*!? \n'\"#|>%@", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        content = load_yaml(text)
    except yaml.YAMLError:
        return
    flat(content)


VALUES = st.recursive(
    st.none() | st.integers() | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back(content: object) -> None:
    assert load_yaml(yaml.safe_dump(content)) == content


def test_flat() -> None:
    assert flat({"A": {"B": 1, "C": {}}, "D": [2]}) == {"A.B": 1, "A.C": {}, "D": [2]}
    assert flat(["A"]) == {}
