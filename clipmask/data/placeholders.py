"""Class names that say nothing of what they name, such as ``class_0``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clipmask.vocabulary import first_synonym

_PLACEHOLDER = re.compile(
    r"(class|label|category|object|cls|id|unnamed|color|colour|index|n/?a)?[\s_#-]*\d*",
    re.IGNORECASE,
)


def placeholders(names: Sequence[str]) -> list[str]:
    """Returns the names that are a bare number or a word such as ``class`` with a number.

    CLIP embeds names, so these give a class an embedding without meaning.

    Args:
        names: class names; of ``car;automobile`` the first counts.
    """
    return [name for name in names if _PLACEHOLDER.fullmatch(first_synonym(name))]
