"""Whatever a file calls its config, asking it for values raises nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipmask.weights.stored import stored_values


@given(st.none() | st.integers() | st.text(max_size=30) | st.lists(st.text(max_size=3)))
def test_any_config_gives_values(config: object) -> None:
    assert isinstance(stored_values({"config": config}), dict)


def test_values_by_their_keys() -> None:
    text = "SOLVER: {MAX_ITER: 3}\nDATASETS:\n  TRAIN: [a]\n"
    assert stored_values({"config": text}) == {"SOLVER.MAX_ITER": 3, "DATASETS.TRAIN": ["a"]}
    assert stored_values({"config": "SOLVER: ["}) == stored_values({}) == {}
