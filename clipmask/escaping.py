"""Names that others chose, as text that a terminal only shows.

Names of files and classes may hold control characters: they move a terminal's cursor, clear its
screen, or begin a line that looks like one of a log.
"""

from __future__ import annotations

import re

# control characters, separators of lines, and marks that turn the direction of what follows
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escaped(text: str, *, keep: str = "") -> str:
    r"""Returns a text with control characters written as in Python, ``\x1b``.

    Args:
        text: of any content.
        keep: control characters that stay as they are.
    """
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else _written(found[0]), text)


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
