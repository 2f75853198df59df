"""A bounded cache."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

from clipmask.recent import Recent


def test_the_oldest_is_forgotten() -> None:
    recent: Recent[int, str] = Recent(2)
    assert recent.get(1, lambda: "one") == "one"
    assert recent.get(1, lambda: "another") == "one"
    recent.get(2, lambda: "two")
    recent.get(3, lambda: "three")
    assert len(recent) == 2
    assert recent.get(1, lambda: "another") == "another"
    assert pickle.loads(pickle.dumps(recent)).get(1, lambda: "none") == "another"
    recent.clear()
    assert len(recent) == 0


def test_threads_get_whole_values() -> None:
    recent: Recent[int, int] = Recent(3)

    def ask(seed: int) -> bool:
        keys = [(seed * 7 + step) % 11 for step in range(2000)]
        return all(recent.get(key, lambda key=key: key * key) == key * key for key in keys)  # type: ignore[misc]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
    assert len(recent) <= 3 + 8  # each thread may be about to forget one
