"""What classes are called where people read: of ``car;automobile``, which is one class with a synonym, ``car``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def shown_names(names: Sequence[str]) -> list[str]:
    """Returns the first synonym of each class name; the whole name where two classes would be called alike."""
    first = [name.split(";")[0].strip() or name for name in names]
    counts = Counter(first)
    return [short if counts[short] == 1 else name for short, name in zip(first, names, strict=True)]
