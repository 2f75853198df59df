"""Detection of class names without meaning, such as ``class_0``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clipmask.vocabulary import first_synonym

_PLACEHOLDER = re.compile(
    r"(class|label|category|object|cls|id|unnamed|color|colour|index|n/?a)?[\s_#-]*\d*",
    re.IGNORECASE,
)


def placeholders(names: Sequence[str]) -> list[str]:
    """Returns the names that are only a number, or a word such as ``class`` with a number.

    CLIP embeds the names, so the embedding of such a class has no meaning.

    Args:
        names: class names; of synonyms, ``car;automobile``, the first one is checked.
    """
    return [name for name in names if _PLACEHOLDER.fullmatch(first_synonym(name))]
